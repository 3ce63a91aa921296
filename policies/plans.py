"""Compiled plans: what a job computes from which columns, and what each operator shows to whom.

A plan is a list of operators, each of which makes a relation from earlier ones or shows part of one. It
holds no data and says nothing about how a value is computed, only what it is computed from. Every component
states the plan of its step, be it an intersection, a query or the training of a model; column control is
checked on that plan and on nothing else.

Every value of a relation carries its trace: the source columns it was computed from and, for each, what has
happened to that column on the way, as the levels that ask for it. A join marks its keys ``AFTER_JOIN`` and
the columns it carries along ``AS_JOIN_PAYLOAD``; a comparison marks its operands ``AFTER_COMPARE``; a figure
over rows marks what it was computed from ``AFTER_AGGREGATE``; grouping marks its keys ``AFTER_GROUP_BY``.
Calculating with values marks nothing, and a value made in two ways keeps only what happened on both. Which
rows a relation has also depends on columns, on join keys and filters, so rows have a trace of their own, and
whoever is shown a value is shown that there is such a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from policies.column_control import ColumnUse, Level
from policies.errors import InvalidPlan

__all__ = [
    "FIGURES",
    "Aggregate",
    "Compare",
    "Compute",
    "Filter",
    "Join",
    "Operator",
    "Plan",
    "Reveal",
    "Select",
    "Source",
    "Union",
    "assets_of",
    "uses",
]

FIGURES: Final = frozenset({"count", "fit", "histogram", "mean", "sum", "variance"})
"""Figures over many rows. A minimum, a maximum or a quantile is one row's value, so it is none of them."""

_PICKS: Final = frozenset({"maximum", "median", "minimum", "quantile"})


@dataclass(frozen=True)
class Source:
    """The rows of an asset, with the columns that are read."""

    id: str
    asset: str
    owner: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Join:
    """The pairs of rows whose ``keys``, a column of each side, are equal.

    Here and in ``Select`` a column is named ``INPUT.COLUMN`` from then on.
    """

    id: str
    left: str
    right: str
    keys: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Select:
    """Rows of ``sources`` brought together in the order of the rows of an earlier relation."""

    id: str
    sources: tuple[str, ...]
    rows: str


@dataclass(frozen=True)
class Filter:
    """The rows for which the column ``by`` says so."""

    id: str
    of: str
    by: str


@dataclass(frozen=True)
class Compute:
    """One more column, calculated row by row from others."""

    id: str
    of: str
    column: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Compare:
    """One more column: how ``operands`` compare with one another or with a constant."""

    id: str
    of: str
    column: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Aggregate:
    """One row for each combination of ``keys``; ``figures`` are (new column, figure, operands)."""

    id: str
    of: str
    keys: tuple[str, ...]
    figures: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Union:
    """The rows of both sides, column by column of the same name."""

    id: str
    left: str
    right: str


@dataclass(frozen=True)
class Reveal:
    """``to`` come to see ``columns`` of a relation; without columns, which rows it has."""

    of: str
    columns: tuple[str, ...]
    to: tuple[str, ...]


Operator = Source | Join | Select | Filter | Compute | Compare | Aggregate | Union | Reveal
Plan = tuple[Operator, ...]

_Column = tuple[str, str, str]  # asset, name, owner
_Trace = Mapping[_Column, frozenset[Level]]


@dataclass(frozen=True)
class _Relation:
    columns: Mapping[str, _Trace]
    rows: _Trace = field(default_factory=dict)
    is_joined: bool = False

    def trace(self, name: str, at: str) -> _Trace:
        if name not in self.columns:
            raise InvalidPlan(at, f"one of the columns {', '.join(sorted(self.columns))}", name)
        return self.columns[name]


def uses(plan: Plan, earlier: Collection[str] = ()) -> tuple[ColumnUse, ...]:
    """Derive who comes to see what of which source column.

    Args:
        plan: operators in order.
        earlier: relations of other plans that this one selects rows by; their traces count there.

    Returns:
        One use for each thing shown, and one that nobody sees for each column that is shown to nobody.

    Raises:
        InvalidPlan: an operator names a relation, column or figure that does not exist.
    """
    walk = _Walk(earlier)
    found: dict[ColumnUse, None] = {}
    for operator in plan:
        for use in walk.step(operator):
            found[use] = None
    shown = {(use.asset, use.column) for use in found}
    for asset, name, _ in walk.read:
        if (asset, name) not in shown:
            found[ColumnUse(asset, name)] = None
    return tuple(found)


def assets_of(plan: Plan) -> Mapping[str, frozenset[str]]:
    """For each relation of a plan, the assets from whose columns anything in it was computed.

    Raises:
        InvalidPlan: as ``uses``.
    """
    walk = _Walk(())
    for operator in plan:
        walk.step(operator)
    return {
        name: frozenset(
            asset for trace in (relation.rows, *relation.columns.values()) for asset, _, _ in trace
        )
        for name, relation in walk.relations.items()
    }


