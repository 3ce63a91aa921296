"""Search: which entries meet all of some criteria, a page at a time, in either order, and how many they are.

Every answer comes from ranges of the search index (``ledger.postings``), intersected by the database: for
each entry type that all criteria have, the rows of the rarest criterion are walked and looked up in the
others. No answer reads entries that it does not return. Where two criteria are both common and hardly meet, a
page ends after a bounded number of look-ups, perhaps with fewer entries than asked for, and the next goes on.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from ledger.postings import EVERYTHING, REFUSED, Criterion, Postings, Span, Walk, by_actor, refused_with
from ledger.schema import ENTRIES
from ledger.state import SEAL
from ledger.store import LedgerStore, Record, typed

__all__ = ["Page", "Query", "Search", "TypeCount"]

_MAX_LOOKUPS = 16_384
"""For one page, where more than one criterion has to hold: some 20 ms on SQLite."""

_PAGE = 500
_LAST_TYPE = "~"
"""Sorts behind every entry type."""


@dataclass(frozen=True)
class Query:
    """What to look for. All conditions must hold; none at all means every entry.

    Attributes:
        types: entry types, any of them; ``job.*`` stands for all that begin with ``job.``.
        actor: the DID that signed.
        concerning: DIDs and ids; the entry names each of them, or is signed by it.
        is_refused: only entries that the validity function refused.
        code: only entries refused with this code.
        since: Unix time; only batches sealed then or later.
        until: Unix time; only batches sealed earlier.
    """

    types: tuple[str, ...] = ()
    actor: str | None = None
    concerning: tuple[str, ...] = ()
    is_refused: bool = False
    code: str | None = None
    since: int | None = None
    until: int | None = None

    def criteria(self) -> tuple[Criterion, ...]:
        """Return what the search index has to be asked; empty if a range of the log answers."""
        found: list[Criterion] = [(subject, by_actor(subject)) for subject in dict.fromkeys(self.concerning)]
        if self.actor is not None:
            found.append((by_actor(self.actor),))
        if self.code is not None:
            found.append((refused_with(self.code),))
        elif self.is_refused:
            found.append((REFUSED,))
        return tuple(found) or (((EVERYTHING,),) if self.types else ())

    def type_ranges(self) -> list[tuple[str, str]]:
        """Return the first and the last type of each range that ``types`` stands for."""
        ranges = [
            (kind[:-1], kind[:-1] + _LAST_TYPE) if kind.endswith("*") else (kind, kind) for kind in self.types
        ]
        return ranges or [("", _LAST_TYPE)]


@dataclass(frozen=True)
class Page:
    """Entries in the order asked for, and the cursor of the page behind them; None where there is none."""

    records: list[Record]
    cursor: int | None


@dataclass(frozen=True)
class TypeCount:
    """How many entries of a type were found; ``is_exact`` is false where there may be more."""

    type: str
    count: int
    is_exact: bool


class Search:
    """Search in one store. Thread-safe."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self.postings = Postings(store)

    def page(
        self,
        query: Query,
        *,
        below: int,
        cursor: int | None = None,
        newest_first: bool = False,
        limit: int = 100,
    ) -> Page:
        """Return entries that meet a query, at most ``limit``.

        Args:
            query: what to look for.
            below: only entries with a smaller index; they are taken into the index first.
            cursor: from the page before; None for the first.
            newest_first: descending; ascending by default.
            limit: size of a page.

        Raises:
            StoreCorrupt: the index or the entries contradict themselves.
            SearchTooWide: see ``Postings.counts``.
        """
        self.postings.extend(below)
        with self._store.transaction() as connection:
            span = self._span(connection, query, below)
            if cursor is not None:
                span = span.before(cursor) if newest_first else span.after(cursor)
            indexes, end = self._indexes(connection, query, span, newest_first, limit + 1)
        if len(indexes) > limit:
            indexes = indexes[:limit]
            end = indexes[-1]
        return Page(self._store.pick(indexes), end)

    def every(self, query: Query, *, below: int) -> Iterator[Record]:
        """Yield all entries that meet a query, in log order, reading a page at a time."""
        cursor: int | None = None
        while True:
            page = self.page(query, below=below, cursor=cursor, limit=_PAGE)
            yield from page.records
            if (cursor := page.cursor) is None:
                return

    def counts(self, query: Query, *, below: int) -> list[TypeCount]:
        """Return how many entries meet a query, by type in alphabetical order.

        One criterion is counted exactly, however many entries it has; several are counted by look-up, as far
        as one page would look.
        """
        self.postings.extend(below)
        with self._store.transaction() as connection:
            span = self._span(connection, query, below)
            walks = self._walks(connection, query.criteria() or ((EVERYTHING,),), query, span)
            if not any(walk.others for walk in walks):
                return [TypeCount(walk.kind, walk.size, True) for walk in walks]
            span, end = self._bounded(connection, walks, span, newest_first=False)
            counts = [self.postings.count(connection, walk, span) for walk in walks]
        found = zip(walks, counts, strict=True)
        return [TypeCount(walk.kind, count, end is None) for walk, count in found if count or end is not None]

    def seal_of(self, index: int, *, below: int) -> Record | None:
        """Return the seal of the batch that an entry is in; None if it is not below ``below``."""
        self.postings.extend(below)
        with self._store.transaction() as connection:
            walk = Walk(SEAL, (EVERYTHING,))
            found = self.postings.indexes(connection, walk, Span(index, below), newest_first=False, limit=1)
        return self._store.pick(found)[0] if found else None

    def seal_at(self, height: int, *, below: int) -> Record | None:
        """Return the seal of the batch at a height; None if it is not below ``below``."""
        self.postings.extend(below)
        with self._store.transaction() as connection:
            index = bisect.bisect_left(
                range(below),
                height + 1,
                key=lambda index: self.postings.rank(connection, EVERYTHING, SEAL, index + 1),
            )
        return self._store.pick([index])[0] if 0 <= height and index < below else None

    def _span(self, connection: Connection, query: Query, below: int) -> Span:
        """Turn times into indexes: the entries' times never decrease."""

        def first_at(time: int) -> int:
            return bisect.bisect_left(range(below), time, key=lambda index: _time(connection, index))

        return Span(
            0 if query.since is None else first_at(query.since),
            below if query.until is None else first_at(query.until),
        )

    def _indexes(
        self, connection: Connection, query: Query, span: Span, newest_first: bool, limit: int
    ) -> tuple[list[int], int | None]:
        """Return the indexes that meet a query, and where looking for more has to go on."""
        criteria = query.criteria()
        if not criteria:
            every = range(span.start, span.stop)
            return list(every[-limit:][::-1] if newest_first else every[:limit]), None
        walks = self._walks(connection, criteria, query, span)
        span, end = self._bounded(connection, walks, span, newest_first)
        found = [
            index
            for walk in walks
            for index in self.postings.indexes(connection, walk, span, newest_first=newest_first, limit=limit)
        ]
        return sorted(found, reverse=newest_first)[:limit], end

    def _walks(
        self, connection: Connection, criteria: Sequence[Criterion], query: Query, span: Span
    ) -> list[Walk]:
        """Plan one walk for each type that every criterion has entries of: along the rarest of them."""
        sizes = [
            self.postings.counts(connection, criterion, span, query.type_ranges()) for criterion in criteria
        ]
        walks = []
        for kind in sorted(set(sizes[0]).intersection(*sizes)):
            driver = min(range(len(criteria)), key=lambda number: sizes[number][kind])
            others = tuple(one for number, one in enumerate(criteria) if number != driver)
            walks.append(Walk(kind, criteria[driver], others, sizes[driver][kind]))
        return walks

    def _bounded(
        self, connection: Connection, walks: Sequence[Walk], span: Span, newest_first: bool
    ) -> tuple[Span, int | None]:
        """Shorten a span so that walking it takes a bounded number of look-ups; tell its last index if so."""
        ends = []
        looked_up = max((sum(map(len, walk.others)) for walk in walks), default=0)
        quota = max(1, _MAX_LOOKUPS // max(1, len(walks) * looked_up))
        for walk in walks:
            if walk.others and walk.size > quota:
                end = self.postings.nth(connection, walk, span, quota - 1, newest_first=newest_first)
                ends += [] if end is None else [end]
        if not ends:
            return span, None
        end = max(ends) if newest_first else min(ends)
        return (span.after(end - 1) if newest_first else span.before(end + 1)), end


def _time(connection: Connection, index: int) -> int:
    found = connection.execute(select(ENTRIES.c.time).where(ENTRIES.c["index"] == index)).scalar()
    return typed(found, int, f"ledger_entries index {index}: time")
