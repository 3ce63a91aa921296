"""Optimal binning: neighbouring fine bins joined by their counts of events and other rows.

Marks say which bins start a group, as `federated.binning.Bins.merged` takes them. A column has at most a few
dozen fine bins, so the loops are over bins and never over rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.woe import information_value

__all__ = ["CHI_SQUARE", "by_chi_square", "monotone", "summed"]

Counts = NDArray[np.int64]
Marks = NDArray[np.bool_]

CHI_SQUARE: Final = 3.841
"""The 95% quantile of chi-square with one degree of freedom: bins that differ by less are one."""


def summed(counts: Counts, starts: Marks) -> Counts:
    """The counts of each group, along the last axis; bool[bins] marks where groups start."""
    return np.add.reduceat(counts, np.flatnonzero(starts), axis=-1)


def monotone(events: Counts, others: Counts) -> Marks:
    """Join bins until the weight of evidence rises or falls all along, whichever keeps more information.

    Args:
        events: int64[bins], rows with the label 1.
        others: int64[bins], rows with the label 0; no bin is without rows.

    Returns:
        bool[bins]: which bins start a group.

    Security: local. Leaks: nothing; local. Cost: local. Source: pool adjacent violators: Ayer, Brunk, Ewing,
    Reid, Silverman 1955.
    """
    candidates = [_pooled(events, others, direction) for direction in (1, -1)]
    values = [information_value(summed(events, one), summed(others, one)) for one in candidates]
    return candidates[int(np.argmax(values))]


def by_chi_square(events: Counts, others: Counts, at_most: int, threshold: float = CHI_SQUARE) -> Marks:
    """Join the two neighbours that differ least, as long as they differ by too little or bins are too many.

    Args:
        events: int64[bins], rows with the label 1.
        others: int64[bins], rows with the label 0; no bin is without rows.
        at_most: bins to be left, at least 1.
        threshold: chi-square of two neighbours below which they are joined; 0: only for their number.

    Returns:
        bool[bins]: which bins start a group.

    Security: local. Leaks: nothing; local. Cost: local. Source: ChiMerge: Kerber 1992.
    """
    starts = np.ones(len(events), dtype=np.bool_)
    while (left := np.count_nonzero(starts)) > 1:
        distances = _distances(summed(events, starts), summed(others, starts))
        nearest = int(np.argmin(distances))
        if left <= at_most and distances[nearest] >= threshold:
            break
        starts[np.flatnonzero(starts)[nearest + 1]] = False
    return starts


def _pooled(events: Counts, others: Counts, direction: int) -> Marks:
    """Groups whose share of events rises strictly (1) or falls strictly (-1)."""
    groups: list[tuple[int, int, int]] = []
    for place, (event, other) in enumerate(zip(events.tolist(), others.tolist(), strict=True)):
        start = place
        while groups:
            before, before_events, before_rows = groups[-1]
            if direction * (before_events * (event + other) - event * before_rows) < 0:
                break
            groups.pop()
            start, event, other = before, event + before_events, other + before_rows - before_events
        groups.append((start, event, event + other))
    starts = np.zeros(len(events), dtype=np.bool_)
    starts[[start for start, _, _ in groups]] = True
    return starts


def _distances(events: Counts, others: Counts) -> NDArray[np.float64]:
    """Chi-square of each bin and the next, of a table of two by two."""
    e, n = events.astype(np.float64), others.astype(np.float64)
    rows = e + n
    both_events, both_others, both = e[:-1] + e[1:], n[:-1] + n[1:], rows[:-1] + rows[1:]
    difference = e[:-1] * n[1:] - e[1:] * n[:-1]
    expected = both_events * both_others * rows[:-1] * rows[1:]
    # Without events, or without others, in both there is no difference.
    distances: NDArray[np.float64] = np.zeros_like(expected)
    return np.divide(both * difference**2, expected, out=distances, where=expected > 0)
