"""Where a member keeps the time stamps on its checkpoints.

The table is not trusted: a stamp counts for whoever checks it, against the checkpoint and a root certificate.
"""

from __future__ import annotations

from sqlalchemy import insert, select

from ledger.schema import TIMESTAMPS
from ledger.store import LedgerStore
from ledger.timestamps import Stamp

__all__ = ["TimestampStore"]


class TimestampStore:
    """Time stamps by size and authority. Thread-safe."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    def add(self, stamp: Stamp) -> None:
        """Keep a stamp.

        Raises:
            StaleHead: this authority's stamp on this size is kept already.
        """
        row = {
            "size": stamp.size,
            "authority": stamp.authority,
            "token": stamp.response,
            "certificates": stamp.certificates,
        }
        with self._store.transaction() as connection:
            connection.execute(insert(TIMESTAMPS), row)

    def all(self) -> list[Stamp]:
        """Return all stamps, by size and authority."""
        columns = (
            TIMESTAMPS.c.size,
            TIMESTAMPS.c.authority,
            TIMESTAMPS.c.token,
            TIMESTAMPS.c.certificates,
        )
        query = select(*columns).order_by(TIMESTAMPS.c.size, TIMESTAMPS.c.authority)
        return [
            Stamp(size, authority, bytes(token), bytes(certificates))
            for size, authority, token, certificates in self._store.rows(query)
        ]
