"""The search index: for each term, the entries it leads to, by entry type and in log order.

Terms are the subjects of an entry, its actor, the code it was refused with, and one term that all entries
have. The index is made from the stored entries some thousand at a time, after they are committed and only
where somebody searches: a commit pays nothing for it, and a hub has none. It says how far it is. Each row
counts the rows before it, so that how many entries of a type a term has in any span costs two look-ups.

Nothing is decided on the index; ``ledger.fsck`` checks it row by row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Dialect,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from ledger.entries import named
from ledger.errors import SearchTooWide, StaleHead, StoreCorrupt
from ledger.schema import INDEXED, POSTINGS
from ledger.store import LedgerStore, Record, typed

__all__ = [
    "EVERYTHING",
    "REFUSED",
    "VERSION",
    "Criterion",
    "Postings",
    "Span",
    "Walk",
    "by_actor",
    "refused_with",
    "terms",
]

VERSION = 1
"""Changes with the terms of an entry; an index of another version is made anew."""

EVERYTHING = ""
REFUSED = "code "
"""These two terms, and those made below, are no subject: they are empty or have a space."""

Criterion = tuple[str, ...]
"""Terms of which an entry must have one. No entry has two of them."""

_KEYS = ("term", "type", "index")
_PAGE = 4096
_MAX_TYPES = 1000


@dataclass(frozen=True)
class Span:
    """The indexes from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    def after(self, index: int) -> Span:
        """The part behind an index."""
        return Span(max(self.start, index + 1), self.stop)

    def before(self, index: int) -> Span:
        """The part before an index."""
        return Span(self.start, min(self.stop, index))


@dataclass(frozen=True)
class Walk:
    """How the entries of one type that meet all criteria are found.

    Attributes:
        kind: the entry type.
        driver: the criterion whose rows are walked.
        others: the criteria in which each of them is looked up.
        size: rows of the driver in the span it was planned for.
    """

    kind: str
    driver: Criterion
    others: tuple[Criterion, ...] = ()
    size: int = 0

    def values(self, span: Span) -> dict[str, Any]:
        """What the statements of a walk are executed with, apart from the driver's term."""
        looked_up = {f"terms{number}": list(terms) for number, terms in enumerate(self.others)}
        return {"kind": self.kind, **vars(span), **looked_up}


def by_actor(did: str) -> str:
    """The term of the entries that a participant signed."""
    return f"actor {did}"


def refused_with(code: str) -> str:
    """The term of the entries that were refused with a code."""
    return REFUSED + code


def terms(actor: str, body: dict[str, Any], code: str | None) -> frozenset[str]:
    """Return the terms of an entry; ``code`` is what it was refused with."""
    found = {EVERYTHING, by_actor(actor), *named(actor, body)} - {actor}
    return frozenset(found if code is None else {*found, REFUSED, refused_with(code)})


