"""Requests for people's approval, what they decided, and how each request ended. Nothing is taken back."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, insert, select
from sqlalchemy.exc import IntegrityError

from exchange.errors import Conflict, SealBroken
from exchange.store.engine import keep, transaction
from exchange.store.node.approval_models import ApprovalClosedRow, ApprovalDecisionRow, ApprovalRequestRow
from exchange.store.node.models import NodeBase
from exchange.store.node.row_seals import RowSeals
from ledger import canonical
from policies.approvals import ApprovalRule, Decision, Verdict

__all__ = ["ApprovalRepository", "Closed", "KeptRequest"]

_log = logging.getLogger(__name__)

_REQUESTS = NodeBase.metadata.tables[ApprovalRequestRow.__tablename__]
_DECISIONS = NodeBase.metadata.tables[ApprovalDecisionRow.__tablename__]
_CLOSED = NodeBase.metadata.tables[ApprovalClosedRow.__tablename__]


@dataclass(frozen=True, kw_only=True)
class KeptRequest:
    """One thing that people of this organisation are asked to decide.

    Attributes:
        request: its id.
        kind: of the subject, such as ``negotiation`` or ``job``.
        subject: its id.
        digest: SHA-256 of exactly what is to be approved, lower-case hex.
        card: canonical JSON of what the node shows of it, as computed when it was opened.
        rule: who must approve.
        requester: the DID or person that asks, who does not approve.
        opened: when the node learnt of it.
        expires: when it ends by itself.
    """

    request: str
    kind: str
    subject: str
    digest: str
    card: bytes
    rule: ApprovalRule
    requester: str
    opened: datetime
    expires: datetime

    @property
    def binding(self) -> str:
        """SHA-256 over subject, digest, card and rule: what each person's decision is bound to."""
        bound = {
            "card": hashlib.sha256(self.card).hexdigest(),
            "digest": self.digest,
            "kind": self.kind,
            "request": self.request,
            "requester": self.requester,
            "rule": self.rule.as_json(),
            "subject": self.subject,
        }
        return hashlib.sha256(canonical.encode(bound)).hexdigest()


@dataclass(frozen=True)
class Closed:
    """How a request ended, why, and when."""

    outcome: str
    reason: str
    closed: datetime


