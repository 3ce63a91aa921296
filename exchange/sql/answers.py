"""What owners and helper release of a query, and what its recipient makes of it.

A release is one party's share of every column of the answer, with the public sizes; the shares of the three
computing parties add up to it. Means, variances and quotients are calculated here, from exact figures.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal
from fractions import Fraction
from math import prod
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.jobs.results import Cell, ResultTable
from exchange.sql.execution import Executed
from exchange.sql.expressions import (
    Aggregate,
    Arithmetic,
    Case,
    Cast,
    Compare,
    Expression,
    IsNull,
    IsTrue,
    Kind,
    Literal,
    Logic,
    Not,
    SqlType,
    aggregates_in,
)
from exchange.sql.figures import recipient_roots, recipient_totals, uses
from exchange.sql.labels import Value, decode
from exchange.sql.program import Program
from exchange.web.kinds import read_as
from ledger import canonical
from ledger.errors import LedgerError

__all__ = ["Release", "open_answer"]

_HEAD: Final = 4
_PLACES: Final = 9
"""Digits behind the point of means, variances and quotients."""
_DIGITS: Final = Context(prec=60)

Known = bool | int | str | date | Fraction | None
Row = Mapping[Expression, Known]


@dataclass(frozen=True)
class _Head:
    sizes: tuple[int, ...]
    words: tuple[int, ...]
    columns: int


@dataclass(frozen=True)
class Release:
    """One party's part of an answer; ``shares`` is uint64[columns, rows], None where it does not compute."""

    sizes: tuple[int, ...]
    words: tuple[int, ...]
    shares: NDArray[np.uint64] | None

    @classmethod
    def of(cls, executed: Executed) -> Release:
        """The release of what a party has executed."""
        return cls(executed.sizes, executed.words, executed.shares)

    def encode(self) -> bytes:
        """Encode, for sealing."""
        columns = 0 if self.shares is None else len(self.shares)
        head = canonical.encode({"sizes": list(self.sizes), "words": list(self.words), "columns": columns})
        body = b"" if self.shares is None else self.shares.astype("<u8").tobytes()
        return len(head).to_bytes(_HEAD, "big") + head + body

    @classmethod
    def decode(cls, raw: bytes) -> Release:
        """Decode what ``encode`` made.

        Raises:
            JobFailed: it has another form.
        """
        end = _HEAD + int.from_bytes(raw[:_HEAD], "big")
        try:
            head = read_as(_Head, canonical.decode(raw[_HEAD:end]), "release")
        except LedgerError as exc:
            raise JobFailed("expected a release of a query, got another form") from exc
        rows = prod(head.sizes)
        if min((*head.sizes, *head.words, 1)) < 1 or len(raw) - end != 8 * head.columns * rows:
            raise JobFailed("expected a release of a query, got another form")
        body = np.frombuffer(raw, dtype="<u8", offset=end).astype(np.uint64)
        return cls(head.sizes, head.words, body.reshape(head.columns, rows) if head.columns else None)


def open_answer(program: Program, releases: Sequence[Release]) -> ResultTable:
    """Put the shares of all parties together.

    Raises:
        JobFailed: they do not fit together.
    """
    shared = [release.shares for release in releases if release.shares is not None]
    sizes = {(release.sizes, release.words) for release in releases}
    if len(shared) != 3 or len(sizes) != 1 or len({one.shape for one in shared}) != 1:
        raise JobFailed("the parties' releases are not of one answer")
    opened = (shared[0] + shared[1] + shared[2]).view(np.int64)
    keep = np.flatnonzero(opened[0])
    columns = opened[1:, keep]
    read = _grouped if program.query.is_grouped else _rowwise
    rows = list(read(program, columns, keep, *next(iter(sizes))))
    table = [tuple(_evaluate(item.value, row) for item in program.query.items) for row in rows]
    placed = sorted(range(len(rows)), key=lambda at: _sort_key(program, rows[at]))
    kinds = [item.value.type for item in program.query.items]
    facts: dict[str, object] = {"minimum": program.minimum}
    if program.query.is_grouped:
        facts["groups_not_shown"] = opened.shape[1] - len(keep)
    return ResultTable(
        tuple(item.name for item in program.query.items),
        tuple(tuple(map(_cell, table[at], kinds)) for at in placed),
        facts,
    )


def _grouped(
    program: Program,
    columns: NDArray[np.int64],
    keep: NDArray[np.int64],
    sizes: tuple[int, ...],
    words: tuple[int, ...],
) -> Iterator[Row]:
    roots = recipient_roots(program)
    known: dict[Expression, Sequence[Known]] = {}
    at = 0
    keys = [value for key in program.local_keys for value in key.values]
    for key, count in zip(keys, words, strict=True):
        if any(uses(root, key) for root in roots):
            known[key] = [_known(value) for value in decode(columns[at : at + count], key.type)]
            at += count
    place = np.unravel_index(keep, sizes or (1,))
    for secret, index in zip(reversed(program.secret_keys), reversed(place), strict=False):
        literals = [_known_literal(literal) for literal, _ in secret.outcomes]
        known[secret.value] = [literals[one] for one in index]
    for aggregate in aggregates_in(*roots):
        count = 1 if aggregate.part is None else 1 + max(len(recipient_totals(aggregate)), 1)
        figures = columns[at : at + count].T.tolist()
        known[aggregate] = [_figure(aggregate, one) for one in figures]
        at += count
    return (dict(zip(known, values, strict=True)) for values in zip(*known.values(), strict=True))


