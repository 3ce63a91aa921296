"""Queries as programs for an engine: the same table of figures as `figures.compute`, in one straight line.

What one owner computes alone enters as an input; where owners meet, each part of an expression is a step.
Quotients and quantiles have no program and are refused before a job is approved.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.jobs.secret_columns.evaluate import in_the_clear
from exchange.jobs.secret_columns.figures import Minimum, picking, summed
from exchange.jobs.secret_columns.nodes import BOUND, Kind, Node, square
from exchange.jobs.secret_columns.query import Figure, Key, Query
from mpc.engines.shares import Program, Sharing

__all__ = ["Lowered", "lower", "without_program"]

Numbers = NDArray[np.int64]
_WITHOUT: Final = {"divide": "/", "quotient": "/ or round"}


def without_program(query: Query) -> str | None:
    """What of a query an engine has no operation for, in the query's words; None if it has all."""
    for figure in query.figures:
        if figure.kind == "quantile":
            return f"the quantile {figure.name}"
    conditions = [query.where] if query.where is not None else []
    for node in (*conditions, *(key.node for key in query.keys), *_figure_nodes(query)):
        for part in _shared_parts(node):
            if part.op in _WITHOUT:
                return f"{_WITHOUT[part.op]} on columns of several owners"
    return None


@dataclass
class Lowered:
    """A program, and how each owner makes its inputs.

    Attributes:
        program: the same at every party.
        inputs: in the program's order, the owner's rank and how it makes the input from its columns.
    """

    program: Program = field(default_factory=Program)
    inputs: list[tuple[int, Callable[[Mapping[str, Numbers]], Numbers]]] = field(default_factory=list)

    def own(self, rank: int, columns: Mapping[str, Numbers]) -> list[Numbers]:
        """One party's inputs."""
        return [np.ascontiguousarray(make(columns)) for owner, make in self.inputs if owner == rank]


def lower(query: Query, ranks: Mapping[str, int], rows: int, minimum: Minimum, kind: Sharing) -> Lowered:
    """Write the program of a query without quotients and quantiles.

    Args:
        query: compiled.
        ranks: of the roles.
        rows: aligned rows, public.
        minimum: what a cell needs to be released.
        kind: the sharing it will run on.

    Returns:
        A program with the output int64[cells, 2 + values] of `figures.compute`.
    """
    return _Lowering(query, ranks, rows, kind).lowered(minimum)


def _figure_nodes(query: Query) -> Iterator[Node]:
    for figure in query.figures:
        yield from figure.nodes


def _shared_parts(node: Node) -> Iterator[Node]:
    """The parts of an expression in which owners meet."""
    if len(node.holders) > 1:
        yield node
        for arg in node.args:
            yield from _shared_parts(arg)


def _operands(figure: Figure) -> Iterator[Node]:
    """What is summed for a figure, in the order of a release."""
    if figure.kind == "variance":
        (node,) = figure.nodes
        yield from (node, square(node))
    else:
        yield from figure.nodes
    if figure.kind == "correlation":
        for first, second in combinations_with_replacement(figure.nodes, 2):
            yield Node("mul", (first, second), holders=first.holders | second.holders)


def _only(node: Node) -> str:
    """The holder of what one owner computes alone."""
    (holder,) = node.holders
    return holder


