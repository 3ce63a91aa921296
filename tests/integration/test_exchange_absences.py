"""Statistics over four owners: a node that stops, one owner that fails, and more of them than may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.errors import JobFailed
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock
from mpc.aggregation import secagg

pytestmark = pytest.mark.xdist_group("exchange-absences")

PURPOSE = "dpv:CustomerSolvencyMonitoring"
OWNERS = ("north", "south", "east", "west")
COLUMNS = {"band": ("group", "AFTER_GROUP_BY"), "debt": ("measure", "AFTER_AGGREGATE")}
BOUND_S = 60
PATIENCE_S = 4


def table_of(owner: str) -> pa.Table:
    generator = np.random.Generator(np.random.PCG64(OWNERS.index(owner)))
    bands = generator.choice(["high", "low"], 60).tolist() + ["rare"] * OWNERS.index(owner)
    return pa.table({"band": bands, "debt": generator.integers(-500, 10_000, len(bands))})


TABLES = {owner: table_of(owner) for owner in OWNERS}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path / "tables"
    folder.mkdir()
    with ConsortiumInProcess(tmp_path / "consortium", (*OWNERS, "analyst"), sources=[folder]) as consortium:
        for owner, table in TABLES.items():
            pyarrow.parquet.write_table(table, folder / f"{owner}.parquet")
            described = [
                {"name": name, "role": role, "sensitivity": "internal", "control": control}
                for name, (role, control) in COLUMNS.items()
            ]
            terms = asked_of() | {"purposes": [PURPOSE]}
            consortium.client(owner).publish(
                {
                    "name": "debts",
                    "title": "Debts",
                    "source": {"kind": "file", "location": str(folder / f"{owner}.parquet")},
                    "columns": described,
                    "terms": terms,
                }
            )
        yield consortium


def asked_of() -> dict[str, Any]:
    return {
        "operations": ["stats/aggregate"],
        "columns": list(COLUMNS),
        "uses": 9,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 5,
        "output_types": ["aggregate"],
    }


def submit(running: ConsortiumInProcess) -> str:
    """A job over all four owners of whom three must stay; its id."""
    analyst, agreements = running.client("analyst"), {}
    for owner in OWNERS:
        asset = f"{owner}/debts"
        asked = analyst.request_agreement({"asset": asset, "purpose": PURPOSE, **asked_of()})
        agreements[asset] = running.client(owner).approve(asked["negotiation"], "a test")["agreement"]
    reader, roles = running.did("analyst"), dict(enumerate(OWNERS, start=1))
    adding = {
        "id": "add",
        "component": "stats/aggregate",
        "version": 1,
        "parties": {f"owner-{number}": running.did(owner) for number, owner in roles.items()}
        | {"aggregator": reader},
        "inputs": {
            f"owner-{number}": {
                "asset": f"{owner}/debts",
                "columns": [{"name": name, "decimals": 0} for name in COLUMNS],
            }
            for number, owner in roles.items()
        },
        "after": [],
        "params": {
            "min_cohort": 5,
            "threshold": 3,
            "patience_s": PATIENCE_S,
            "groups": {"column": "band", "labels": ["high", "low"]},
        },
        "recipients": [reader],
    }
    reading = {
        "id": "read",
        "component": "report/result",
        "version": 1,
        "parties": {"reader": reader},
        "inputs": {},
        "after": ["add"],
        "params": {},
        "recipients": [],
    }
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "debts of who stays",
        "purpose": PURPOSE,
        "agreements": agreements,
        "steps": [adding, reading],
    }
    return str(analyst.submit(spec)["job"])


class Holding:
    """Owners that have begun and enter nothing until they are let go, or fail if told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *owners: str) -> None:
        self._numbers = [OWNERS.index(owner) + 1 for owner in owners]
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()
        self.failure: Exception | None = None
        self._real = secagg.owner
        monkeypatch.setattr(secagg, "owner", self._owner)

    def _owner(self, channel: Any, vector: Any, *, number: int, **more: Any) -> Any:
        if number in self._numbers:
            self.begun.release()
            assert self.go_on.wait(BOUND_S)
            if self.failure is not None:
                raise self.failure
        return self._real(channel, vector, number=number, **more)


def assert_pooled(result: Any, owners: list[str]) -> None:
    """The figures of the declared groups are those of these owners' rows together."""
    pooled = pa.concat_tables([TABLES[owner] for owner in owners])
    bands = np.array(pooled["band"].to_pylist())
    for label, row in zip(("high", "low"), result["rows"], strict=False):
        values = pooled["debt"].to_numpy()[bands == label]
        assert row[:3] == [label, len(owners), len(values)]
        assert Fraction(row[3]) == int(values.sum())
        assert float(row[4]) == pytest.approx(values.mean(), abs=1e-6)
        assert float(row[5]) == pytest.approx(values.var(ddof=1), rel=1e-9)
    assert result["rows"][2] == ["(other)", None, None, None, None, None]


def test_a_node_that_stops_while_the_job_runs_is_absent(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = Holding(monkeypatch, "west")
    analyst = running.client("analyst")
    job = submit(running)
    assert holding.begun.acquire(timeout=BOUND_S)
    stopped = threading.Thread(target=running.nodes["west"].stop, daemon=True)
    stopped.start()
    analyst.wait_job(job, timeout_s=BOUND_S)
    holding.go_on.set()
    result = analyst.result(job)[0]
    assert_pooled(result, ["north", "south", "east"])
    west = running.did("west")
    assert result["facts"]["absent"] == [west]
    assert result["facts"]["present"] == sorted(running.did(owner) for owner in OWNERS[:3])
    seen = analyst.job(job)
    assert seen["state"] == "COMPLETED"
    assert [(one["step"], one["party"], one["name"]) for one in seen["absent"]] == [("add", west, "west")]
    receipts = list(running.client("north").entries(job=job, type_="receipt.step"))
    by_step = {
        entry["actor"]: entry["body"].get("absent") for entry in receipts if entry["body"]["step"] == "add"
    }
    present = [running.did(name) for name in (*OWNERS[:3], "analyst")]
    assert by_step == {did: [west] for did in present}
    stopped.join(BOUND_S)
    assert not stopped.is_alive()


@pytest.mark.slow
def test_an_owner_that_fails_leaves_and_the_job_goes_on(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = Holding(monkeypatch, "south")
    holding.failure = JobFailed("the disk is full")
    holding.go_on.set()
    analyst = running.client("analyst")
    job = submit(running)
    analyst.wait_job(job, timeout_s=BOUND_S)
    assert_pooled(analyst.result(job)[0], ["north", "east", "west"])
    row = analyst.job(job)
    assert row["left"]["add"][running.did("south")]["reason"] == "the disk is full"


@pytest.mark.slow
def test_a_job_that_fewer_than_the_threshold_are_left_of_fails(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = Holding(monkeypatch, "south", "north")
    holding.failure = JobFailed("the disk is full")
    holding.go_on.set()
    analyst = running.client("analyst")
    job = submit(running)
    with pytest.raises(JobFailed):
        analyst.wait_job(job, timeout_s=BOUND_S)
    assert analyst.job(job)["releases"] == []