class Postings:
    """The index of one store. Thread-safe; several processes may extend it."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._extending = threading.Lock()

    def size(self) -> int:
        """How many entries are in the index; 0 where this build cannot use it."""
        rows = self._store.rows(select(INDEXED))
        return typed(rows[0].size, int, "ledger_indexed: size") if _is_usable(rows) else 0

    def extend(self, stop: int, go_on: Callable[[], bool] = lambda: True) -> None:
        """Take in the entries below ``stop``, some thousand at a time, while ``go_on`` says so.

        Raises:
            StoreCorrupt: one of them is missing or damaged.
            StoreUnavailable: the database did not carry it out; what was taken in stays.
        """
        with self._extending:
            while (start := self.size()) < stop and go_on():
                records = self._store.pick(range(start, min(stop, start + _PAGE)))
                rows = sorted(row for record in records for row in _rows(record))
                try:
                    with self._store.transaction() as connection:
                        _move(connection, start, start + len(records))
                        _insert(connection, rows)
                except StaleHead:
                    continue  # another process took them in

    def counts(
        self, connection: Connection, criterion: Criterion, span: Span, types: Sequence[tuple[str, str]]
    ) -> dict[str, int]:
        """Return how many entries in a span meet a criterion, by type; types without any are left out.

        Args:
            connection: to read by.
            criterion: one criterion.
            span: which entries.
            types: first and last type of each range to look at.

        Raises:
            SearchTooWide: there are entries of more types than anybody can mean.
        """
        found: dict[str, int] = {}
        for term in criterion:
            of_term: dict[str, int] = {}
            for lowest, highest in types:
                values = {"term": term, "lowest": lowest, "highest": highest} | vars(span)
                rows = connection.execute(_census(), values).all()
                if len(rows) > _MAX_TYPES:
                    raise SearchTooWide(f"expected entries of at most {_MAX_TYPES} types; name a type")
                of_term |= {kind: _between(first, last) for kind, first, last in rows}
            for kind, count in of_term.items():
                found[kind] = found.get(kind, 0) + count
        return {kind: count for kind, count in found.items() if count}

    def indexes(
        self, connection: Connection, walk: Walk, span: Span, *, newest_first: bool, limit: int
    ) -> list[int]:
        """Return the indexes in a span that a walk finds, at most ``limit``, in the order asked for."""
        query, values = _intersection(len(walk.others), newest_first), walk.values(span) | {"limit": limit}
        found = [
            typed(row[0], int, "ledger_postings: index")
            for term in walk.driver
            for row in connection.execute(query, values | {"term": term})
        ]
        return sorted(found, reverse=newest_first)[:limit]

    def count(self, connection: Connection, walk: Walk, span: Span) -> int:
        """Count the entries in a span that a walk finds, looking at each row of its driver."""
        query, values = _intersection_size(len(walk.others)), walk.values(span)
        return sum(connection.execute(query, values | {"term": term}).scalar_one() for term in walk.driver)

    def nth(
        self, connection: Connection, walk: Walk, span: Span, number: int, *, newest_first: bool
    ) -> int | None:
        """Return the index before which no term of a walk's driver has more than ``number`` rows in a span.

        None if the whole span is like that.
        """
        query, values = _nth(newest_first), {"kind": walk.kind, "number": number} | vars(span)
        rows = [connection.execute(query, values | {"term": term}).scalar() for term in walk.driver]
        found = [typed(row, int, "ledger_postings: index") for row in rows if row is not None]
        return (max if newest_first else min)(found, default=None)

    def rank(self, connection: Connection, term: str, kind: str, index: int) -> int:
        """Return how many entries below ``index`` have a term and a type."""
        at = POSTINGS.c["index"]
        query = (
            select(POSTINGS.c.ordinal)
            .where(POSTINGS.c.term == term, POSTINGS.c.type == kind, at < index)
            .order_by(at.desc())
            .limit(1)
        )
        last = connection.execute(query).scalar()
        return 0 if last is None else typed(last, int, "ledger_postings: ordinal") + 1


def _between(first: object, last: object) -> int:
    """Count rows from the first ordinal to the last; an empty span has its last before its first."""
    if first is None or last is None:
        return 0
    where = "ledger_postings: ordinal"
    return max(0, typed(last, int, where) - typed(first, int, where) + 1)


def _rows(record: Record) -> Iterator[tuple[str, str, int]]:
    try:
        found = terms(record.actor, orjson.loads(record.raw)["body"], record.code)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as exc:
        raise StoreCorrupt(f"ledger_entries index {record.index}: raw: expected an entry") from exc
    for term in found:
        yield term, record.type, record.index


def _move(connection: Connection, start: int, stop: int) -> None:
    """Compare-and-swap how far the index is; an index of another version is emptied first."""
    if start:
        moved = connection.execute(
            update(INDEXED).where(INDEXED.c.version == VERSION, INDEXED.c.size == start).values(size=stop)
        )
        if moved.rowcount != 1:
            raise StaleHead(f"expected the search index at size {start}")
        return
    if _is_usable(connection.execute(select(INDEXED)).all()):
        raise StaleHead("expected no search index")
    connection.execute(delete(POSTINGS))
    connection.execute(delete(INDEXED))
    connection.execute(insert(INDEXED), {"version": VERSION, "size": stop})


def _is_usable(rows: Sequence[Any]) -> bool:
    return len(rows) == 1 and rows[0].version == VERSION and rows[0].size != 0


def _walked(term: Any, kind: Any) -> list[ColumnElement[bool]]:  # noqa: ANN401 - a value or a column
    columns = POSTINGS.c
    return [
        columns.term == term,
        columns.type == kind,
        columns["index"] >= bindparam("start"),
        columns["index"] < bindparam("stop"),
    ]


def _insert(connection: Connection, rows: Sequence[tuple[str, str, int]]) -> None:
    """Insert rows by the driver itself: there are many, and this statement needs no conversion of values."""
    statement, names = _insertion(connection.dialect)
    if names is None:
        connection.exec_driver_sql(statement, [dict(zip(_KEYS, row, strict=True)) for row in rows])
    else:
        connection.exec_driver_sql(statement, list(map(itemgetter(*map(_KEYS.index, names)), rows)))


@cache
def _insertion(dialect: Dialect) -> tuple[str, tuple[str, ...] | None]:
    """The insertion of a row whose ordinal is one higher than its term's and type's last, for a driver.

    Returns:
        The statement, and the names of its parameters if the driver takes them by position.
    """
    last = POSTINGS.alias("last")
    zero: ColumnElement[int] = literal_column("0")
    one: ColumnElement[int] = literal_column("1")
    ordinal = (
        select(last.c.ordinal + one)
        .where(last.c.term == bindparam("term"), last.c.type == bindparam("type"))
        .order_by(last.c["index"].desc())
        .limit(one)
        .offset(zero)
        .scalar_subquery()
    )
    values = [bindparam(name, type_=POSTINGS.c[name].type) for name in _KEYS]
    row = select(*values, func.coalesce(ordinal, zero))
    compiled = insert(POSTINGS).from_select([*_KEYS, "ordinal"], row).compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup) if compiled.positiontup else None


@cache
def _census() -> Select[Any]:
    """The types of a term, each found by one look-up behind the last, with the ordinals at a span's ends."""
    postings, further = POSTINGS.alias(), POSTINGS.alias()
    term: BindParameter[str] = bindparam("term")
    highest: BindParameter[str] = bindparam("highest")
    kinds = (
        select(func.min(postings.c.type).label("type"))
        .where(postings.c.term == term, postings.c.type >= bindparam("lowest"), postings.c.type <= highest)
        .cte("kinds", recursive=True)
    )
    following = (
        select(func.min(further.c.type))
        .where(further.c.term == term, further.c.type > kinds.c.type, further.c.type <= highest)
        .scalar_subquery()
    )
    kinds = kinds.union_all(select(following).where(kinds.c.type.is_not(None)))
    at = POSTINGS.c["index"]
    ends = select(POSTINGS.c.ordinal).where(POSTINGS.c.term == term, POSTINGS.c.type == kinds.c.type)
    first = ends.where(at >= bindparam("start")).order_by(at).limit(1).scalar_subquery()
    last = ends.where(at < bindparam("stop")).order_by(at.desc()).limit(1).scalar_subquery()
    return (
        select(kinds.c.type, first.label("first"), last.label("last"))
        .where(kinds.c.type.is_not(None))
        .limit(_MAX_TYPES + 1)
    )


