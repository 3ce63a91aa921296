"""Database types as Arrow types, and database values as Arrow arrays, exactly or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import pyarrow as pa
from sqlalchemy import Column, types
from sqlalchemy.dialects import mysql

from connectors.errors import InvalidValues, UnsupportedColumn

__all__ = ["arrow_type", "column_array"]

_T = TypeVar("_T", date, time, datetime)

MAX_PRECISION: Final = 38
# For NUMERIC without precision: 26 digits before the point and 12 after it.
DEFAULT_SCALE: Final = 12
# SQLite keeps a decimal as a binary float; up to 15 digits survive the way there and back (IEEE 754).
_FLOAT_DIGITS: Final = 15

_SIMPLE: Final[tuple[tuple[type[types.TypeEngine[Any]], pa.DataType], ...]] = (
    (types.Boolean, pa.bool_()),
    (types.Integer, pa.int64()),
    (types.Float, pa.float64()),
    (types.String, pa.string()),
    (types.Uuid, pa.string()),
    (types.Date, pa.date32()),
    (types.Time, pa.time64("us")),
    (types.LargeBinary, pa.binary()),
    (types.VARBINARY, pa.binary()),
    (types.BINARY, pa.binary()),
)
_DAY: Final = timedelta(days=1)


def arrow_type(column: Column[Any]) -> pa.DataType:
    """Choose the Arrow type that holds a database column exactly.

    Raises:
        UnsupportedColumn: there is none.
    """
    kind = column.type
    if isinstance(kind, mysql.SET):
        raise UnsupportedColumn(column.name, "SET")
    if isinstance(kind, types.DateTime):
        # MySQL's TIMESTAMP is a moment, shown in the session's zone, which is UTC.
        zoned = kind.timezone or isinstance(kind, mysql.TIMESTAMP)
        return pa.timestamp("us", tz="UTC" if zoned else None)
    if isinstance(kind, mysql.BIGINT) and kind.unsigned:
        return pa.uint64()
    for database, arrow in _SIMPLE:
        if isinstance(kind, database):
            return arrow
    if isinstance(kind, types.Numeric):
        if kind.precision is None:
            return pa.decimal128(MAX_PRECISION, DEFAULT_SCALE)
        if kind.precision <= MAX_PRECISION:
            return pa.decimal128(kind.precision, kind.scale or 0)
    raise UnsupportedColumn(column.name, str(kind))


def column_array(values: Sequence[object], field: pa.Field) -> pa.Array:
    """Put one column's values into an array of the field's type.

    Raises:
        InvalidValues: some value is not of that type; SQLite allows that in any column.
    """
    kind = field.type
    try:
        if pa.types.is_decimal(kind):
            return pa.array([None if v is None else _decimal(v) for v in values], kind)
        if pa.types.is_boolean(kind):
            return pa.array([None if v is None else _truth(v) for v in values], kind)
        if pa.types.is_string(kind):
            return pa.array([str(v) if isinstance(v, uuid.UUID) else v for v in values], kind)
        if pa.types.is_date(kind):
            return pa.array([None if v is None else _read(date, v) for v in values], kind)
        if pa.types.is_time(kind):
            return pa.array([None if v is None else _time_of_day(v) for v in values], kind)
        if pa.types.is_timestamp(kind):
            return pa.array([None if v is None else _instant(v, zoned=bool(kind.tz)) for v in values], kind)
        return pa.array(values, kind)
    except (pa.ArrowException, InvalidOperation, TypeError, ValueError, OverflowError):
        # Not chained: the causes quote the value.
        raise InvalidValues(f"column {field.name}", f"values that are exactly {kind}") from None


def _decimal(value: object) -> Decimal:
    if isinstance(value, float):
        return Decimal(format(value, f".{_FLOAT_DIGITS}g"))
    if isinstance(value, Decimal | int | str):
        return Decimal(value)
    raise TypeError


def _read(kind: type[_T], value: object) -> _T:
    """Take a date or time as it is, or from ISO 8601 text as SQLite keeps it; never from a number."""
    if isinstance(value, str):
        return kind.fromisoformat(value)
    if type(value) is kind:
        return value
    raise TypeError


def _time_of_day(value: object) -> time:
    if isinstance(value, timedelta):
        # MySQL's TIME is an interval.
        if not timedelta(0) <= value < _DAY:
            raise ValueError
        return (datetime.min + value).time()  # noqa: DTZ901 - only its time is used
    return _read(time, value)


def _instant(value: object, *, zoned: bool) -> datetime:
    instant = _read(datetime, value)
    if zoned and instant.tzinfo is None:
        # A moment that the driver gives without its zone, which the session sets to UTC.
        return instant.replace(tzinfo=UTC)
    if (instant.tzinfo is not None) is not zoned:
        raise ValueError
    return instant


def _truth(value: object) -> bool:
    if value in (0, 1):
        return bool(value)
    raise ValueError
