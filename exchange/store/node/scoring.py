"""Joint models at a node: its sealed parts, what it answered, what it signed for as a label holder.

Everything here is about who asked whom how often. Who was asked about, and what came of it, is kept nowhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, select, update

from exchange.store.engine import StoreUnavailable, keep, transaction
from exchange.store.node.models import NodeBase
from exchange.store.node.scoring_models import (
    ModelPartRow,
    ScoreAccountRow,
    ScoreQuestionRow,
    ScoreSignedRow,
)

__all__ = ["WINDOW", "Answered", "KeptPart", "ScoreQuestion", "ScoringRepository", "Sent"]

WINDOW: Final = 62
"""Tickets of an account that may come in another order than they were signed in."""

_AHEAD: Final = 1_000
"""Tickets and persons that are signed for in advance, in one write."""

_MINUTE_S, _DAY_S = 60, 86_400
_PARTS = NodeBase.metadata.tables[ModelPartRow.__tablename__]
_ACCOUNTS = NodeBase.metadata.tables[ScoreAccountRow.__tablename__]
_SIGNED = NodeBase.metadata.tables[ScoreSignedRow.__tablename__]
_QUESTIONS = NodeBase.metadata.tables[ScoreQuestionRow.__tablename__]


@dataclass(frozen=True)
class KeptPart:
    """This owner's part of a version.

    Attributes:
        model, version: of the part.
        sealed: the part and the salt of its commitment, sealed to this node's key.
        filing: as its owner filed it: asset, key column, rules, columns and more.
        built: version of the asset that the table is of; 0 while there is none.
        failure: why the last table was not made; empty where it was.
    """

    model: str
    version: int
    sealed: bytes
    filing: Mapping[str, Any]
    built: int
    failure: str


@dataclass(frozen=True)
class Answered:
    """A ticket that is about to be answered; ``raw`` is the whole of it in canonical JSON."""

    account: str
    agreement: str
    consumer: str
    model: str
    number: int
    count: int
    raw: bytes
    now: datetime


@dataclass(frozen=True)
class Sent:
    """What of an account goes into one receipt; ``last`` is the ticket of the highest number."""

    account: str
    count: int
    calls: int
    since: datetime
    last: bytes


@dataclass(frozen=True)
class ScoreQuestion:
    """How often somebody of this member asked for scores of a version in a day, as 2026-11-26."""

    day: str
    person: str
    model: str
    version: int
    purpose: str
    calls: int
    persons: int


class ScoringRepository:
    """Models and scores of one node, on both sides.

    Accounts that were answered are in memory too: a node is one process, and looks at them at each call.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._loaded: dict[str, dict[str, Any]] | None = None
        self._unwritten: set[str] = set()
        self._counted = self._secured = 0
        self._asking = threading.Lock()
        self._signed: dict[str, tuple[int, int, int, int]] = {}
        self._asked: dict[tuple[str, str, str, int, str], tuple[int, int]] = {}

    # Parts of this owner.

    def put_part(self, model: str, version: int, sealed: bytes, filing: Mapping[str, Any]) -> None:
        """Keep a part that is about to be filed, in place of one that the ledger did not take."""
        values = {"model": model, "version": version, "sealed": sealed, "filing": dict(filing), "built": 0}
        with transaction(self._engine) as connection:
            keep(connection, _PARTS, {**values, "failure": "", "changed": self._clock()}, replace=True)

    def built(self, model: str, version: int, built: int, failure: str = "") -> None:
        """Note which version of the asset the table is of, or why there is none."""
        of = (_PARTS.c.model == model) & (_PARTS.c.version == version)
        with transaction(self._engine) as connection:
            values = {"built": built, "failure": failure, "changed": self._clock()}
            connection.execute(update(_PARTS).where(of).values(**values))

    def part(self, model: str, version: int) -> KeptPart | None:
        """This owner's part of a version."""
        found = self._parts((_PARTS.c.model == model) & (_PARTS.c.version == version))
        return found[0] if found else None

    def parts(self) -> list[KeptPart]:
        """All parts of this owner, by model and version."""
        return self._parts()

    def _parts(self, *conditions: ColumnElement[bool]) -> list[KeptPart]:
        wanted = select(*(_PARTS.c[name] for name in KeptPart.__dataclass_fields__)).where(*conditions)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(_PARTS.c.model, _PARTS.c.version))
            return [KeptPart(*row) for row in rows]

    # Tickets that this owner answered.

    def answer(self, ticket: Answered) -> bool:
        """Count a ticket as answered, unless its number was before; tells whether it was counted.

        It is counted in memory; `secure` waits until that is on disk.

        Numbers may come in another order within a window (RFC 4303, section 3.4.3); those behind it count as
        seen, and those up to the last receipt's.
        """
        minute, day = _windows(ticket.now)
        with self._lock:
            before = self._accounts().get(ticket.account) or _blank(ticket)
            ahead = ticket.number - before["number"]
            seen = _seen(before["seen"], ahead)
            if seen is None or ticket.number <= before["floor"]:
                return False
            after = {
                **before,
                "number": max(ticket.number, before["number"]),
                "seen": seen,
                "count": before["count"] + ticket.count,
                "calls": before["calls"] + 1,
                "since": before["since"] if before["calls"] else ticket.now,
                "last": ticket.raw if ahead > 0 else before["last"],
                "minute": minute,
                "in_minute": ticket.count + (before["in_minute"] if before["minute"] == minute else 0),
                "day": day,
                "in_day": ticket.count + (before["in_day"] if before["day"] == day else 0),
            }
            self._accounts()[ticket.account] = after
            self._unwritten.add(ticket.account)
            self._counted += 1
        return True

    def secure(self) -> None:
        """Wait until everything that was counted before is on disk.

        Whoever comes first writes for all who wait, so the disk is asked once for many tickets.

        Raises:
            StoreUnavailable: the database did not carry it out; what is counted stays counted.
        """
        with self._lock:
            counted = self._counted
        with self._writing:
            if self._secured >= counted:
                return
            with self._lock:
                counted, waiting = self._counted, self._unwritten
                self._unwritten, rows = set(), [self._accounts()[account] for account in waiting]
            try:
                self._write_accounts(rows)
            except StoreUnavailable:
                with self._lock:
                    self._unwritten |= waiting
                raise
            self._secured = counted

    def _accounts(self) -> dict[str, dict[str, Any]]:
        """All accounts by name; with the lock held."""
        if self._loaded is None:
            with transaction(self._engine) as connection:
                rows = connection.execute(select(_ACCOUNTS)).mappings()
                self._loaded = {row["account"]: dict(row) for row in rows}
        return self._loaded

    def _keep(self, row: dict[str, Any]) -> None:
        """Write an account; with both locks held."""
        self._write_accounts([row])
        self._accounts()[row["account"]] = row

    def _write_accounts(self, rows: Sequence[dict[str, Any]]) -> None:
        with transaction(self._engine) as connection:
            for row in rows:
                keep(connection, _ACCOUNTS, row, replace=True)

    def unreported(self, agreement: str) -> int:
        """Persons of an agreement that are in no receipt on the ledger yet."""
        with self._lock:
            rows = [row for row in self._accounts().values() if row["agreement"] == agreement]
        return sum(row["count"] + row["sent_count"] for row in rows)

    def answered_now(self, consumer: str, model: str, now: datetime) -> dict[str, int]:
        """Persons whom a member has asked about in this minute of the clock and in this day of UTC."""
        minute, day = _windows(now)
        with self._lock:
            rows = [
                row
                for row in self._accounts().values()
                if (row["consumer"], row["model"]) == (consumer, model)
            ]
        return {
            "minute": sum(row["in_minute"] for row in rows if row["minute"] == minute),
            "day": sum(row["in_day"] for row in rows if row["day"] == day),
        }

    def waiting_accounts(self) -> list[str]:
        """Accounts with answers that are in no receipt on the ledger."""
        with self._lock:
            rows = self._accounts().values()
            return sorted(row["account"] for row in rows if row["count"] or row["sent_count"])

    def send(self, account: str, encode: Callable[[Sent], bytes]) -> bytes:
        """Take what waits of an account for a receipt; while one is under way, that one again.

        No number up to its last is answered any more.

        Args:
            account: one of ``waiting_accounts``.
            encode: makes the receipt's body.
        """
        with self._writing, self._lock:
            row = self._accounts()[account]
            if not row["sent_count"]:
                sent = encode(Sent(account, row["count"], row["calls"], row["since"], row["last"]))
                taken = {"sent": sent, "sent_count": row["count"], "floor": row["number"]}
                row = {**row, **taken, "count": 0, "calls": 0, "last": b""}
                self._keep(row)
            return bytes(row["sent"])

    def settle(self, account: str) -> None:
        """Note that the receipt under way is on the ledger, or will never be."""
        with self._writing, self._lock:
            self._keep({**self._accounts()[account], "sent": b"", "sent_count": 0})

    # Scores that this member asked for.

    def ask(self, question: ScoreQuestion, accounts: Sequence[str]) -> list[tuple[int, int]]:
        """Note a call before it is made: who makes it, and what this member signs for in some accounts.

        Numbers and totals are written ahead, many at once: a node that dies goes on behind all of them, with
        totals of persons nobody was asked about, which no owner answered and none reports. Who asked is
        written with them, or by ``flush``.

        Args:
            question: the call and its persons.
            accounts: one for each other owner.

        Returns:
            For each account, the number of its ticket and the total of persons, these included.
        """
        ahead, after = [], {}
        key = (question.day, question.person, question.model, question.version, question.purpose)
        with self._asking:
            for account in accounts:
                number, total, *until = self._signed.get(account) or self._signed_before(account)
                number, total = number + 1, total + question.persons
                if number > until[0] or total > until[1]:
                    until = [number + _AHEAD, total + _AHEAD]
                    ahead.append({"account": account, "number": until[0], "total": until[1]})
                after[account] = (number, total, until[0], until[1])
            calls, persons = self._asked.get(key, (0, 0))
            self._asked[key] = (calls + question.calls, persons + question.persons)
            if ahead:
                self._write(ahead)
            self._signed |= after
        return [after[account][:2] for account in accounts]

    def _signed_before(self, account: str) -> tuple[int, int, int, int]:
        wanted = select(_SIGNED.c.number, _SIGNED.c.total).where(_SIGNED.c.account == account)
        with transaction(self._engine) as connection:
            number, total = connection.execute(wanted).one_or_none() or (0, 0)
        return number, total, number, total

    def flush(self) -> None:
        """Write who asked since the last time."""
        with self._asking:
            if self._asked:
                self._write(())

    def _write(self, ahead: Sequence[Mapping[str, object]]) -> None:
        with transaction(self._engine) as connection:
            for row in ahead:
                keep(connection, _SIGNED, row, replace=True)
            for (day, person, model, version, purpose), (calls, persons) in self._asked.items():
                key = {"day": day, "person": person, "model": model, "version": version, "purpose": purpose}
                keep(connection, _QUESTIONS, {**key, "calls": 0, "persons": 0}, replace=False)
                of = [_QUESTIONS.c[name] == value for name, value in key.items()]
                more = {"calls": _QUESTIONS.c.calls + calls, "persons": _QUESTIONS.c.persons + persons}
                connection.execute(update(_QUESTIONS).where(*of).values(**more))
        self._asked.clear()

    def questions(self, limit: int) -> list[ScoreQuestion]:
        """Who asked how often, the latest days first."""
        self.flush()
        wanted = select(*(_QUESTIONS.c[name] for name in ScoreQuestion.__dataclass_fields__))
        newest = wanted.order_by(_QUESTIONS.c.day.desc(), _QUESTIONS.c.person, _QUESTIONS.c.model).limit(
            limit
        )
        with transaction(self._engine) as connection:
            return [ScoreQuestion(*row) for row in connection.execute(newest)]


def _windows(now: datetime) -> tuple[int, int]:
    seconds = int(now.timestamp())
    return seconds // _MINUTE_S, seconds // _DAY_S


def _seen(seen: int, ahead: int) -> int | None:
    """The window with a number more, ``ahead`` of the highest; None where it was in it or is behind."""
    if ahead > 0:
        return (seen << min(ahead, WINDOW)) & ((1 << WINDOW) - 1) | 1
    bit = 1 << -ahead
    return None if -ahead >= WINDOW or seen & bit else seen | bit


def _blank(ticket: Answered) -> dict[str, Any]:
    named = {name: getattr(ticket, name) for name in ("account", "agreement", "consumer", "model")}
    counts = ("number", "seen", "floor", "count", "calls", "sent_count")
    windows = ("minute", "in_minute", "day", "in_day")
    return {**named, **dict.fromkeys((*counts, *windows), 0), "since": ticket.now, "last": b"", "sent": b""}
