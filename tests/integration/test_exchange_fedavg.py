"""Averaging and boosting over four owners and an aggregator, as jobs through hub and nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.errors import JobFailed, JobRefused
from exchange.testing import ConsortiumInProcess
from federated.horizontal import rounds
from ledger.entries import new_id
from ledger.rules.budgets import epsilon
from ledger.times import system_clock
from mpc.aggregation import secagg
from mpc.transcript import ConfirmedChannel

PURPOSE = "dpv:CustomerSolvencyMonitoring"
OWNERS = ("north", "south", "east", "west")
COLUMNS = {"late": "label", "debt": "feature", "income": "feature"}
BOUND_S = 240


def table_of(owner: str) -> pa.Table:
    draw = np.random.Generator(np.random.PCG64(OWNERS.index(owner)))
    debt, income = draw.normal(4_000, 1_500, 120), draw.normal(2_500, 700, 120)
    fitted = (debt - 4_000) / 1_500 - (income - 2_500) / 700
    late = (draw.random(120) < 1 / (1 + np.exp(-fitted))).astype(np.int64)
    return pa.table({"late": late, "debt": debt, "income": income})


CHOSEN: dict[str, Any] = {
    "label": "late",
    "family": "logistic",
    "model": "recipients",
    "min_cohort": 50,
    "threshold": 3,
    "patience_s": 60,
    "rounds": 6,
    "batch": 8,
    "rate_micro": 300_000,
}
TABLES = {owner: table_of(owner) for owner in OWNERS}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("tables")
    root = tmp_path_factory.mktemp("consortium")
    with ConsortiumInProcess(root, (*OWNERS, "analyst"), sources=[folder]) as consortium:
        for owner, table in TABLES.items():
            pyarrow.parquet.write_table(table, folder / f"{owner}.parquet")
            consortium.client(owner).publish(
                {
                    "name": "loans",
                    "title": "Loans",
                    "source": {"kind": "file", "location": str(folder / f"{owner}.parquet")},
                    "columns": [
                        {"name": name, "role": role, "sensitivity": "internal", "control": "AFTER_AGGREGATE"}
                        for name, role in COLUMNS.items()
                    ],
                    "terms": asked_of() | {"purposes": [PURPOSE]},
                }
            )
        yield consortium


def asked_of() -> dict[str, Any]:
    return {
        "operations": ["model/fedavg", "model/fedboost"],
        "columns": list(COLUMNS),
        "uses": 9,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 50,
        "output_types": ["aggregate"],
    }


@pytest.fixture(scope="module")
def agreements(running: ConsortiumInProcess) -> dict[str, str]:
    """Those of the analyst."""
    return agreed(running, "analyst")


def agreed(running: ConsortiumInProcess, asker: str, **limits: Any) -> dict[str, str]:
    client, found = running.client(asker), {}
    for owner in OWNERS:
        if owner != asker:
            asked = client.request_agreement(
                {"asset": f"{owner}/loans", "purpose": PURPOSE, **asked_of(), **limits}
            )
            approved = running.client(owner).approve(asked["negotiation"], "a test")
            found[f"{owner}/loans"] = str(approved["agreement"])
    return found


def submit(
    running: ConsortiumInProcess,
    asker: str,
    agreements: dict[str, str],
    reader: str,
    component: str = "model/fedavg",
    **params: Any,
) -> str:
    """A job over all four owners of whom three must stay; its id."""
    client, did = running.client(asker), running.did(asker)
    roles = {f"owner-{number}": owner for number, owner in enumerate(OWNERS, start=1)}
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": [], "version": 1}
    training = empty | {
        "id": "train",
        "component": component,
        "parties": {role: running.did(owner) for role, owner in roles.items()}
        | {"aggregator": running.did("analyst")},
        "inputs": {
            role: {
                "asset": f"{owner}/loans",
                "columns": [{"name": name, "decimals": 0} for name in COLUMNS],
            }
            for role, owner in roles.items()
        },
        "params": {name: value for name, value in (CHOSEN | params).items() if value is not None},
        "recipients": [did],
    }
    reading = empty | {"id": "read", "component": reader, "parties": {"reader": did}, "after": ["train"]}
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Who is late",
        "purpose": PURPOSE,
        "agreements": agreements,
        "steps": [training, reading],
    }
    return str(client.submit(spec)["job"])


def assert_pooled(answer: Any, owners: tuple[str, ...]) -> None:
    """The weights are those of Newton's method on these owners' rows together."""
    table = pa.concat_tables([TABLES[owner] for owner in owners])
    columns = [table[name].to_numpy() for name in ("debt", "income")]
    x = np.vstack([np.ones(len(table)), *((one - one.mean()) / one.std() for one in columns)])
    y, w = table["late"].to_numpy(), np.zeros(3)
    for _ in range(30):
        p = 1 / (1 + np.exp(-w @ x))
        w -= np.linalg.solve((x * (p * (1 - p))) @ x.T, x @ (p - y))
    assert [row[1] for row in answer["rows"]] == ["(intercept)", "debt", "income"]
    np.testing.assert_allclose([float(row[3]) for row in answer["rows"]], w, atol=0.2)


def test_an_owner_reads_the_model_that_it_trained_with_the_others(running: ConsortiumInProcess) -> None:
    north = running.client("north")
    job = submit(running, "north", agreed(running, "north"), "model/joint", model="owners")
    north.wait_job(job, timeout_s=BOUND_S)
    answer = north.result(job)[0]
    assert_pooled(answer, OWNERS)
    assert (answer["facts"]["rows"], len(answer["facts"]["losses"])) == (480, 7)


def test_an_owner_that_fails_in_the_middle_of_training_is_absent(
    running: ConsortiumInProcess, agreements: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, entered = secagg.owner, []

    def fails(channel: Any, vector: Any, *, number: int, owners: int, **more: Any) -> Any:
        if owners == len(OWNERS) and number == 2:
            entered.append(number)
            if len(entered) == 6:
                raise JobFailed("the disk is full")
        return real(channel, vector, number=number, owners=owners, **more)

    monkeypatch.setattr(secagg, "owner", fails)
    analyst = running.client("analyst")
    job = submit(running, "analyst", agreements, "report/result")
    analyst.wait_job(job, timeout_s=BOUND_S)
    answer = analyst.result(job)[0]
    present = ("north", "east", "west")
    assert_pooled(answer, present)
    south = running.did("south")
    assert answer["facts"]["absent"] == [south]
    assert answer["facts"]["present"] == sorted(running.did(owner) for owner in present)
    receipts = running.client("north").entries(job=job, type_="receipt.step")
    stated = {
        entry["actor"]: entry["body"]["absent"] for entry in receipts if entry["body"]["step"] == "train"
    }
    assert stated == {running.did(name): [south] for name in (*present, "analyst")}


def test_an_owner_reads_trees_of_all_that_stayed(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One owner fails between the round of the bins and the first tree."""
    real, entered = secagg.owner, []

    def fails(channel: Any, vector: Any, *, number: int, owners: int, **more: Any) -> Any:
        if owners == len(OWNERS) and number == 2:
            entered.append(number)
            if len(entered) == 2:
                raise JobFailed("the disk is full")
        return real(channel, vector, number=number, owners=owners, **more)

    monkeypatch.setattr(secagg, "owner", fails)
    bounds = {"debt": {"lower": "0", "upper": "8000"}, "income": {"lower": "0", "upper": "5000"}}
    growing = {"bounds": bounds, "trees": 2, "depth": 2, "bins": 8, "model": "owners"}
    unused = dict.fromkeys(("family", "rounds", "batch"))
    north = running.client("north")
    agreements = agreed(running, "north")
    job = submit(running, "north", agreements, "model/joint", "model/fedboost", **growing, **unused)
    north.wait_job(job, timeout_s=BOUND_S)
    answer = north.result(job)[0]
    table = pa.concat_tables([TABLES[owner] for owner in ("north", "east", "west")])
    margins = np.full(len(table), float(answer["facts"]["base"]))
    for tree in (1, 2):
        at = {1: np.ones(len(table), dtype=bool)}
        lines = [row[1:] for row in answer["rows"] if row[0] == tree]
        assert len(lines) > 1
        for node, column, threshold, _, weight, rows in lines:
            assert rows == np.count_nonzero(at[node])
            if column is None:
                margins[at[node]] += float(weight)
            else:
                goes_left = table[column].to_numpy() < float(threshold)
                at[2 * node], at[2 * node + 1] = at[node] & goes_left, at[node] & ~goes_left
    label = table["late"].to_numpy()
    losses = [float(one) for one in answer["facts"]["losses"]]
    assert losses[2] == pytest.approx(np.mean(np.logaddexp(0, margins) - label * margins), abs=1e-9)
    assert losses[2] < losses[0]
    assert answer["facts"]["rows"] == 360


