"""Calls of the webhook that are still owed: which notice, and when it is tried next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, delete, func, select, update

from exchange.store.engine import keep, transaction
from exchange.store.node.approval_models import WebhookCallRow
from exchange.store.node.models import NodeBase

__all__ = ["WebhookCall", "WebhookCallRepository"]

_CALLS = NodeBase.metadata.tables[WebhookCallRow.__tablename__]


@dataclass(frozen=True)
class WebhookCall:
    """A call that is owed; ``attempts`` have failed."""

    notice: str
    kind: str
    subject: str
    attempts: int
    due: datetime


class WebhookCallRepository:
    """Calls by the id of their notice."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def owe(self, call: WebhookCall) -> None:
        """Keep a call until it is made or given up."""
        values = {
            "notice": call.notice,
            "kind": call.kind,
            "subject": call.subject,
            "attempts": call.attempts,
            "due": call.due,
        }
        with transaction(self._engine) as connection:
            keep(connection, _CALLS, values, replace=False)

    def due(self, now: datetime, limit: int) -> list[WebhookCall]:
        """The calls that are due, the oldest first."""
        wanted = select(_CALLS).where(_CALLS.c.due <= now).order_by(_CALLS.c.due, _CALLS.c.notice)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.limit(limit)).all()
        return [WebhookCall(row.notice, row.kind, row.subject, row.attempts, row.due) for row in rows]

    def next_due(self) -> datetime | None:
        """When the next call is due; None where none is owed."""
        with transaction(self._engine) as connection:
            found: datetime | None = connection.scalar(select(func.min(_CALLS.c.due)))
        return found

    def put_off(self, notice: str, due: datetime) -> None:
        """Note that a call failed and when it is tried again."""
        changed = {"attempts": _CALLS.c.attempts + 1, "due": due}
        with transaction(self._engine) as connection:
            connection.execute(update(_CALLS).where(_CALLS.c.notice == notice).values(**changed))

    def settle(self, notice: str) -> None:
        """Forget a call that was made or given up."""
        with transaction(self._engine) as connection:
            connection.execute(delete(_CALLS).where(_CALLS.c.notice == notice))
