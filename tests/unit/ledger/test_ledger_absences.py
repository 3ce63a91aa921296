"""Steps that survive absences: who may be missing, what receipts must say of it, and every refusal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ledger.entries import Entry, new_id
from ledger.errors import Refusal
from ledger.testing import START, Stage

HEX = "ab" * 32
OWNERS = ("north", "south", "east", "west")
JOB = new_id("job", lambda: START, lambda n: bytes([1] * n))


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


class Pool(Stage):
    """Four owners, three of whom must stay, and a helper that is needed; everybody has started the job."""

    def __init__(self) -> None:
        super().__init__(*OWNERS, "helper", "analyst")

    def row(self) -> Any:
        return self.state.get("jobs", JOB)

    def dids(self, *names: str) -> list[str]:
        return sorted(map(self.did, names))

    def submit(self, **changes: Any) -> Entry:
        absences = {"parties": self.dids(*OWNERS), "threshold": 3} | changes
        pool = {
            "id": "pool",
            "component": "stats/aggregate",
            "version": 1,
            "parties": self.dids(*OWNERS, "helper"),
            "absences": absences,
        }
        read = {"id": "read", "component": "report/result", "version": 1, "parties": self.dids("analyst")}
        body = {
            "job": JOB,
            "spec": HEX,
            "purpose": "dpv:X",
            "agreements": [],
            "parties": self.dids(*OWNERS, "helper", "analyst"),
            "steps": [pool, read],
        }
        return self.act("analyst", "job.submit", body)

    def running(self) -> None:
        self.submit()
        for name in (*OWNERS, "helper"):
            self.act(name, "job.start", {"job": JOB, "spec": HEX, "agreements": []})
        assert self.row()["state"] == "RUNNING"

    def receipt(self, name: str, *absent: str, **changes: Any) -> Entry:
        body = self.receipt_body("pool") | {"absent": self.dids(*absent)}
        return self.act(name, "receipt.step", body | changes)

    def fail(self, name: str, step: str | None = "pool") -> Entry:
        body = {"job": JOB, "step": step, "code": "mpc.peer-aborted", "reason": "gone"}
        return self.act(name, "job.fail", body)

    def read(self) -> None:
        """The receipt of the last step, which survives no absence and names none."""
        self.act("analyst", "receipt.step", self.receipt_body("read"))

    def receipt_body(self, step: str) -> dict[str, Any]:
        return {
            "job": JOB,
            "step": step,
            "attempt": 1,
            "role": "a role",
            "protocol": {"name": "aggregation/secagg", "version": 1},
            "inputs": [],
            **dict.fromkeys(("params", "code", "output"), HEX),
            "engine": "parley 0.1.0",
            **dict.fromkeys(("bytes_sent", "bytes_received", "rounds", "duration_ms"), 1),
            "peers": [],
        }

    def complete(self) -> Entry:
        return self.act("analyst", "job.complete", {"job": JOB, "output": HEX})


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def running(pool: Pool) -> Pool:
    pool.running()
    return pool


@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_more_than_half_of_those_who_may_be_absent_stay(pool: Pool, threshold: int) -> None:
    refused("job.absences-threshold", lambda: pool.submit(threshold=threshold))


def test_who_may_be_absent_is_a_party_of_the_step(pool: Pool) -> None:
    dids = pool.dids("north", "south", "analyst")
    refused("job.absences-unknown", lambda: pool.submit(parties=dids, threshold=2))
    refused("entry.malformed-body", lambda: pool.submit(parties=[], threshold=1))
    refused("entry.malformed-body", lambda: pool.submit(threshold=0))
    refused("entry.malformed-body", lambda: pool.submit(others=1))


def test_a_job_completes_without_an_absent_party(running: Pool) -> None:
    for name in ("north", "south", "east"):
        running.receipt(name, "west")
    running.read()
    refused("job.receipts-missing", running.complete)
    running.receipt("helper", "west")
    running.complete()
    row = running.row()
    assert (row["state"], row["absent"]) == ("COMPLETED", {"pool": running.dids("west")})


def test_everybody_who_is_not_absent_owes_a_receipt(running: Pool) -> None:
    running.receipt("helper")
    for name in ("north", "south", "east"):
        running.receipt(name)
    running.read()
    refused("job.receipts-missing", running.complete)
    running.receipt("west")
    running.complete()
    assert running.row()["absent"] == {"pool": []}


def test_a_receipt_without_the_member_names_nobody(running: Pool) -> None:
    running.act("north", "receipt.step", running.receipt_body("pool"))
    refused("receipt.absences-differ", lambda: running.receipt("helper", "west"))
    running.receipt("helper")


def test_receipts_that_disagree_are_refused(running: Pool) -> None:
    running.receipt("north", "west")
    refused("receipt.absences-differ", lambda: running.receipt("south", "east"))
    refused("receipt.absences-differ", lambda: running.receipt("south"))
    assert running.row()["absent"] == {"pool": running.dids("west")}


def test_who_is_absent_names_nobody(running: Pool) -> None:
    refused("receipt.party-absent", lambda: running.receipt("west", "west"))
    running.receipt("north", "west")
    refused("receipt.party-absent", lambda: running.receipt("west", "north"))
    refused("receipt.party-absent", lambda: running.receipt("west"))


@pytest.mark.parametrize("name", ["helper", "analyst"])
def test_only_who_may_be_absent_is_named(running: Pool, name: str) -> None:
    refused("receipt.absent-unknown", lambda: running.receipt("north", name))


def test_fewer_than_the_threshold_are_too_few(running: Pool) -> None:
    refused("receipt.too-few-present", lambda: running.receipt("north", "west", "east"))


def test_a_step_that_survives_no_absence_names_none(running: Pool) -> None:
    for absent in ([], running.dids("west")):
        body = running.receipt_body("read") | {"absent": absent}
        act = partial(running.act, "analyst", "receipt.step", body)
        refused("receipt.absence-not-survived", act)
    running.read()


def test_the_list_of_the_absent_has_its_shape(running: Pool) -> None:
    for absent in ("west", [1], ["west"], running.dids("west") * 2):
        refused("entry.malformed-body", partial(running.receipt, "north", absent=absent))


def test_a_job_goes_on_without_a_party_that_fails(running: Pool) -> None:
    running.fail("west")
    row = running.row()
    assert row["state"] == "RUNNING"
    assert row["left"]["pool"][running.did("west")]["code"] == "mpc.peer-aborted"
    refused("job.already-left", lambda: running.fail("west"))
    refused("receipt.absent-missing", lambda: running.receipt("north"))
    refused("receipt.absent-missing", lambda: running.receipt("west"))
    running.receipt("north", "west")


def test_a_party_that_was_named_absent_may_fail_later(running: Pool) -> None:
    running.receipt("north", "west")
    running.fail("west")
    assert running.row()["state"] == "RUNNING"


def test_a_job_fails_with_a_party_that_is_in_the_result(running: Pool) -> None:
    running.receipt("north", "west")
    running.fail("east")
    assert running.row()["state"] == "FAILED"


def test_a_job_fails_when_too_few_are_left(running: Pool) -> None:
    running.fail("west")
    running.fail("east")
    row = running.row()
    assert (row["state"], row["failure"]["party"]) == ("FAILED", running.did("east"))


@pytest.mark.parametrize(
    ("name", "step"),
    [("helper", "pool"), ("analyst", "pool"), ("west", None), ("west", "read"), ("west", "no")],
)
def test_any_other_failure_ends_the_job(running: Pool, name: str, step: str | None) -> None:
    running.fail(name, step)
    assert running.row()["state"] == "FAILED"


def test_who_asked_may_not_leave(pool: Pool) -> None:
    pool.submit()
    own = {**pool.row()["steps"][0], "parties": pool.dids(*OWNERS)}
    body = {name: pool.row()[name] for name in ("job", "spec", "purpose", "agreements", "parties")}
    second = new_id("job", lambda: START, lambda n: bytes([2] * n))
    pool.act("west", "job.submit", body | {"job": second, "steps": [own]})
    for name in ("north", "south", "east", "helper", "analyst"):
        pool.act(name, "job.start", {"job": second, "spec": HEX, "agreements": []})
    failure = {"job": second, "step": "pool", "code": "mpc.peer-aborted", "reason": "gone"}
    pool.act("west", "job.fail", failure)
    assert pool.state.rows("jobs")[second]["state"] == "FAILED"


def test_a_job_that_has_not_begun_fails(pool: Pool) -> None:
    pool.submit()
    pool.fail("west")
    assert pool.row()["state"] == "FAILED"


def test_a_job_that_waits_for_a_review_goes_on_too(running: Pool) -> None:
    running.receipt("north", "west")
    running.act("north", "job.hold", {"job": JOB, "step": "pool"})
    running.fail("west")
    assert running.row()["state"] == "RELEASE_REVIEW"


def test_what_is_absent_releases_and_holds_nothing(running: Pool) -> None:
    running.receipt("north", "west")
    refused(
        "job.release-without-receipt", lambda: running.act("west", "job.hold", {"job": JOB, "step": "pool"})
    )
