"""Training that goes on where it was cut off: an owner, the aggregator or the hub is stopped or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.store import open_node_store
from exchange.testing import ConsortiumInProcess
from federated.horizontal import local
from ledger.entries import new_id
from ledger.times import system_clock
from mpc.aggregation import secagg

pytestmark = pytest.mark.xdist_group("processes")

PURPOSE = "dpv:CustomerSolvencyMonitoring"
OWNERS = ("north", "south", "east")
COLUMNS = {"late": "label", "debt": "feature"}
BOUND_S = 120
PASSPHRASE = "correct horse battery staple"  # of test keys
CHILD = "import sys, pathlib, exchange.{0}.daemon as of; of.run(pathlib.Path(sys.argv[1]), sys.argv[2])"
ROUNDS = 5
SUMS = ROUNDS + 3
"""Two before training, one of the last losses."""
CHOSEN: dict[str, Any] = {
    "label": "late",
    "family": "logistic",
    "model": "recipients",
    "min_cohort": 20,
    "threshold": 3,
    "patience_s": 60,
    "rounds": ROUNDS,
    "batch": 60,
}
TAKING_PART = {name: CHOSEN[name] for name in ("min_cohort", "threshold", "patience_s")}
BOUNDS = {"debt": {"lower": "-10000", "upper": "20000"}}
GROWING: dict[str, Any] = {
    **TAKING_PART,
    "label": "late",
    "model": "recipients",
    "bounds": BOUNDS,
    "trees": 4,
    "depth": 1,
    "bins": 4,
}
"""One sum stands before the trees, each has one, and one is of the last losses."""
FINDING: dict[str, Any] = {**TAKING_PART, "bounds": BOUNDS, "clusters": 2, "seed": 1, "rounds": 2}
"""A step has two sums; the third ends it."""


def table_of(owner: str) -> pa.Table:
    draw = np.random.Generator(np.random.PCG64(OWNERS.index(owner)))
    debt = draw.normal(4_000, 1_500, 60)
    late = (draw.random(60) < 1 / (1 + np.exp((4_000 - debt) / 1_500))).astype(np.int64)
    return pa.table({"late": late, "debt": debt})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("tables")
    root = tmp_path_factory.mktemp("consortium")
    with ConsortiumInProcess(root, (*OWNERS, "analyst"), sources=[folder]) as consortium:
        for owner in OWNERS:
            pyarrow.parquet.write_table(table_of(owner), folder / f"{owner}.parquet")
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
        "operations": ["model/fedavg", "model/fedboost", "model/kmeans"],
        "columns": list(COLUMNS),
        "uses": 20,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 20,
        "output_types": ["aggregate"],
    }


@pytest.fixture(scope="module")
def agreements(running: ConsortiumInProcess) -> dict[str, str]:
    client, found = running.client("analyst"), {}
    for owner in OWNERS:
        asked = client.request_agreement({"asset": f"{owner}/loans", "purpose": PURPOSE, **asked_of()})
        approved = running.client(owner).approve(asked["negotiation"], "a test")
        found[f"{owner}/loans"] = str(approved["agreement"])
    return found


def submit(
    running: ConsortiumInProcess,
    agreements: dict[str, str],
    component: str = "model/fedavg",
    params: dict[str, Any] = CHOSEN,
    read: Collection[str] = tuple(COLUMNS),
) -> str:
    did = running.did("analyst")
    roles = {f"owner-{number}": owner for number, owner in enumerate(OWNERS, start=1)}
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": [], "version": 1}
    columns = [{"name": name, "decimals": 0} for name in read]
    training = empty | {
        "id": "train",
        "component": component,
        "parties": {role: running.did(owner) for role, owner in roles.items()} | {"aggregator": did},
        "inputs": {role: {"asset": f"{owner}/loans", "columns": columns} for role, owner in roles.items()},
        "params": params,
        "recipients": [did],
    }
    reading = empty | {
        "id": "read",
        "component": "report/result",
        "parties": {"reader": did},
        "after": ["train"],
    }
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Who is late",
        "purpose": PURPOSE,
        "agreements": agreements,
        "steps": [training, reading],
    }
    return str(running.client("analyst").submit(spec)["job"])


@pytest.fixture(scope="module")
def undisturbed(running: ConsortiumInProcess, agreements: dict[str, str]) -> Any:
    """The answer of a job that nothing cut off."""
    job = submit(running, agreements)
    running.client("analyst").wait_job(job, timeout_s=BOUND_S)
    return running.client("analyst").result(job)[0]


class Watching:
    """Counts the sums and trainings of a job, and holds the first owner before the fifth sum, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sums = self.trainings = 0
        self.reached, self.go_on = threading.Event(), threading.Event()
        self._owner, self._train = secagg.owner, local.update
        monkeypatch.setattr(secagg, "owner", self._enter)
        monkeypatch.setattr(local, "update", self._update)

    def _enter(self, channel: Any, vector: Any, *, number: int, **more: Any) -> Any:
        if number == 1:
            self.sums += 1
            if self.sums == 5:
                self.reached.set()
                assert self.go_on.wait(BOUND_S)
        return self._owner(channel, vector, number=number, **more)

    def _update(self, *given: Any) -> Any:
        self.trainings += 1
        return self._train(*given)


