"""What is computed of a query, and where: the part of each owner, and what is left for shares.

An expression over the columns of one owner is calculated there, in the clear; what stands over columns of
several is calculated on shares. Groups are found without sorting: a key of one owner has as many values as
that owner finds, a CASE over constants has those of its text, and each row adds to the one group it is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from exchange.sql.branches import all_of, branch_conditions, outcomes
from exchange.sql.expressions import (
    Aggregate,
    Arithmetic,
    Cast,
    Column,
    Compare,
    Expression,
    IsNull,
    Kind,
    Literal,
    Logic,
    Not,
    aggregates_in,
    children,
    number,
    tables_in,
    walk,
)
from exchange.sql.query import Query, Table
from exchange.sql.ranges import require_fit

__all__ = ["LocalKey", "Program", "SecretKey", "compile_query", "squares", "values_present"]

_SPREAD: Final = ("var_sample", "var_population", "stddev_sample", "stddev_population")


@dataclass(frozen=True)
class LocalKey:
    """Grouping expressions of one table: their combinations are found at its owner."""

    table: str
    values: tuple[Expression, ...]


@dataclass(frozen=True)
class SecretKey:
    """A grouping expression over several owners, with the constants that it may come to."""

    value: Expression
    outcomes: tuple[tuple[Literal, Expression], ...]


@dataclass(frozen=True)
class Program:
    """A query as it is executed.

    Attributes:
        query: what was asked.
        minimum: the smallest number of rows behind a shown figure.
        filters: by table, the part of WHERE that its owner decides by itself.
        condition: the rest of WHERE.
        local_keys: the grouping expressions of single owners; secret_keys: the others.
        totals: what is summed over the rows of each group; of a condition, the rows for which it holds.
        guards: by aggregate, totals that must be nought or reach the minimum for its figure to be shown.
        picks: minima and maxima.
    """

    query: Query
    minimum: int
    filters: Mapping[str, Expression]
    condition: Expression | None
    local_keys: tuple[LocalKey, ...] = ()
    secret_keys: tuple[SecretKey, ...] = ()
    totals: tuple[Expression, ...] = ()
    guards: Mapping[Aggregate, tuple[Expression, ...]] = field(default_factory=dict)
    picks: tuple[Aggregate, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables, in the order of the owners."""
        return self.query.tables

    @property
    def is_union(self) -> bool:
        """Whether the owners hold rows of one table, and not columns of joined rows."""
        return self.tables[0].is_union

    def reads(self, table: str) -> tuple[Column, ...]:
        """The columns of a table that anything is computed from, join keys first."""
        return self.query.reads(table)


def values_present(part: Expression) -> Expression:
    """The condition that an expression has a value."""
    return Not(IsNull(part))


def squares(part: Expression) -> Expression:
    """The square of a number, for variances."""
    return Arithmetic("*", part, part, number(2 * part.type.scale))


def compile_query(query: Query, minimum: int) -> Program:
    """Split a query into what each owner computes and what is computed on shares.

    Args:
        query: bound.
        minimum: the smallest number of rows behind a shown figure, at least 1.

    Raises:
        InvalidQuery: it needs an operation that is not offered on shares.
    """
    if len(query.assets) < 2:
        raise query.error(query.items[0].value, "tables of at least two owners", "one table")
    conjuncts = (
        query.where.parts
        if isinstance(query.where, Logic) and query.where.operator == "and"
        else (() if query.where is None else (query.where,))
    )
    local: dict[str, list[Expression]] = {}
    across = []
    for part in conjuncts:
        tables = tables_in(part)
        if len(tables) <= 1:
            local.setdefault(next(iter(tables), query.tables[0].name), []).append(part)
        else:
            across.append(part)
    filters = {table: all_of(tuple(parts)) for table, parts in local.items()}
    condition = all_of(tuple(across)) if across else None
    made = (
        _grouped(query, minimum, filters, condition)
        if query.is_grouped
        else _rowwise(query, minimum, filters, condition)
    )
    _check_shared(made)
    require_fit(made)
    return made


