"""A bound query: tables, typed expressions, and its one canonical text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from exchange.sql.errors import InvalidQuery
from exchange.sql.expressions import (
    Aggregate,
    Arithmetic,
    Case,
    Cast,
    Column,
    Compare,
    Expression,
    Function,
    IsNull,
    IsTrue,
    Kind,
    Literal,
    Logic,
    Not,
    SqlType,
    aggregates_in,
    columns_in,
)

__all__ = ["Catalog", "Item", "Join", "Order", "Part", "Query", "Table", "render", "write"]

Catalog = Mapping[str, Mapping[str, SqlType]]
"""Asset to column to type. An asset is named ``owner/name``, and ``owner.name`` in a query."""


@dataclass(frozen=True)
class Part:
    """Rows of one asset: the table's columns, and what each is called there."""

    asset: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table of the query: one asset, or the rows of several under one another.

    ``first`` is the column by which united rows are read that are only counted.
    """

    name: str
    parts: tuple[Part, ...]
    first: Column | None = None

    @property
    def is_union(self) -> bool:
        """Whether its rows are at several owners."""
        return len(self.parts) > 1


@dataclass(frozen=True)
class Join:
    """How a table is joined: ``keys`` are pairs of an expression of table ``with_`` and one of its own."""

    table: str
    with_: str
    keys: tuple[tuple[Expression, Expression], ...]
    is_left: bool


@dataclass(frozen=True)
class Item:
    """A column of the answer."""

    name: str
    value: Expression


@dataclass(frozen=True)
class Order:
    """One criterion of the order of rows."""

    value: Expression
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class Query:
    """A query whose every name is resolved and whose every expression has its type."""

    tables: tuple[Table, ...]
    joins: tuple[Join, ...]
    where: Expression | None
    keys: tuple[Expression, ...]
    items: tuple[Item, ...]
    having: Expression | None
    order: tuple[Order, ...]
    limit: int | None
    places: Mapping[Expression, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)
    """Line and column at which an expression was first read, for errors."""

    @property
    def is_grouped(self) -> bool:
        """Whether its rows are groups; else they are rows of the tables."""
        return bool(self.keys) or bool(aggregates_in(*(item.value for item in self.items)))

    @property
    def assets(self) -> tuple[str, ...]:
        """The assets it reads, in order."""
        return tuple(part.asset for table in self.tables for part in table.parts)

    def reads(self, table: str) -> tuple[Column, ...]:
        """The columns of a table that anything is computed from, join keys first."""
        used = [key for join in self.joins for pair in join.keys for key in pair]
        used += [item.value for item in self.items] + [order.value for order in self.order]
        used += [*self.keys, *(part for part in (self.where, self.having) if part is not None)]
        found = tuple(column for column in columns_in(*used) if column.table == table)
        first = self.tables[0].first
        return found if found or first is None else (first,)

    def error(self, node: Expression, expected: str, actual: str) -> InvalidQuery:
        """The error at the place where an expression was read."""
        return InvalidQuery(*self.places.get(node, (1, 1)), expected, actual)


_FIGURES: Final = {
    "var_sample": "VAR_SAMP",
    "var_population": "VAR_POP",
    "stddev_sample": "STDDEV_SAMP",
    "stddev_population": "STDDEV_POP",
}


def render(query: Query) -> str:
    """Write a query in the one form that stands for it; binding the text again gives the same query."""
    parts = ["SELECT " + ", ".join(f"{write(i.value)} AS {_quoted(i.name)}" for i in query.items)]
    parts.append("FROM " + _table(query.tables[0]))
    for join, table in zip(query.joins, query.tables[1:], strict=True):
        keys = " AND ".join(f"{write(one)} = {write(other)}" for one, other in join.keys)
        parts.append(f"{'LEFT' if join.is_left else 'INNER'} JOIN {_table(table)} ON {keys}")
    if query.where is not None:
        parts.append(f"WHERE {write(query.where)}")
    if query.keys:
        parts.append("GROUP BY " + ", ".join(write(key) for key in query.keys))
    if query.having is not None:
        parts.append(f"HAVING {write(query.having)}")
    if query.order:
        parts.append("ORDER BY " + ", ".join(_order(one) for one in query.order))
    if query.limit is not None:
        parts.append(f"LIMIT {query.limit}")
    return " ".join(parts)


def write(node: Expression) -> str:
    """Write an expression; every operation in parentheses."""
    return _WRITE[type(node)](node)


def _table(table: Table) -> str:
    if not table.is_union:
        return _asset(table.parts[0].asset)
    branches = (f"SELECT {_branch(part)} FROM {_asset(part.asset)}" for part in table.parts)  # noqa: S608 - a rendered tree
    return f"({' UNION ALL '.join(branches)}) AS {_quoted(table.name)}"


def _branch(part: Part) -> str:
    return ", ".join(f"{_quoted(own)} AS {_quoted(name)}" for name, own in part.columns)


def _asset(name: str) -> str:
    owner, _, slug = name.partition("/")
    return f"{_quoted(owner)}.{_quoted(slug)}" if slug else _quoted(owner)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _order(order: Order) -> str:
    direction, nulls = "DESC" if order.descending else "ASC", "FIRST" if order.nulls_first else "LAST"
    return f"{write(order.value)} {direction} NULLS {nulls}"


def _literal(node: Literal) -> str:
    value = node.value
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return f"{Decimal(value).scaleb(-node.type.scale):f}"
    if node.type.kind is Kind.DATE:
        return f"DATE '{value}'"
    return "'" + str(value).replace("'", "''") + "'"


def _case(node: Case) -> str:
    branches = " ".join(f"WHEN {write(test)} THEN {write(value)}" for test, value in node.branches)
    return f"CASE {branches} ELSE {write(node.otherwise)} END"


def _aggregate(node: Aggregate) -> str:
    return (
        f"{_FIGURES.get(node.figure, node.figure.upper())}({'*' if node.part is None else write(node.part)})"
    )


def _infix(node: Arithmetic | Compare) -> str:
    return f"({write(node.left)} {node.operator} {write(node.right)})"


_WRITE: Final[Mapping[type, Callable[[Any], str]]] = {
    Column: lambda node: f"{_asset(node.table)}.{_quoted(node.name)}",
    Literal: _literal,
    Arithmetic: _infix,
    Compare: _infix,
    Logic: lambda node: "(" + f" {node.operator.upper()} ".join(write(part) for part in node.parts) + ")",
    Not: lambda node: f"(NOT {write(node.part)})",
    IsNull: lambda node: f"({write(node.part)} IS NULL)",
    IsTrue: lambda node: f"({write(node.part)} IS TRUE)",
    Case: _case,
    Cast: lambda node: f"CAST({write(node.part)} AS DECIMAL(18, {node.type.scale}))",
    Function: lambda node: f"{node.name.upper()}({write(node.part)})",
    Aggregate: _aggregate,
}
