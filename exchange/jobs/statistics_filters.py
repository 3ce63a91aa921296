"""The parameter ``where`` of joint statistics: a filter as JSON, read to the typed filters of `connectors`.

    {"column": "age", "is": ">=", "value": 18}        {"column": "city", "in": ["Oslo", "Bergen"]}
    {"column": "income", "missing": true}             {"not": F}   {"and": [F, …]}   {"or": [F, …]}

Numbers that are no integers, dates and times are texts; each owner reads them as its own column's type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

import pyarrow as pa

from connectors.filters import MAX_DEPTH, MAX_NODES, And, Compare, Filter, In, IsNull, Not, Or, Value, check
from connectors.filters import names as filter_names
from exchange.errors import InvalidRequest

__all__ = ["check_where", "columns_of", "read_where"]

_OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=")


def check_where(value: object, at: str) -> None:
    """The parameter's own check; its values are compared with the columns' types at each owner."""
    _read(value, at, 1, [0])


def columns_of(value: object) -> tuple[str, ...]:
    """The columns a filter reads."""
    return filter_names(_read(value, "where", 1, [0]))


def read_where(value: object, schema: pa.Schema) -> Filter:
    """Read a filter for a table of this schema.

    Raises:
        InvalidRequest: it has another form, or a text is none of the column's type.
        MissingColumn, InvalidFilter: it does not fit the table.
    """
    return check(_typed(_read(value, "where", 1, [0]), schema), schema)


def _read(value: object, at: str, depth: int, seen: list[int]) -> Filter:
    seen[0] += 1
    if depth > MAX_DEPTH or seen[0] > MAX_NODES:
        raise InvalidRequest(at, f"at most {MAX_NODES} parts, {MAX_DEPTH} deep", "more")
    if not isinstance(value, dict):
        raise InvalidRequest(at, "an object", type(value).__name__)
    match value:
        case {"not": part, **rest} if not rest:
            return Not(_read(part, f"{at}.not", depth + 1, seen))
        case {"and": [_, *_] as parts, **rest} if not rest:
            return And(tuple(_read(part, f"{at}.and", depth + 1, seen) for part in parts))
        case {"or": [_, *_] as parts, **rest} if not rest:
            return Or(tuple(_read(part, f"{at}.or", depth + 1, seen) for part in parts))
        case {"column": str(column), "missing": True, **rest} if not rest:
            return IsNull(column)
        case {"column": str(column), "in": [_, *_] as values, **rest} if not rest:
            return In(column, tuple(_scalar(one, f"{at}.in") for one in values))
        case {"column": str(column), "is": str(sign), "value": one, **rest} if (
            not rest and sign in _OPERATORS
        ):
            return Compare(column, cast(Any, sign), _scalar(one, f"{at}.value"))
    raise InvalidRequest(at, "not, and, or, missing, in, or is with a value", ", ".join(sorted(value))[:60])


def _scalar(value: object, at: str) -> Value:
    if not isinstance(value, bool | int | str):
        raise InvalidRequest(at, "a text, an integer, true or false", type(value).__name__)
    return value


def _typed(where: Filter, schema: pa.Schema) -> Filter:
    match where:
        case Not(part):
            return Not(_typed(part, schema))
        case And(parts):
            return And(tuple(_typed(part, schema) for part in parts))
        case Or(parts):
            return Or(tuple(_typed(part, schema) for part in parts))
        case Compare(column, sign, value):
            return Compare(column, sign, _value(column, value, schema))
        case In(column, values):
            return In(column, tuple(_value(column, value, schema) for value in values))
        case _:
            return where


def _value(column: str, value: Value, schema: pa.Schema) -> Value:
    """A text as what the column holds; anything else, and what has no such column, is judged by `check`."""
    if not isinstance(value, str) or column not in schema.names:
        return value
    kind = schema.field(column).type
    for holds, reader in _READERS:
        if holds(kind):
            try:
                return reader(value)
            except (ValueError, InvalidOperation, OverflowError):
                raise InvalidRequest(f"where.{column}", f"a text that reads as {kind}", "another") from None
    return value


_READERS: Final[Sequence[tuple[Callable[[pa.DataType], bool], Callable[[str], Value]]]] = (
    (pa.types.is_floating, float),
    (pa.types.is_decimal, Decimal),
    (pa.types.is_date, date.fromisoformat),
    (pa.types.is_timestamp, datetime.fromisoformat),
    (pa.types.is_time, time.fromisoformat),
)
