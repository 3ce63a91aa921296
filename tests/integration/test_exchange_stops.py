"""Stopping jobs that run, by hand, by revocation, by withdrawal, at expiry: nothing leaves, and how fast.

That a job stops is asserted within a bound far above the ten seconds of the requirement; what was measured is
recorded as properties of the tests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from exchange.errors import JobFailed
from exchange.jobs import joint_statistics
from exchange.sdk import NodeProblem
from ledger.times import format_time, system_clock

pytestmark = pytest.mark.xdist_group("exchange-stops")

BOUND_S = 60


class Stalling:
    """A step that has begun at both parties and goes on, batch by batch, until it is told to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Semaphore(0)
        self.endless = threading.Event()
        self._real = joint_statistics.group_sums.measure_holder
        monkeypatch.setattr(joint_statistics.group_sums, "measure_holder", self._measure_holder)

    def _measure_holder(self, channel: Any, *arguments: Any, progress: Any, **named: Any) -> Any:
        self.begun.release()
        while self.endless.is_set():
            progress(1, 2)
            time.sleep(0.05)
        return self._real(channel, *arguments, progress=progress, **named)


@pytest.fixture
def stalling(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stalling]:
    made = Stalling(monkeypatch)
    made.endless.set()
    yield made
    made.endless.clear()


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    asked = make_question(tmp_path_factory.mktemp("stops"))
    with asked.running:
        asked.publish()
        yield asked


def begin(question: Any, stalling: Stalling, agreements: dict[str, str]) -> str:
    job = question.client("analyst").submit(question.spec(agreements))["job"]
    assert stalling.begun.acquire(timeout=BOUND_S)
    return str(job)


def halted(question: Any, job: str, state: str, record: Any) -> dict[str, Any]:
    """Wait until both owners have said that their part is over, and check that nothing left them."""
    deadline, begun = time.monotonic() + BOUND_S, time.monotonic()
    client = question.client("regulator")
    owners = {question.running.did(name) for name in ("lender", "bureau")}
    while True:
        halts = {entry["actor"]: entry["body"] for entry in client.entries(job=job, type_="receipt.halt")}
        if owners <= set(halts):
            break
        assert time.monotonic() < deadline, f"no halt of {owners - set(halts)}"
        time.sleep(0.1)
    for name in ("lender", "bureau"):
        assert job not in question.running.nodes[name].services.runs.jobs
    seen = question.client("analyst").job(job)
    assert seen["state"] == state
    assert seen["releases"] == []
    assert list(client.entries(job=job, type_="job.release")) == []
    record(f"{state} to both halts, s", round(time.monotonic() - begun, 2))
    record(f"{state}, each part, ms", [halt["after_ms"] for halt in halts.values()])
    return seen


def test_a_revoked_agreement_stops_what_runs_and_blocks_what_comes(
    question: Any, stalling: Stalling, record_property: Any
) -> None:
    agreements = question.agree()
    job = begin(question, stalling, agreements)
    answer = question.client("lender").revoke(agreements["lender/loans"], "breach of purpose")
    assert [(one["id"], one["state"]) for one in answer["used"] if one["kind"] == "job"] == [(job, "REVOKED")]
    seen = halted(question, job, "REVOKED", record_property)
    assert seen["stop"] == {
        "party": question.running.did("lender"),
        "cause": "revoked",
        "reason": "breach of purpose",
    }
    with pytest.raises(JobFailed, match="breach of purpose"):
        question.client("analyst").wait_job(job, timeout_s=5)
    analyst = question.client("analyst")
    with pytest.raises(NodeProblem) as caught:
        analyst.result(job)
    assert caught.value.status == 409
    refused = analyst.submit(question.spec(agreements))["job"]
    with pytest.raises(Exception, match="status is revoked"):
        analyst.wait_job(refused, timeout_s=BOUND_S)


def test_a_job_is_stopped_by_an_owner(question: Any, stalling: Stalling, record_property: Any) -> None:
    job = begin(question, stalling, question.agree())
    question.client("bureau").stop_job(job, "asked the wrong thing")
    halted(question, job, "ABORTED", record_property)
    with pytest.raises(NodeProblem, match="ABORTED"):
        question.client("bureau").stop_job(job, "again")
    with pytest.raises(NodeProblem):
        question.client("regulator").stop_job(job, "not mine")


def test_a_party_that_waits_for_the_other_is_stopped_too(
    question: Any, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """The measure holder never speaks, so the group holder is inside a blocking receive."""
    begun, go_on = threading.Event(), threading.Event()

    def silent(*_: Any, **__: Any) -> Any:
        begun.set()
        go_on.wait(BOUND_S)
        raise AssertionError("woken by the test")

    monkeypatch.setattr(joint_statistics.group_sums, "measure_holder", silent)
    analyst = question.client("analyst")
    job = str(analyst.submit(question.spec(question.agree()))["job"])
    assert begun.wait(BOUND_S)
    analyst.stop_job(job, "enough")
    bureau = question.running.nodes["bureau"].services.runs
    deadline = time.monotonic() + BOUND_S
    while job in bureau.jobs:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    go_on.set()
    halted(question, job, "ABORTED", record_property)


def test_an_agreement_that_expires_stops_what_runs(
    question: Any, stalling: Stalling, record_property: Any
) -> None:
    agreements = {}
    soon = format_time(system_clock() + timedelta(seconds=10))
    for owner, asset, columns in (
        ("lender", "lender/loans", ["customer_id", "arrears", "balance"]),
        ("bureau", "bureau/people", ["person_id", "band"]),
    ):
        changes = {"expires": soon} if owner == "bureau" else {}
        asked = question.client("analyst").request_agreement(question.request(asset, columns, **changes))
        agreements[asset] = question.client(owner).approve(asked["negotiation"], "a test")["agreement"]
    job = begin(question, stalling, agreements)
    seen = halted(question, job, "EXPIRED", record_property)
    assert seen["stop"]["cause"] == "expired"


def test_a_withdrawn_asset_stops_what_runs(question: Any, stalling: Stalling, record_property: Any) -> None:
    job = begin(question, stalling, question.agree())
    question.client("bureau").withdraw("bureau/people", "wrong data")
    halted(question, job, "REVOKED", record_property)
