"""What a mirror holds of other logs, in the ledger's own tables (SQLite or PostgreSQL)."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from ledger.errors import StaleHead, StoreCorrupt
from ledger.raw_mirror import Standing
from ledger.schema import MIRRORED, MIRRORED_TILES, PENDING
from ledger.witness import Seen
from ledger.witness_store import SqlWitnessStore

__all__ = ["SqlMirrorStore"]

_KEPT_PENDING = 16


class SqlMirrorStore(SqlWitnessStore):
    """The record of a witness, and the copies of a mirror whose pending checkpoints that record is.

    Thread-safe, and safe for several processes over one database.
    """

    def pending(self, origin: str) -> dict[int, bytes]:
        """Return the last pending checkpoints by size, with the signatures of the log and of the witness."""
        query = select(PENDING.c.size, PENDING.c.note).where(PENDING.c.origin == origin)
        rows = self._store.rows(query.order_by(PENDING.c.size))
        if not all(isinstance(size, int) and isinstance(note, str) for size, note in rows):
            raise StoreCorrupt("ledger_pending: expected a size and a note")
        return {size: note.encode() for size, note in rows}

    def standing(self, origin: str) -> Standing:
        """Return where the copy of a log stands."""
        query = select(MIRRORED.c.next, MIRRORED.c.size, MIRRORED.c.note)
        rows = self._store.rows(query.where(MIRRORED.c.origin == origin))
        if not rows:
            return Standing()
        next_, size, note = rows[0]
        if not isinstance(next_, int) or not isinstance(size, int) or not isinstance(note, str | None):
            raise StoreCorrupt("ledger_mirrored: expected two numbers and a note")
        return Standing(next_, size, None if note is None else note.encode())

    def tile(self, origin: str, level: int, number: int) -> bytes:
        """Return a tile or, at level -1, an entry bundle, as far as it is filled; else nothing."""
        query = select(MIRRORED_TILES.c.data).where(*_tile(origin, level, number))
        rows = self._store.rows(query)
        if not rows:
            return b""
        if not isinstance(rows[0][0], bytes):
            raise StoreCorrupt("ledger_mirrored_tiles: expected bytes")
        return rows[0][0]

    def extend(self, origin: str, next_: int, count: int, tiles: Mapping[tuple[int, int], bytes]) -> None:
        """Write tiles by level and number and move the next entry on by ``count``, durably.

        Raises:
            StaleHead: the next entry is not ``next_``; nothing was changed.
        """
        with self._store.transaction() as connection:
            moved = connection.execute(
                update(MIRRORED)
                .where(MIRRORED.c.origin == origin, MIRRORED.c.next == next_)
                .values(next=next_ + count)
            )
            if moved.rowcount != 1:
                raise StaleHead(f"expected the next entry {next_}")
            for (level, number), data in tiles.items():
                _put_tile(connection, origin, level, number, data)

    def publish(self, origin: str, old: int, size: int, note: bytes) -> None:
        """Replace the mirror checkpoint of size ``old``, durably; forget pending ones before it.

        Raises:
            StaleHead: it has another size, or entries below ``size`` are missing; nothing was changed.
        """
        with self._store.transaction() as connection:
            moved = connection.execute(
                update(MIRRORED)
                .where(MIRRORED.c.origin == origin, MIRRORED.c.size == old, MIRRORED.c.next >= size)
                .values(size=size, note=note.decode())
            )
            if moved.rowcount != 1:
                raise StaleHead(f"expected the mirror checkpoint at size {old}")
            connection.execute(delete(PENDING).where(PENDING.c.origin == origin, PENDING.c.size < size))

    def _moved(self, connection: Connection, origin: str, new: Seen) -> None:
        """Note the new pending checkpoint in the transaction that moves the witness's record."""
        sizes = connection.scalars(select(PENDING.c.size).where(PENDING.c.origin == origin)).all()
        if not sizes:
            connection.execute(insert(MIRRORED), {"origin": origin, "next": 0, "size": 0, "note": None})
        dropped = [new.size, *sorted(sizes, reverse=True)[_KEPT_PENDING - 1 :]]
        connection.execute(delete(PENDING).where(PENDING.c.origin == origin, PENDING.c.size.in_(dropped)))
        connection.execute(insert(PENDING), {"origin": origin, "size": new.size, "note": new.note.decode()})


def _tile(origin: str, level: int, number: int) -> tuple[ColumnElement[bool], ...]:
    table = MIRRORED_TILES.c
    return (table.origin == origin, table.level == level, table.number == number)


def _put_tile(connection: Connection, origin: str, level: int, number: int, data: bytes) -> None:
    where = _tile(origin, level, number)
    if connection.execute(update(MIRRORED_TILES).where(*where).values(data=data)).rowcount == 0:
        connection.execute(
            insert(MIRRORED_TILES), {"origin": origin, "level": level, "number": number, "data": data}
        )