@cache
def _intersection(others: int, newest_first: bool) -> Select[Any]:
    at = POSTINGS.c["index"]
    query = select(at).where(*_walked(bindparam("term"), bindparam("kind")), *_also(others))
    return query.order_by(at.desc() if newest_first else at).limit(bindparam("limit"))


@cache
def _intersection_size(others: int) -> Select[Any]:
    return (
        select(func.count())
        .select_from(POSTINGS)
        .where(*_walked(bindparam("term"), bindparam("kind")), *_also(others))
    )


def _also(others: int) -> list[ColumnElement[bool]]:
    """One look-up in each other criterion; written so that no planner makes a join over all its rows."""
    conditions: list[ColumnElement[bool]] = []
    for number in range(others):
        other = POSTINGS.alias(f"other{number}")
        found = (
            select(other.c["index"])
            .where(
                other.c.term.in_(bindparam(f"terms{number}", expanding=True)),
                other.c.type == POSTINGS.c.type,
                other.c["index"] == POSTINGS.c["index"],
            )
            .limit(1)
        )
        conditions.append(found.scalar_subquery().is_not(None))
    return conditions


@cache
def _nth(newest_first: bool) -> Select[Any]:
    at = POSTINGS.c["index"]
    query = select(at).where(*_walked(bindparam("term"), bindparam("kind")))
    return query.order_by(at.desc() if newest_first else at).offset(bindparam("number")).limit(1)
