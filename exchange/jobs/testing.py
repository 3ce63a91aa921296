"""An example specification for tests of whoever handles specifications: the joint statistics of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from exchange.jobs.component import HandOver
from exchange.jobs.kept import Kept

__all__ = ["ANALYST", "BUREAU", "JOB", "LENDER", "example_spec", "nothing_lent", "read_from"]

LENDER, BUREAU, ANALYST = "did:key:zLender", "did:key:zBureau", "did:key:zAnalyst"
JOB = "job-" + "0" * 26


def example_spec() -> dict[str, Any]:
    """Intersection, sums by group, report; as plain JSON values to alter."""
    return {
        "v": 1,
        "job": JOB,
        "title": "Default rate by income band",
        "purpose": "dpv:CustomerSolvencyMonitoring",
        "agreements": {"lender/loans": "agreement-1", "bureau/people": "agreement-2"},
        "steps": [
            {
                "id": "match",
                "component": "psi/ecdh",
                "version": 1,
                "parties": {"left": LENDER, "right": BUREAU},
                "inputs": {
                    "left": {"asset": "lender/loans", "columns": [{"name": "customer_id", "decimals": 0}]},
                    "right": {"asset": "bureau/people", "columns": [{"name": "person_id", "decimals": 0}]},
                },
                "after": [],
                "params": {
                    "normalise": {"left": ["trim", "upper"], "right": ["trim"]},
                    "minimum_matches": 10,
                },
                "recipients": [],
            },
            {
                "id": "stats",
                "component": "stats/group-sums",
                "version": 1,
                "parties": {"measure_holder": LENDER, "group_holder": BUREAU},
                "inputs": {
                    "measure_holder": {
                        "asset": "lender/loans",
                        "columns": [{"name": "default", "decimals": 0}],
                    },
                    "group_holder": {"asset": "bureau/people", "columns": [{"name": "band", "decimals": 0}]},
                },
                "after": ["match"],
                "params": {"min_cohort": 10},
                "recipients": [ANALYST],
            },
            {
                "id": "report",
                "component": "report/table",
                "version": 1,
                "parties": {"reader": ANALYST},
                "inputs": {},
                "after": ["stats"],
                "params": {"plot": "bar"},
                "recipients": [],
            },
        ],
    }


def read_from(spec: dict[str, Any], asset: str) -> None:
    """Have the bureau's steps of the example read another asset."""
    for step, role in zip(spec["steps"], ("right", "group_holder"), strict=False):
        step["inputs"][role]["asset"] = asset


def nothing_lent() -> HandOver:
    """For components that deliver nothing: whatever they take of it fails."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("only a delivery takes this")

    return HandOver(
        rows=refuse,
        folder=Path("/nowhere"),
        mark_key=b"",
        pieces=refuse,
        spool=Path("/nowhere"),
        kept=Kept(Path("/nowhere"), bytes(32)),
    )
