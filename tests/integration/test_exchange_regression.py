"""Regression over columns of two owners and a helper, as a job through hub and nodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.errors import JobFailed
from exchange.jobs.intersection import rows_of
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.spec import JobSpec
from exchange.node.checkpoints import unpack
from exchange.node.runner import release_context
from exchange.rpc.channel import SessionKey
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
EXPIRES = "2099-01-01T00:00:00Z"
RNG = np.random.Generator(np.random.PCG64(9))
PEOPLE = 260
DEBT, INCOME, AGE = (
    RNG.normal(4_000, 1_500, PEOPLE),
    RNG.normal(2_500, 700, PEOPLE),
    RNG.integers(18, 80, PEOPLE),
)
FITTED = (DEBT - 4_000) / 1_500 - (INCOME - 2_500) / 700
LATE = (RNG.random(PEOPLE) < 1 / (1 + np.exp(-FITTED))).astype(np.int64)
IDS = [f"p{i:03d}" for i in range(PEOPLE)]
TABLES = {
    "lender": pa.table({"person": IDS[:220], "late": LATE[:220], "debt": DEBT[:220]}),
    "bureau": pa.table({"id": IDS[40:], "income": INCOME[40:], "age": AGE[40:]}),
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
        "age": ("feature", "AFTER_AGGREGATE"),
    },
}
NAMES = {"lender": "loans", "bureau": "people"}
BOTH = slice(40, 220)


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
        "operations": ["psi/ecdh", "model/logistic"],
        "columns": columns,
        "uses": 20,
        "expires": EXPIRES,
        "min_cohort": 50,
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


def train(at: ConsortiumInProcess, submitter: str, params: dict[str, Any], reader: str) -> dict[str, Any]:
    lender, bureau, helper, own = map(at.did, ("lender", "bureau", "regulator", submitter))
    match = _step(
        "match",
        "psi/ecdh",
        {"left": lender, "right": bureau},
        inputs={"left": _input("lender/loans", "person"), "right": _input("bureau/people", "id")},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": 50},
    )
    fit = _step(
        "train",
        "model/logistic",
        {"owner-1": lender, "owner-2": bureau, "helper-1": helper},
        inputs={
            "owner-1": _input("lender/loans", "late", "debt"),
            "owner-2": _input("bureau/people", "income", "age"),
        },
        after=["match"],
        params={"label": "late", "min_cohort": 50, "batch": 256, "epochs": 240, **params},
        recipients=[own],
    )
    read = _step("read", reader, {"reader": own}, after=["train"])
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Who is late",
        "purpose": PURPOSE,
        "agreements": agreed(at, submitter),
        "steps": [match, fit, read],
    }
    job = at.client(submitter).submit(spec)["job"]
    at.client(submitter).wait_job(job, timeout_s=90)
    return {"job": job, "spec": JobSpec.from_json(spec), **at.client(submitter).result(job)[0]}


def standardised() -> Any:
    """The pooled rows: float64[1 + columns, rows], a column of ones first."""
    columns = [np.asarray(one, dtype=float)[BOTH] for one in (DEBT, INCOME, AGE)]
    return np.vstack([np.ones(180), *((one - one.mean()) / one.std() for one in columns)])


def held_out(at: ConsortiumInProcess, spec: JobSpec) -> Any:
    """Places among the pooled rows that the job's training held out: the lender's node has kept its rows."""
    services, step = at.nodes["lender"].services, spec.step("train")
    kept = services.store.jobs.checkpoint(spec.job, "match")
    assert kept is not None
    context = release_context(spec.job, "match", services.keys.did, services.keys.did)
    rows = rows_of(unpack(services.keys.open_sealed(kept, context)).outcome.local)
    key = SessionKey(spec.job, spec.digest(), 1, tuple(sorted(step.parties.values())))
    split = HeldOut.of(hashlib.sha256(key.digest() + b"train").digest(), step)
    return rows[split.test(len(rows))] - BOTH.start


def descent(tested: Any, epochs: int) -> tuple[list[Any], list[float]]:
    """In the clear, without some rows: coefficients after each epoch, their mean squared error on them."""
    others = np.setdiff1d(np.arange(180), tested)
    columns = np.array([np.asarray(one, dtype=float)[BOTH] for one in (DEBT, INCOME, AGE)])
    trained = columns[:, others]
    scaled = (columns - trained.mean(axis=1)[:, None]) / trained.std(axis=1)[:, None]
    x, y = np.vstack([np.ones(180), scaled]), LATE[BOTH]
    weights = step = np.zeros(len(x))
    every, losses = [], []
    for epoch in range(epochs):
        residual = 1 / (1 + np.exp(-weights @ x)) - y
        rate = 0.5 * min(1.0, 2 * (1 - epoch / 240))
        step = rate * x[:, others] @ residual[others] / len(others) + 0.9 * step
        weights = weights - step
        every.append(weights)
        losses.append(float(np.mean((1 / (1 + np.exp(-weights @ x[:, tested])) - y[tested]) ** 2)))
    return every, losses


def pooled() -> Any:
    """Coefficients on the pooled rows, of standardised columns, by Newton's method."""
    x = standardised()
    w = np.zeros(len(x))
    for _ in range(30):
        p = 1 / (1 + np.exp(-w @ x))
        w -= np.linalg.solve((x * (p * (1 - p))) @ x.T, x @ (p - LATE[BOTH]))
    return w


def test_the_one_who_asked_reads_coefficients_of_the_pooled_rows(running: ConsortiumInProcess) -> None:
    answer = train(running, "analyst", {"coefficients": "recipients"}, "report/result")
    assert answer["columns"] == ["party", "column", "coefficient"]
    assert [row[1] for row in answer["rows"]] == ["(intercept)", "debt", "income", "age"]
    np.testing.assert_allclose([float(row[2]) for row in answer["rows"]], pooled(), atol=0.03)
    shown = running.client("regulator").entries(job=answer["job"], type_="receipt.step")
    receipts = {(entry["name"], entry["body"]["step"]) for entry in shown}
    assert {(name, "train") for name in ("lender", "bureau", "regulator")} <= receipts


def test_the_result_says_after_how_many_epochs_training_ended_early(running: ConsortiumInProcess) -> None:
    params = {"coefficients": "recipients", "test_percent": 30, "patience": 5}
    answer = train(running, "analyst", params, "report/result")
    epochs = answer["facts"]["epochs"]
    assert 5 < epochs < 240
    every, losses = descent(held_out(running, answer["spec"]), epochs)
    kept = epochs - 6
    np.testing.assert_allclose([float(row[2]) for row in answer["rows"]], every[kept], atol=0.03)
    assert losses[kept] <= min(losses) + 1e-3


@pytest.mark.slow
def test_an_owner_that_asked_reads_its_own_part_of_a_split_model(running: ConsortiumInProcess) -> None:
    answer = train(running, "lender", {"coefficients": "split"}, "model/part")
    assert [row[0] for row in answer["rows"]] == ["debt"]
    got = [float(answer["facts"]["intercept"]), float(answer["rows"][0][1])]
    np.testing.assert_allclose(got, pooled()[:2], atol=0.03)
    assert "income" not in json.dumps({name: value for name, value in answer.items() if name != "spec"})


def test_too_few_rows_for_the_owners_minimum_fail_the_job(running: ConsortiumInProcess) -> None:
    with pytest.raises(JobFailed):
        train(running, "analyst", {"coefficients": "recipients", "min_cohort": 500}, "report/result")
