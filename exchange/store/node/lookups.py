"""Anonymous lookups at a node: services it opens, tickets it answered, questions its people asked.

Everything here is about who asked whom how often. What was asked is kept nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, insert, select, update

from exchange.store.engine import keep, transaction
from exchange.store.node.lookup_models import (
    LookupAccountRow,
    LookupQuestionRow,
    LookupServiceRow,
    LookupTicketRow,
)
from exchange.store.node.models import NodeBase

__all__ = [
    "KeptService",
    "KeptTicket",
    "LookupRepository",
    "Question",
    "ServiceState",
    "TicketState",
]

_SERVICES = NodeBase.metadata.tables[LookupServiceRow.__tablename__]
_TICKETS = NodeBase.metadata.tables[LookupTicketRow.__tablename__]
_ACCOUNTS = NodeBase.metadata.tables[LookupAccountRow.__tablename__]
_QUESTIONS = NodeBase.metadata.tables[LookupQuestionRow.__tablename__]


class ServiceState(StrEnum):
    """How far the release is that an owner asked for."""

    BUILDING = "building"
    OPEN = "open"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


class TicketState(StrEnum):
    """An answered ticket waits, is in a receipt on its way, is in one on the ledger, or in none for ever."""

    ANSWERED = "answered"
    SENT = "sent"
    REPORTED = "reported"
    REFUSED = "refused"


@dataclass(frozen=True)
class KeptService:
    """A service as its owner asked for it; ``failure`` says why the last build ended without a release."""

    service: str
    request: Mapping[str, Any]
    state: ServiceState
    failure: str
    changed: datetime


@dataclass(frozen=True)
class KeptTicket:
    """A ticket that was answered; ``raw`` is the whole of it in canonical JSON."""

    ticket: str
    account: str
    agreement: str
    consumer: str
    service: str
    count: int
    total: int
    fee: int
    raw: bytes
    answered: datetime


@dataclass(frozen=True)
class Question:
    """A call to a service that somebody of this member made."""

    ticket: str
    service: str
    agreement: str
    purpose: str
    release: int
    count: int
    fee: int
    person: str
    asked: datetime


_WAITS = _TICKETS.c.state.in_((TicketState.ANSWERED.value, TicketState.SENT.value))


class LookupRepository:
    """Lookups of one node, on both sides."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock

    # Services of this owner.

    def put_service(
        self, service: str, request: Mapping[str, Any], state: ServiceState, failure: str = ""
    ) -> None:
        """Keep what was asked for, in place of what was there."""
        values = {"service": service, "request": dict(request), "state": state.value, "failure": failure}
        with transaction(self._engine) as connection:
            keep(connection, _SERVICES, {**values, "changed": self._clock()}, replace=True)

    def service(self, service: str) -> KeptService | None:
        """A service of this owner."""
        found = self._services(_SERVICES.c.service == service)
        return found[0] if found else None

    def services(self) -> list[KeptService]:
        """All services of this owner, by name."""
        return self._services()

    def _services(self, *conditions: ColumnElement[bool]) -> list[KeptService]:
        with transaction(self._engine) as connection:
            rows = connection.execute(select(_SERVICES).where(*conditions).order_by(_SERVICES.c.service))
            return [
                KeptService(row.service, row.request, ServiceState(row.state), row.failure, row.changed)
                for row in rows
            ]

    # Tickets that this owner answered.

    def ticket(self, ticket: str) -> KeptTicket | None:
        """A ticket that was answered here."""
        found = self._tickets(_TICKETS.c.ticket == ticket)
        return found[0] if found else None

    def add_ticket(self, kept: KeptTicket) -> None:
        """Keep a ticket that is about to be answered."""
        values = {name: getattr(kept, name) for name in KeptTicket.__dataclass_fields__}
        with transaction(self._engine) as connection:
            connection.execute(insert(_TICKETS).values(**values, state=TicketState.ANSWERED.value))

    def is_signed_for(self, account: str, first: int, last: int) -> bool:
        """Whether a ticket of an account has any of the numbers ``first`` to ``last`` of its total already.

        Every number up to that of the last receipt counts as taken.
        """
        overlaps = (_TICKETS.c.total >= first) & (_TICKETS.c.total - _TICKETS.c.count < last)
        closed = (_TICKETS.c.state != TicketState.ANSWERED.value) & (_TICKETS.c.total >= first)
        wanted = select(_TICKETS.c.ticket).where(_TICKETS.c.account == account, overlaps | closed).limit(1)
        with transaction(self._engine) as connection:
            return connection.execute(wanted).first() is not None

    def unreported(self, agreement: str) -> tuple[int, int]:
        """Queries and points of an agreement that are in no receipt on the ledger yet."""
        return self._sums(_TICKETS.c.agreement == agreement, _WAITS)

    def waiting(self, account: str) -> tuple[int, int]:
        """Queries and points of an account that are in no receipt on the ledger yet."""
        return self._sums(_TICKETS.c.account == account, _WAITS)

    def accounts(self) -> set[str]:
        """Accounts in which anything was answered, or signed for, here."""
        with transaction(self._engine) as connection:
            answered = connection.execute(select(_TICKETS.c.account).distinct()).scalars().all()
            signed = connection.execute(select(_ACCOUNTS.c.account)).scalars().all()
        return {*answered, *signed}

    def answered_since(self, consumer: str, service: str, since: datetime) -> int:
        """Queries of a member to a service since a moment, that moment's second included."""
        of = (_TICKETS.c.consumer == consumer) & (_TICKETS.c.service == service)
        return self._sums(of, _TICKETS.c.answered >= since)[0]

    def moments(self, agreement: str, since: datetime) -> list[datetime]:
        """When tickets of an agreement were answered since a moment."""
        wanted = select(_TICKETS.c.answered).where(
            _TICKETS.c.agreement == agreement, _TICKETS.c.answered >= since
        )
        with transaction(self._engine) as connection:
            return list(connection.execute(wanted).scalars())

    def waiting_accounts(self) -> list[str]:
        """Accounts with tickets that are in no receipt on the ledger."""
        wanted = select(_TICKETS.c.account).where(_WAITS).distinct().order_by(_TICKETS.c.account)
        with transaction(self._engine) as connection:
            return list(connection.execute(wanted).scalars())

    def send(self, account: str) -> list[KeptTicket]:
        """Take all tickets of an account that wait for a receipt, by total; no earlier one comes after."""
        of = _TICKETS.c.account == account
        waits = _TICKETS.c.state == TicketState.ANSWERED.value
        with transaction(self._engine) as connection:
            connection.execute(update(_TICKETS).where(of, waits).values(state=TicketState.SENT.value))
        return self._tickets(of, _TICKETS.c.state == TicketState.SENT.value)

    def settle(self, tickets: Sequence[KeptTicket], state: TicketState) -> None:
        """Note what became of tickets of one account."""
        named = _TICKETS.c.ticket.in_([kept.ticket for kept in tickets])
        with transaction(self._engine) as connection:
            connection.execute(update(_TICKETS).where(named).values(state=state.value))

    def _tickets(self, *conditions: ColumnElement[bool]) -> list[KeptTicket]:
        wanted = select(*(_TICKETS.c[name] for name in KeptTicket.__dataclass_fields__))
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.where(*conditions).order_by(_TICKETS.c.total))
            return [KeptTicket(*row) for row in rows]

    def _sums(self, *conditions: ColumnElement[bool]) -> tuple[int, int]:
        wanted = select(func.sum(_TICKETS.c.count), func.sum(_TICKETS.c.fee)).where(*conditions)
        with transaction(self._engine) as connection:
            count, fee = connection.execute(wanted).one()
        return int(count or 0), int(fee or 0)

    # Questions that this member asked.

    def sign_for(self, account: str, count: int, fee: int) -> tuple[int, int]:
        """Add to what this member has signed for in an account; returns the totals, these included."""
        of = _ACCOUNTS.c.account == account
        with transaction(self._engine) as connection:
            keep(connection, _ACCOUNTS, {"account": account, "total": 0, "owed": 0}, replace=False)
            more = {"total": _ACCOUNTS.c.total + count, "owed": _ACCOUNTS.c.owed + fee}
            connection.execute(update(_ACCOUNTS).where(of).values(**more))
            total, owed = connection.execute(select(_ACCOUNTS.c.total, _ACCOUNTS.c.owed).where(of)).one()
        return int(total), int(owed)

    def signed_for(self, account: str) -> tuple[int, int]:
        """Queries and points that this member has signed for in an account."""
        wanted = select(_ACCOUNTS.c.total, _ACCOUNTS.c.owed).where(_ACCOUNTS.c.account == account)
        with transaction(self._engine) as connection:
            found = connection.execute(wanted).one_or_none()
        return (0, 0) if found is None else (int(found.total), int(found.owed))

    def add_question(self, question: Question) -> None:
        """Keep who asked, before it is asked."""
        values = {name: getattr(question, name) for name in Question.__dataclass_fields__}
        with transaction(self._engine) as connection:
            connection.execute(insert(_QUESTIONS).values(**values))

    def questions(self, limit: int) -> list[Question]:
        """The latest questions, the newest first."""
        wanted = select(*(_QUESTIONS.c[name] for name in Question.__dataclass_fields__))
        newest = wanted.order_by(_QUESTIONS.c.asked.desc(), _QUESTIONS.c.ticket.desc()).limit(limit)
        with transaction(self._engine) as connection:
            return [Question(*row) for row in connection.execute(newest)]
