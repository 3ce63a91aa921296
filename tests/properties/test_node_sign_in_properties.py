"""Waits and sessions against a model, over any order of acts and any passing of time."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exchange.errors import Unauthenticated
from exchange.node.people import NewAccount, People, Separation, Sessions, SignIn
from exchange.node.people.attempts import Attempts, Limits, SignInDelayed
from exchange.node.people.lockout import FORGOTTEN, charged, taken_back, wait
from exchange.node.people.lockout import Limits as Waits
from exchange.node.people.passwords import Passwords
from exchange.node.people.roles import State
from exchange.node.people.sessions import Carrier
from exchange.node.people.sign_in import SignInRefused
from exchange.store import Standing, open_node_store

START = datetime(2026, 11, 26, 8, tzinfo=UTC)
GOOD, WRONG = "three herons over the lake", "a quiet harbour in autumn"
IDLE, LONGEST = timedelta(minutes=30), timedelta(hours=8)
FREE, LONGEST_WAIT, LOCKED_AFTER = 2, timedelta(minutes=5), 12

seconds = st.sampled_from([0, 1, 2, 7, 29, 30, 61, 299, 300, 1799, 1800, 7200, 90_000])


@dataclass
class Known:
    """A session as the model has it."""

    secret: str
    id: str
    seen: datetime
    ends: datetime


class SigningIn(RuleBasedStateMachine):
    """One person signs in, fails, works; an administrator changes her roles and opens her account."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now, self.failures, self.last, self.until = START, 0, START, START
        self.sessions: list[Known] = []
        self.locked = False
        self.store = open_node_store(
            f"sqlite:///{self.folder.name}/node.sqlite",
            clock=lambda: self.now,
            people_mark=Path(self.folder.name) / "mark.json",
        )
        with self.store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA synchronous = OFF")
        separation = Separation()
        self.people = People(self.store.people, separation)
        self.real = Sessions(self.store.people, separation, IDLE, LONGEST)
        limits = Limits(FREE, LONGEST_WAIT, LOCKED_AFTER, False, timedelta(hours=1))
        passwords = Passwords(64, 1, 8)
        people, key = self.store.people, bytes(32)
        attempts = Attempts(people, key, limits)
        self.sign_in = SignIn(people, key, "lender", passwords, self.real, attempts, limits)
        self.people.add(NewAccount("root", ("administrator",)), "operator")
        self.people.add(NewAccount("ada", ("analyst",)), "root")
        self.sign_in.accept("ada", self.sign_in.invite_again("ada", "root"), GOOD, "192.0.2.1")

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(by=seconds)
    def time_passes(self, by: int) -> None:
        self.now += timedelta(seconds=by)

    @rule(right=st.booleans())
    def somebody_signs_in(self, right: bool) -> None:
        given = {"address": "192.0.2.1", "carrier": Carrier.BEARER}
        if self.now < self.until:
            with pytest.raises(SignInDelayed):
                self.sign_in.with_password("ada", GOOD if right else WRONG, "", **given)  # type: ignore[arg-type]
            return
        self.failures = 1 if self.failures and self.now - self.last > FORGOTTEN else self.failures + 1
        self.last = self.now
        over = self.failures - FREE - 1
        self.until = self.now + (
            timedelta(0) if over < 0 else min(LONGEST_WAIT, timedelta(seconds=2 * 2**over))
        )
        if right and not self.locked:
            signed = self.sign_in.with_password("ada", GOOD, "", **given)  # type: ignore[arg-type]
            self.failures, self.until = 0, self.now
            self.sessions = [one for one in self.sessions if self.now < one.ends]
            self.sessions.append(Known(signed.secret, signed.session.id, self.now, self.now + LONGEST))
            return
        with pytest.raises(SignInRefused):
            self.sign_in.with_password("ada", GOOD if right else WRONG, "", **given)  # type: ignore[arg-type]
        self.locked = self.locked or self.failures >= LOCKED_AFTER

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def a_session_is_used(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.sessions))
        if self.now < one.ends and self.now < one.seen + IDLE:
            assert self.real.person(one.secret, Carrier.BEARER)[0].name == "ada"
            if self.now - one.seen >= timedelta(seconds=30):
                one.seen = self.now
        else:
            with pytest.raises(Unauthenticated):
                self.real.person(one.secret, Carrier.BEARER)

    @precondition(lambda self: self.sessions)
    @rule()
    def everything_ends(self) -> None:
        self.people.set_roles("ada", ["analyst"], "root")
        for one in self.sessions:
            with pytest.raises(Unauthenticated):
                self.real.person(one.secret, Carrier.BEARER)
        self.sessions = []

    @precondition(lambda self: self.locked)
    @rule()
    def an_administrator_opens_the_account(self) -> None:
        self.people.set_state("ada", State.ACTIVE, "root")
        self.sign_in.forgive("ada")
        self.locked, self.failures, self.until = False, 0, self.now
        self.sessions = []

    @invariant()
    def the_account_is_locked_when_the_model_says_so(self) -> None:
        assert self.people.named("ada").state == ("locked" if self.locked else "active")

    @invariant()
    def the_record_is_whole(self) -> None:
        assert self.people.verify_record().sound


SigningIn.TestCase.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
TestSigningIn = SigningIn.TestCase

waits = st.builds(
    Waits, free=st.integers(1, 20), longest=st.integers(1, 86_400).map(lambda s: timedelta(seconds=s))
)


@given(limits=waits, pauses=st.lists(st.integers(0, 100_000), max_size=60))
def test_a_wait_never_exceeds_its_limit_and_free_failures_cost_nothing(
    limits: Waits, pauses: list[int]
) -> None:
    standing: Standing | None = None
    now = START
    for pause in pauses:
        now += timedelta(seconds=pause)
        standing = charged(standing, now, limits)
        assert timedelta(0) <= wait(standing, now) <= limits.longest
        assert (wait(standing, now) == timedelta(0)) == (standing.failures <= limits.free)


@given(limits=waits, times=st.integers(1, 40))
def test_as_many_successes_as_attempts_leave_nothing(limits: Waits, times: int) -> None:
    standing: Standing | None = None
    for _ in range(times):
        standing = charged(standing, START, limits)
    for _ in range(times):
        standing = taken_back(standing)
    assert standing is None
