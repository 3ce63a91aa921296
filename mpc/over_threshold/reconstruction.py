"""The aggregator's part: cells in which k of n parties hold values of one polynomial of degree k - 2.

k points lie on such a polynomial exactly if their divided difference of order k - 1 is zero, or the two of
order k - 2 that it is taken of are equal. So all k-subsets are compared after the divided differences of the
(k-1)-subsets alone have been computed, each from one subtraction and one multiplication.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.mersenne61 import Elements, divided_differences

BLOCK_CELLS: Final = 8192
"""Cells looked at together: 64 KiB a party, so that a block stays in the cache."""


def find(values: Sequence[Elements], threshold: int) -> NDArray[np.uint64]:
    """Find the cells that ``threshold`` parties fill with one polynomial, and those parties.

    Args:
        values: of each party p, uint64[c]; its point is p + 1.
        threshold: k, 2 to the number of parties.

    Returns:
        uint64[c], of each cell the bits of the parties in any such k-subset; 0 for none.

    Security: local; the values are shares and random elements.
    Leaks: nothing beyond the output.
    Cost: local; `operations` a cell, 2 nanoseconds each.
    Source: Newton's divided differences, for the test of Arpaci, Boutaba, Kerschbaum 2025.
    """
    found = np.zeros(len(values[0]), np.uint64)
    for start in range(0, len(found), BLOCK_CELLS):
        block = slice(start, start + BLOCK_CELLS)
        points = [(party, column[block]) for party, column in enumerate(values)]
        _mark(points, threshold, 0, found[block])
    return found


def operations(parties: int, threshold: int) -> int:
    """Multiplications and comparisons of one cell."""
    return comb(parties, threshold) + sum(comb(parties, size) for size in range(2, threshold))


def _mark(
    points: Sequence[tuple[int, Elements]], missing: int, chosen: int, found: NDArray[np.uint64]
) -> None:
    """Mark what ``missing`` of these parties have in common with those whose bits are ``chosen``."""
    for at, (party, column) in enumerate(points):
        rest = points[at + 1 :]
        with_party = chosen | 1 << party
        if missing == 2:
            for other, values in rest:
                equal = column == values
                if equal.any():
                    found[equal] |= np.uint64(with_party | 1 << other)
        elif len(rest) >= missing - 1:
            further = [(other, divided_differences(column, values, other - party)) for other, values in rest]
            _mark(further, missing - 1, with_party, found)
