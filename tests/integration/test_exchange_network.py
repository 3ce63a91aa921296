"""A network over columns of two owners and a helper, trained and applied in a job through hub and nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.jobs.spec import JobSpec
from exchange.rpc.channel import SessionKey
from exchange.testing import ConsortiumInProcess
from federated.network import Settings, initial
from federated.vertical import Family, Layout
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
RNG = np.random.Generator(np.random.PCG64(19))
PEOPLE, EPOCHS, UNITS = 260, 5, 3
DEBT, INCOME, AGE = (
    RNG.normal(4_000, 1_500, PEOPLE),
    RNG.normal(2_500, 700, PEOPLE),
    RNG.integers(18, 80, PEOPLE),
)
LATE = ((DEBT > 4_000) == (INCOME > 2_500)).astype(np.int64)
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
        "income": ("feature", "AS_JOIN_PAYLOAD"),
        "age": ("feature", "AS_JOIN_PAYLOAD"),
    },
}
ASSETS = {owner: f"{owner}/table" for owner in TABLES}
BOTH = slice(40, 220)


def _terms(columns: list[str]) -> dict[str, Any]:
    return {
        "operations": ["psi/ecdh", "model/network", "model/score-network"],
        "columns": columns,
        "uses": 5,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 50,
        "output_types": ["aggregate", "cardinality", "scores"],
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("columns")
    for owner, table in TABLES.items():
        pyarrow.csv.write_csv(table, folder / f"{owner}.csv")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as consortium:
        for owner, controls in CONTROLS.items():
            consortium.client(owner).publish(
                {
                    "name": "table",
                    "title": "table",
                    "source": {"kind": "file", "location": str(folder / f"{owner}.csv")},
                    "columns": [
                        {"name": name, "role": role, "sensitivity": "internal", "control": control}
                        for name, (role, control) in controls.items()
                    ],
                    "terms": _terms(list(controls)) | {"purposes": [PURPOSE]},
                }
            )
        yield consortium


def _input(owner: str, *columns: str) -> dict[str, Any]:
    return {"asset": ASSETS[owner], "columns": [{"name": name, "decimals": 0} for name in columns]}


def _step(id_: str, component: str, parties: dict[str, str], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": id_, "component": component, "version": 1, "parties": parties, **empty, **more}


def spec_of(at: ConsortiumInProcess, agreement: str) -> dict[str, Any]:
    """Match, train a network that stays split, and score the same rows for the lender."""
    lender, bureau, helper = map(at.did, ("lender", "bureau", "regulator"))
    computing = {"owner-1": lender, "owner-2": bureau, "helper-1": helper}
    inputs = {"owner-1": _input("lender", "late", "debt"), "owner-2": _input("bureau", "income", "age")}
    params = {
        "label": "late",
        "family": "logistic",
        "coefficients": "split",
        "min_cohort": 50,
        "units": UNITS,
        "epochs": EPOCHS,
        "batch": 4096,
        "rate_micro": 1_000_000,
    }
    steps = [
        _step(
            "match",
            "psi/ecdh",
            {"left": lender, "right": bureau},
            inputs={"left": _input("lender", "person"), "right": _input("bureau", "id")},
            params={"normalise": {"left": [], "right": []}, "minimum_matches": 50},
        ),
        _step("train", "model/network", computing, inputs=inputs, after=["match"], params=params),
        _step(
            "score",
            "model/score-network",
            computing,
            inputs=inputs,
            after=["match", "train"],
            params={"min_cohort": 50},
            recipients=[lender],
        ),
    ]
    return {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Who is late",
        "purpose": PURPOSE,
        "agreements": {ASSETS["bureau"]: agreement},
        "steps": steps,
    }


def in_the_clear(seed: bytes) -> Any:
    """What the network says of the pooled rows after the same descent, from the session's start."""
    columns = [np.asarray(one, dtype=float)[BOTH] for one in (DEBT, INCOME, AGE)]
    x = np.vstack([np.ones(180), *((one - one.mean()) / one.std() for one in columns)])
    settings = Settings(Family.LOGISTIC, units=UNITS, epochs=EPOCHS, batch=4096, rate=1.0)
    hidden, output = np.split(initial(Layout(180, (1, 2)), settings, seed) * 2.0**-20, [4 * UNITS])
    hidden = hidden.reshape(UNITS, 4)
    for epoch in range(EPOCHS):
        sums = hidden @ x
        activations = np.vstack([np.ones(180), np.maximum(sums, 0)])
        residual = (1 / (1 + np.exp(-output @ activations)) - LATE[BOTH]) / 180
        back = output[1:, None] * residual * (sums > 0)
        output = output - settings.rate_of(epoch) * activations @ residual
        hidden = hidden - settings.rate_of(epoch) * back @ x.T
    return 1 / (1 + np.exp(-output @ np.vstack([np.ones(180), np.maximum(hidden @ x, 0)])))


def test_the_label_holder_learns_the_scores_of_a_network_that_stays_split(
    running: ConsortiumInProcess,
) -> None:
    lender = running.client("lender")
    controls = CONTROLS["bureau"]
    asked = {"asset": ASSETS["bureau"], "purpose": PURPOSE, **_terms(list(controls))}
    negotiation = lender.request_agreement(asked)["negotiation"]
    agreement = str(running.client("bureau").approve(negotiation, "a test")["agreement"])
    lender.wait_agreement(agreement)
    spec = spec_of(running, agreement)
    job = lender.submit(spec)["job"]
    lender.wait_job(job, timeout_s=90)
    answer = lender.result(job)[0]
    assert answer["columns"] == ["row", "score"]
    read = JobSpec.from_json(spec)
    key = SessionKey(job, read.digest(), 1, tuple(sorted(read.step("train").parties.values())))
    expected = in_the_clear(hashlib.sha256(key.digest() + b"train").digest())
    got = [float(score) for _, score in answer["rows"]]
    assert [int(row) for row, _ in answer["rows"]] == list(range(40, 220))
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(got, expected, atol=0.02)
    shown = running.client("regulator").entries(job=job, type_="receipt.step")
    receipts = {(entry["name"], entry["body"]["step"]) for entry in shown}
    owners = {(name, one) for name in ("lender", "bureau", "regulator") for one in ("train", "score")}
    assert owners <= receipts
