"""Cosignatures of outside witnesses on a log's checkpoints, kept beside the members' and never counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Engine, insert, select

from ledger.errors import MalformedNote, StaleHead, StoreCorrupt
from ledger.notes import NoteSignature, Vkey
from ledger.schema import WITNESS_LINES
from ledger.store import LedgerStore

__all__ = ["WitnessLines"]


class WitnessLines:
    """The lines of one log. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._store = LedgerStore(engine)

    def on(self, size: int) -> list[NoteSignature]:
        """Return the lines on the checkpoint of ``size``, sorted by key id.

        Raises:
            StoreCorrupt: a stored line is not a signature line.
        """
        query = select(WITNESS_LINES.c.line).where(WITNESS_LINES.c.size == size)
        try:
            return [
                NoteSignature.parse(str(row[0]))
                for row in self._store.rows(query.order_by(WITNESS_LINES.c.name))
            ]
        except MalformedNote as exc:
            raise StoreCorrupt(f"ledger_witness_lines at size {size}: {exc}") from exc

    def add(self, size: int, lines: Mapping[Vkey, NoteSignature]) -> None:
        """Keep verified lines; a key's first line on a size stays."""
        have = {line.key_id + line.name.encode() for line in self.on(size)}
        new = {vkey: line for vkey, line in lines.items() if vkey.id + vkey.name.encode() not in have}
        self._insert(size, new.items())

    def _insert(self, size: int, lines: Iterable[tuple[Vkey, NoteSignature]]) -> None:
        rows = [
            {"size": size, "name": f"{vkey.id.hex()} {vkey.name}"[:256], "line": line.encode()}
            for vkey, line in lines
        ]
        if not rows:
            return
        try:
            with self._store.transaction() as connection:
                connection.execute(insert(WITNESS_LINES), rows)
        except StaleHead:
            return  # another thread kept lines by the same keys
