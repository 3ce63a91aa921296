"""Check the constraints of a policy against the facts of a request.

A request may name several columns, techniques or output types; a constraint on them is satisfied when it
holds for each and unsatisfied when it holds for none. In between it is partly satisfied, which is not
enough for a permission and enough for a prohibition. Constraints are joined by Kleene's three-valued logic,
in which partly satisfied counts as unknown.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from policies import purposes
from policies.odrl import Constraint, LogicalConstraint
from policies.report import ConstraintReport, SatisfactionState
from policies.sentences import Finding
from policies.vocabulary import OPERANDS, Operator, ValueKind

__all__ = ["Facts", "check", "parse_instant", "texts"]

Facts = Mapping[str, object]


def check(constraint: Constraint | LogicalConstraint, path: str, facts: Facts) -> ConstraintReport:
    """Check one constraint against the facts of a request; ``path`` is its place in the policy."""
    if isinstance(constraint, Constraint):
        return _check_atomic(constraint, path, facts)
    word = constraint.connective
    parts = tuple(
        check(part, f"{path}.{word}[{index}]", facts) for index, part in enumerate(constraint.parts)
    )
    states = [part.satisfaction for part in parts]
    satisfied = states.count(SatisfactionState.SATISFIED)
    unsatisfied = states.count(SatisfactionState.UNSATISFIED)
    state = SatisfactionState.UNKNOWN
    if word == "and":
        if unsatisfied:
            state = SatisfactionState.UNSATISFIED
        elif satisfied == len(states):
            state = SatisfactionState.SATISFIED
    elif word == "or":
        if satisfied:
            state = SatisfactionState.SATISFIED
        elif unsatisfied == len(states):
            state = SatisfactionState.UNSATISFIED
    elif satisfied > 1 or unsatisfied == len(states):
        state = SatisfactionState.UNSATISFIED
    elif satisfied == 1 and unsatisfied == len(states) - 1:
        state = SatisfactionState.SATISFIED
    finding = None
    if word == "xone" and state is not SatisfactionState.SATISFIED:
        finding = Finding("policy.exactly-one", path, "xone", right=len(states), actual=satisfied)
    return ConstraintReport(path, state, finding, parts)


def _check_atomic(constraint: Constraint, path: str, facts: Facts) -> ConstraintReport:
    left, right = constraint.left_operand, constraint.right_operand

    def report(state: SatisfactionState, code: str, actual: object = None) -> ConstraintReport:
        return ConstraintReport(path, state, Finding(code, path, left, constraint.operator, right, actual))

    operand = OPERANDS.get(left)
    if operand is None:
        return report(SatisfactionState.UNKNOWN, "policy.unknown-operand")
    if constraint.operator not in operand.operators:
        return report(SatisfactionState.UNKNOWN, "policy.unknown-operator")
    relation = Operator(constraint.operator)
    bound = _bound(operand.kind, relation, right)
    if bound is None:
        return report(SatisfactionState.UNKNOWN, "policy.invalid-value")
    values = _values(operand.kind, facts.get(left))
    if not values:
        return report(SatisfactionState.UNKNOWN, "policy.missing-fact")
    failing = [value for value in values if not _holds(operand.kind, relation, value, bound)]
    actual = values if operand.kind is ValueKind.TEXTS else values[0]
    if not failing:
        return report(SatisfactionState.SATISFIED, "policy.satisfied", actual)
    if len(failing) < len(values):
        return report(SatisfactionState.PARTLY_SATISFIED, f"policy.{left}", tuple(failing))
    if operand.kind is ValueKind.PURPOSE and not purposes.is_known(str(values[0])):
        # Whether an unknown purpose is a kind of another cannot be said, so a prohibition stays in force.
        return report(SatisfactionState.UNKNOWN, f"policy.{left}", actual)
    return report(SatisfactionState.UNSATISFIED, f"policy.{left}", actual)


def _bound(kind: ValueKind, relation: Operator, right: object) -> Sequence[object] | None:
    """Read a right operand as the values to compare with, or None when it is no value for its operand."""
    takes_list = relation in {Operator.IS_ANY_OF, Operator.IS_NONE_OF, Operator.IS_PART_OF}
    items = right if isinstance(right, tuple) else (right,)
    if isinstance(right, tuple) and not takes_list:
        return None
    if kind is ValueKind.INTEGER:
        return items if all(isinstance(item, int) for item in items) else None
    if not all(isinstance(item, str) for item in items):
        return None
    if kind is ValueKind.PURPOSE:
        return items if all(purposes.is_known(str(item)) for item in items) else None
    if kind is ValueKind.INSTANT:
        instant = parse_instant(str(right))
        return None if instant is None else (instant,)
    return items


def _values(kind: ValueKind, fact: object) -> tuple[object, ...]:
    """Read a fact as the values a constraint is checked for; none when it is missing or of another kind."""
    match kind:
        case ValueKind.INTEGER:
            return (fact,) if _is_count(fact) else ()
        case ValueKind.INSTANT:
            return (fact,) if isinstance(fact, datetime) and fact.tzinfo is not None else ()
        case ValueKind.TEXTS:
            return texts(fact) or ()
        case ValueKind.TEXT | ValueKind.PURPOSE:
            return (fact,) if isinstance(fact, str) and fact else ()


def _is_count(fact: object) -> bool:
    return isinstance(fact, int) and not isinstance(fact, bool) and fact >= 0


def texts(fact: object) -> tuple[str, ...] | None:
    """Read a fact as distinct texts in order, or None when it is not a collection of texts."""
    if not isinstance(fact, set | frozenset | list | tuple):
        return None
    if not all(isinstance(item, str) for item in fact):
        return None
    return tuple(sorted(set(fact)))


_COMPARISONS: Final[Mapping[Operator, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        Operator.EQ: operator.eq,
        Operator.NEQ: operator.ne,
        Operator.LT: operator.lt,
        Operator.LTEQ: operator.le,
        Operator.GT: operator.gt,
        Operator.GTEQ: operator.ge,
    }
)


def _holds(kind: ValueKind, relation: Operator, value: object, bound: Sequence[object]) -> bool:
    if kind is ValueKind.PURPOSE:
        matches = any(purposes.is_a(str(value), str(item)) for item in bound)
        known = purposes.is_known(str(value))
        return known and not matches if relation is Operator.IS_NONE_OF else matches
    if relation in _COMPARISONS:
        return bool(_COMPARISONS[relation](value, bound[0]))
    return (value in bound) is not (relation is Operator.IS_NONE_OF)


def parse_instant(text: str) -> datetime | None:
    """Read ``2026-11-23T10:00:00Z``, or None for any other form."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
