"""Signed entries on their way to the ledger.

An entry is kept before it is sent. A node that dies in between finds it here at its next start and sends the
same bytes again, which the ledger counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine, select, update

from exchange.store.engine import keep, transaction
from exchange.store.node.models import NodeBase, OutboxRow

__all__ = ["Outbox", "OutboxEntry", "Settled"]

_OUTBOX = NodeBase.metadata.tables[OutboxRow.__tablename__]
_PENDING = "pending"

Settled = Literal["final", "refused", "expired"]


@dataclass(frozen=True)
class OutboxEntry:
    """An entry that is not known to have an outcome."""

    txid: str
    type: str
    raw: bytes


class Outbox:
    """Entries by transaction id."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, txid: str, entry_type: str, raw: bytes) -> None:
        """Keep an entry as pending; one that is here already stays as it is."""
        values = {"txid": txid, "type": entry_type, "raw": raw, "state": _PENDING}
        with transaction(self._engine) as connection:
            keep(connection, _OUTBOX, values, replace=False)

    def settle(self, txid: str, outcome: Settled) -> None:
        """Note what became of a pending entry. A settled one keeps its first outcome."""
        pending = (_OUTBOX.c.txid == txid) & (_OUTBOX.c.state == _PENDING)
        with transaction(self._engine) as connection:
            connection.execute(update(_OUTBOX).where(pending).values(state=outcome))

    def pending(self) -> list[OutboxEntry]:
        """Entries without an outcome, in the order in which they were signed."""
        columns = (_OUTBOX.c.txid, _OUTBOX.c.type, _OUTBOX.c.raw)
        wanted = select(*columns).where(_OUTBOX.c.state == _PENDING).order_by(_OUTBOX.c.position)
        with transaction(self._engine) as connection:
            return [OutboxEntry(row.txid, row.type, row.raw) for row in connection.execute(wanted)]