class ApprovalRepository:
    """Requests by id, with their decisions.

    Args:
        engine: the node's database.
        clock: aware time in UTC.
        seals: makes rows that nobody can make up in the database alone.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime], seals: RowSeals) -> None:
        self._engine, self._clock, self._seals = engine, clock, seals

    def open(self, request: KeptRequest) -> tuple[KeptRequest, bool]:
        """Keep a request; of one subject and digest the first one stays.

        Returns:
            What is kept, and whether it is new.
        """
        values = {
            "request": request.request,
            "kind": request.kind,
            "subject": request.subject,
            "digest": request.digest,
            "card": request.card,
            "rule": request.rule.as_json(),
            "requester": request.requester,
            "opened": request.opened,
            "expires": request.expires,
        }
        with transaction(self._engine) as connection:
            is_new = keep(connection, _REQUESTS, self._seals.sealed(_REQUESTS, values), replace=False)
        return self.about(request.kind, request.subject, request.digest) or request, is_new

    def find(self, request: str) -> KeptRequest | None:
        """The request of that id."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(_REQUESTS).where(_REQUESTS.c.request == request)).one_or_none()
        return None if row is None else self._request(row)

    def about(self, kind: str, subject: str, digest: str) -> KeptRequest | None:
        """The request for exactly this."""
        table = _REQUESTS.c
        wanted = select(_REQUESTS).where(table.kind == kind, table.subject == subject, table.digest == digest)
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else self._request(row)

    def of_subject(self, kind: str, subject: str) -> list[KeptRequest]:
        """All requests about one subject, the first one first."""
        table = _REQUESTS.c
        wanted = select(_REQUESTS).where(table.kind == kind, table.subject == subject)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(table.opened, table.request)).all()
        return self._sound(rows)

    def open_ones(self, due: datetime | None = None) -> list[KeptRequest]:
        """Requests that have not ended, the oldest first; with ``due`` those that expire by then."""
        wanted = (
            select(_REQUESTS)
            .where(~select(_CLOSED.c.request).where(_CLOSED.c.request == _REQUESTS.c.request).exists())
            .order_by(_REQUESTS.c.opened, _REQUESTS.c.request)
        )
        wanted = wanted if due is None else wanted.where(_REQUESTS.c.expires <= due)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).all()
        return self._sound(rows)

    def latest(self, limit: int, kind: str = "") -> list[KeptRequest]:
        """The newest requests, of one kind where it is named, the newest first."""
        wanted = select(_REQUESTS).order_by(_REQUESTS.c.opened.desc(), _REQUESTS.c.request.desc())
        wanted = wanted.where(_REQUESTS.c.kind == kind) if kind else wanted
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.limit(limit)).all()
        return self._sound(rows)

    def decide(self, request: str, decision: Decision) -> None:
        """Keep a person's decision.

        Raises:
            Conflict: this person has decided about this request already, or it has ended.
        """
        values = {
            "request": request,
            "approver": decision.approver,
            "role": decision.role,
            "department": decision.department,
            "behalf": decision.behalf,
            "decision": decision.decision.value,
            "reason": decision.reason,
            "digest": decision.digest,
            "decided": self._clock(),
        }
        ended = select(_CLOSED.c.outcome).where(_CLOSED.c.request == request)
        with transaction(self._engine) as connection:
            if (outcome := connection.scalar(ended)) is not None:
                raise Conflict(f"request {request} is {outcome}")
            try:
                connection.execute(insert(_DECISIONS).values(**self._seals.sealed(_DECISIONS, values)))
            except IntegrityError:
                raise Conflict(f"{decision.approver} has decided about {request} already") from None

    def decisions(self, request: str) -> tuple[Decision, ...]:
        """All decisions about a request, the first one first.

        Raises:
            SealBroken: one of them was made up or altered in the database.
        """
        return tuple(one for one, _ in self.dated_decisions(request))

    def dated_decisions(self, request: str) -> list[tuple[Decision, datetime]]:
        """All decisions about a request with their times; errors as in ``decisions``."""
        wanted = select(_DECISIONS).where(_DECISIONS.c.request == request).order_by(_DECISIONS.c.position)
        with transaction(self._engine) as connection:
            rows = [self._seals.check(_DECISIONS, row) for row in connection.execute(wanted).all()]
        return [(_decision(row), row.decided) for row in rows]

    def close(self, request: str, outcome: str, reason: str) -> bool:
        """Note how a request ended; tells whether this was the first time."""
        values = {"request": request, "outcome": outcome, "reason": reason, "closed": self._clock()}
        with transaction(self._engine) as connection:
            return keep(connection, _CLOSED, self._seals.sealed(_CLOSED, values), replace=False)

    def closed(self, request: str) -> Closed | None:
        """How a request ended; None while it has not.

        Raises:
            SealBroken: the end was made up or altered in the database.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(select(_CLOSED).where(_CLOSED.c.request == request)).one_or_none()
        if row is None:
            return None
        row = self._seals.check(_CLOSED, row)
        return Closed(row.outcome, row.reason, row.closed)

    def _sound(self, rows: Iterable[Row[Any]]) -> list[KeptRequest]:
        """The requests that are as this node sealed them; of others the log tells, and they stay out."""
        found = []
        for row in rows:
            try:
                found.append(self._request(row))
            except SealBroken as exc:
                _log.critical("request %s is left out: %s", row.request, exc)
        return found

    def _request(self, row: Row[Any]) -> KeptRequest:
        row = self._seals.check(_REQUESTS, row)
        return KeptRequest(
            request=row.request,
            kind=row.kind,
            subject=row.subject,
            digest=row.digest,
            card=bytes(row.card),
            rule=ApprovalRule.parse(row.rule),
            requester=row.requester,
            opened=row.opened,
            expires=row.expires,
        )


def _decision(row: Row[Any]) -> Decision:
    return Decision(
        row.approver, row.role, Verdict(row.decision), row.reason, row.digest, row.department, row.behalf
    )
