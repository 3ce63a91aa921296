"""Expressions on rows: in the clear at the owner of all their columns, on shares where owners meet.

Both ways compute the same integers, but for quotients, which are rounded to the nearest in the clear and
within the bounds of ``mpc.replicated.division`` on shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.jobs.secret_columns.nodes import Kind, Node
from mpc.replicated import Runtime, Shared, SharedBits
from mpc.secrecy import Unprintable

__all__ = ["Joined", "SharedRows", "in_the_clear", "width"]

Numbers = NDArray[np.int64]


def in_the_clear(node: Node, columns: Mapping[str, Numbers], rows: int) -> Numbers:
    """Compute an expression over one owner's own columns.

    Args:
        node: with one holder, or a constant.
        columns: that owner's columns, int64[rows]: units of the last decimal, codes, or 0 and 1.
        rows: how many.

    Returns:
        int64[rows].
    """
    if node.op == "column":
        return columns[node.column]
    if node.op == "constant":
        return np.full(rows, node.number, dtype=np.int64)
    made = _CLEAR[node.op](node.number, *(in_the_clear(arg, columns, rows) for arg in node.args))
    return np.asarray(made, dtype=np.int64)


_CLEAR: Mapping[str, Callable[..., NDArray[Any]]] = {
    "add": lambda number, a, b: a + b,
    "and": lambda number, a, b: a & b,
    "divide": lambda number, a, b: (2 * a + b) // (2 * b),
    "mul": lambda number, a, b: a * b,
    "negative": lambda number, a: a < 0,
    "not": lambda number, a: 1 - a,
    "number": lambda number, a: a,
    "or": lambda number, a, b: a | b,
    "quotient": lambda number, a: (2 * a + number) // (2 * number),
    "scale": lambda number, a: a * np.int64(number),
    "select": lambda number, condition, a, b: np.where(condition == 1, a, b),
    "shift": lambda number, a: a + np.int64(number),
    "zero": lambda number, a: a == 0,
}
"""On int64 arrays, with the public number of the node first."""


@dataclass(frozen=True, repr=False, eq=False)
class Joined(Unprintable):
    """Hidden rows of an intersection, on shares.

    Attributes:
        columns: shared int64[rows], by role and name; 0 in rows without a match.
        members: shared bits [rows], which rows have a match.
    """

    columns: Mapping[tuple[str, str], Shared]
    members: SharedBits

    def between(self, start: int, stop: int) -> Joined:
        """Some of the rows."""
        columns = {name: shared[start:stop] for name, shared in self.columns.items()}
        return Joined(columns, self.members.take(slice(start, stop)))


class SharedRows:
    """The shared values of expressions over some rows; each expression is computed once.

    Args:
        rt: the run.
        ranks: of the roles.
        own: this party's columns of these rows.
        rows: how many.
        joined: these rows on shares, where no owner knows which they are; ``own`` is empty then.
    """

    def __init__(
        self,
        rt: Runtime,
        ranks: Mapping[str, int],
        own: Mapping[str, Numbers],
        rows: int,
        joined: Joined | None = None,
    ) -> None:
        self._rt, self._ranks, self._own, self.rows, self.joined = rt, ranks, own, rows, joined
        self._numbers: dict[Node, Shared] = {}
        self._bits: dict[Node, SharedBits] = {}

    def number(self, node: Node) -> Shared:
        """A number, or a truth value or category as one: shared int64[rows]."""
        if node not in self._numbers:
            self._numbers[node] = self._number(node)
        return self._numbers[node]

    def bits(self, node: Node) -> SharedBits:
        """A truth value: shared bits [rows]."""
        if node not in self._bits:
            self._bits[node] = self._truth(node)
        return self._bits[node]

    def has_holder(self, node: Node) -> bool:
        """Whether one owner computes a value itself."""
        return self.joined is None and len(node.holders) == 1

    def rank(self, role: str) -> int:
        """The rank of a role."""
        return self._ranks[role]

    def mine(self, node: Node) -> Numbers | None:
        """The values, at the owner that computes them; None elsewhere."""
        (holder,) = node.holders
        return in_the_clear(node, self._own, self.rows) if self._ranks[holder] == self._rt.rank else None

    def _number(self, node: Node) -> Shared:
        rt = self._rt
        if node.is_constant:
            return rt.constant(np.full(self.rows, node.number, dtype=np.int64))
        if self.has_holder(node):
            (holder,) = node.holders
            return rt.share(self._ranks[holder], self.mine(node), self.rows)
        if self.joined is not None and node.op == "column":
            (holder,) = node.holders
            return self.joined.columns[holder, node.column]
        if node.kind is Kind.TRUTH:
            return rt.to_arithmetic(self.bits(node))
        if node.op == "select":
            return rt.select(self.bits(node.args[0]), *(self.number(arg) for arg in node.args[1:]))
        args = [self.number(arg) for arg in node.args]
        match node.op:
            case "add":
                return rt.add(*args)
            case "divide":
                dividend, divisor = (arg.magnitude.bit_length() for arg in node.args)
                return rt.divide(*args, dividend_bits=max(1, dividend), divisor_bits=divisor)
            case "mul":
                return rt.mul(*args)
            case "number":
                return args[0]
            case "quotient":
                return rt.quotient(args[0], node.number)
            case "scale":
                return rt.scale(args[0], node.number)
            case "shift":
                return rt.add_public(args[0], node.number)
        raise AssertionError(node.op)

    def _truth(self, node: Node) -> SharedBits:
        rt = self._rt
        if node.is_constant:
            return rt.constant_bits(np.full(self.rows, node.number == 1))
        if self.has_holder(node):
            mine = self.mine(node)
            (holder,) = node.holders
            return rt.share_bits(self._ranks[holder], None if mine is None else mine == 1, self.rows)
        if node.op == "column":
            return rt.not_(rt.is_zero(self.number(node), bits=width(node)))
        match node.op:
            case "and":
                return rt.and_(*(self.bits(arg) for arg in node.args))
            case "or":
                return rt.or_(*(self.bits(arg) for arg in node.args))
            case "not":
                return rt.not_(self.bits(node.args[0]))
            case "negative":
                return rt.is_negative(self.number(node.args[0]), bits=width(node.args[0]))
            case "zero":
                return rt.is_zero(self.number(node.args[0]), bits=width(node.args[0]))
        raise AssertionError(node.op)


def width(node: Node) -> int:
    """Bits that hold a value and its sign."""
    return node.magnitude.bit_length() + 1
