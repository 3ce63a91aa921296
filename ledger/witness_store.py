"""What a witness cosigned last, in the ledger's own tables (SQLite or PostgreSQL)."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, insert, select, update

from ledger.errors import StaleHead, StoreCorrupt
from ledger.merkle import HASH_SIZE
from ledger.schema import WITNESSED
from ledger.store import LedgerStore
from ledger.witness import Seen

__all__ = ["SqlWitnessStore"]


class SqlWitnessStore:
    """The record of one witness. Thread-safe, and safe for several processes over one database."""

    def __init__(self, engine: Engine) -> None:
        self._store = LedgerStore(engine)

    def latest(self, origin: str) -> Seen | None:
        """Return the last checkpoint of a log; None before the first.

        Raises:
            StoreCorrupt: the stored row does not have the form in which it was written.
            StoreUnavailable: the database did not answer.
        """
        query = select(WITNESSED.c.size, WITNESSED.c.root, WITNESSED.c.note)
        rows = self._store.rows(query.where(WITNESSED.c.origin == origin))
        return _seen(*rows[0]) if rows else None

    def origins(self) -> list[str]:
        """Return the logs that have a record, by name."""
        return [row[0] for row in self._store.rows(select(WITNESSED.c.origin).order_by(WITNESSED.c.origin))]

    def advance(self, origin: str, old: Seen | None, new: Seen) -> None:
        """Replace the record of a log durably, if it still has the size and root of ``old``.

        Raises:
            StaleHead: it has another; nothing was changed.
            StoreUnavailable: the database did not carry it out.
        """
        values = {"size": new.size, "root": new.root.hex(), "note": new.note.decode()}
        with self._store.transaction() as connection:
            if old is None:
                connection.execute(insert(WITNESSED), {"origin": origin, **values})
                self._moved(connection, origin, new)
                return
            moved = connection.execute(
                update(WITNESSED)
                .where(
                    WITNESSED.c.origin == origin,
                    WITNESSED.c.size == old.size,
                    WITNESSED.c.root == old.root.hex(),
                )
                .values(**values)
            )
            if moved.rowcount != 1:
                raise StaleHead(f"expected the record at size {old.size}")
            self._moved(connection, origin, new)

    def _moved(self, connection: Connection, origin: str, new: Seen) -> None:
        """Write what else belongs to a moved record, in the same transaction. Here nothing."""


def _seen(size: object, root: object, note: object) -> Seen:
    if not isinstance(size, int) or not isinstance(root, str) or not isinstance(note, str):
        raise StoreCorrupt("ledger_witnessed: expected a size, a root and a note")
    try:
        decoded = bytes.fromhex(root)
    except ValueError:
        decoded = b""
    if len(decoded) != HASH_SIZE or root != decoded.hex():
        raise StoreCorrupt(f"ledger_witnessed: expected a root of {HASH_SIZE} bytes in lower-case hex")
    return Seen(size, decoded, note.encode())
