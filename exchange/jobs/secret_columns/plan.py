"""What a step computes from which columns and shows to whom, as operators of a plan."""

from __future__ import annotations

from exchange.jobs.component import source
from exchange.jobs.secret_columns.nodes import Node
from exchange.jobs.secret_columns.query import Query
from exchange.jobs.spec import Step
from policies.plans import Aggregate, Compare, Compute, Filter, Operator, Plan, Reveal, Select

__all__ = ["plan_of"]

_FIGURES = {"correlation": "variance"}
"""A correlation is shown with as little of a row as a variance: sums of products."""


def plan_of(step: Step) -> Plan:
    """Compile a step: every part of every expression an operator, comparisons by name."""
    query = Query.of(step)
    sources = {role: source(step, role) for role in step.inputs}
    together = f"{step.id}.together"
    chain = _Chain(step.id, together, {role: one.id for role, one in sources.items()})
    filtered: tuple[Operator, ...] = ()
    if query.where is not None:
        by = chain.column(query.where)
        filtered = (Filter(f"{step.id}.where", chain.last, by),)
        chain.last = filtered[0].id
    before = tuple(chain.operators)
    keys = tuple(chain.column(key.node) for key in query.keys)
    made = tuple(
        (one.name, _FIGURES.get(one.kind, one.kind), tuple(chain.column(node) for node in one.nodes))
        for one in query.figures
    )
    after = tuple(chain.operators[len(before) :])
    return (
        *sources.values(),
        Select(together, tuple(one.id for one in sources.values()), rows=step.after[0]),
        *before,
        *filtered,
        *after,
        Aggregate(step.id, chain.last, keys, (("rows", "count", ()), *made)),
        Reveal(step.id, (*keys, "rows", *(name for name, _, _ in made)), step.recipients),
    )


class _Chain:
    """Operators that add one column after the other to a relation."""

    def __init__(self, step: str, relation: str, sources: dict[str, str]) -> None:
        self._step, self._sources, self.last = step, sources, relation
        self.operators: list[Operator] = []
        self._columns: dict[Node, str] = {}

    def column(self, node: Node) -> str:
        """The name of the column that holds a value; it depends on a column."""
        if node not in self._columns:
            self._columns[node] = self._made(node)
        return self._columns[node]

    def _made(self, node: Node) -> str:
        if node.op == "column":
            (holder,) = node.holders
            return f"{self._sources[holder]}.{node.column}"
        operands = tuple(self.column(arg) for arg in node.args if not arg.is_constant)
        name = f"{self._step}.value{len(self.operators) + 1}"
        kind = Compare if node.op in ("negative", "zero") else Compute
        self.operators.append(kind(f"{name}.row", self.last, name, operands))
        self.last = f"{name}.row"
        return name
