"""Trees: how they are stored in parts, and the best split of a node from the sums of its bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.boosting.settings import Settings

__all__ = [
    "FREE",
    "ROOT",
    "Best",
    "Bounds",
    "Histogram",
    "OwnSplit",
    "Split",
    "Tree",
    "best_split",
    "running_sums",
    "weights_of",
]

Floats = NDArray[np.float64]

ROOT: Final = 1
"""Nodes are numbered as in a heap: the children of i are 2i and 2i + 1."""
Bounds = tuple[float, float]
"""The least and the largest weight of the leaves below a node."""
FREE: Final[Bounds] = (-np.inf, np.inf)
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
    directions: Sequence[int] = (),
    bounds: Bounds = FREE,
    allowed: NDArray[np.bool_] | None = None,
) -> Best | None:
    """The split of largest gain; None where none is worth it.

    Args:
        histogram: of the node.
        counts: cuts of each column, in the order of the histogram.
        settings: as agreed.
        directions: of each column, 1 where weights may not fall with it, -1 where they may not rise, 0 where
            both may be; empty: 0 for all.
        bounds: of the weights below the node.
        allowed: bool[cuts], which cuts may be taken besides; none: all.

    Source: Chen, Guestrin 2016, equation 7, without the half, as XGBoost has it; with XGBoost's bounds of
    weights. Cost: linear in the cuts.
    """
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    column = np.repeat(np.arange(len(counts)), counts)
    g_left, h_left = (running_sums(one, counts) for one in (histogram.g, histogram.h))
    g_right, h_right = histogram.g_total - g_left, histogram.h_total - h_left
    may = np.minimum(h_left, h_right) >= max(settings.min_child_weight, 1e-12)
    if allowed is not None:
        may &= allowed
    if not np.any(may):
        return None
    sums: list[tuple[Floats | float, Floats | float]] = [
        (g_left, h_left),
        (g_right, h_right),
        (histogram.g_total, histogram.h_total),
    ]
    weights = [weights_of(g, h, settings, bounds) for g, h in sums]
    left, right, whole = (
        _lowered(g, h, weight, settings) for (g, h), weight in zip(sums, weights, strict=True)
    )
    if directions:
        may &= np.asarray(directions)[column] * (weights[1] - weights[0]) >= 0
    gains = np.where(may, left + right - whole, -np.inf)
    at = int(np.argmax(gains))
    if gains[at] <= max(settings.gamma, _LEAST_GAIN):
        return None
    return Best(int(column[at]), int(at - starts[column[at]]), float(gains[at]))


def weights_of(g: Floats | float, h: Floats | float, settings: Settings, bounds: Bounds) -> Floats:
    """The weights of leaves with these sums, before they are shrunk; 0 where nothing decides.

    Source: Chen, Guestrin 2016, equation 5, with XGBoost's alpha and bounds.
    """
    beyond = np.sign(g) * np.maximum(np.abs(g) - settings.l1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(h + settings.l2 > 0, -beyond / (h + settings.l2), 0.0)
    return np.asarray(np.clip(weights, *bounds), dtype=np.float64)


def _lowered(g: Floats | float, h: Floats | float, weight: Floats, settings: Settings) -> Floats:
    """Twice by how much leaves of these weights lower the penalised loss, to the second order."""
    penalty = (h + settings.l2) * weight**2 + 2 * settings.l1 * np.abs(weight)
    return np.asarray(-2 * g * weight - penalty, dtype=np.float64)


def running_sums(sums: Floats, counts: Sequence[int]) -> Floats:
    """Cumulative sums over the bins, that start anew with each column of so many cuts: float64[cuts]."""
    running = np.concatenate([[0.0], np.cumsum(sums)])
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(running[1:] - running[starts], dtype=np.float64)