class _Walk:
    """Goes through a plan once and keeps every relation's traces."""

    def __init__(self, earlier: Collection[str]) -> None:
        self.relations = {name: _Relation({}, is_joined=True) for name in earlier}
        self.read: dict[_Column, None] = {}

    def step(self, operator: Operator) -> Iterable[ColumnUse]:
        if isinstance(operator, Reveal):
            return self._shown(operator)
        if operator.id in self.relations:
            raise InvalidPlan(operator.id, "a relation not made before", "it twice")
        self.relations[operator.id] = self._made(operator)
        return ()

    def _made(self, operator: Operator) -> _Relation:
        match operator:
            case Source():
                columns = {name: (operator.asset, name, operator.owner) for name in operator.columns}
                self.read |= dict.fromkeys(columns.values())
                return _Relation({name: {column: frozenset()} for name, column in columns.items()})
            case Join():
                return self._joined(operator)
            case Select():
                return self._selected(operator)
            case Filter():
                of = self._relation(operator.of, operator.id)
                rows = _both(of.rows, of.trace(operator.by, operator.id))
                return _Relation(of.columns, rows, of.is_joined)
            case Compute() | Compare():
                of = self._relation(operator.of, operator.id)
                made = _all(of.trace(name, operator.id) for name in operator.operands)
                if isinstance(operator, Compare):
                    made = _marked(made, Level.AFTER_COMPARE)
                return _Relation({**of.columns, operator.column: made}, of.rows, of.is_joined)
            case Aggregate():
                return self._aggregated(operator)
            case Union():
                left = self._relation(operator.left, operator.id)
                right = self._relation(operator.right, operator.id)
                united = {
                    name: _both(trace, right.trace(name, operator.id)) for name, trace in left.columns.items()
                }
                return _Relation(united, _both(left.rows, right.rows), left.is_joined and right.is_joined)
        raise InvalidPlan("plan", "operators", type(operator).__name__)

    def _joined(self, join: Join) -> _Relation:
        left, right = self._relation(join.left, join.id), self._relation(join.right, join.id)
        if not join.keys:
            raise InvalidPlan(join.id, "at least one pair of keys", "none")
        keys: _Trace = {}
        columns: dict[str, _Trace] = {
            f"{side}.{name}": _marked(trace, Level.AS_JOIN_PAYLOAD)
            for side, relation in ((join.left, left), (join.right, right))
            for name, trace in relation.columns.items()
        }
        for one, other in join.keys:
            matched = _marked(_both(left.trace(one, join.id), right.trace(other, join.id)), Level.AFTER_JOIN)
            # A matched key says the same of both sides, whichever side's name it is read under.
            columns |= {f"{join.left}.{one}": matched, f"{join.right}.{other}": matched}
            keys = _both(keys, matched)
        return _Relation(columns, _all((left.rows, right.rows, keys)), is_joined=True)

    def _selected(self, select: Select) -> _Relation:
        by = self._relation(select.rows, select.id)
        columns: dict[str, _Trace] = {}
        rows = by.rows
        for name in select.sources:
            source = self._relation(name, select.id)
            rows = _both(rows, source.rows)
            for column, trace in source.columns.items():
                carried = _marked(trace, Level.AS_JOIN_PAYLOAD) if by.is_joined else trace
                columns[f"{name}.{column}"] = carried
        return _Relation(columns, rows, by.is_joined)

    def _aggregated(self, operator: Aggregate) -> _Relation:
        of = self._relation(operator.of, operator.id)
        rows = _marked(of.rows, Level.AFTER_AGGREGATE)
        groups = _marked(_all(of.trace(key, operator.id) for key in operator.keys), Level.AFTER_GROUP_BY)
        columns: dict[str, _Trace] = {
            key: _marked(of.trace(key, operator.id), Level.AFTER_GROUP_BY) for key in operator.keys
        }
        counted = _marked(groups, Level.AFTER_AGGREGATE)
        for name, figure, operands in operator.figures:
            taken = _all(of.trace(operand, operator.id) for operand in operands)
            if figure in FIGURES:
                columns[name] = _both(_marked(taken, Level.AFTER_AGGREGATE), counted)
            elif figure in _PICKS:
                columns[name] = _both(taken, groups)
            else:
                raise InvalidPlan(operator.id, f"one of {', '.join(sorted(FIGURES | _PICKS))}", figure)
        return _Relation(columns, rows, of.is_joined)

    def _shown(self, reveal: Reveal) -> Iterable[ColumnUse]:
        of = self._relation(reveal.of, reveal.of)
        traces = [of.rows, *(of.trace(name, reveal.of) for name in reveal.columns)]
        return [
            ColumnUse(asset, name, viewer, after)
            for trace in traces
            for (asset, name, owner), after in trace.items()
            for viewer in reveal.to
            if viewer != owner
        ]

    def _relation(self, name: str, at: str) -> _Relation:
        if name not in self.relations:
            raise InvalidPlan(at, "a relation made before", name)
        return self.relations[name]


def _marked(trace: _Trace, level: Level) -> _Trace:
    return {column: after | {level} for column, after in trace.items()}


def _both(one: _Trace, other: _Trace) -> _Trace:
    """What a value of both is made from; of a column in both, only what happened to it on both ways."""
    joined = dict(one)
    for column, after in other.items():
        joined[column] = joined[column] & after if column in joined else after
    return joined


def _all(traces: Iterable[_Trace]) -> _Trace:
    whole: _Trace = {}
    for trace in traces:
        whole = _both(whole, trace)
    return whole
