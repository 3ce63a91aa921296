"""Filters as Arrow compute expressions, for sources whose rows are already in memory in batches."""

from __future__ import annotations

import functools
import operator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from connectors.filters import And, Compare, Filter, In, IsNull, Not, Or

__all__ = ["to_arrow"]

_COMPARE: Final = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def to_arrow(where: Filter, schema: pa.Schema) -> Any:  # noqa: ANN401 - pyarrow is not typed
    """Compile a checked filter; ``batch.filter(...)`` keeps the rows for which it is true."""
    match where:
        case And(parts):
            return functools.reduce(operator.and_, [to_arrow(part, schema) for part in parts])
        case Or(parts):
            return functools.reduce(operator.or_, [to_arrow(part, schema) for part in parts])
        case Not(part):
            return ~to_arrow(part, schema)
        case IsNull(column):
            return pc.field(column).is_null()
        case Compare(column, sign, value):
            cell, kind = _cell(column, schema)
            return _COMPARE[sign](cell, pc.scalar(pa.scalar(value, kind)))
        case In(column, values):
            cell, kind = _cell(column, schema)
            if pa.types.is_floating(kind) and 0 in values:
                values = (*values, 0.0, -0.0)  # is_in compares bits
            found = cell.isin(pa.array(values, kind))
            return pc.if_else(cell.is_null(), pc.scalar(pa.scalar(None, pa.bool_())), found)


def _cell(column: str, schema: pa.Schema) -> tuple[Any, pa.DataType]:
    kind = schema.field(column).type
    if pa.types.is_floating(kind):
        # Single and half precision compare as doubles, as everywhere else.
        return pc.field(column).cast(pa.float64()), pa.float64()
    return pc.field(column), kind
