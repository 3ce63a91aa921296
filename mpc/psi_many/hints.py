"""Values programmed into polynomials: a hint gives at each item its value, and elsewhere something random.

The items of a set are thrown into bins by a public hash, and each bin has one polynomial over the field of
2^61 - 1 through the values of its items, at points that the same hash gives. Bins are filled up with random
points to one degree, so if the values look random, a hint tells nothing but how many items it may hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput
from mpc.items import digests
from mpc.mersenne61 import Elements, elements, evaluate_in_rows, interpolate
from mpc.randomness import Randomness

BIN_ITEMS: Final = 128
"""Items a bin on average: more make the hint smaller and dearer."""

_OVERFLOW: Final = 2.0**-40


@dataclass(frozen=True, repr=False, eq=False)
class Positions:
    """Where items stand in every hint of a session: two uniform words each, uint64[2, n]. Not secret."""

    words: NDArray[np.uint64]

    @classmethod
    def of(cls, items: Sequence[bytes], separation: bytes) -> Positions:
        """Hash items; 1 microsecond each."""
        words = digests(items, separation, 16).view("<u8")
        return cls(np.ascontiguousarray(words.T, dtype=np.uint64))

    def bins(self, count: int) -> NDArray[np.int64]:
        """The bin of each item among ``count``."""
        numbers: NDArray[np.uint64] = self.words[0] % np.uint64(count)
        return numbers.astype(np.int64)

    @property
    def points(self) -> Elements:
        """The point of each item in the polynomial of its bin."""
        return elements(self.words[1])


def shape_of(items: int) -> tuple[int, int]:
    """Bins of a hint for so many items, and the most items a bin can take.

    A bin overflows with probability below 2**-40 in all, by Chernoff's bound.
    """
    bins = max(1, items // BIN_ITEMS)
    mean = items / bins
    if bins == 1:
        return 1, max(1, items)
    most = mean
    while bins * math.exp(most - mean - most * math.log(most / mean)) > _OVERFLOW:
        most += 1
    return bins, math.ceil(most)


def program(positions: Positions, values: Elements, rng: Randomness) -> Elements:
    """Make the hint with the value of each item at its position.

    Args:
        positions: of n distinct items.
        values: uint64[n], pseudorandom to whoever gets the hint.
        rng: own randomness, for the filling.

    Returns:
        uint64[bins, degree], as `shape_of` says.

    Raises:
        InvalidInput: a bin overflows, or two items have one point: with probability below 2**-39.

    Security: uniform if the values are, whatever the items.
    Leaks: nothing but the number of items.
    Cost: local; 3 microseconds an item.
    Source: Kolesnikov, Matania, Pinkas, Rosulek, Trieu 2017, polynomials in bins.
    """
    bins, most = shape_of(len(values))
    random = elements(np.frombuffer(rng.bytes(16 * bins * most), "<u8").astype(np.uint64))
    points, filling = random.reshape(2, bins, most).copy()
    at = positions.bins(bins)
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(bins))
    place = np.arange(len(order)) - starts[at[order]]
    if len(order) and place.max() >= most:
        raise InvalidInput(f"more than {most} items fall into one bin of the hint; run again")
    points[at[order], place] = positions.points[order]
    filling[at[order], place] = values[order]
    in_order = np.sort(points, axis=1)
    if np.any(in_order[:, 1:] == in_order[:, :-1]):
        raise InvalidInput("two items have one point in the hint; run again")
    return interpolate(points, filling)


def decode(hint: Elements, positions: Positions) -> Elements:
    """Read the hint at each position: uint64[n]."""
    return evaluate_in_rows(hint, positions.bins(len(hint)), positions.points)
