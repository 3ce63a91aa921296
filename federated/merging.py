"""Supervised binning: neighbouring fine bins joined by their counts of events and other rows.

Marks say which bins start a group, as `federated.binning.Bins.merged` takes them. A column has at most a few
dozen fine bins, so the loops are over bins and never over rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.woe import information_value, information_values

__all__ = ["CHI_SQUARE", "by_chi_square", "monotone", "optimal", "summed"]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
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


def optimal(events: Counts, others: Counts, at_most: int) -> Marks:
    """Choose the groups of largest information value whose weight of evidence rises or falls all along.

    Args:
        events: int64[bins], rows with the label 1; at most 2^31 rows in all.
        others: int64[bins], rows with the label 0; no bin is without rows.
        at_most: groups to be left, at least 1; of equal values the fewest.

    Returns:
        bool[bins]: which bins start a group.

    Security: local. Leaks: nothing; local. Cost: local; (bins)^3 ``at_most`` steps, vectorised. Source: the
    problem of Navas-Palencia 2020 (Optimal binning), here by dynamic programming over the last group.
    """
    bins = len(events)
    start, end = np.triu_indices(bins + 1, k=1)
    of_events, of_rows = np.zeros((2, bins + 1, bins + 1), dtype=np.int64)
    for table, counts in ((of_events, events), (of_rows, events + others)):
        until = np.concatenate([[0], np.cumsum(counts)])
        table[start, end] = until[end] - until[start]
    values = np.full((bins + 1, bins + 1), -np.inf)
    values[start, end] = information_values(
        of_events[start, end], (of_rows - of_events)[start, end], int(events.sum()), int(others.sum())
    )
    found = [_best_chain(values, of_events * direction, of_rows, at_most) for direction in (1, -1)]
    starts = np.zeros(bins, dtype=np.bool_)
    starts[max(found, key=lambda one: one[0])[1]] = True
    return starts


def _best_chain(values: Floats, of_events: Counts, of_rows: Counts, at_most: int) -> tuple[float, list[int]]:
    """Find the best groups whose share of events rises: value and starts; tables are by start and end."""
    bins = len(values) - 1
    best = np.full_like(values, -np.inf)
    best[0] = values[0]
    value, last, back = best[0, bins], (1, 0), [np.zeros(values.shape, dtype=np.int64)]
    for count in range(2, min(at_most, bins) + 1):
        longer, before = np.full_like(values, -np.inf), np.zeros(values.shape, dtype=np.int64)
        for middle in range(1, bins):
            # by start of the group that ends here, and by end of the one that starts here
            rises = np.outer(of_rows[:, middle], of_events[middle]) > np.outer(
                of_events[:, middle], of_rows[middle]
            )
            chains = np.where(rises, best[:, middle, None], -np.inf)
            before[middle] = np.argmax(chains, axis=0)
            longer[middle] = values[middle] + np.max(chains, axis=0)
        best = longer
        back.append(before)
        start = int(np.argmax(best[:, bins]))
        if best[start, bins] > value:
            value, last = best[start, bins], (count, start)
    starts, at = [last[1]], bins
    for before in reversed(back[1 : last[0]]):
        at, start = starts[-1], int(before[starts[-1], at])
        starts.append(start)
    return float(value), starts


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
