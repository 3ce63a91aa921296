"""The figures of a query's groups, as shares: what joined rows and united ones are both brought to.

From here on there are groups and no rows. ``finish`` leaves out what is about too few rows, applies HAVING
and LIMIT, and hands on the columns of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from exchange.errors import JobFailed
from exchange.sql.expressions import Aggregate, Expression, Kind, aggregates_in, children
from exchange.sql.limits import MAX_ORDERED, OrderKey, first_rows
from exchange.sql.program import Program, squares, values_present
from exchange.sql.query import Order
from exchange.sql.ranges import width
from exchange.sql.secret import Secret, SecretValues, Truth
from mpc.replicated.runtime import Runtime
from mpc.replicated.sharing import Shared, SharedBits, stack

__all__ = ["Figures", "Key", "Stage", "finish", "recipient_roots", "recipient_totals", "uses"]

Stage = Callable[[str], None]
"""Told the name of each part of a query on shares when it is done."""


@dataclass(frozen=True)
class Key:
    """A grouping expression's value in each group: ``words`` as in ``labels``; ``rank`` orders texts."""

    words: tuple[Shared, ...]
    rank: Shared | None = None


@dataclass(frozen=True)
class Figures:
    """Shared figures of ``groups`` groups.

    Attributes:
        groups: how many there may be.
        rows: rows of each group. totals: by what is summed. picks: by aggregate.
        keys: by grouping expression, of those that are held at owners.
        columns: bits of the columns' magnitudes. total_rows: of how many rows the groups are made.
        exists: which groups there are; None: all.
        constants: by grouping expression, of those whose values are known from the query.
    """

    groups: int
    rows: Shared
    totals: Mapping[Expression, Shared]
    picks: Mapping[Aggregate, Shared]
    keys: Mapping[Expression, Key]
    columns: int
    total_rows: int
    exists: SharedBits | None = None
    constants: Mapping[Expression, Secret] = field(default_factory=dict)

    def width(self, node: Expression) -> int:
        """Bits of the magnitude of a number over these groups."""
        return width(node, self.columns, self.total_rows)


def recipient_roots(program: Program) -> tuple[Expression, ...]:
    """What the recipient calculates the answer from: the items, and what it orders by."""
    query = program.query
    return tuple(dict.fromkeys([*(item.value for item in query.items), *(one.value for one in query.order)]))


def recipient_totals(aggregate: Aggregate) -> tuple[Expression, ...]:
    """The totals that the recipient needs of an aggregate."""
    part = aggregate.part
    if part is None or aggregate.figure in ("min", "max"):
        return ()
    if aggregate.figure == "count":
        return (values_present(part),)
    if aggregate.figure == "sum":
        return (part,)
    if aggregate.figure == "avg":
        return (part, values_present(part))
    return (part, squares(part), values_present(part))


class _Groups:
    """Leaves of HAVING: figures of groups, and their keys."""

    def __init__(self, rt: Runtime, figures: Figures, shown: Mapping[Aggregate, SharedBits]) -> None:
        self._rt, self._figures, self._shown = rt, figures, shown

    def number(self, node: Expression) -> Secret | None:
        """An aggregate or a key."""
        figures = self._figures
        if isinstance(node, Aggregate):
            if node.part is None:
                return Secret(figures.rows, None)
            if node.figure == "count":
                return Secret(figures.totals[values_present(node.part)], self._shown[node])
            value = figures.picks[node] if node.figure in ("min", "max") else None
            return Secret(figures.totals[node.part] if value is None else value, self._shown[node])
        if node in figures.constants:
            return figures.constants[node]
        key = figures.keys.get(node)
        if key is None:
            return None
        return Secret(key.words[1], self._bit(key.words[0]))

    def truth(self, node: Expression) -> Truth | None:
        """A key that is a truth value."""
        found = self.number(node) if node.type.kind is Kind.BOOLEAN else None
        if found is None:
            return None
        holds = self._bit(found.value)
        if found.valid is None:
            return Truth(holds, None)
        return Truth(self._rt.and_(holds, found.valid), self._rt.and_(self._rt.not_(holds), found.valid))

    def _bit(self, word: Shared) -> SharedBits:
        return self._rt.not_(self._rt.equal(word, self._rt.scale(word, 0), bits=2))


