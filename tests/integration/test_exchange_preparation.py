"""Columns of two owners before a model, correlated and prepared, as jobs through hub and nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
EXPIRES = "2099-01-01T00:00:00Z"
RNG = np.random.Generator(np.random.PCG64(19))
PEOPLE, ALONE = 260, 30
INCOME = RNG.normal(2_500, 700, PEOPLE)
DEBT = INCOME + RNG.normal(0, 900, PEOPLE)
AGE = RNG.integers(18, 80, PEOPLE)
FITTED = (DEBT - 2_500) / 1_100 - (AGE - 48) / 20
LATE = (RNG.random(PEOPLE) < 1 / (1 + np.exp(-FITTED))).astype(np.int64)
REGION = RNG.choice(["north", "south", "west"], PEOPLE)
HOLES = RNG.random(PEOPLE) < 0.1
SPENT = INCOME / 10 + 80 * (REGION == "south") + RNG.normal(0, 20, PEOPLE)
IDS = [f"p{i:03d}" for i in range(PEOPLE)]
TABLES = {
    "lender": pa.table({"person": IDS, "late": LATE, "spent": SPENT, "debt": DEBT}).slice(0, PEOPLE - ALONE),
    "bureau": pa.table(
        {
            "id": IDS,
            "income": INCOME,
            "age": AGE,
            "rent": pa.array(INCOME / 3, mask=HOLES),
            "region": REGION,
        }
    ).slice(ALONE),
}
BOTH = slice(ALONE, PEOPLE - ALONE)
NAMES = {"lender": "loans", "bureau": "people"}
KINDS = {"person": "identifier", "id": "identifier", "late": "label", "spent": "label"}
TERMS: dict[str, Any] = {
    "operations": ["psi/ecdh", "model/correlation", "model/prepare", "model/linear", "model/stability"],
    "uses": 20,
    "expires": EXPIRES,
    "min_cohort": 30,
    "output_types": ["aggregate", "cardinality"],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("columns")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as consortium:
        for owner, table in TABLES.items():
            pyarrow.parquet.write_table(table, folder / f"{owner}.parquet")
            columns = [
                {
                    "name": name,
                    "role": KINDS.get(name, "feature"),
                    "sensitivity": "internal",
                    "control": "AFTER_JOIN" if KINDS.get(name) == "identifier" else "AFTER_AGGREGATE",
                }
                for name in table.column_names
            ]
            consortium.client(owner).publish(
                {
                    "name": NAMES[owner],
                    "title": NAMES[owner],
                    "source": {"kind": "file", "location": str(folder / f"{owner}.parquet")},
                    "columns": columns,
                    "terms": {**TERMS, "columns": table.column_names, "purposes": [PURPOSE], "uses": 50},
                }
            )
        yield consortium


@pytest.fixture(scope="module")
def agreed(running: ConsortiumInProcess) -> dict[str, str]:
    found = {}
    for owner, table in TABLES.items():
        asset = f"{owner}/{NAMES[owner]}"
        asked = {"asset": asset, "purpose": PURPOSE, **TERMS, "columns": table.column_names}
        negotiation = running.client("analyst").request_agreement(asked)["negotiation"]
        found[asset] = str(running.client(owner).approve(negotiation, "a test")["agreement"])
    return found


def _step(id_: str, component: str, parties: dict[str, str], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": id_, "component": component, "version": 1, "parties": parties, **empty, **more}


def _inputs(lender: tuple[str, ...], bureau: tuple[str, ...]) -> dict[str, Any]:
    return {
        "owner-1": {"asset": "lender/loans", "columns": [{"name": name, "decimals": 0} for name in lender]},
        "owner-2": {"asset": "bureau/people", "columns": [{"name": name, "decimals": 0} for name in bureau]},
    }


def answers(at: ConsortiumInProcess, agreed: dict[str, str], *steps: dict[str, Any]) -> dict[str, Any]:
    """Align rows, then play the steps; the result that the last of them reads."""
    lender, bureau = at.did("lender"), at.did("bureau")
    columns = _inputs(("person",), ("id",))
    match = _step(
        "match",
        "psi/ecdh",
        {"left": lender, "right": bureau},
        inputs={"left": columns["owner-1"], "right": columns["owner-2"]},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": 50},
    )
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Before a model",
        "purpose": PURPOSE,
        "agreements": agreed,
        "steps": [match, *steps],
    }
    job = at.client("analyst").submit(spec)["job"]
    at.client("analyst").wait_job(job, timeout_s=90)
    return {"job": job, **at.client("analyst").result(job)[0]}


def test_the_one_who_asked_reads_the_correlations_of_the_pooled_rows(
    running: ConsortiumInProcess, agreed: dict[str, str]
) -> None:
    lender, bureau, helper, own = map(running.did, ("lender", "bureau", "regulator", "analyst"))
    relate = _step(
        "relate",
        "model/correlation",
        {"owner-1": lender, "owner-2": bureau, "helper-1": helper},
        inputs=_inputs(("late", "debt"), ("income", "age")),
        after=["match"],
        params={"min_cohort": 30},
        recipients=[own],
    )
    stable = _step(
        "stable",
        "model/stability",
        {"owner": lender},
        inputs={"owner": _inputs(("late", "debt"), ("age",))["owner-1"]},
        params={
            "min_cohort": 30,
            **{
                part: {"column": "late", "is": "=", "value": late}
                for late, part in enumerate(("expected", "actual"))
            },
        },
        recipients=[own],
    )
    read = _step("read", "report/result", {"reader": own}, after=["relate"])
    answer = answers(running, agreed, stable, relate, read)
    expected = np.corrcoef([one[BOTH] for one in (LATE, DEBT, INCOME, AGE)])
    assert [row[1] for row in answer["rows"]] == ["late", "debt", "income", "age"]
    np.testing.assert_allclose([[float(c) for c in row[3:]] for row in answer["rows"]], expected, atol=1e-5)
    np.testing.assert_allclose(
        [float(row[2]) for row in answer["rows"]], np.diag(np.linalg.inv(expected)), rtol=1e-4
    )
    assert answer["facts"]["rows"] == 200
    shown = running.client("regulator").entries(job=answer["job"], type_="receipt.step")
    receipts = {(entry["name"], entry["body"]["step"]) for entry in shown}
    assert {(name, "relate") for name in ("lender", "bureau", "regulator")} <= receipts
    # The indices of the lender's own rows went to the one who asked, too.
    (released,) = (
        entry["body"]
        for entry in running.client("regulator").entries(job=answer["job"], type_="job.release")
        if entry["body"]["step"] == "stable"
    )
    late = int(LATE[: PEOPLE - ALONE].sum())
    assert released["cohort"] == min(late, PEOPLE - ALONE - late)


RECIPES = {
    "owner-1": {"debt": {"winsorise": {"lower_permille": 50, "upper_permille": 950}}},
    "owner-2": {
        "rent": {"kind": "number", "missing": "mean", "indicator": True},
        "region": {"kind": "category", "labels": ["north", "south", "west"], "baseline": "west"},
    },
}


def prepared(at: ConsortiumInProcess, id_: str, recipients: list[str], **params: Any) -> dict[str, Any]:
    return _step(
        id_,
        "model/prepare",
        {"owner-1": at.did("lender"), "owner-2": at.did("bureau")},
        inputs=_inputs(("debt",), ("rent", "region")),
        after=["match"],
        params={"columns": RECIPES, "min_cohort": 30, **params},
        recipients=recipients,
    )


def test_a_model_trains_on_columns_that_owners_have_prepared(
    running: ConsortiumInProcess, agreed: dict[str, str]
) -> None:
    lender, bureau, helper, own = map(running.did, ("lender", "bureau", "regulator", "analyst"))
    fit = _step(
        "fit",
        "model/linear",
        {"owner-1": lender, "owner-2": bureau, "helper-1": helper},
        inputs=_inputs(("spent", "debt"), ("rent", "region", "age")),
        after=["prepare"],
        params={
            "label": "spent",
            "coefficients": "recipients",
            "min_cohort": 30,
            "batch": 256,
            "epochs": 80,
            "rate_micro": 200_000,
        },
        recipients=[own],
    )
    read = _step("read", "report/result", {"reader": own}, after=["fit"])
    parts = prepared(running, "parts", [own], test_micro=250_000)
    answer = answers(running, agreed, prepared(running, "prepare", []), parts, fit, read)
    names = ["debt", "rent", "rent=(missing)", "region=north", "region=south", "age"]
    assert [row[1] for row in answer["rows"]] == ["(intercept)", *names]
    debt, rent, holes = DEBT[BOTH], INCOME[BOTH] / 3, HOLES[BOTH]
    columns = [
        np.clip(debt, *np.quantile(debt, [0.05, 0.95])),
        np.where(holes, rent[~holes].mean(), rent),
        holes,
        *(REGION[BOTH] == label for label in ("north", "south")),
        AGE[BOTH],
    ]
    made = [np.asarray(one, dtype=float) for one in columns]
    design = np.vstack([np.ones(200), *((one - one.mean()) / one.std() for one in made)])
    label = (SPENT[BOTH] - SPENT[BOTH].mean()) / SPENT[BOTH].std()
    expected = np.linalg.lstsq(design.T, label, rcond=None)[0]
    np.testing.assert_allclose([float(row[2]) for row in answer["rows"]], expected, atol=0.03)
    # The parts of the other preparation went to the one who asked; the smaller has 50 of the 200 rows.
    shown = running.client("regulator").entries(job=answer["job"], type_="job.release")
    cohorts = {(entry["name"], entry["body"]["step"]): entry["body"]["cohort"] for entry in shown}
    assert {cohorts[name, "parts"] for name in ("lender", "bureau")} == {50}
