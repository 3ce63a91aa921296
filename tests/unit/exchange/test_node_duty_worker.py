"""Duties are carried out one at a time each, and looked at again when something came in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exchange.errors import Conflict
from exchange.node import duty_worker
from exchange.node.duties import Duty, DutyKind
from exchange.node.duty_worker import DutyWorker
from exchange.node.ledger_client import LedgerClient
from ledger.state import State

JOB = Duty(DutyKind.RUN_JOB, "")


def worker(act: Any, *duties: Duty) -> DutyWorker:
    ledger = cast(LedgerClient, SimpleNamespace(divergence=None, is_caught_up=True, next_state=State()))
    acts = dict.fromkeys((DutyKind.RUN_JOB, DutyKind.DECIDE_JOB), act)
    return DutyWorker(ledger, "did:key:zMe", acts, own=lambda: duties or [JOB])


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_duty_that_was_busy_when_something_changed_is_looked_at_again() -> None:
    begun, go_on, calls = threading.Semaphore(0), threading.Semaphore(0), []

    def act(subject: str) -> None:
        calls.append(subject)
        begun.release()
        assert go_on.acquire(timeout=20)

    made = worker(act)
    made.look()
    assert begun.acquire(timeout=20)
    made.look()  # the change that comes while the duty is busy
    assert len(calls) == 1
    go_on.release()
    assert begun.acquire(timeout=20)
    made.stop()
    go_on.release()
    assert len(calls) == 2


def test_a_duty_that_fails_is_not_tried_again_at_once() -> None:
    calls: list[str] = []

    def act(subject: str) -> None:
        calls.append(subject)
        raise Conflict("not now")

    made = worker(act)
    made.look()
    until(lambda: bool(calls) and not made._busy)
    made.look()
    made.stop()
    assert len(calls) == 1


def test_a_duty_that_fails_is_tried_again_though_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty_worker, "_RETRY_S", 0.05)
    calls: list[float] = []

    def act(subject: str) -> None:
        calls.append(time.monotonic())
        if len(calls) < 3:
            raise Conflict("not now")

    made = worker(act)
    made.look()
    until(lambda: len(calls) == 3)
    time.sleep(0.2)
    made.stop()
    assert len(calls) == 3
    assert all(later - sooner >= 0.05 for sooner, later in pairwise(calls))


def test_duties_that_stay_open_do_not_wake_each_other() -> None:
    waiting = [Duty(DutyKind.DECIDE_JOB, f"job-{number}") for number in range(6)]
    calls: list[str] = []

    def act(subject: str) -> None:
        calls.append(subject)
        time.sleep(0.01)

    made = worker(act, *waiting)
    for _ in range(3):
        made.look()
    until(lambda: len(calls) >= 6 and not made._busy)
    settled = len(calls)
    time.sleep(0.2)
    made.stop()
    assert settled == len(calls) <= 18


def test_runs_of_jobs_leave_the_other_duties_their_threads() -> None:
    runs = [Duty(DutyKind.RUN_JOB, f"job-{number}") for number in range(20)]
    go_on, decided = threading.Event(), threading.Event()

    def act(subject: str) -> None:
        if subject == "new":
            decided.set()
        else:
            assert go_on.wait(20)

    made = worker(act, *runs, Duty(DutyKind.DECIDE_JOB, "new"))
    made.look()
    assert decided.wait(20)
    go_on.set()
    made.stop()


def test_a_stopped_worker_begins_nothing() -> None:
    calls: list[str] = []
    made = worker(calls.append)
    made.stop()
    made.look()
    assert calls == []
