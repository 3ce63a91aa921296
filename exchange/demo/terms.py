"""What the demonstration asks for: assets, agreements and questions as an owner or an analyst writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from exchange.demo.stage import ANALYST, BUREAU, INCOME, LENDER, LOANS, Stage
from exchange.sdk import Identifier, Measure, Reference, Side, statistics_spec
from ledger.entries import new_id

__all__ = [
    "INCOME_COLUMNS",
    "LOAN_COLUMNS",
    "MEASURES",
    "MIN_COHORT",
    "OPERATIONS",
    "PURPOSE",
    "RULES",
    "USES",
    "asset",
    "in_days",
    "question",
    "wanted",
]

PURPOSE = "dpv:CustomerSolvencyMonitoring"
OPERATIONS = ["psi/ecdh", "stats/group-sums"]
OUTPUT_TYPES = ["aggregate", "cardinality"]
USES = 3
MIN_COHORT = 10
RULES = ("upper", "remove-spaces")
LOAN_COLUMNS = ["customer_id", "default_next_month", "bill_amount", "payment_amount"]
INCOME_COLUMNS = ["person_id", "income_band", "age_band", "education"]
MEASURES = ("default_next_month", "bill_amount")
DECIMALS = {"default_next_month": 0, "bill_amount": 2, "payment_amount": 0}
CONTROLS = {"identifier": "AFTER_JOIN", "measure": "AFTER_AGGREGATE", "group": "AFTER_GROUP_BY"}


def in_days(days: int) -> str:
    """A time so many days from now, as the API has times."""
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def asset(
    name: str,
    title: str,
    source: Mapping[str, Any],
    roles: Mapping[str, str],
    *,
    operations: Sequence[str] = OPERATIONS,
    output_types: Sequence[str] = OUTPUT_TYPES,
    min_cohort: int = MIN_COHORT,
) -> dict[str, Any]:
    """The body of a publication; ``roles`` are its columns."""
    return {
        "name": name,
        "title": title,
        "description": "default of credit card clients (UCI 350)",
        "keywords": ["credit", "demonstration"],
        "source": dict(source),
        "columns": [
            {
                "name": column,
                "role": role,
                "sensitivity": "confidential" if role == "identifier" else "internal",
                "control": CONTROLS[role],
            }
            for column, role in roles.items()
        ],
        "terms": {
            "purposes": [PURPOSE],
            "operations": list(operations),
            "columns": list(roles),
            "uses": 100,
            "expires": in_days(365),
            "min_cohort": min_cohort,
            "output_types": list(output_types),
        },
    }


def wanted(
    name: str,
    columns: Sequence[str],
    *,
    uses: int = USES,
    operations: Sequence[str] = OPERATIONS,
    output_types: Sequence[str] = OUTPUT_TYPES,
    min_cohort: int = MIN_COHORT,
    clauses: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """The body of a request for an agreement."""
    return {
        "asset": name,
        "purpose": PURPOSE,
        "operations": list(operations),
        "columns": list(columns),
        "output_types": list(output_types),
        "uses": uses,
        "expires": in_days(30),
        "min_cohort": min_cohort,
        "clauses": dict(clauses or {}),
    }


def question(
    stage: Stage,
    agreements: Mapping[str, Mapping[str, Any]],
    group: str,
    title: str,
    *,
    purpose: str = PURPOSE,
    privacy: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The specification of the joint statistics by a group, under these agreements."""
    sides = [
        Side(
            stage.dids[owner],
            str(agreements[name]["agreement"]),
            Identifier(Reference(name, column), RULES),
        )
        for owner, name, column in ((LENDER, LOANS, "customer_id"), (BUREAU, INCOME, "person_id"))
    ]
    return statistics_spec(
        job=new_id("job", lambda: datetime.now(UTC)),
        title=title,
        purpose=purpose,
        reader=stage.dids[ANALYST],
        sides=sides,
        measures=[Measure(Reference(LOANS, one), DECIMALS[one]) for one in MEASURES],
        group=Reference(INCOME, group),
        min_cohort=MIN_COHORT,
        privacy=privacy,
    )