def finish(rt: Runtime, program: Program, figures: Figures, stage: Stage) -> tuple[Shared, SharedBits]:
    """The columns of the answer, [columns, groups], and which groups are shown.

    The columns are, for each key of an owner that the answer needs, the words of its value; then for each
    aggregate that it needs over an expression, whether it is shown and its figures, of ``count(*)`` the rows.
    """
    shown = _shown_cells(rt, program, figures)
    keep = shown.pop(None)
    cells = {aggregate: bits for aggregate, bits in shown.items() if aggregate is not None}
    stage("cohorts")
    if figures.exists is not None:
        keep = rt.and_(keep, figures.exists)
    secret = SecretValues(rt, figures.groups, _Groups(rt, figures, cells), figures.width)
    if program.query.having is not None:
        keep = rt.and_(keep, secret.truth(program.query.having).holds)
        stage("having")
    if program.query.limit is not None:
        keys = [_order_key(rt, figures, secret, cells, order) for order in program.query.order]
        keep = first_rows(rt, keys, keep, program.query.limit)
        stage("limit")
    columns: list[Shared] = []
    roots = recipient_roots(program)
    for key, held in figures.keys.items():
        if any(uses(root, key) for root in roots):
            columns += held.words
    for aggregate in aggregates_in(*roots):
        columns += _cell_columns(rt, figures, aggregate, cells)
    if not columns:
        columns.append(rt.scale(figures.rows, 0))
    return stack(columns), keep


def _cell_columns(
    rt: Runtime, figures: Figures, aggregate: Aggregate, cells: Mapping[Aggregate, SharedBits]
) -> list[Shared]:
    if aggregate.part is None:
        return [figures.rows]
    bit = rt.to_arithmetic(cells[aggregate])
    values = [figures.totals[total] for total in recipient_totals(aggregate)] or [figures.picks[aggregate]]
    return [bit, *(rt.mul(value, bit) for value in values)]


def _shown_cells(rt: Runtime, program: Program, figures: Figures) -> dict[Aggregate | None, SharedBits]:
    """For None and each aggregate over an expression, the groups in which enough rows stand behind it."""
    aggregates = [a for a in program.guards if a.part is not None]
    counted = [None, *dict.fromkeys(values_present(a.part) for a in aggregates if a.part is not None)]
    guards = list(dict.fromkeys(guard for a in aggregates for guard in program.guards[a]))
    totals = [figures.rows if one is None else figures.totals[one] for one in counted]
    totals += [figures.totals[guard] for guard in guards]
    every = stack(totals).reshape(len(totals) * figures.groups)
    bits = figures.total_rows.bit_length() + 2
    few = rt.less(every, rt.constant(np.full(every.rows, program.minimum, dtype=np.int64)), bits=bits)
    enough = rt.not_(few)
    # A count of values may be nought: it then says of nobody that there is one.
    allowed = enough
    if guards or any(aggregate.figure == "count" for aggregate in aggregates):
        allowed = rt.or_(enough, rt.equal(every, rt.scale(every, 0), bits=bits))

    def piece(of: SharedBits, at: int) -> SharedBits:
        return of.take(slice(at * figures.groups, (at + 1) * figures.groups))

    found: dict[Aggregate | None, SharedBits] = {None: piece(enough, 0)}
    for aggregate in aggregates:
        assert aggregate.part is not None  # noqa: S101 - narrows for the type checker
        of = allowed if aggregate.figure == "count" else enough
        cell = piece(of, counted.index(values_present(aggregate.part)))
        for guard in program.guards[aggregate]:
            cell = rt.and_(cell, piece(allowed, len(counted) + guards.index(guard)))
        found[aggregate] = cell
    return found


def _order_key(
    rt: Runtime,
    figures: Figures,
    secret: SecretValues,
    cells: Mapping[Aggregate, SharedBits],
    order: Order,
) -> OrderKey:
    node = order.value
    if figures.groups > MAX_ORDERED:
        raise JobFailed(f"LIMIT: expected at most {MAX_ORDERED} groups to order, found {figures.groups}")
    flags = (order.descending, order.nulls_first)
    if isinstance(node, Aggregate) and node.figure == "avg" and node.part is not None:
        bits = figures.width(node) + figures.total_rows.bit_length()
        counts = figures.totals[values_present(node.part)]
        return OrderKey(figures.totals[node.part], counts, cells[node], bits, *flags)
    key = figures.keys.get(node)
    if node.type.kind is Kind.BOOLEAN and key is None and node not in figures.constants:
        truth = secret.truth(node)
        valid = None if truth.fails is None else rt.or_(truth.holds, truth.fails)
        return OrderKey(rt.to_arithmetic(truth.holds), None, valid, 2, *flags)
    found = secret.number(node)
    if key is not None and key.rank is not None:
        found = Secret(key.rank, found.valid)
    return OrderKey(found.value, None, found.valid, figures.width(node), *flags)


def uses(root: Expression, key: Expression) -> bool:
    """Whether a grouping expression stands in another outside of aggregates."""
    return root == key or (
        not isinstance(root, Aggregate) and any(uses(part, key) for part in children(root))
    )
