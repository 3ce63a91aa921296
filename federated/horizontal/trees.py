"""Boosted trees over rows of many owners: what is agreed, bins, sums by node and bin, and how trees grow.

Nothing here talks to anybody; `federated.horizontal.boosting` adds up over the owners what `cell_counts` and
`sums_of` give. Gradients and hessians are rounded row by row to 24 fractional bits, so that sums are
exact and do not depend on which owner has which row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.binning import groups_of
from federated.boosting import objectives
from federated.boosting.settings import Objective, Settings
from federated.boosting.trees import FREE, ROOT, Best, Histogram, best_split, running_sums, weights_of
from federated.horizontal.encoding import FRACTION
from federated.horizontal.models import Floats
from federated.horizontal.settings import MAX_COLUMNS, MAX_ROWS, Family
from federated.horizontal.standardise import Table, check_bounds, in_unit
from mpc.errors import InvalidInput, MalformedMessage, ValueOutOfRange

__all__ = [
    "CELLS",
    "FIGURES",
    "MAX_SUMS",
    "Boosting",
    "Growing",
    "JointTree",
    "bins_of",
    "cell_counts",
    "cells_of",
    "check_sums",
    "cuts_from",
    "decided",
    "derivatives",
    "drawn_cuts",
    "place_of",
    "sums_at_most",
    "sums_of",
]

Codes = NDArray[np.int64]
Cells = NDArray[np.uint8]
Cuts = tuple[Codes, ...]
"""Of each column the cells, ascending, below which a cut separates rows from the others."""

CELLS: Final = 256
"""Equal parts of a column's bounds, of which bins are made."""
MAX_SUMS: Final = 2**20
"""Nodes of a level times bins of all columns times three sums: 8 MiB a round."""
FIGURES: Final = 7
"""What is told of a node: column from 1, or 0; cut; gain; weights of the left and right child; their rows."""
_UNIT: Final = 2.0**FRACTION
_LARGEST: Final = 4.0
"""Of a gradient. Below 2^53 even over `MAX_ROWS` rows, so that floating-point sums are exact."""


