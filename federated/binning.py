"""Bins of an owner's own column, made at its node: fine ones from values alone, then merged by counts.

A bin of numbers is closed at its lower edge: [low, high). Rows without a value are a bin of their own, the
first, until it is merged with the one after it. Merging joins neighbours only; the order of categories is the
caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.secrecy import Unprintable

__all__ = ["Bins", "Missing", "category_bins", "edge_bins", "groups_of", "quantile_bins"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Marks = NDArray[np.bool_]


class Missing(StrEnum):
    """Where rows without a value are."""

    NOWHERE = "nowhere"
    ALONE = "alone"
    WITH_FIRST = "with-first"


@dataclass(frozen=True, repr=False)
class Bins(Unprintable):
    """The bins of a column, in order.

    Attributes:
        edges: of numbers: the lower edge of every bin but the first, ascending.
        categories: of categories: those of each bin; empty for numbers.
        missing: where rows without a value are.
    """

    edges: tuple[float, ...]
    categories: tuple[tuple[str, ...], ...]
    missing: Missing

    @property
    def is_category(self) -> bool:
        """Whether the column holds categories."""
        return bool(self.categories)

    @property
    def alone(self) -> int:
        """How many bins, 0 or 1, hold rows without a value alone."""
        return int(self.missing is Missing.ALONE)

    @property
    def count(self) -> int:
        """How many bins there are."""
        return self.alone + (len(self.categories) or 1 + len(self.edges))

    def of_numbers(self, values: Floats, name: str) -> Codes:
        """The bin of each row.

        Args:
            values: float64[rows], NaN where there is none.
            name: of the column, for errors.

        Raises:
            InvalidInput: rows without a value where the bins have none, counted.
        """
        codes = np.searchsorted(self.edges, values, side="right") + self.alone
        return self._placed(codes, np.isnan(values), name)

    def of_categories(self, labels: Sequence[str], codes: Codes, name: str) -> Codes:
        """The bin of each row.

        Args:
            labels: categories of the column.
            codes: int64[rows], which of them; -1 where there is none.
            name: of the column, for errors.

        Raises:
            InvalidInput: rows without a value, or of another category, that the bins do not have; counted.
        """
        places = {label: number for number, several in enumerate(self.categories) for label in several}
        at = np.array([*(places.get(label, -1) for label in labels), -1], dtype=np.int64)
        placed, is_missing = at[codes], codes < 0
        unknown = int(np.count_nonzero((placed < 0) & ~is_missing))
        if unknown:
            raise InvalidInput(f"column {name}: {unknown} of {len(codes)} rows have a category without a bin")
        return self._placed(placed + self.alone, is_missing, name)

    def merged(self, starts: Marks) -> Bins:
        """Join every bin that does not start a group, bool[bins], with the one before it."""
        if len(starts) != self.count or not starts[0]:
            raise InvalidInput(f"expected marks of {self.count} bins, the first one set")
        values, missing = starts[self.alone :].copy(), self.missing
        if self.alone and not values[0]:
            values[0], missing = True, Missing.WITH_FIRST
        edges = tuple(edge for edge, starts_here in zip(self.edges, values[1:], strict=False) if starts_here)
        ends = [*np.flatnonzero(values).tolist(), len(values)]
        groups = [
            tuple(label for several in self.categories[low:high] for label in several)
            for low, high in pairwise(ends)
        ]
        return Bins(edges, tuple(groups) if self.is_category else (), missing)

    def reordered(self, order: Sequence[int]) -> Bins:
        """The bins of categories in another order; `alone` stays first and is not counted."""
        return replace(self, categories=tuple(self.categories[place] for place in order))

    def names(self) -> list[str]:
        """What a person reads of each bin."""
        if self.is_category:
            shown = [" | ".join(several) for several in self.categories]
        else:
            lows, highs = ["-inf", *map(_short, self.edges)], [*map(_short, self.edges), "inf"]
            shown = [
                f"{'[' if number else '('}{low}, {high})"
                for number, (low, high) in enumerate(zip(lows, highs, strict=True))
            ]
        if self.missing is Missing.WITH_FIRST:
            shown[0] += " or missing"
        return ["missing", *shown] if self.alone else shown

    def _placed(self, codes: Codes, is_missing: Marks, name: str) -> Codes:
        missing = int(np.count_nonzero(is_missing))
        if missing and self.missing is Missing.NOWHERE:
            raise InvalidInput(f"column {name}: {missing} of {len(codes)} rows have no value, and no bin")
        return np.where(is_missing, 0, codes).astype(np.int64)


def quantile_bins(values: Floats, count: int, name: str) -> Bins:
    """As many bins of about equally many rows, fewer where values repeat.

    Args:
        values: float64[rows], NaN where there is none.
        count: at least 1.
        name: of the column, for errors.

    Raises:
        ValueOutOfRange: infinite values, counted.
        InvalidInput: no row has a value.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    known = _known(values, name)
    parts = np.arange(1, count) / count
    found = np.unique(np.quantile(known, parts, method="higher"))
    return Bins(tuple(found[found > known.min()].tolist()), (), _missing(len(known) < len(values)))


def edge_bins(values: Floats, edges: Sequence[float], name: str) -> Bins:
    """Bins with given edges, ascending; the rest as `quantile_bins`."""
    if not all(low < high for low, high in pairwise(edges)) or not np.all(np.isfinite(edges)):
        raise InvalidInput(f"column {name}: expected finite edges in ascending order")
    known = _known(values, name)
    return Bins(tuple(map(float, edges)), (), _missing(len(known) < len(values)))


def category_bins(labels: Sequence[str], codes: Codes, name: str) -> Bins:
    """A bin for each category, from the rarest on, so that rare ones are neighbours.

    Args:
        labels: categories, distinct.
        codes: int64[rows], which of them; -1 where there is none.
        name: of the column, for errors.

    Raises:
        InvalidInput: no row has a value.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    counts = np.bincount(codes[codes >= 0], minlength=len(labels))
    if not counts.sum():
        raise InvalidInput(f"column {name}: none of {len(codes)} rows has a value")
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda place: (counts[place], labels[place]))
    return Bins((), tuple((labels[place],) for place in order), _missing(bool(np.any(codes < 0))))


def groups_of(counts: NDArray[np.int64], least: int) -> Marks:
    """Which bins start a group, so that every group reaches a minimum in each of several counts.

    From the first bin on, a group ends as soon as it reaches the minimum and the rest does as well.

    Args:
        counts: int64[k, bins]: for example events and other rows.
        least: the minimum of each.

    Returns:
        bool[bins]; the first is set. One group where all together do not reach the minimum.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    starts = np.zeros(counts.shape[1], dtype=np.bool_)
    starts[0] = True
    rest = counts.sum(axis=1, keepdims=True) - np.cumsum(counts, axis=1)
    held = np.zeros(len(counts), dtype=np.int64)
    for place in range(counts.shape[1] - 1):
        held += counts[:, place]
        if np.all(held >= least) and np.all(rest[:, place] >= least):
            starts[place + 1] = True
            held[:] = 0
    return starts


def _known(values: Floats, name: str) -> Floats:
    infinite = int(np.count_nonzero(np.isinf(values)))
    if infinite:
        raise ValueOutOfRange(f"column {name}: {infinite} of {len(values)} values are not finite")
    known = values[~np.isnan(values)]
    if not len(known):
        raise InvalidInput(f"column {name}: none of {len(values)} rows has a value")
    return known


def _missing(is_there: bool) -> Missing:
    return Missing.ALONE if is_there else Missing.NOWHERE


def _short(edge: float) -> str:
    return f"{edge:.12g}"
