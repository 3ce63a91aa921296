"""Filters as SQLAlchemy expressions, with the same meaning in each database.

Texts are compared by bytes: databases would compare by collation, without case or trailing spaces. What a
database cannot compare exactly as it is read (SQLite keeps decimals as binary floats, and dates and times as
texts of several spellings) is not pushed down: ``pushed_down`` says so, and rows are filtered after reading.
"""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    CHAR,
    REAL,
    Column,
    ColumnElement,
    Enum,
    LargeBinary,
    String,
    Table,
    Uuid,
    and_,
    cast,
    collate,
    func,
    literal,
    not_,
    or_,
    type_coerce,
    types,
)
from sqlalchemy.dialects import mysql

from connectors.filters import And, Compare, Filter, In, IsNull, Not, Or, Value, names

__all__ = ["as_read", "by_bytes", "pushed_down", "to_sqlalchemy"]

_COMPARE: Final = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SQLITE_INEXACT: Final = (types.Numeric, types.Date, types.Time, types.DateTime)


def pushed_down(where: Filter, table: Table, dialect: str) -> bool:
    """Whether the database can evaluate a filter exactly as its rows are read."""
    if dialect != "sqlite":
        return True
    kinds = [table.columns[name].type for name in names(where)]
    return not any(isinstance(kind, _SQLITE_INEXACT) and not isinstance(kind, types.Float) for kind in kinds)


def to_sqlalchemy(where: Filter, table: Table, dialect: str) -> ColumnElement[bool]:
    """Compile a checked filter over the reflected table."""
    match where:
        case And(parts):
            return and_(*(to_sqlalchemy(part, table, dialect) for part in parts))
        case Or(parts):
            return or_(*(to_sqlalchemy(part, table, dialect) for part in parts))
        case Not(part):
            return not_(to_sqlalchemy(part, table, dialect))
        case IsNull(column):
            return table.columns[column].is_(None)
        case Compare(column, sign, value):
            cell, bound = _sides(table.columns[column], dialect, value)
            compared: ColumnElement[bool] = _COMPARE[sign](cell, bound)
            if sign in (">", ">=") and dialect == "postgresql" and isinstance(cell.type, types.Float):
                # PostgreSQL sorts NaN above every number.
                return and_(compared, cell != literal(float("nan"), cell.type))
            return compared
        case In(column, values):
            sides = [_sides(table.columns[column], dialect, value) for value in values]
            return sides[0][0].in_([bound for _, bound in sides])


def as_read(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    """The expression whose values are exactly those of the column, whatever form the driver fetches."""
    if dialect == "sqlite":
        # Values as stored: SQLAlchemy would turn numbers into decimals through binary floats.
        return type_coerce(column, types.NullType())
    if isinstance(column.type, mysql.TIME):
        # The interval as stored: SQLAlchemy would wrap one that is no time of day around midnight.
        return type_coerce(column, types.NullType())
    if not isinstance(column.type, types.Float):
        return column
    if isinstance(column.type, REAL if dialect == "postgresql" else mysql.FLOAT):
        # As text single precision is rounded; as a double it is exact.
        return cast(column, types.Double())
    return type_coerce(column, types.Double())


def by_bytes(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    """A text column such that it compares and sorts by bytes."""
    if dialect == "sqlite":
        return collate(column, "BINARY")
    if dialect == "postgresql":
        text: ColumnElement[Any] = column
        if isinstance(column.type, CHAR) and column.type.length:
            # Read with its padding, compared without it.
            text = func.rpad(cast(column, types.Text()), column.type.length)
        elif isinstance(column.type, Enum | Uuid):
            text = cast(column, types.Text())
        return collate(text, "C")
    # Every collation of MySQL that compares by code point ignores trailing spaces, so compare bytes.
    return cast(cast(column, mysql.CHAR(charset="utf8mb4")), LargeBinary())


def _sides(column: Column[Any], dialect: str, value: Value) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    if isinstance(column.type, String | Uuid):
        server = dialect in ("mysql", "mariadb")
        bound: Value = str(value).encode() if server else value
        return by_bytes(column, dialect), literal(bound, LargeBinary() if server else types.Text())
    if isinstance(value, datetime) and value.tzinfo is not None and isinstance(column.type, mysql.TIMESTAMP):
        value = value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(column.type, types.Float):
        return as_read(column, dialect), literal(float(str(value)), types.Double())
    if dialect == "sqlite":
        return as_read(column, dialect), literal(value)
    return column, literal(value, column.type)