def await_cut(running: ConsortiumInProcess, watching: Watching, job: str, number: int = 3) -> None:
    """Wait until every party has kept the round or tree whose sum is the fifth."""
    assert watching.reached.wait(BOUND_S)
    for name in running.names:
        store = open_node_store(f"sqlite:///{running.root / name}/node.sqlite")
        try:
            while number not in store.jobs.states(job, "train"):
                threading.Event().wait(0.05)
        finally:
            store.close()


def start(running: ConsortiumInProcess, name: str) -> None:
    """Start the hub or a node, in the place of one that has ended."""
    if name == "hub":
        running.hub = running._stack.enter_context(running.open_hub())
    else:
        running.nodes[name] = running._stack.enter_context(running.open_node(name))


def stop(running: ConsortiumInProcess, name: str) -> None:
    (running.hub if name == "hub" else running.nodes[name]).stop()


@contextmanager
def apart(running: ConsortiumInProcess, name: str) -> Iterator[subprocess.Popen[str]]:
    """Run the hub or a node in a process of its own, in the place of one here."""
    stop(running, name)
    program = CHILD.format("hub" if name == "hub" else "node")
    command = [sys.executable, "-P", "-c", program, str(running.root / name), PASSPHRASE]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ)
    ) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["ready"]
            yield process
        finally:
            process.kill()


def assert_gone_on(
    running: ConsortiumInProcess, job: str, undisturbed: Any, watching: Watching, attempt: int
) -> None:
    analyst = running.client("analyst")
    analyst.wait_job(job, timeout_s=BOUND_S)
    assert_same(analyst.result(job)[0], undisturbed)
    receipts = analyst.entries(job=job, type_="receipt.step")
    stated = [one["body"]["attempt"] for one in receipts if one["body"]["step"] == "train"]
    assert stated == [attempt] * (len(OWNERS) + 1)
    # A round that was cut off is played again, and no other.
    assert watching.sums == SUMS + attempt - 1
    assert all(not node.services.store.jobs.jobs_with_states() for node in running.nodes.values())


@pytest.mark.parametrize(("name", "attempt"), [("south", 2), ("analyst", 2), ("hub", 1)])
def test_training_goes_on_after_a_stop_at_the_round_that_was_cut_off(
    running: ConsortiumInProcess,
    agreements: dict[str, str],
    undisturbed: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    attempt: int,
) -> None:
    watching = Watching(monkeypatch)
    job = submit(running, agreements)
    await_cut(running, watching, job)
    (own,) = [one for one in running.client("north").job(job)["progress"] if "loss" in one]
    assert (own["party"], own["step"], own["total"]) == (running.did("north"), "train", ROUNDS)
    assert 0 < own["loss"] < 1
    stop(running, name)
    watching.go_on.set()
    start(running, name)
    assert_gone_on(running, job, undisturbed, watching, attempt)
    # What owners enter again is what they kept.
    assert watching.trainings == ROUNDS * len(OWNERS)


@pytest.mark.parametrize(
    ("component", "params", "read", "number"),
    [
        ("model/fedboost", GROWING, ("late", "debt"), 4),
        pytest.param("model/kmeans", FINDING, ("debt",), 5, marks=pytest.mark.slow),
    ],
)
def test_trees_and_clusters_over_rows_go_on_after_a_stop_where_they_were_cut_off(
    running: ConsortiumInProcess,
    agreements: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    component: str,
    params: dict[str, Any],
    read: tuple[str, ...],
    number: int,
) -> None:
    analyst, answers, watches = running.client("analyst"), [], []
    for name in (None, "south"):
        with monkeypatch.context() as patched:
            watching = Watching(patched)
            job = submit(running, agreements, component, params, read)
            await_cut(running, watching, job, number)
            if name is not None:
                stop(running, name)
            watching.go_on.set()
            if name is not None:
                start(running, name)
            analyst.wait_job(job, timeout_s=BOUND_S)
        answers.append(analyst.result(job)[0])
        watches.append(watching.sums)
    assert answers[1] == answers[0]
    assert watches == [6, 7]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(("name", "attempt"), [("south", 2), ("analyst", 2), ("hub", 1)])
def test_training_goes_on_after_a_kill_at_the_round_that_was_cut_off(
    running: ConsortiumInProcess,
    agreements: dict[str, str],
    undisturbed: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    attempt: int,
) -> None:
    watching = Watching(monkeypatch)
    with apart(running, name) as process:
        job = submit(running, agreements)
        await_cut(running, watching, job)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(BOUND_S) == -signal.SIGKILL
    watching.go_on.set()
    start(running, name)
    assert_gone_on(running, job, undisturbed, watching, attempt)


def assert_same(answer: Any, expected: Any) -> None:
    """The same model to rounding, after the same losses."""
    assert [row[:3] for row in answer["rows"]] == [row[:3] for row in expected["rows"]]
    weights, others = ([float(row[3]) for row in one["rows"]] for one in (answer, expected))
    np.testing.assert_allclose(weights, others, atol=1e-6)
    losses, others = (np.array(one["facts"]["losses"], dtype=float) for one in (answer, expected))
    np.testing.assert_allclose(losses, others, atol=1e-6)
    assert len(losses) == ROUNDS + 1
