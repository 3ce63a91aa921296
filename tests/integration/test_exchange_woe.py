"""Weight of evidence and a scorecard over columns of two owners, as jobs through hub and nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
EXPIRES = "2099-01-01T00:00:00Z"
RNG = np.random.Generator(np.random.PCG64(19))
PEOPLE = 340
DEBT, INCOME = RNG.normal(4_000, 1_500, PEOPLE), RNG.normal(2_500, 700, PEOPLE)
SECTOR = np.array(["farm", "shop", "state"])[RNG.integers(0, 3, PEOPLE)]
FITTED = (DEBT - 4_000) / 1_500 - (INCOME - 2_500) / 700 + (SECTOR == "farm")
LATE = (RNG.random(PEOPLE) < 1 / (1 + np.exp(-FITTED))).astype(np.int64)
IDS = [f"p{i:03d}" for i in range(PEOPLE)]
TABLES = {
    "lender": pa.table({"person": IDS[:300], "late": LATE[:300], "debt": DEBT[:300]}),
    "bureau": pa.table({"id": IDS[40:], "income": INCOME[40:], "sector": SECTOR[40:]}),
}
CONTROLS = {
    "lender": {
        "person": ("identifier", "AFTER_JOIN"),
        "late": ("label", "AFTER_AGGREGATE"),
        "debt": ("feature", "AFTER_AGGREGATE"),
    },
    "bureau": {
        "id": ("identifier", "AFTER_JOIN"),
        "income": ("feature", "AFTER_AGGREGATE"),
        "sector": ("group", "AFTER_AGGREGATE"),
    },
}
NAMES = {"lender": "loans", "bureau": "people"}
BOTH = slice(40, 300)
EDGES, DEBTS = [2_000, 2_500, 3_000], [3_000, 5_000]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("columns")
    for owner, table in TABLES.items():
        pyarrow.csv.write_csv(table, folder / f"{owner}.csv")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as consortium:
        for owner, controls in CONTROLS.items():
            consortium.client(owner).publish(
                {
                    "name": NAMES[owner],
                    "title": NAMES[owner],
                    "source": {"kind": "file", "location": str(folder / f"{owner}.csv")},
                    "columns": [
                        {"name": name, "role": role, "sensitivity": "internal", "control": control}
                        for name, (role, control) in controls.items()
                    ],
                    "terms": _terms(list(controls)) | {"purposes": [PURPOSE], "uses": 50},
                }
            )
        yield consortium


def _terms(columns: list[str]) -> dict[str, Any]:
    return {
        "operations": ["psi/ecdh", "model/woe", "model/scorecard"],
        "columns": columns,
        "uses": 20,
        "expires": EXPIRES,
        "min_cohort": 30,
        "output_types": ["aggregate", "cardinality"],
    }


def agreed(running: ConsortiumInProcess, submitter: str) -> dict[str, str]:
    found = {}
    for owner, controls in CONTROLS.items():
        if owner == submitter:
            continue
        asset = f"{owner}/{NAMES[owner]}"
        asked = {"asset": asset, "purpose": PURPOSE, **_terms(list(controls))}
        negotiation = running.client(submitter).request_agreement(asked)["negotiation"]
        found[asset] = str(running.client(owner).approve(negotiation, "a test")["agreement"])
    return found


def _step(id_: str, component: str, parties: dict[str, str], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": id_, "component": component, "version": 1, "parties": parties, **empty, **more}


def _input(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def weigh(
    at: ConsortiumInProcess, submitter: str, params: dict[str, Any], reader: str, *, is_scored: bool = False
) -> dict[str, Any]:
    lender, bureau, helper, own = map(at.did, ("lender", "bureau", "regulator", submitter))
    match = _step(
        "match",
        "psi/ecdh",
        {"left": lender, "right": bureau},
        inputs={"left": _input("lender/loans", "person"), "right": _input("bureau/people", "id")},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": 50},
    )
    parties = {"owner-1": lender, "owner-2": bureau, "helper-1": helper}
    inputs = {
        "owner-1": _input("lender/loans", "late", "debt"),
        "owner-2": _input("bureau/people", "income", "sector"),
    }
    bins = _step(
        "bins",
        "model/woe",
        parties,
        inputs=inputs,
        after=["match"],
        params={
            "label": "late",
            "min_cohort": 30,
            "bins": 5,
            "merge": "none",
            "edges": {
                "owner-1.debt": [str(edge) for edge in DEBTS],
                "owner-2.income": [str(edge) for edge in EDGES],
            },
            **params,
        },
        recipients=[own],
    )
    card = _step(
        "card",
        "model/scorecard",
        parties,
        inputs=inputs,
        after=["match", "bins"],
        params={
            "label": "late",
            "coefficients": "split",
            "min_cohort": 30,
            "batch": 512,
            "epochs": 15,
            "rate_micro": 2_000_000,
            "momentum_micro": 500_000,
        },
        recipients=[own],
    )
    steps = [match, bins, *([card] if is_scored else [])]
    read = _step("read", reader, {"reader": own}, after=[steps[-1]["id"]])
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Which columns tell who is late",
        "purpose": PURPOSE,
        "agreements": agreed(at, submitter),
        "steps": [*steps, read],
    }
    job = at.client(submitter).submit(spec)["job"]
    at.client(submitter).wait_job(job, timeout_s=90)
    return {"job": job, **at.client(submitter).result(job)[0]}


def pooled(codes: Any) -> tuple[list[float], float]:
    """The weight of evidence of each bin, and the information value, on the pooled rows."""
    late = LATE[BOTH] == 1
    events, others = np.bincount(codes[late]) / late.sum(), np.bincount(codes[~late]) / (~late).sum()
    woe = np.log(others / events)
    return woe.tolist(), float((others - events) @ woe)


def test_the_one_who_asked_reads_information_values_of_the_pooled_rows(running: ConsortiumInProcess) -> None:
    answer = weigh(running, "analyst", {"iv": "recipients"}, "report/result")
    assert [row[1] for row in answer["rows"]] == ["debt", "income", "sector"]
    values = {row[1]: float(row[2]) for row in answer["rows"]}
    sectors = np.unique(SECTOR[BOTH], return_inverse=True)[1]
    assert values["income"] == pytest.approx(
        pooled(np.searchsorted(EDGES, INCOME[BOTH], "right"))[1], abs=1e-6
    )
    assert values["sector"] == pytest.approx(pooled(sectors)[1], abs=1e-6)
    shown = running.client("regulator").entries(job=answer["job"], type_="receipt.step")
    receipts = {(entry["name"], entry["body"]["step"]) for entry in shown}
    assert {(name, "bins") for name in ("lender", "bureau", "regulator")} <= receipts


def test_an_owner_without_the_label_reads_the_weights_and_points_of_its_own_bins(
    running: ConsortiumInProcess,
) -> None:
    answer = weigh(running, "bureau", {"iv": "split"}, "model/bins", is_scored=True)
    found = [row for row in answer["rows"] if row[0] == "income"]
    assert [row[1] for row in found] == ["(-inf, 2000)", "[2000, 2500)", "[2500, 3000)", "[3000, inf)"]
    codes = (
        np.searchsorted(DEBTS, DEBT[BOTH], "right"),
        np.searchsorted(EDGES, INCOME[BOTH], "right"),
        np.unique(SECTOR[BOTH], return_inverse=True)[1],
    )
    weights = [np.array(pooled(own)[0]) for own in codes]
    np.testing.assert_allclose([float(row[2]) for row in found], weights[1], atol=1e-6)
    columns = [own[places] for own, places in zip(weights, codes, strict=True)]
    x = np.vstack([np.ones(260), *((one - one.mean()) / one.std() for one in columns)])
    w = np.zeros(len(x))
    for _ in range(30):
        p = 1 / (1 + np.exp(-w @ x))
        w -= np.linalg.solve((x * (p * (1 - p))) @ x.T, x @ (p - LATE[BOTH]))
    points = -20 / np.log(2) * w[2] * (weights[1] - columns[1].mean()) / columns[1].std()
    np.testing.assert_allclose([float(row[3]) for row in found], points, atol=1.5)
    assert "debt" not in json.dumps(answer)
