"""Which branch of a CASE a row takes, as conditions of their own that are never unknown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exchange.sql.expressions import (
    Case,
    Expression,
    IsTrue,
    Kind,
    Literal,
    Logic,
    Not,
    SqlType,
    walk,
)

MAX_OUTCOMES: Final = 64

__all__ = ["all_of", "any_of", "branch_conditions", "outcomes"]


def all_of(parts: tuple[Expression, ...]) -> Expression:
    """The conjunction of at least one condition."""
    return parts[0] if len(parts) == 1 else Logic("and", parts)


def any_of(parts: tuple[Expression, ...]) -> Expression:
    """The disjunction of at least one condition."""
    return parts[0] if len(parts) == 1 else Logic("or", parts)


def branch_conditions(node: Expression) -> tuple[Expression, ...]:
    """For each branch of each CASE in an expression, the condition that a row takes it."""
    found = (path for part in walk(node) if isinstance(part, Case) for path, _ in _paths(part))
    return tuple(dict.fromkeys(found))


def outcomes(node: Expression) -> tuple[tuple[Literal, Expression], ...] | None:
    """The constants that an expression may come to, each with the condition that it does.

    None where they are not known from the text: then it is no CASE over constants and no condition.
    """
    if isinstance(node, Case):
        if sum(len(part.branches) + 1 for part in walk(node) if isinstance(part, Case)) > MAX_OUTCOMES:
            return None
        found: dict[Literal, list[Expression]] = {}
        for path, value in _leaves(node):
            if not isinstance(value, Literal):
                return None
            found.setdefault(value, []).append(path)
        return tuple((value, any_of(tuple(paths))) for value, paths in found.items())
    if node.type.kind is not Kind.BOOLEAN:
        return None
    holds, fails = IsTrue(node), IsTrue(Not(node))
    unknown = all_of((Not(holds), Not(fails)))
    boolean = SqlType(Kind.BOOLEAN)
    values = (Literal(True, boolean), Literal(False, boolean), Literal(None, boolean))
    return tuple(zip(values, (holds, fails, unknown), strict=True))


def _leaves(node: Case) -> Iterator[tuple[Expression, Expression]]:
    for path, value in _paths(node):
        if isinstance(value, Case):
            for inner, leaf in _leaves(value):
                yield all_of((path, inner)), leaf
        else:
            yield path, value


def _paths(node: Case) -> Iterator[tuple[Expression, Expression]]:
    before: tuple[Expression, ...] = ()
    for test, value in node.branches:
        yield all_of((*before, IsTrue(test))), value
        before = (*before, Not(IsTrue(test)))
    yield all_of(before), node.otherwise
