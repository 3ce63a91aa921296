"""Expressions on shares: what stands over the columns of several owners.

A number is shared together with a bit that says whether there is one, a condition as the bits for true and
for false; where nothing can be missing, which is public, the second is left out. What a single owner can
calculate enters as an input and is not calculated here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import numpy as np

from exchange.sql.expressions import (
    Arithmetic,
    Case,
    Cast,
    Compare,
    Expression,
    IsNull,
    IsTrue,
    Kind,
    Literal,
    Logic,
    Not,
)
from exchange.sql.local import days_of
from mpc.replicated.runtime import Runtime
from mpc.replicated.sharing import Shared, SharedBits

__all__ = ["Leaves", "Secret", "SecretValues", "Truth", "both"]


class Secret(NamedTuple):
    """A shared number; ``valid`` says which rows have one, None: all."""

    value: Shared
    valid: SharedBits | None


class Truth(NamedTuple):
    """A shared condition; ``fails`` is None where it is never unknown."""

    holds: SharedBits
    fails: SharedBits | None


class Leaves(Protocol):
    """Where values come from that are not calculated here; None for those that are."""

    def number(self, node: Expression) -> Secret | None:
        """A number, date or text as it is shared."""
        ...

    def truth(self, node: Expression) -> Truth | None:
        """A condition as it is shared."""
        ...


class SecretValues:
    """Expressions over ``rows`` rows, each calculated once.

    Args:
        runtime: the run.
        rows: how many rows.
        leaves: what enters as it is.
        width: bits of the magnitude of a number, public.
    """

    def __init__(
        self, runtime: Runtime, rows: int, leaves: Leaves, width: Callable[[Expression], int]
    ) -> None:
        self._rt, self._rows, self._leaves, self._width = runtime, rows, leaves, width
        self._numbers: dict[Expression, Secret] = {}
        self._truths: dict[Expression, Truth] = {}

    def number(self, node: Expression) -> Secret:
        """The value of a number, date or text."""
        if node not in self._numbers:
            self._numbers[node] = self._leaves.number(node) or self._number(node)
        return self._numbers[node]

    def truth(self, node: Expression) -> Truth:
        """The value of a condition."""
        if node not in self._truths:
            self._truths[node] = self._leaves.truth(node) or self._truth(node)
        return self._truths[node]

    def fails(self, truth: Truth) -> SharedBits:
        """The rows for which a condition is false."""
        return self._rt.not_(truth.holds) if truth.fails is None else truth.fails

    def present(self, node: Expression) -> SharedBits | None:
        """Which rows have a value; None: all."""
        if node.type.kind is not Kind.BOOLEAN:
            return self.number(node).valid
        truth = self.truth(node)
        return None if truth.fails is None else self._rt.or_(truth.holds, truth.fails)

    def _number(self, node: Expression) -> Secret:
        rt = self._rt
        match node:
            case Literal(value=None):
                nothing = rt.constant_bits(np.zeros(self._rows, dtype=np.bool_))
                return Secret(self._constant(0), nothing)
            case Literal(value=value):
                is_date = node.type.kind is Kind.DATE
                return Secret(self._constant(days_of(value) if is_date else cast(int, value)), None)
            case Arithmetic():
                left, right = self.number(node.left), self.number(node.right)
                made = {"+": rt.add, "-": rt.sub, "*": rt.mul}[node.operator](left.value, right.value)
                return Secret(made, both(rt, left.valid, right.valid))
            case Cast(part):
                inner = self.number(part)
                return Secret(rt.scale(inner.value, 10 ** (node.type.scale - part.type.scale)), inner.valid)
            case Case():
                return self._case(node)
        raise TypeError(f"{type(node).__name__} is no number on shares")

    def _case(self, node: Case) -> Secret:
        rt, found = self._rt, self.number(node.otherwise)
        for test, branch in reversed(node.branches):
            holds, value = self.truth(test).holds, self.number(branch)
            valid = None
            if value.valid is not None or found.valid is not None:
                valid = self._chosen(holds, self._some(value.valid), self._some(found.valid))
            found = Secret(rt.select(holds, value.value, found.value), valid)
        return found

    def _truth(self, node: Expression) -> Truth:
        rt = self._rt
        match node:
            case Literal(value=value):
                holds, fails = (np.full(self._rows, value is wanted) for wanted in (True, False))
                return Truth(rt.constant_bits(holds), rt.constant_bits(fails) if value is None else None)
            case Compare():
                return self._compared(node)
            case Not(part):
                inner = self.truth(part)
                if inner.fails is None:
                    return Truth(rt.not_(inner.holds), None)
                return Truth(inner.fails, inner.holds)
            case IsNull(part):
                present = self.present(part)
                return Truth(rt.not_(self._some(present)), None)
            case IsTrue(part):
                return Truth(self.truth(part).holds, None)
            case Logic(operator, parts):
                return self._logic(operator, [self.truth(part) for part in parts])
            case Case():
                return self._truth_case(node)
        raise TypeError(f"{type(node).__name__} is no condition on shares")

    def _logic(self, operator: str, parts: list[Truth]) -> Truth:
        rt, found = self._rt, parts[0]
        meet, join = (rt.and_, rt.or_) if operator == "and" else (rt.or_, rt.and_)
        for part in parts[1:]:
            fails = None
            if found.fails is not None or part.fails is not None:
                fails = join(self.fails(found), self.fails(part))
            found = Truth(meet(found.holds, part.holds), fails)
        return found

    def _truth_case(self, node: Case) -> Truth:
        found = self.truth(node.otherwise)
        for test, branch in reversed(node.branches):
            chosen, value = self.truth(test).holds, self.truth(branch)
            fails = None
            if value.fails is not None or found.fails is not None:
                fails = self._chosen(chosen, self.fails(value), self.fails(found))
            found = Truth(self._chosen(chosen, value.holds, found.holds), fails)
        return found

    def _compared(self, node: Compare) -> Truth:
        rt = self._rt
        if node.left.type.kind is Kind.BOOLEAN:
            one, other = self.truth(node.left), self.truth(node.right)
            same = rt.not_(rt.xor(one.holds, other.holds))
            valid = both(rt, self.present(node.left), self.present(node.right))
        else:
            left, right = self.number(node.left), self.number(node.right)
            bits = min(max(self._width(node.left), self._width(node.right)) + 2, 64)
            if node.operator == "=":
                same = rt.equal(left.value, right.value, bits=bits)
            elif node.operator == "<":
                same = rt.less(left.value, right.value, bits=bits)
            else:
                same = rt.not_(rt.less(right.value, left.value, bits=bits))
            valid = both(rt, left.valid, right.valid)
        if valid is None:
            return Truth(same, None)
        holds = rt.and_(same, valid)
        return Truth(holds, rt.xor(valid, holds))

    def _chosen(self, bit: SharedBits, one: SharedBits, other: SharedBits) -> SharedBits:
        return self._rt.xor(other, self._rt.and_(bit, self._rt.xor(one, other)))

    def _some(self, valid: SharedBits | None) -> SharedBits:
        return self._rt.constant_bits(np.ones(self._rows, dtype=np.bool_)) if valid is None else valid

    def _constant(self, value: int) -> Shared:
        return self._rt.constant(np.full(self._rows, value, dtype=np.int64))


def both(rt: Runtime, one: SharedBits | None, other: SharedBits | None) -> SharedBits | None:
    """Where both have a value; None: everywhere."""
    if one is None or other is None:
        return other if one is None else one
    return rt.and_(one, other)
