"""Figures of cells, computed on shares over blocks of rows, small cells suppressed before anything is opened.

A cell is a combination of groups, or all rows. Its indicator is 1 in the rows that count and are in the cell;
its number of rows, sums and sums of products are sums of products with the indicator, so that their messages
do not grow with the rows. An owner that holds everything an indicator depends on makes and shares it;
otherwise it is made on shared bits.

What is released of a cell below the minimum is 0, decided on shares: no party, and no recipient, learns its
figures, only that it was suppressed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.jobs.secret_columns.evaluate import Joined, SharedRows, width
from exchange.jobs.secret_columns.nodes import BOUND, Kind, Node, square
from exchange.jobs.secret_columns.query import Figure, Query
from mpc.replicated import Runtime, Shared, SharedBits
from mpc.replicated.sharing import concatenate, stack
from mpc.replicated.suppression import large_enough

__all__ = [
    "BLOCK_VALUES",
    "MAX_PICKED",
    "Minimum",
    "check_sums",
    "compute",
    "picking",
    "released_values",
    "summed",
]

BLOCK_VALUES: Final = 2**21
"""Indicator values of one block of rows, at most: bounds memory, 16 MiB of shares an array."""
MAX_PICKED: Final = 2**24
"""Cells times rows of extremes and quantiles, which need all rows at once."""


@dataclass(frozen=True)
class Minimum:
    """The smallest number of rows a released cell has, and whether suppressed ones must have it together."""

    rows: int
    complementary: bool


def compute(
    rt: Runtime,
    query: Query,
    ranks: Mapping[str, int],
    own: Mapping[str, NDArray[np.int64]],
    rows: int,
    minimum: Minimum,
    joined: Joined | None = None,
) -> Shared:
    """Compute a query.

    Args:
        rt: the run.
        query: compiled, the same at every party.
        ranks: of the roles.
        own: this party's columns.
        rows: aligned rows, public.
        minimum: what a cell needs to be released.
        joined: the rows on shares, where no owner knows which they are; those without a match count nowhere.

    Returns:
        Shared int64[cells, 2 + values]: 1 where a cell is released, its rows, then the values of its figures
        as `released_values` counts them; all 0 where it is suppressed.

    Raises:
        JobFailed: a sum over so many rows might not fit, or the rows are too many for extremes or quantiles.
    """
    check_sums(query, rows)
    totals: list[Shared] = []
    picked = _Picked(query, rows)
    for start, stop in _blocks(query, rows):
        part = {name: values[start:stop] for name, values in own.items()}
        given = None if joined is None else joined.between(start, stop)
        block = _Block(rt, query, SharedRows(rt, ranks, part, stop - start, given))
        totals.append(block.sums())
        picked.add(block)
    table = rt.sum(Shared(np.stack([one.shares for one in totals], axis=-1))).reshape(*totals[0].shape)
    open_cells = large_enough(rt, table[:, 0], minimum.rows, complementary=minimum.complementary)
    values = Shared(np.concatenate([table.shares, picked.values(rt).shares], axis=2))
    flags = open_cells.reshape(query.cells, 1)
    return Shared(np.concatenate([flags.shares, rt.mul(flags, values).shares], axis=2))


def released_values(figure: Figure) -> int:
    """How many values a figure has in a release: sums, and sums of products for correlations."""
    if figure.kind == "correlation":
        size = len(figure.nodes)
        return size + size * (size + 1) // 2
    return {"variance": 2}.get(figure.kind, 1)


def summed(query: Query) -> list[Figure]:
    """The figures that are made from sums, in the order of a release: before those that pick values."""
    return [one for one in query.figures if one.kind in ("correlation", "mean", "sum", "variance")]


def picking(query: Query) -> list[Figure]:
    """The figures that are one row's value, in the order of a release."""
    return [one for one in query.figures if one.kind in ("maximum", "minimum", "quantile")]


