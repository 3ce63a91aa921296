"""How large numbers may be so that nothing wraps: one bound for all columns, from query and row count.

Shares are integers modulo 2^64 and nobody sees an overflow on them, so it is ruled out beforehand: with
columns of at most ``b`` bits no value of the query reaches 2^62. Owners refuse larger ones before they share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from exchange.sql.expressions import (
    Aggregate,
    Arithmetic,
    Case,
    Cast,
    Column,
    Expression,
    Kind,
    Literal,
    children,
    number,
    walk,
)

if TYPE_CHECKING:
    from exchange.sql.program import Program

__all__ = ["MAX_BITS", "column_bits", "require_fit", "width"]

MAX_BITS: Final = 62
_DATE_BITS: Final = 23
"""Days since 1970 of the years 1 to 9999."""


def width(node: Expression, column: int, rows: int) -> int:
    """Bits that the magnitude of a number needs at most.

    Args:
        node: an expression; truth values and texts need 62, as they enter as they are.
        column: bits of every column of numbers.
        rows: number of rows that an aggregate may be over.
    """
    kind = node.type.kind
    if kind is Kind.BOOLEAN:
        return 1
    if kind is Kind.DATE:
        return _DATE_BITS
    match node:
        case Literal():
            return int(node.value).bit_length() if isinstance(node.value, int) else 0
        case Column():
            return column
        case Arithmetic("*"):
            return width(node.left, column, rows) + width(node.right, column, rows)
        case Arithmetic():
            return max(width(node.left, column, rows), width(node.right, column, rows)) + 1
        case Case():
            return max(width(value, column, rows) for _, value in (*node.branches, (node, node.otherwise)))
        case Cast():
            digits = node.type.scale - node.part.type.scale
            return width(node.part, column, rows) + int(10 ** max(digits, 0) - 1).bit_length()
        case Aggregate("count"):
            return rows.bit_length()
        case Aggregate("sum" | "avg"):
            assert node.part is not None  # noqa: S101 - narrows for the type checker
            return width(node.part, column, rows) + rows.bit_length()
        case Aggregate() if node.part is not None:
            return width(node.part, column, rows)
    return MAX_BITS


def column_bits(program: Program, rows: int) -> int:
    """The largest magnitude of columns, in bits, with which nothing wraps over so many rows; 0: none."""
    return next((b for b in range(MAX_BITS, 0, -1) if _fits(program, b, rows)), 0)


def require_fit(program: Program) -> None:
    """Check that the query can be computed at all, be it over few rows and small numbers.

    Raises:
        InvalidQuery: its products need more than 62 bits.
    """
    if column_bits(program, 1) < 8:
        value = program.query.items[0].value
        raise program.query.error(value, "products that 62 bits hold", "larger ones")


def _fits(program: Program, column: int, rows: int) -> bool:
    wide = any(width(total, column, rows) + rows.bit_length() > MAX_BITS for total in program.totals)
    return not wide and all(width(node, column, rows) < MAX_BITS for node in _numbers(program))


def _numbers(program: Program) -> Iterator[Expression]:
    """Every number that is computed on the way and is not part of another, which would be as wide."""
    query = program.query
    stack = [*query.keys, *(item.value for item in query.items), *program.totals]
    stack += [one.value for one in query.order]
    stack += [part for part in (query.where, query.having) if part is not None]
    while stack:
        node = stack.pop()
        if isinstance(node, Aggregate) and node.figure == "avg" and query.limit is not None:
            # Means are ordered by multiplying each sum with the other's count.
            yield Arithmetic("*", node, Aggregate("count", node.part, number()), number())
        if node.type.kind is Kind.NUMBER:
            yield node
            stack += [test for part in walk(node) if isinstance(part, Case) for test, _ in part.branches]
        else:
            stack += children(node)