def _rowwise(
    query: Query, minimum: int, filters: Mapping[str, Expression], condition: Expression | None
) -> Program:
    if query.tables[0].is_union:
        raise query.error(query.items[0].value, "aggregates over UNION ALL", "rows of it")
    if query.order and query.limit is not None:
        for one in query.order:
            if one.value.type.kind is Kind.TEXT:
                raise query.error(one.value, "ORDER BY numbers or dates with LIMIT", "a text")
    return Program(query, minimum, filters, condition)


def _grouped(
    query: Query, minimum: int, filters: Mapping[str, Expression], condition: Expression | None
) -> Program:
    by_table: dict[str, list[Expression]] = {}
    secret = []
    for key in query.keys:
        tables = tables_in(key)
        if len(tables) == 1:
            by_table.setdefault(next(iter(tables)), []).append(key)
            continue
        found = outcomes(key)
        if found is None:
            expected = "columns of one owner, or CASE with constants"
            raise query.error(key, expected, f"an expression over {len(tables)} tables")
        secret.append(SecretKey(key, found))
    parts = [item.value for item in query.items] + [one.value for one in query.order]
    used = aggregates_in(*parts, *(() if query.having is None else (query.having,)))
    totals: dict[Expression, None] = {}
    guards: dict[Aggregate, tuple[Expression, ...]] = {}
    picks = []
    for aggregate in used:
        if aggregate.part is None:
            continue
        totals[values_present(aggregate.part)] = None
        if aggregate.figure in ("min", "max"):
            picks.append(aggregate)
        elif aggregate.figure != "count":
            totals[aggregate.part] = None
        if aggregate.figure in _SPREAD:
            totals[squares(aggregate.part)] = None
        guards[aggregate] = branch_conditions(aggregate.part) if minimum > 1 else ()
        totals |= dict.fromkeys(guards[aggregate])
    _check_having(query)
    _check_order(query)
    return Program(
        query,
        minimum,
        filters,
        condition,
        tuple(LocalKey(table, tuple(keys)) for table, keys in by_table.items()),
        tuple(secret),
        tuple(totals),
        guards,
        tuple(picks),
    )


def _check_having(query: Query) -> None:
    if query.having is None:
        return
    for node in _outside_aggregates(query.having):
        if isinstance(node, Compare) and node.left.type.kind is Kind.TEXT:
            raise query.error(query.having, "comparisons of numbers in HAVING", "one of texts; use WHERE")
        if isinstance(node, Aggregate) and node.figure in _SPREAD:
            raise query.error(node, "COUNT, SUM, AVG, MIN or MAX in HAVING", node.figure)


def _check_order(query: Query) -> None:
    if query.limit is None:
        return
    for one in query.order:
        value = one.value
        is_mean = isinstance(value, Aggregate) and value.figure == "avg"
        if value.type.kind is Kind.REAL and not is_mean:
            raise query.error(value, "an exact figure, or AVG, to order by with LIMIT", "another figure")
        if value.type.kind is Kind.TEXT and query.tables[0].is_union:
            raise query.error(value, "numbers or dates to order a UNION ALL by with LIMIT", "a text")


def _outside_aggregates(node: Expression) -> Iterable[Expression]:
    stack = [node]
    while stack:
        here = stack.pop()
        yield here
        if not isinstance(here, Aggregate):
            stack += children(here)


def _check_shared(program: Program) -> None:
    """Check that what stands over several owners is offered on shares."""
    query = program.query
    roots = [*program.totals, *(pick.part for pick in program.picks if pick.part is not None)]
    roots += [condition for key in program.secret_keys for _, condition in key.outcomes]
    if program.condition is not None:
        roots.append(program.condition)
    if not query.is_grouped:
        roots += [item.value for item in query.items]
        roots += [one.value for one in query.order]
    for root in roots:
        for node in walk(root):
            if len(tables_in(node)) < 2:
                continue
            if isinstance(node, Cast) and node.part.type.scale > node.type.scale:
                raise query.error(
                    node, "a cast that keeps all digits, over several owners", "one that rounds"
                )
            if isinstance(node, Compare) and node.left.type.kind is Kind.TEXT and node.operator != "=":
                raise query.error(node, "= or <> between texts of two owners", node.operator)
            if node.type.kind is Kind.TEXT:
                raise query.error(node, "texts of one owner", "a text of several")
