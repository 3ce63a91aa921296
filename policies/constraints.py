"""Check the constraints of a policy against the facts of a request.

A request may name several columns, techniques or output types; a constraint on them is satisfied when it
holds for each and unsatisfied when it holds for none. In between it is partly satisfied, which is not
enough for a permission and enough for a prohibition. Constraints are joined by Kleene's three-valued logic,
in which partly satisfied counts as unknown.

A constraint is read once, into a function of the facts; a policy is met by many requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from policies import purposes
from policies.odrl import Constraint, LogicalConstraint
from policies.report import ConstraintReport, SatisfactionState
from policies.sentences import Finding
from policies.values import bound_of, predicate, uses_within, values_of
from policies.vocabulary import OPERANDS, Operand, Operator, ValueKind

__all__ = ["Check", "Facts", "reader"]

Facts = Mapping[str, object]
Check = Callable[[Facts], ConstraintReport]
_State = SatisfactionState


def reader(constraint: Constraint | LogicalConstraint, path: str) -> Check:
    """Read one constraint into a function of the facts; ``path`` is its place in the policy."""
    if isinstance(constraint, LogicalConstraint):
        return _logical(constraint, path)
    return _atomic(constraint, path)


def _logical(constraint: LogicalConstraint, path: str) -> Check:
    word, join = constraint.connective, _JOINS[constraint.connective]
    checks = tuple(reader(part, f"{path}.{word}[{i}]") for i, part in enumerate(constraint.parts))

    def check(facts: Facts) -> ConstraintReport:
        parts = tuple(part(facts) for part in checks)
        states = [part.satisfaction for part in parts]
        state = join(states)
        finding = None
        if word == "xone" and state is not _State.SATISFIED:
            count = states.count(_State.SATISFIED)
            finding = Finding("policy.exactly-one", path, "xone", right=len(states), actual=count)
        return ConstraintReport(path, state, finding, parts)

    return check


def _and(states: Sequence[SatisfactionState]) -> SatisfactionState:
    if _State.UNSATISFIED in states:
        return _State.UNSATISFIED
    return _State.SATISFIED if set(states) == {_State.SATISFIED} else _State.UNKNOWN


def _or(states: Sequence[SatisfactionState]) -> SatisfactionState:
    if _State.SATISFIED in states:
        return _State.SATISFIED
    return _State.UNSATISFIED if set(states) == {_State.UNSATISFIED} else _State.UNKNOWN


def _xone(states: Sequence[SatisfactionState]) -> SatisfactionState:
    satisfied, unsatisfied = states.count(_State.SATISFIED), states.count(_State.UNSATISFIED)
    if satisfied > 1 or unsatisfied == len(states):
        return _State.UNSATISFIED
    if satisfied == 1 and unsatisfied == len(states) - 1:
        return _State.SATISFIED
    return _State.UNKNOWN


def _in_order(states: Sequence[SatisfactionState]) -> SatisfactionState:
    """All hold, in order: what comes after the first that does not hold is never reached."""
    first = next((state for state in states if state is not _State.SATISFIED), _State.SATISFIED)
    return _State.UNKNOWN if first is _State.PARTLY_SATISFIED else first


_JOINS: Final = MappingProxyType({"and": _and, "or": _or, "xone": _xone, "andSequence": _in_order})


def _atomic(constraint: Constraint, path: str) -> Check:
    left, right = constraint.left_operand, constraint.right_operand

    def found(state: SatisfactionState, code: str, actual: object = None) -> ConstraintReport:
        return ConstraintReport(path, state, Finding(code, path, left, constraint.operator, right, actual))

    def constant(code: str) -> Check:
        report = found(_State.UNKNOWN, code)
        return lambda _: report

    operand = OPERANDS.get(left)
    if operand is None:
        return constant("policy.unknown-operand")
    if constraint.operator not in operand.operators:
        return constant("policy.unknown-operator")
    relation = Operator(constraint.operator)
    bound = bound_of(operand.kind, relation, right)
    if bound is None:
        return constant("policy.invalid-value")
    return _comparison(left, operand, relation, bound, found)


def _comparison(
    left: str,
    operand: Operand,
    relation: Operator,
    bound: Sequence[Any],
    found: Callable[..., ConstraintReport],
) -> Check:
    kind, missing = operand.kind, found(_State.UNKNOWN, "policy.missing-fact")
    refused, several = (
        f"policy.{left}",
        kind
        in {
            ValueKind.TEXTS,
            ValueKind.LEVELS,
            ValueKind.HELD,
        },
    )
    holds = predicate(kind, relation, bound)

    def check(facts: Facts) -> ConstraintReport:
        values = values_of(kind, facts.get(left))
        if not values:
            return missing
        failing = [value for value in values if not holds(value)]
        actual = values if several and len(values) > 1 else values[0]
        if kind is ValueKind.RATE:
            actual = uses_within(values[0], bound)
        if not failing:
            return found(_State.SATISFIED, "policy.satisfied", actual)
        if len(failing) < len(values):
            return found(_State.PARTLY_SATISFIED, refused, tuple(failing))
        if kind is ValueKind.PURPOSE and not purposes.is_known(values[0]):
            # Whether an unknown purpose is a kind of another cannot be said, so a prohibition stays in force.
            return found(_State.UNKNOWN, refused, actual)
        return found(_State.UNSATISFIED, refused, actual)

    return check