class _Lowering:
    def __init__(self, query: Query, ranks: Mapping[str, int], rows: int, kind: Sharing) -> None:
        self._query, self._ranks, self._rows = query, ranks, rows
        self._product = kind.product
        self._made = Lowered()
        self._numbers: dict[Node, int] = {}
        self._hot: dict[int, int] = {}
        self._all_hot: int | None = None

    def lowered(self, minimum: Minimum) -> Lowered:
        self._enter()
        chosen = self._chosen()
        counts = self._step("sum", chosen)
        flags = self._flags(counts, minimum)
        values = [counts]
        vectors = [self._number(node) for figure in summed(self._query) for node in _operands(figure)]
        if vectors:
            sums = self._step(self._product, self._step("rows", *vectors), chosen)
            values += [self._step("part", sums, number=at) for at in range(len(vectors))]
        values += [self._picked(figure, chosen) for figure in picking(self._query)]
        self._step("columns", flags, *(self._step("mul", flags, value) for value in values))
        return self._made

    def _step(self, op: str, *args: int, number: int | None = None) -> int:
        return self._made.program.step(op, *args, number=number)

    # inputs, before the first step

    def _enter(self) -> None:
        query = self._query
        conditions = [*([] if query.where is None else [query.where]), *(key.node for key in query.keys)]
        holders = frozenset[str]().union(*(node.holders for node in conditions))
        if conditions and len(holders) == 1:
            self._all_hot = self._input(next(iter(holders)), query.cells, make=self._own_indicators)
        else:
            for at, key in enumerate(query.keys):
                if len(key.node.holders) == 1:
                    make = functools.partial(self._own_hot, key)
                    self._hot[at] = self._input(_only(key.node), len(key.labels), make=make)
                else:
                    self._enter_parts(key.node)
            if query.where is not None:
                self._enter_parts(query.where)
        for figure in query.figures:
            for node in _operands(figure) if figure in summed(query) else figure.nodes:
                self._enter_parts(node)

    def _enter_parts(self, node: Node) -> None:
        if node.is_constant or node in self._numbers:
            return
        if len(node.holders) == 1:
            make = functools.partial(in_the_clear, node, rows=self._rows)
            self._numbers[node] = self._input(_only(node), make=make)
            return
        for arg in node.args:
            self._enter_parts(arg)

    def _input(self, holder: str, *leading: int, make: Callable[[Mapping[str, Numbers]], Numbers]) -> int:
        rank = self._ranks[holder]
        self._made.inputs.append((rank, make))
        return self._made.program.input(rank, *leading, self._rows)

    def _own_hot(self, key: Key, columns: Mapping[str, Numbers]) -> Numbers:
        codes = in_the_clear(key.node, columns, self._rows)
        hot: Numbers = (np.arange(len(key.labels))[:, None] == codes).astype(np.int64)
        return hot

    def _own_indicators(self, columns: Mapping[str, Numbers]) -> Numbers:
        hot = np.ones((1, self._rows), dtype=np.int64)
        if self._query.where is not None:
            hot = hot * in_the_clear(self._query.where, columns, self._rows)
        for key in self._query.keys:
            hot = (hot[:, None, :] * self._own_hot(key, columns)[None]).reshape(-1, self._rows)
        return hot

    # steps

    def _number(self, node: Node) -> int:
        if node not in self._numbers:
            self._numbers[node] = self._constant(node.number) if node.is_constant else self._computed(node)
        return self._numbers[node]

    def _constant(self, number: int) -> int:
        any_row = 0 if len(self._made.program.shapes[0]) == 1 else self._step("part", 0, number=0)
        return self._step("shift", self._step("scale", any_row, number=0), number=number)

    def _computed(self, node: Node) -> int:
        args = [self._number(arg) for arg in node.args]
        match node.op:
            case "add":
                return self._step("add", *args)
            case "and" | "mul":
                return self._step("mul", *args)
            case "negative":
                return self._step("is-negative", *args)
            case "not":
                return self._not(*args)
            case "number":
                return args[0]
            case "or":
                return self._not(self._step("mul", *(self._not(arg) for arg in args)))
            case "scale" | "shift":
                return self._step(node.op, *args, number=node.number)
            case "select":
                difference = self._step("sub", args[1], args[2])
                return self._step("add", args[2], self._step("mul", args[0], difference))
            case "zero":
                return self._step("is-zero", *args)
        raise AssertionError(node.op)

    def _not(self, flag: int) -> int:
        return self._step("shift", self._step("scale", flag, number=-1), number=1)

    def _chosen(self) -> int:
        """The indicators of the cells, [cells, rows]."""
        if self._all_hot is not None:
            return self._all_hot
        query = self._query
        factors = [] if query.where is None else [self._step("rows", self._number(query.where))]
        factors += [self._one_hot(at, key) for at, key in enumerate(query.keys)]
        if not factors:
            return self._step("rows", self._constant(1))
        return functools.reduce(functools.partial(self._step, "outer"), factors)

    def _one_hot(self, at: int, key: Key) -> int:
        if at in self._hot:
            return self._hot[at]
        codes = self._number(key.node)
        if key.node.kind is Kind.TRUTH:
            return self._step("rows", self._not(codes), codes)
        each = [self._step("is-zero", self._step("shift", codes, number=-n)) for n in range(len(key.labels))]
        return self._step("rows", *each)

    def _picked(self, figure: Figure, chosen: int) -> int:
        (node,) = figure.nodes
        largest = figure.kind == "maximum"
        loser = node.lower if largest else node.upper
        above = self._step("mul", chosen, self._step("shift", self._number(node), number=-loser))
        kept = self._step("shift", above, number=loser)
        return self._step("largest" if largest else "smallest", kept)

    def _flags(self, counts: int, minimum: Minimum) -> int:
        """Which cells are released; see `figures.compute` on what is left when they are few."""
        flags = self._not(self._step("is-negative", self._step("shift", counts, number=-minimum.rows)))
        if not minimum.complementary or self._query.cells == 1:
            return flags
        shown = self._step("mul", flags, counts)
        left = self._step("sub", self._step("sum", counts), self._step("sum", shown))
        few = self._step("is-negative", self._step("shift", left, number=-minimum.rows))
        some_few = self._step("mul", self._not(self._step("is-zero", left)), few)
        high = self._step("add", shown, self._step("scale", self._not(flags), number=BOUND))
        is_least = self._step("is-zero", self._step("sub", high, self._step("smallest", high)))
        return self._step("mul", flags, self._not(self._step("mul", is_least, some_few)))
