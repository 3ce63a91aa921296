"""Trees: how they are stored in parts, and the best split of a node from the sums of its bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.boosting.settings import Settings

__all__ = [
    "ROOT",
    "Best",
    "Histogram",
    "OwnSplit",
    "Split",
    "Tree",
    "best_split",
    "running_sums",
    "weight_of",
]

Floats = NDArray[np.float64]

ROOT: Final = 1
"""Nodes are numbered as in a heap: the children of i are 2i and 2i + 1."""
_LEAST_GAIN: Final = 1e-6
"""As in XGBoost."""


@dataclass(frozen=True)
class OwnSplit:
    """One split on a column of this owner: rows up to and including the threshold go left."""

    column: int
    threshold: float


@dataclass(frozen=True)
class Split:
    """An inner node as the label holder knows it.

    Attributes:
        owner: rank of the owner of the column.
        record: number of the split among those of that owner.
        gain: by which the split lowers the loss.
    """

    owner: int
    record: int
    gain: float


@dataclass(frozen=True)
class Tree:
    """Structure and leaves of one tree, by node; leaf weights are shrunk by the rate already."""

    splits: dict[int, Split]
    leaves: dict[int, float]


@dataclass(frozen=True)
class Histogram:
    """Sums over the rows of a node, by bin.

    Attributes:
        g, h: float64[cuts], of gradients and hessians, for each bin of each column but the column's last.
        g_total, h_total: of all rows of the node.
    """

    g: Floats
    h: Floats
    g_total: float
    h_total: float

    def minus(self, other: Histogram) -> Histogram:
        """The histogram of the node's other child."""
        return Histogram(
            self.g - other.g, self.h - other.h, self.g_total - other.g_total, self.h_total - other.h_total
        )


@dataclass(frozen=True)
class Best:
    """The best split of a node: which of all columns, at which of its cuts, and its gain."""

    column: int
    cut: int
    gain: float


def best_split(
    histogram: Histogram,
    counts: Sequence[int],
    settings: Settings,
    allowed: NDArray[np.bool_] | None = None,
) -> Best | None:
    """The split of largest gain; None where none is worth it.

    Args:
        histogram: of the node.
        counts: cuts of each column, in the order of the histogram.
        settings: as agreed.
        allowed: bool[cuts], which cuts may be taken besides; none: all.

    Source: Chen, Guestrin 2016, equation 7, without the half, as XGBoost has it. Cost: linear in the cuts.
    """
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    column = np.repeat(np.arange(len(counts)), counts)
    g_left, h_left = running_sums(histogram.g, counts), running_sums(histogram.h, counts)
    g_right, h_right = histogram.g_total - g_left, histogram.h_total - h_left
    may = np.minimum(h_left, h_right) >= max(settings.min_child_weight, 1e-12)
    if allowed is not None:
        may &= allowed
    if not np.any(may):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = (
            g_left**2 / (h_left + settings.l2)
            + g_right**2 / (h_right + settings.l2)
            - histogram.g_total**2 / (histogram.h_total + settings.l2)
        )
    gains = np.where(may, gains, -np.inf)
    at = int(np.argmax(gains))
    if gains[at] <= max(settings.gamma, _LEAST_GAIN):
        return None
    return Best(int(column[at]), int(at - starts[column[at]]), float(gains[at]))


def weight_of(g: float, h: float, settings: Settings) -> float:
    """The shrunk weight of a leaf. Source: Chen, Guestrin 2016, equation 5."""
    return -settings.rate * g / (h + settings.l2) if h + settings.l2 else 0.0


def running_sums(sums: Floats, counts: Sequence[int]) -> Floats:
    """Cumulative sums over the bins, that start anew with each column of so many cuts: float64[cuts]."""
    running = np.concatenate([[0.0], np.cumsum(sums)])
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(running[1:] - running[starts], dtype=np.float64)
