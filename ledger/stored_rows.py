"""The rows of the entries' table, for a reader that goes through them several times without keeping them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from ledger.entries import Entry
from ledger.schema import ENTRIES
from ledger.store import LedgerStore

__all__ = ["StoredEntries", "StoredRows"]

_PAGE = 1024
_KEPT_PAGES = 2


class StoredRows:
    """The rows that follow one another from index 0, as they are stored, a page or two in memory.

    Attributes:
        beyond: index of the first row after a gap, as stored; None if there is no gap.
    """

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._pages: dict[int, list[Any]] = {}
        self._size = 0
        self.beyond: object = None
        for (index,) in store.stream(select(ENTRIES.c["index"]).order_by(ENTRIES.c["index"])):
            if index != self._size:
                self.beyond = index
                break
            self._size += 1

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - a row of the database
        if not 0 <= index < self._size:
            raise IndexError(f"expected an index below {self._size}, got {index}")
        return self._page(index // _PAGE)[index % _PAGE]

    def __iter__(self) -> Iterator[Any]:
        for index in range(self._size):
            yield self[index]

    def part(self, start: int, stop: int) -> Iterator[Any]:
        """Yield the rows from ``start`` up to ``stop``."""
        for index in range(start, min(stop, self._size)):
            yield self[index]

    def _page(self, number: int) -> list[Any]:
        if number not in self._pages:
            start = number * _PAGE
            at = ENTRIES.c["index"]
            query = select(ENTRIES).where(at >= start, at < min(start + _PAGE, self._size)).order_by(at)
            while len(self._pages) >= _KEPT_PAGES:
                del self._pages[next(iter(self._pages))]
            self._pages[number] = self._store.rows(query)
        return self._pages[number]


class StoredEntries:
    """The entries of these rows, parsed each time; those in ``unread`` are left out."""

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows
        self.unread: set[int] = set()

    def __contains__(self, index: int) -> bool:
        return 0 <= index < len(self._rows) and index not in self.unread

    def __getitem__(self, index: int) -> Entry:
        if index not in self:
            raise KeyError(index)
        return Entry.parse(self._rows[index].raw)

    def get(self, index: int) -> Entry | None:
        """Return an entry; None if it is left out."""
        return self[index] if index in self else None
