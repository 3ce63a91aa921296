"""Predicates over one owner's columns as typed filters of its connector, where they have that form."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, cast

from connectors import filters
from connectors.filters import Filter
from exchange.sql.expressions import Column, Compare, Expression, IsNull, Kind, Literal, Logic, Not, SqlType

__all__ = ["as_filter"]

_TURNED: Final = {"=": "=", "<": ">", "<=": ">="}


def as_filter(node: Expression) -> Filter | None:
    """The filter that is true, false or unknown as the predicate is; None where it is none of that form."""
    match node:
        case Column() if node.type.kind is Kind.BOOLEAN:
            return filters.Compare(node.name, "=", True)
        case Compare(operator, Column() as column, Literal() as constant):
            return _compare(column, operator, constant)
        case Compare(operator, Literal() as constant, Column() as column):
            return _compare(column, _TURNED[operator], constant)
        case IsNull(Column() as column):
            return filters.IsNull(column.name)
        case Not(part):
            inner = as_filter(part)
            return None if inner is None else filters.Not(inner)
        case Logic(operator, parts):
            found = [as_filter(part) for part in parts]
            if any(one is None for one in found):
                return None
            whole = tuple(cast("list[Filter]", found))
            return filters.And(whole) if operator == "and" else filters.Or(whole)
    return None


def _compare(column: Column, operator: str, constant: Literal) -> Filter | None:
    given = constant.value
    if given is None:
        return None
    is_number = isinstance(given, int) and not isinstance(given, bool)
    value = _number(cast(int, given), constant.type, column.type) if is_number else given
    return filters.Compare(column.name, cast(Any, operator), value)


def _number(value: int, constant: SqlType, column: SqlType) -> int | float | Decimal:
    if column.kind is Kind.FLOAT:
        return float(Decimal(value).scaleb(-constant.scale))
    return Decimal(value).scaleb(-constant.scale) if constant.scale else value