@dataclass(frozen=True)
class Boosting:
    """What the owners agreed to run.

    Attributes:
        settings: of the trees; the gain of a squared error is that of the label scaled by its bounds.
        names: of the features, then of the label; the same at all owners.
        lower, upper: of each column, the range that is cut into cells and to which values are clipped; those
            of a label of 0 and 1 are these.
        least: fewest rows of all owners together in a bin and in a leaf.
        percent: of the columns that a tree may split, rounded up; drawn for each from the session.
    """

    settings: Settings
    names: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    least: int
    percent: int = 100

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("columns with the label", len(self.names), 2, MAX_COLUMNS + 1),
            ("least", self.least, 1, 2**31),
            ("percent", self.percent, 1, 100),
            ("sums of a level", self.sums, 1, MAX_SUMS),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")
        grown = self.settings
        if grown.objective is Objective.SOFTMAX or grown.monotone or grown.patience or grown.samples:
            raise InvalidInput("settings: expected no classes, directions, patience or draw of rows, got one")
        check_bounds(self.names, self.lower, self.upper)
        if self.is_logistic and (self.lower[-1], self.upper[-1]) != (0.0, 1.0):
            raise InvalidInput(
                f"bounds of {self.names[-1]}: expected 0 and 1, got {self.lower[-1]} and {self.upper[-1]}"
            )

    @property
    def is_logistic(self) -> bool:
        """Whether the label is 0 and 1."""
        return self.settings.objective is Objective.LOGISTIC

    @property
    def features(self) -> int:
        """How many columns are cut into bins."""
        return len(self.names) - 1

    @property
    def drawn(self) -> int:
        """How many columns a tree may split."""
        return -(-self.features * self.percent // 100)

    @property
    def sums(self) -> int:
        """Sums that owners enter in a round, at most."""
        return sums_at_most(self.settings, self.features)

    @property
    def least_rows(self) -> int:
        """Fewest rows of all owners together: so many that one split is possible."""
        return 2 * self.least

    def prepared(self, table: Table) -> tuple[Cells, Floats]:
        """The cells of own features, uint8[columns, rows], and the label scaled by its bounds, float64[rows].

        Raises:
            InvalidInput: another number of columns, or no row.
            ValueOutOfRange: values that are missing or not finite, or labels other than 0 and 1; counted.
        """
        if table.columns != self.names:
            raise InvalidInput(f"columns: expected the {len(self.names)} that were agreed, got others")
        table.check(Family.LOGISTIC if self.is_logistic else Family.LINEAR)
        if len(table.label) > MAX_ROWS:
            raise ValueOutOfRange(f"rows: expected at most {MAX_ROWS}, got {len(table.label)}")
        label = in_unit(table.label[:, None], self.lower[-1:], self.upper[-1:])[:, 0]
        return cells_of(self, table.features), np.rint(label * _UNIT) / _UNIT

    def thresholds(self, cuts: Cuts) -> tuple[Floats, ...]:
        """Of each column the values below which its cuts separate rows, in its units."""
        ranges = zip(self.lower, self.upper, cuts, strict=False)
        return tuple(low + (high - low) * (own / CELLS) for low, high, own in ranges)


def sums_at_most(settings: Settings, features: int) -> int:
    """Sums that owners of so many columns enter in a round, at most."""
    return 3 * (1 << (settings.depth - 1)) * settings.bins * features


def cells_of(agreed: Boosting, features: Floats) -> Cells:
    """The cells of rows, values beyond the bounds in the outer ones: uint8[columns, rows].

    Args:
        agreed: what the owners agreed to.
        features: float64[rows, columns].
    """
    scaled = in_unit(features, agreed.lower[:-1], agreed.upper[:-1])
    return _as_cells(np.minimum(scaled * CELLS, CELLS - 1).T)


def cell_counts(cells: Cells) -> Codes:
    """How many rows are in each cell of each column: int64[columns, cells]."""
    return np.stack([np.bincount(one, minlength=CELLS) for one in cells]).astype(np.int64)


def cuts_from(agreed: Boosting, counts: Codes) -> Cuts:
    """Cut columns into bins of about as many rows, each of at least the fewest.

    A column of few cells has a bin for each, as far as these have enough rows.

    Args:
        agreed: what the owners agreed to.
        counts: over all owners, int64[columns, cells], of the same total.

    Security: at the aggregator, from sums. Leaks: nothing; local. Cost: local. Source: Chen, Guestrin 2016,
    section 3.3, with quantiles up to a cell.
    """
    bins = agreed.settings.bins
    cuts = []
    for own in counts:
        filled = np.flatnonzero(own)
        if len(filled) <= bins:
            found = filled[:-1] + 1
        else:
            below, parts = np.cumsum(own)[:-1], own.sum() * np.arange(1, bins) / bins
            found = np.unique(np.abs(below[:, None] - parts).argmin(axis=0) + 1)
        starts = groups_of(np.add.reduceat(own, np.append(0, found))[None], agreed.least)
        cuts.append(found[starts[1:]])
    return tuple(cuts)


def drawn_cuts(agreed: Boosting, cuts: Cuts, session: bytes, tree: int) -> Cuts:
    """The cuts of the columns that a tree, from 1, may split; none of the others.

    Security: public. Leaks: nothing. Cost: local. Source: sampling of columns: Breiman 2001 (Random Forests),
    by tree as in Chen, Guestrin 2016, section 2.3.
    """
    if agreed.percent == 100:
        return cuts
    draw = np.random.Generator(np.random.PCG64([int.from_bytes(session), tree]))
    chosen = draw.choice(agreed.features, agreed.drawn, replace=False)
    return tuple(own if at in chosen else own[:0] for at, own in enumerate(cuts))


def bins_of(cells: Cells, cuts: Cuts) -> Cells:
    """How many cuts are at or below the cell of each row: uint8[columns, rows]."""
    codes = [np.searchsorted(own, one, side="right") for own, one in zip(cuts, cells, strict=True)]
    return _as_cells(np.stack(codes))


def derivatives(agreed: Boosting, margins: Floats, label: Floats) -> tuple[Codes, Codes]:
    """Gradients and hessians of own rows in units of 2^-24: int64[rows], twice.

    Raises:
        ValueOutOfRange: a gradient is not finite or above 4 in magnitude; counted.
    """
    g, h = objectives.gradients(margins, label, agreed.settings.objective)
    misfits = int(np.count_nonzero(~(np.abs(g) <= _LARGEST)))
    if misfits:
        raise ValueOutOfRange(f"gradients: {misfits} of {len(g)} rows are not finite or above {_LARGEST:g}")
    return np.rint(g * _UNIT).astype(np.int64), np.rint(h * _UNIT).astype(np.int64)


def sums_of(
    codes: Cells, cuts: Cuts, nodes: Sequence[int], place: Codes, numbers: tuple[Codes, Codes]
) -> Codes:
    """Sums of gradients, of hessians and of rows over the rows of each node, in each bin of each column.

    Args:
        codes: the bins of own rows, uint8[columns, rows].
        cuts: of each column; of one that has none here, all rows are in one bin.
        nodes: to examine, ascending.
        place: the node of each row, int64[rows].
        numbers: gradients and hessians of own rows.

    Returns:
        int64[nodes, 3, bins of all columns].
    """
    at = np.searchsorted(nodes, place)
    rows = np.flatnonzero(np.append(nodes, 0)[at] == place)
    at, weights = at[rows], (*(one[rows] for one in numbers), np.ones(len(rows)))
    parts = []
    for own, cut in zip(codes, cuts, strict=True):
        bins = len(cut) + 1
        keys, length = at * bins + np.minimum(own[rows], len(cut)), len(nodes) * bins
        sums = [np.bincount(keys, weights=one, minlength=length).reshape(-1, bins) for one in weights]
        parts.append(np.stack(sums, axis=1))
    found: Codes = np.concatenate(parts, axis=2).astype(np.int64)
    return found


def check_sums(agreed: Boosting, cuts: Cuts, sums: Codes, rows: Sequence[int], *, is_root: bool) -> None:
    """Check that rows can have such sums, as far as that can be told.

    Args:
        agreed: what the owners agreed to.
        cuts: of each column.
        sums: over all owners, int64[nodes, 3, bins of all columns].
        rows: of each node, at most.
        is_root: of a root, exactly.

    Raises:
        MalformedMessage: rows cannot; how many bins or nodes do not fit.
    """
    g, h, count = sums[:, 0], sums[:, 1], sums[:, 2]
    most = np.array(rows)[:, None]
    fits = (count >= 0) & (count <= most)
    # Of counts that are wrong, products would overflow.
    units = np.where(fits, count, 0) << FRACTION
    largest = units * int(1 if agreed.is_logistic else _LARGEST)
    fits &= (g >= -largest) & (g <= largest)
    fits &= (h >= 0) & (h <= units // 4) if agreed.is_logistic else h == units
    if not fits.all():
        raise MalformedMessage(
            f"sums: expected those of rows within the bounds, got {np.count_nonzero(~fits)} of {fits.size} "
            "that are not"
        )
    starts = np.cumsum([0, *(len(one) + 1 for one in cuts)])[:-1]
    totals = np.add.reduceat(sums, starts, axis=2)
    differ = (totals != totals[:, :, :1]).any(axis=(1, 2))
    differ |= (totals[:, 2, 0] != most[:, 0]) if is_root else (totals[:, 2, 0] > most[:, 0])
    if differ.any():
        raise MalformedMessage(
            "sums: expected the same totals of every column, of the rows there are, got "
            f"{np.count_nonzero(differ)} of {len(sums)} nodes with others"
        )


def decided(agreed: Boosting, cuts: Cuts, sums: Codes) -> Floats:
    """The best split of each node, both children of which have the fewest rows: float64[nodes, 7].

    Args:
        agreed: what the owners agreed to.
        cuts: of each column.
        sums: over all owners, int64[nodes, 3, bins of all columns].

    Returns:
        Of each node as `FIGURES` has it; of one that is not split its own weight, at either child.

    Source: Chen, Guestrin 2016, equations 5 and 7.
    """
    counts, settings = [len(one) for one in cuts], agreed.settings
    ends = np.cumsum([count + 1 for count in counts])
    is_cut = np.ones(int(ends[-1]), dtype=np.bool_)
    is_cut[ends - 1] = False
    lines = []
    for node in sums:
        g, h, rows = node.astype(np.float64) / np.array([[_UNIT], [_UNIT], [1.0]])
        g_total, h_total, total = (float(one[: ends[0]].sum()) for one in (g, h, rows))
        left = running_sums(rows[is_cut], counts)
        best = best_split(
            Histogram(g[is_cut], h[is_cut], g_total, h_total),
            counts,
            settings,
            allowed=np.minimum(left, total - left) >= agreed.least,
        )
        if best is None:
            weight = _weight(g_total, h_total, settings)
            lines.append([0.0, 0.0, 0.0, weight, weight, 0.0, 0.0])
            continue
        start = ends[best.column] - counts[best.column] - 1
        lower = slice(start, start + best.cut + 1)
        g_left, h_left, count = (float(one[lower].sum()) for one in (g, h, rows))
        weights = (
            _weight(g_left, h_left, settings),
            _weight(g_total - g_left, h_total - h_left, settings),
        )
        lines.append([best.column + 1.0, best.cut, best.gain, *weights, count, total - count])
    return np.array(lines)


@dataclass(frozen=True)
class JointTree:
    """A tree, by node as in a heap; leaf weights are shrunk by the rate already.

    Attributes:
        splits: of inner nodes, column and cut by number.
        leaves: weights.
        rows: of all owners that were there when it was split off, of each node.
    """

    splits: dict[int, Best]
    leaves: dict[int, float]
    rows: dict[int, int]


@dataclass
class Growing:
    """A tree while it grows, the same at all parties.

    Attributes:
        agreed: what the owners agreed to.
        cuts: of each column.
        nodes: to examine next, ascending; none at the end.
    """

    agreed: Boosting
    cuts: Cuts
    nodes: tuple[int, ...] = (ROOT,)
    _level: int = field(init=False, default=0)
    _splits: dict[int, Best] = field(init=False, default_factory=dict)
    _weights: dict[int, float] = field(init=False, default_factory=dict)
    _rows: dict[int, int] = field(init=False, default_factory=dict)

    def rows(self, total: int) -> list[int]:
        """Of each node to examine, its rows when it was split off, of a root all there are."""
        return [self._rows.get(node, total) for node in self.nodes]

    def take(self, told: Floats, total: int) -> None:
        """Split the nodes of a level as they are told, and go on to the next one.

        Args:
            told: float64[nodes, 7] as `FIGURES` has it.
            total: rows of all owners in the round.

        Raises:
            MalformedMessage: a split of a column or at a cut that there is not, or of rows that cannot be.
        """
        children = []
        self._rows.setdefault(ROOT, total)
        for node, line in zip(self.nodes, told.tolist(), strict=True):
            column, cut, gain, *weights, left, right = line
            if column == 0:
                if node == ROOT:
                    self._weights[ROOT] = weights[0]
                continue
            self._check(node, column, cut, (left, right))
            self._splits[node] = Best(int(column) - 1, int(cut), gain)
            for child, weight, rows in zip((2 * node, 2 * node + 1), weights, (left, right), strict=True):
                self._weights[child], self._rows[child] = weight, int(rows)
                if rows >= self.agreed.least_rows:
                    children.append(child)
        self._level += 1
        self.nodes = tuple(children) if self._level < self.agreed.settings.depth else ()

    def tree(self) -> JointTree:
        """What has grown."""
        leaves = {node: weight for node, weight in self._weights.items() if node not in self._splits}
        return JointTree(self._splits, leaves, self._rows)

    def _check(self, node: int, column: float, cut: float, rows: tuple[float, float]) -> None:
        columns = len(self.cuts)
        if not 1 <= column <= columns or column != int(column):
            raise MalformedMessage(f"split: expected a column of {columns}, got {column:g}")
        cuts = len(self.cuts[int(column) - 1])
        if not 0 <= cut < cuts or cut != int(cut):
            raise MalformedMessage(f"split: expected a cut of {cuts}, got {cut:g}")
        least = self.agreed.least
        if min(rows) < least or sum(rows) > self._rows[node] or any(one != int(one) for one in rows):
            raise MalformedMessage(f"split: expected at least {least} of the node's rows on either side")


def place_of(tree: JointTree, codes: Cells) -> Codes:
    """The leaf of each row: int64[rows].

    Args:
        tree: as it is, or as far as it has grown.
        codes: bins, uint8[columns, rows].
    """
    place = np.full(codes.shape[1], ROOT, dtype=np.int64)
    for node, split in sorted(tree.splits.items()):
        rows = np.flatnonzero(place == node)
        place[rows] = 2 * node + (codes[split.column, rows] > split.cut)
    return place


def _weight(g: float, h: float, settings: Settings) -> float:
    return settings.rate * float(weights_of(g, h, settings, FREE))


def _as_cells(numbers: NDArray[np.float64] | Codes) -> Cells:
    return numbers.astype(np.uint8)
