"""Filters over the rows of a table, as a small typed language that every connector pushes down to its source.

A filter is a value, never text: ``And((Compare("age", ">=", 18), Not(IsNull("income"))))``. Each connector
compiles it to its own source's expressions, with names as identifiers and values as parameters. The meaning
is the same at every source: SQL's three-valued logic, where a comparison with a missing value is unknown and
only rows for which the whole is true are kept; texts and binaries compare by bytes (UTF-8), whatever a
database's collation says; a float that is no number differs from every number and is on neither side of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Final, Literal

import pyarrow as pa

from connectors.errors import InvalidFilter, MissingColumn
from connectors.options import is_writable

__all__ = ["And", "Compare", "Filter", "In", "IsNull", "Not", "Or", "Value", "check", "names"]

Value = bool | int | float | Decimal | str | bytes | date | time | datetime
Operator = Literal["=", "!=", "<", "<=", ">", ">="]

MAX_DEPTH: Final = 32
MAX_NODES: Final = 1_000
MAX_VALUES: Final = 10_000
_OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Compare:
    """``column operator value``; unknown where the column has no value."""

    column: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class In:
    """Whether the column's value is one of some; unknown where it has none."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class IsNull:
    """Whether the column has no value; never unknown."""

    column: str


@dataclass(frozen=True)
class Not:
    """The opposite of a filter; unknown stays unknown."""

    part: Filter


@dataclass(frozen=True)
class And:
    """All of some filters, at least one."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """Any of some filters, at least one."""

    parts: tuple[Filter, ...]


Filter = Compare | In | IsNull | Not | And | Or


def check(where: Filter, schema: pa.Schema) -> Filter:
    """Check that a filter fits a table, and return it.

    Raises:
        MissingColumn: it names a column that is not there.
        InvalidFilter: it is too deep or too large, or a value is not one the column could hold. The message
            does not quote values.
    """
    count = 0
    for node, depth in _walk(where):
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise InvalidFilter("filter", f"at most {MAX_NODES} parts, {MAX_DEPTH} deep", "more")
        match node:
            case And(parts) | Or(parts):
                if not _length(parts):
                    raise InvalidFilter("filter", "at least one part in and, or", "none")
            case Not():
                pass
            case Compare() | In() | IsNull():
                _check_leaf(node, schema)
            case _:
                raise InvalidFilter(
                    "filter", "and, or, not, comparison, in, is-null", type(node).__name__[:64]
                )
    return where


def names(where: Filter) -> tuple[str, ...]:
    """List the columns a filter reads, each once, in order of appearance."""
    return tuple(
        dict.fromkeys(node.column for node, _ in _walk(where) if isinstance(node, Compare | In | IsNull))
    )


def _walk(where: Filter) -> Iterator[tuple[Filter, int]]:
    stack = [(where, 1)]
    while stack:
        node, depth = stack.pop()
        yield node, depth
        if isinstance(node, And | Or):
            stack += [(part, depth + 1) for part in reversed(node.parts)]
        elif isinstance(node, Not):
            stack.append((node.part, depth + 1))


def _check_leaf(node: Compare | In | IsNull, schema: pa.Schema) -> None:
    if node.column not in schema.names:
        raise MissingColumn([node.column], schema.names)
    if isinstance(node, IsNull):
        return
    field = schema.field(node.column)
    if isinstance(node, In):
        if not 1 <= _length(node.values) <= MAX_VALUES:
            raise InvalidFilter(f"column {field.name}", f"1 to {MAX_VALUES} values", "another number")
        for value in node.values:
            _check_value(value, field)
        return
    if node.operator not in _OPERATORS:
        raise InvalidFilter(f"column {field.name}", f"one of {' '.join(_OPERATORS)}", "another operator")
    if pa.types.is_boolean(field.type) and node.operator not in ("=", "!="):
        raise InvalidFilter(f"column {field.name}", "= or != for truth values", node.operator)
    _check_value(node.value, field)


def _check_value(value: Value, field: pa.Field) -> None:
    """Check that the column could hold the value exactly."""
    kind = field.type
    found = next(((accepted, words) for holds, accepted, words in _KINDS if holds(kind)), None)
    if found is None:
        raise InvalidFilter(f"column {field.name}", "a type that compares", str(kind))
    accepted, words = found
    fits = type(value) in accepted
    if fits and isinstance(value, float):
        fits = math.isfinite(value)
    if fits and isinstance(value, str):
        fits = is_writable(value)
    if fits and isinstance(value, datetime):
        fits = (value.tzinfo is not None) is (kind.tz is not None)
    if fits and isinstance(value, time):
        fits = value.tzinfo is None
    if fits and not isinstance(value, float):
        try:
            pa.scalar(value, pa.float64() if pa.types.is_floating(kind) else kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            fits = False
    if not fits:
        raise InvalidFilter(f"column {field.name}", f"{words} that {kind} holds exactly", "another value")


def _length(parts: object) -> int:
    """The length of a tuple; nothing else is immutable, so nothing else counts."""
    return len(parts) if isinstance(parts, tuple) else 0


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view())


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


_KINDS: Final = (
    (pa.types.is_integer, (int,), "an integer"),
    (pa.types.is_floating, (int, float), "a finite number"),
    (pa.types.is_decimal, (int, Decimal), "a decimal"),
    (pa.types.is_boolean, (bool,), "a truth value"),
    (_is_text, (str,), "a text without NUL"),
    (_is_binary, (bytes,), "bytes"),
    (pa.types.is_date, (date,), "a date"),
    (pa.types.is_timestamp, (datetime,), "a time with a zone only if the column has one"),
    (pa.types.is_time, (time,), "a time of day"),
)
