"""What this participant notarized: the signed entry, and the fingerprints with their salts.

They are kept before the entry is sent, so that a request that is repeated after a crash sends the same entry
and gives the same proofs. Forgetting a batch drops fingerprints and salts; the ledger keeps a root from which
nobody can tell them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Engine, select, update

from exchange.store.engine import keep, transaction
from exchange.store.node.models import NodeBase, NotarizationRow

__all__ = ["KeptNotarization", "NotarizationRepository"]

_TABLE = NodeBase.metadata.tables[NotarizationRow.__tablename__]


@dataclass(frozen=True)
class KeptNotarization:
    """A batch: its id, the signed entry's bytes, and its leaves as ``ledger.notarization.Batch`` writes them.

    ``leaves`` is empty once the batch is forgotten.
    """

    notarization: str
    entry: bytes
    leaves: bytes = field(repr=False)


class NotarizationRepository:
    """Batches by id."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock

    def put(self, kept: KeptNotarization) -> KeptNotarization:
        """Keep a batch and return what is kept under its id: the first one stays."""
        values = {
            "notarization": kept.notarization,
            "entry": kept.entry,
            "leaves": kept.leaves,
            "stored": self._clock(),
        }
        with transaction(self._engine) as connection:
            keep(connection, _TABLE, values, replace=False)
        return self.find(kept.notarization) or kept

    def replace_entry(self, notarization: str, old: bytes, new: bytes) -> None:
        """Put a newly signed entry in the place of one that expired; nothing happens if that is gone."""
        same = (_TABLE.c.notarization == notarization) & (_TABLE.c.entry == old)
        with transaction(self._engine) as connection:
            connection.execute(update(_TABLE).where(same).values(entry=new))

    def find(self, notarization: str) -> KeptNotarization | None:
        """Return a batch, or None."""
        wanted = select(_TABLE.c.entry, _TABLE.c.leaves).where(_TABLE.c.notarization == notarization)
        with transaction(self._engine) as connection:
            found = connection.execute(wanted).one_or_none()
        return None if found is None else KeptNotarization(notarization, found.entry, found.leaves)

    def forget(self, notarization: str) -> None:
        """Drop the fingerprints and salts of a batch."""
        wanted = _TABLE.c.notarization == notarization
        with transaction(self._engine) as connection:
            connection.execute(update(_TABLE).where(wanted).values(leaves=b""))
