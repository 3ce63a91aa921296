"""A query as a compiled plan of ``policies.plans``: what is computed from which columns, and who sees it.

Column control is decided on this plan by every owner's node before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count as counter

from exchange.sql.expressions import (
    Column,
    Compare,
    Expression,
    IsNull,
    aggregates_in,
    children,
    columns_in,
)
from exchange.sql.figures import recipient_roots, uses
from exchange.sql.program import Program
from exchange.sql.query import Part
from policies import plans
from policies.plans import Operator, Plan, Reveal, Source

__all__ = ["Owner", "control_plan"]

_FIGURES = {
    "count": "count",
    "sum": "sum",
    "avg": "mean",
    "min": "minimum",
    "max": "maximum",
    "var_sample": "variance",
    "var_population": "variance",
    "stddev_sample": "variance",
    "stddev_population": "variance",
}


@dataclass(frozen=True)
class Owner:
    """One owner's input: the asset, whose it is, its columns, and the relation that stands for it."""

    relation: str
    asset: str
    party: str
    columns: tuple[str, ...]

    @property
    def source(self) -> Source:
        """As an operator."""
        return Source(self.relation, self.asset, self.party, self.columns)


@dataclass
class _Chain:
    """Operators on one relation after another; ``column`` names a table's column in the last of them."""

    prefix: str
    relation: str
    column: Callable[[Column], str]
    operators: list[Operator] = field(default_factory=list)
    named: dict[Expression, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = counter(1)

    def add(self, make: Callable[[str], Operator]) -> None:
        """An operator on the last relation, which makes the next."""
        name = f"{self.prefix}.{next(self._numbers)}"
        self.operators.append(make(name))
        self.relation = name

    def value(self, node: Expression) -> str | None:
        """The column that an expression makes; None for a constant."""
        if node not in self.named:
            self.named[node] = self._value(node)
        return self.named[node]

    def values(self, nodes: Iterable[Expression]) -> tuple[str, ...]:
        """The columns of several expressions, each once."""
        found = (self.value(node) for node in nodes)
        return tuple(dict.fromkeys(name for name in found if name is not None))

    def keep(self, node: Expression) -> None:
        """Only the rows for which a condition holds."""
        by = self.value(node)
        if by is not None:
            of = self.relation
            self.add(lambda name: plans.Filter(name, of, by))

    def _value(self, node: Expression) -> str | None:
        if isinstance(node, Column):
            return self.column(node)
        operands = self.values(children(node))
        if not operands:
            return None
        of, made = self.relation, f"{self.prefix}.v{len(self.named)}"
        kind = plans.Compare if isinstance(node, Compare | IsNull) else plans.Compute
        self.add(lambda name: kind(name, of, made, operands))
        return made


def control_plan(
    program: Program,
    name: str,
    owners: Sequence[Owner],
    recipients: tuple[str, ...],
    everyone: tuple[str, ...],
) -> Plan:
    """Compile a query.

    Args:
        program: the query.
        name: of the step; its last relation is called so.
        owners: in the order of the tables, or of the parts of the united table.
        recipients: who opens the answer.
        everyone: all parties of the step; each learns how many rows are joined.
    """
    if program.is_union:
        parts = program.tables[0].parts
        chains = [
            _part(program, f"{name}.{owner.relation}", owner, part, recipients)
            for owner, part in zip(owners, parts, strict=True)
        ]
        return tuple(operator for chain in chains for operator in chain)
    by_table = {table.name: owner for table, owner in zip(program.tables, owners, strict=True)}
    operators: list[Operator] = [owner.source for owner in owners]
    names = {table: {column: column for column in owner.columns} for table, owner in by_table.items()}
    chain = _Chain(name, owners[0].relation, lambda column: names[column.table][column.name], operators)
    joined = [program.tables[0].name]
    for join in program.query.joins:
        _join(chain, by_table, names, joined, join.table, join.with_, join.keys, is_left=join.is_left)
        joined.append(join.table)
    counted = f"{name}.rows"
    operators.append(plans.Aggregate(counted, chain.relation, (), (("rows", "count", ()),)))
    operators.append(Reveal(counted, ("rows",), everyone))
    _answer(chain, program, recipients)
    return tuple(operators)


def _join(
    chain: _Chain,
    owners: Mapping[str, Owner],
    names: dict[str, dict[str, str]],
    joined: Sequence[str],
    table: str,
    parent: str,
    keys: Sequence[tuple[Expression, Expression]],
    *,
    is_left: bool,
) -> None:
    left, right = chain.relation, owners[table].relation
    pairs = tuple((names[parent][_key(one).name], _key(other).name) for one, other in keys)
    chain.add(lambda name: plans.Join(name, left, right, pairs))
    matched = chain.relation
    seen = (parent,) if is_left else joined
    viewers = tuple(dict.fromkeys(owners[one].party for one in (*seen, table)))
    chain.operators.append(Reveal(matched, (), viewers))
    if not is_left:
        for one in joined:
            names[one] = {column: f"{left}.{held}" for column, held in names[one].items()}
        names[table] = {column: f"{right}.{column}" for column in names[table]}
        return
    # A left join keeps all rows of the left side, whose values are not only those that match.
    chain.add(lambda name: plans.Select(name, (left, matched), rows=left))
    for one in joined:
        names[one] = {column: f"{left}.{held}" for column, held in names[one].items()}
    names[table] = {column: f"{matched}.{right}.{column}" for column in names[table]}


def _part(
    program: Program, prefix: str, owner: Owner, part: Part, recipients: tuple[str, ...]
) -> Sequence[Operator]:
    """One owner's part of a union: its figures go into those of all."""
    own = dict(part.columns)
    chain = _Chain(prefix, owner.relation, lambda column: own[column.name], [owner.source])
    _answer(chain, program, recipients)
    return chain.operators


def _answer(chain: _Chain, program: Program, recipients: tuple[str, ...]) -> None:
    query = program.query
    if query.where is not None:
        chain.keep(query.where)
    roots = recipient_roots(program)
    if not query.is_grouped:
        _limit(chain, program)
        chain.operators.append(Reveal(chain.relation, chain.values(roots), recipients))
        return
    keys = {key: chain.value(key) for key in query.keys}
    figures: list[tuple[str, str, tuple[str, ...]]] = [("rows", "count", ())]
    made: dict[Expression, str | None] = dict(keys)
    shown = aggregates_in(*roots)
    wanted = aggregates_in(*roots, *(() if query.having is None else (query.having,)))
    for number, aggregate in enumerate(wanted, start=1):
        if aggregate.part is None:
            made[aggregate] = "rows"
            continue
        operands = chain.values([aggregate.part])
        made[aggregate] = f"figure{number}"
        figures.append((f"figure{number}", _FIGURES[aggregate.figure], operands))
        # Whether it is shown depends on how many values there are, and on how many take each branch.
        behind = chain.values([aggregate.part, *program.guards.get(aggregate, ())])
        figures.append((f"shown{number}", "count", behind))
    of, by = chain.relation, tuple(dict.fromkeys(key for key in keys.values() if key is not None))
    chain.add(lambda name: plans.Aggregate(name, of, by, tuple(figures)))
    chain.named = made
    if query.having is not None:
        chain.keep(query.having)
    _limit(chain, program)
    seen = [made[aggregate] for aggregate in shown]
    seen += [f"shown{number}" for number, one in enumerate(wanted, start=1) if one.part and one in shown]
    seen += [column for key, column in keys.items() if any(uses(root, key) for root in roots)]
    columns = tuple(dict.fromkeys(column for column in seen if column is not None))
    chain.operators.append(Reveal(chain.relation, columns, recipients))


def _limit(chain: _Chain, program: Program) -> None:
    """Which rows come first depends on what they are ordered by."""
    query = program.query
    operands = chain.values(order.value for order in query.order) if query.limit is not None else ()
    if operands:
        of = chain.relation
        chain.add(lambda name: plans.Compare(name, of, f"{chain.prefix}.first", operands))
        compared = chain.relation
        chain.add(lambda name: plans.Filter(name, compared, f"{chain.prefix}.first"))


def _key(node: Expression) -> Column:
    return columns_in(node)[0]