class _Block:
    """The indicators of the cells over one block of rows, and the sums over it."""

    def __init__(self, rt: Runtime, query: Query, rows: SharedRows) -> None:
        self.rt, self.query, self.rows = rt, query, rows
        self.indicators = self._indicators()

    def sums(self) -> Shared:
        """Shared int64[cells, 1 + values of the summed figures]."""
        rt, rows, cells = self.rt, self.rows, self.query.cells
        parts = [rt.sum(self.chosen()).reshape(cells, 1)]
        single = [
            node
            for figure in summed(self.query)
            if figure.kind != "correlation"
            for node in _operands(figure)
        ]
        if single:
            values = stack([rows.number(node) for node in single])
            parts.append(self._weighted(values))
        singles = iter(range(len(single)))
        columns: list[Shared] = [parts[0]]
        for figure in summed(self.query):
            if figure.kind == "correlation":
                columns.append(self._moments(figure))
            else:
                taken = [next(singles) for _ in _operands(figure)]
                columns.append(parts[1][:, taken])
        return Shared(np.concatenate([one.shares for one in columns], axis=2))

    def chosen(self) -> Shared:
        """The indicators, all ones where nothing is asked of a row."""
        if self.indicators is not None:
            return self.indicators
        return self.rt.constant(np.ones((1, self.rows.rows), dtype=np.int64))

    def _weighted(self, values: Shared) -> Shared:
        """Sums of values [m, rows] in every cell: [cells, m]."""
        if self.indicators is None:
            return self.rt.sum(values).reshape(1, values.rows)
        return self.rt.dot(self.indicators, values)

    def _moments(self, figure: Figure) -> Shared:
        """Sums of the operands and of their products two by two, [cells, p + p (p + 1) / 2]."""
        values = stack([self.rows.number(node) for node in figure.nodes])
        upper = np.triu_indices(len(figure.nodes))
        cells = []
        for cell in range(self.query.cells):
            weighted = values
            if self.indicators is not None:
                weighted = self.rt.mul(values, self.indicators[cell])
            sums = self.rt.sum(weighted).reshape(len(figure.nodes))
            cells.append(concatenate([sums, self.rt.dot(weighted, values)[upper]]))
        return stack(cells)

    def _indicators(self) -> Shared | None:
        """Shared int64[cells, rows] of 0 and 1; None where every row is in the only cell."""
        query, rows, rt = self.query, self.rows, self.rt
        conditions = [*([query.where] if query.where is not None else []), *(key.node for key in query.keys)]
        if not conditions and rows.joined is None:
            return None
        holders = frozenset[str]().union(*(node.holders for node in conditions))
        if len(holders) == 1 and rows.joined is None:
            (holder,) = holders
            return rt.share(rows.rank(holder), self._own_indicators(), (query.cells, rows.rows))
        factors = [] if rows.joined is None else [_rows_of(rows.joined.members)]
        factors += [] if query.where is None else [_rows_of(rows.bits(query.where))]
        factors += [self._one_hot(key.node, len(key.labels)) for key in query.keys]
        return rt.to_arithmetic(functools.reduce(functools.partial(_outer, rt), factors))

    def _own_indicators(self) -> NDArray[np.int64] | None:
        query = self.query
        number: NDArray[np.int64] = np.zeros(self.rows.rows, dtype=np.int64)
        for key in query.keys:
            codes = self.rows.mine(key.node)
            if codes is None:
                return None
            number = number * len(key.labels) + codes
        inside = None if query.where is None else self.rows.mine(query.where)
        if query.where is not None and inside is None:
            return None
        hot: NDArray[np.int64] = (np.arange(query.cells)[:, None] == number).astype(np.int64)
        if inside is not None:
            hot *= inside
        return hot

    def _one_hot(self, node: Node, size: int) -> SharedBits:
        """Shared bits [size, rows]: which label a row has."""
        rt, rows = self.rt, self.rows
        if rows.has_holder(node):
            (holder,) = node.holders
            codes = rows.mine(node)
            hot = None if codes is None else np.arange(size)[:, None] == codes
            return rt.share_bits(rows.rank(holder), hot, (size, rows.rows))
        if node.kind is Kind.TRUTH:
            yes = rows.bits(node)
            return SharedBits(np.stack([rt.not_(yes).shares, yes.shares], axis=1), rows.rows)
        codes_shared = rows.number(node)
        each = [rt.is_zero(rt.add_public(codes_shared, -label), bits=width(node)) for label in range(size)]
        return SharedBits(np.stack([one.shares for one in each], axis=1), rows.rows)


