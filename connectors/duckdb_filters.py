"""Filters as DuckDB expressions: names and values are objects, so no text of theirs is ever parsed as SQL."""

from __future__ import annotations

import functools
import operator
from typing import Any, Final

import duckdb
import pyarrow as pa

from connectors.filters import And, Compare, Filter, In, IsNull, Not, Or, Value

__all__ = ["to_duckdb"]

_COMPARE: Final = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def to_duckdb(where: Filter, schema: pa.Schema) -> Any:  # noqa: ANN401 - DuckDB is not typed
    """Compile a checked filter, for ``relation.filter``."""
    match where:
        case And(parts):
            return functools.reduce(operator.and_, [to_duckdb(part, schema) for part in parts])
        case Or(parts):
            return functools.reduce(operator.or_, [to_duckdb(part, schema) for part in parts])
        case Not(part):
            return ~to_duckdb(part, schema)
        case IsNull(column):
            return duckdb.ColumnExpression(column).isnull()
        case Compare(column, sign, value):
            cell = duckdb.ColumnExpression(column)
            compared = _COMPARE[sign](cell, _constant(value, column, schema))
            if sign in (">", ">=") and pa.types.is_floating(schema.field(column).type):
                # DuckDB sorts NaN above every number.
                return compared & ~duckdb.FunctionExpression("isnan", cell)
            return compared
        case In(column, values):
            constants = [_constant(value, column, schema) for value in values]
            return duckdb.ColumnExpression(column).isin(*constants)


def _constant(value: Value, column: str, schema: pa.Schema) -> Any:  # noqa: ANN401 - DuckDB is not typed
    if pa.types.is_floating(schema.field(column).type):
        return duckdb.ConstantExpression(float(str(value)))
    return duckdb.ConstantExpression(value)