def test_an_aggregator_that_sends_one_owner_another_model_has_no_result(
    running: ConsortiumInProcess,
    agreements: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real, sent = rounds._sender, []

    def lying(head: bytes, model: Any) -> Any:
        honest, other = real(head, model), real(head, model + 1e-6)

        def send(peer: ConfirmedChannel) -> None:
            sent.append(peer)
            # In the fifth round, to whoever comes first.
            (other if len(sent) == 4 * len(OWNERS) + 1 else honest)(peer)

        return send

    monkeypatch.setattr(rounds, "_sender", lying)
    analyst = running.client("analyst")
    job = submit(running, "analyst", agreements, "report/result")
    with pytest.raises(JobFailed):
        analyst.wait_job(job, timeout_s=BOUND_S)
    row = analyst.job(job)
    assert row["releases"] == []
    # The first to say so ends the job, and that may be the aggregator, left alone by all.
    assert f"job {job}, step train: mpc.models-disagree" in caplog.text


def test_private_training_spends_of_the_budget_until_it_does_not_suffice(
    running: ConsortiumInProcess,
) -> None:
    pytest.importorskip("opendp")
    privacy = {
        "epsilon_micro": 3_000_000,
        "delta_exponent": 6,
        "noise_micro": 1_500_000,
        "sample_micro": 100_000,
        "steps": 4,
        "clip_micro": 1_000_000,
        "bounds": {"debt": {"lower": "0", "upper": "8000"}, "income": {"lower": "0", "upper": "5000"}},
    }
    analyst, budget = running.client("analyst"), {"epsilon_micro": 3_000_000, "delta_exponent": 6}
    agreements = agreed(running, "analyst", clauses=budget)
    exact = submit(running, "analyst", agreements, "report/result")
    with pytest.raises(JobRefused, match="limits epsilon, and the job releases an exact answer"):
        analyst.wait_job(exact, timeout_s=BOUND_S)
    job = submit(running, "analyst", agreements, "report/result", batch=None, privacy=privacy)
    analyst.wait_job(job, timeout_s=BOUND_S)
    spent = analyst.result(job)[0]["facts"]["privacy"]
    assert 1_500_000 < spent["epsilon_micro"] < 3_000_000
    started = analyst.entries(job=job, type_="job.start")
    losses = [entry["body"]["spends"] for entry in started if "spends" in entry["body"]]
    assert len(losses) == len(OWNERS)
    assert {epsilon(one["rdp"], 6) for (one,) in losses} == {spent["epsilon_micro"]}
    again = submit(running, "analyst", agreements, "report/result", batch=None, privacy=privacy)
    with pytest.raises(JobRefused, match=r"epsilon of agreement .* would be .* of 3000000 millionths"):
        analyst.wait_job(again, timeout_s=BOUND_S)