class _Picked:
    """Extremes and quantiles: collected over the blocks, picked at the end."""

    def __init__(self, query: Query, rows: int) -> None:
        self.query, self.figures = query, picking(query)
        if self.figures and query.cells * rows > MAX_PICKED:
            raise JobFailed(
                f"expected at most {MAX_PICKED} cells times rows for extremes and quantiles, "
                f"got {query.cells} x {rows}"
            )
        self._values: list[list[Shared]] = []
        self._indicators: list[Shared] = []

    def add(self, block: _Block) -> None:
        """Keep what a block has of it."""
        if self.figures:
            self._values.append([block.rows.number(figure.nodes[0]) for figure in self.figures])
            self._indicators.append(block.chosen())

    def values(self, rt: Runtime) -> Shared:
        """Shared int64[cells, figures]."""
        if not self.figures:
            return rt.constant(np.zeros((self.query.cells, 0), dtype=np.int64))
        chosen = Shared(np.concatenate([one.shares for one in self._indicators], axis=2))
        columns = [
            self._pick(rt, figure, concatenate([block[number] for block in self._values]), chosen)
            for number, figure in enumerate(self.figures)
        ]
        return Shared(np.stack([one.shares for one in columns], axis=2))

    def _pick(self, rt: Runtime, figure: Figure, values: Shared, chosen: Shared) -> Shared:
        (node,) = figure.nodes
        span = node.upper - node.lower
        if figure.kind == "quantile":
            above = rt.add_public(values, -node.lower)
            part = rt.quantile(above, chosen, figure.part, bits=max(1, span.bit_length()))
            return rt.add_public(part, node.lower)
        # Rows outside a cell get the value that never wins.
        largest = figure.kind == "maximum"
        loser = node.lower if largest else node.upper
        kept = rt.add_public(rt.mul(chosen, rt.add_public(values, -loser)), loser)
        return rt.extreme(kept, bits=span.bit_length() + 1, largest=largest)


def _operands(figure: Figure) -> tuple[Node, ...]:
    (node,) = figure.nodes
    return (node, square(node)) if figure.kind == "variance" else (node,)


def _blocks(query: Query, rows: int) -> Iterator[tuple[int, int]]:
    width_rows = max(1, BLOCK_VALUES // query.cells)
    for start in range(0, rows, width_rows):
        yield start, min(start + width_rows, rows)


def _rows_of(bits: SharedBits) -> SharedBits:
    return SharedBits(bits.shares[:, None], bits.rows)


def _outer(rt: Runtime, left: SharedBits, right: SharedBits) -> SharedBits:
    """Conjunctions of every row of bits of one side with every one of the other."""
    first = np.repeat(left.shares, right.shares.shape[1], axis=1)
    second = np.tile(right.shares, (1, left.shares.shape[1], 1))
    return rt.and_(SharedBits(first, left.rows), SharedBits(second, right.rows))


def check_sums(query: Query, rows: int) -> None:
    """Refuse sums over so many rows that they might not fit, by the figure's name.

    Raises:
        JobFailed: one might not.
    """
    for figure in summed(query):
        for node in figure.nodes:
            power = 2 if figure.kind in ("correlation", "variance") else 1
            if rows * node.magnitude**power >= BOUND:
                raise JobFailed(
                    f"figure {figure.name}: the {figure.kind} over {rows} rows might not fit; "
                    f"narrow the bounds or keep fewer decimals"
                )