def _rowwise(
    program: Program,
    columns: NDArray[np.int64],
    keep: NDArray[np.int64],
    sizes: tuple[int, ...],
    words: tuple[int, ...],
) -> Iterator[Row]:
    known: dict[Expression, Sequence[Known]] = {}
    at, texts = 0, iter(words)
    for root in recipient_roots(program):
        count = next(texts) if root.type.kind is Kind.TEXT else 2
        known[root] = [_known(value) for value in decode(columns[at : at + count], root.type)]
        at += count
    return (dict(zip(known, values, strict=True)) for values in zip(*known.values(), strict=True))


def _figure(aggregate: Aggregate, words: Sequence[int]) -> Known:
    """An aggregate from its exact figures; None where it is not shown, or is of no value."""
    if aggregate.part is None:
        return Fraction(words[0])
    is_shown, first, *rest = words
    if not is_shown:
        return None
    scale = aggregate.part.type.scale
    if aggregate.figure == "count":
        return Fraction(first)
    if aggregate.type.kind is Kind.DATE:
        return cast(date, decode(np.array([[1], [first]]), aggregate.type)[0])
    if aggregate.figure in ("sum", "min", "max"):
        return Fraction(first, 10**scale)
    if aggregate.figure == "avg":
        return Fraction(first, 10**scale * rest[0])
    return _spread(aggregate.figure, Fraction(first, 10**scale), Fraction(rest[0], 100**scale), rest[1])


def _spread(figure: str, total: Fraction, squares: Fraction, count: int) -> Fraction | None:
    """A variance or standard deviation from sum, sum of squares and count."""
    divisor = count if figure.endswith("population") else count - 1
    if divisor == 0:
        return None
    variance = (squares - total * total / count) / divisor
    if figure.startswith("var"):
        return variance
    root = _DIGITS.sqrt(_DIGITS.divide(Decimal(variance.numerator), Decimal(variance.denominator)))
    return Fraction(root)


def _evaluate(node: Expression, row: Row) -> Known:
    """An expression over what is known of a row of the answer."""
    if node in row:
        return row[node]
    match node:
        case Literal():
            return _known_literal(node)
        case Arithmetic():
            left, right = (_evaluate(part, row) for part in (node.left, node.right))
            if left is None or right is None or (node.operator == "/" and right == 0):
                return None
            return _ARITHMETIC[node.operator](cast(Fraction, left), cast(Fraction, right))
        case Compare():
            one, other = (_comparable(_evaluate(part, row)) for part in (node.left, node.right))
            return None if one is None or other is None else bool(_COMPARE[node.operator](one, other))
        case Logic(joined, parts):
            found = {_evaluate(part, row) for part in parts}
            decisive = joined == "or"
            return decisive if decisive in found else None if None in found else not decisive
        case Not(part):
            value = _evaluate(part, row)
            return None if value is None else not value
        case IsNull(part):
            return _evaluate(part, row) is None
        case IsTrue(part):
            return _evaluate(part, row) is True
        case Case():
            chosen = next((value for test, value in node.branches if _evaluate(test, row) is True), None)
            return _evaluate(node.otherwise if chosen is None else chosen, row)
        case Cast(part):
            return _evaluate(part, row)
    raise JobFailed(f"the answer does not say what {type(node).__name__} is")


_ARITHMETIC: Final[Mapping[str, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
}


def _comparable(value: Known) -> Any:  # noqa: ANN401 - texts order by their bytes
    return value.encode() if isinstance(value, str) else value


def _known(value: Value) -> Known:
    if isinstance(value, bool):
        return value
    return Fraction(value) if isinstance(value, int | Decimal) else value


def _known_literal(node: Literal) -> Known:
    value = node.value
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value, 10**node.type.scale)
    return None if isinstance(value, float) else value


def _sort_key(program: Program, row: Row) -> tuple[Any, ...]:
    keys: list[Any] = []
    for order in program.query.order:
        value = _comparable(_evaluate(order.value, row))
        last = (value is None) is not order.nulls_first
        keys.append((last, value is not None and _Placed(value, order.descending)))
    return tuple(keys)


@functools.total_ordering
class _Placed:
    """A value in ascending or descending order."""

    def __init__(self, value: Any, descending: bool) -> None:  # noqa: ANN401 - of one type a column
        self._value, self._descending = value, descending

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Placed) and bool(self._value == other._value)

    def __lt__(self, other: _Placed) -> bool:
        return bool(other._value < self._value if self._descending else self._value < other._value)

    __hash__ = None  # type: ignore[assignment]  # ordered, never looked up


def _cell(value: Known, kind: SqlType) -> Cell:
    if isinstance(value, Fraction):
        if kind.kind is Kind.REAL:
            scaled = _decimal(value, _PLACES).normalize(_DIGITS)
            return f"{scaled:f}"
        return f"{_decimal(value, kind.scale):f}" if kind.scale else int(value)
    return value.isoformat() if isinstance(value, date) else value


def _decimal(value: Fraction, places: int) -> Decimal:
    """Rounded half to even."""
    return Decimal(round(value * 10**places)).scaleb(-places, _DIGITS)
