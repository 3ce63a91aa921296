"""The field of integers modulo the Mersenne prime 2^61 - 1, in compiled loops over uint64 arrays.

Elements are canonical, 0 to p - 1. A product is taken in 128 bits and folded once, because 2^61 = 1 modulo p.
The loops are compiled at their first use, in about a second, and release the interpreter lock.
"""

from __future__ import annotations

import importlib
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

Elements = NDArray[np.uint64]

PRIME: Final = 2**61 - 1
_P: Final = np.uint64(PRIME)
_LOOPS: Final = "mpc.mersenne61_loops"


def elements(words: NDArray[np.uint64]) -> Elements:
    """Reduce uniform 64-bit words to elements.

    Security: within 2**-61 of uniform: the value p becomes 0.
    Leaks: nothing; local.
    Cost: local; 2 nanoseconds a word.
    Source: the low 61 bits of a word.
    """
    low = words & _P
    low[low == _P] = 0
    return low


def inverse(element: int) -> int:
    """The inverse of an element other than 0."""
    return pow(element, -1, PRIME)


def divided_differences(left: Elements, right: Elements, step: int) -> Elements:
    """``(right - left) / step``, element by element: one step of Newton's interpolation.

    Args:
        left: uint64[c].
        right: uint64[c].
        step: the difference of the two points, not 0.

    Returns:
        uint64[c].
    """
    loops = importlib.import_module(_LOOPS)
    return cast(Elements, loops.divided_differences(left, right, np.uint64(inverse(step % PRIME))))


def evaluate(coefficients: Elements, point: int) -> Elements:
    """Evaluate many polynomials at one point, by Horner's rule.

    Args:
        coefficients: uint64[d, c], the constant terms first; d at least 1.
        point: an element.

    Returns:
        uint64[c].
    """
    loops = importlib.import_module(_LOOPS)
    return cast(Elements, loops.evaluate(coefficients, np.uint64(point)))


def interpolate(points: Elements, values: Elements) -> Elements:
    """Find the polynomial through the points of each row.

    Args:
        points: uint64[r, d], in each row all different.
        values: uint64[r, d].

    Returns:
        uint64[r, d]: coefficients, the constant terms first.

    Cost: local; 10 nanoseconds a row and square of d.
    """
    return cast(Elements, importlib.import_module(_LOOPS).interpolate(points, values))


def evaluate_in_rows(coefficients: Elements, rows: NDArray[np.int64], points: Elements) -> Elements:
    """Evaluate, at each of c points, the polynomial of one row.

    Args:
        coefficients: uint64[r, d], the constant terms first.
        rows: int64[c], below r.
        points: uint64[c].

    Returns:
        uint64[c].
    """
    return cast(Elements, importlib.import_module(_LOOPS).evaluate_in_rows(coefficients, rows, points))
