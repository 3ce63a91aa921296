"""Loops of replicated sharing that numpy has no fast form of, compiled by numba; they hold no secret.

Imported when first used (`mpc.replicated.kernels`): loading numba takes a second. Every loop runs on one core
without the interpreter's lock.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mpc.compiling import compiled

__all__ = ["and_terms", "fisher_yates", "from_planes", "product_terms", "to_planes"]

_ONE: Final = np.uint64(1)
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)


@compiled
def transpose(block: Any) -> None:  # noqa: ANN401  # numba's array type
    """Transpose a 64 x 64 bit matrix in place; Warren 2012, Hacker's Delight, section 7-3."""
    half, mask = _HALF, _LOW
    while half != 0:
        row = np.uint64(0)
        while row < 64:
            other = row + half
            moved = ((block[row] >> half) ^ block[other]) & mask
            block[other] ^= moved
            block[row] ^= moved << half
            row = (other + _ONE) & ~half
        half >>= _ONE
        mask ^= mask << half


@compiled
def to_planes(words: Any, planes: Any) -> None:  # noqa: ANN401  # numba's array type
    """Fill ``planes`` with the bits of ``words``."""
    block = np.empty(64, np.uint64)
    size = words.size
    for column in range(planes.shape[1]):
        start = column * 64
        for row in range(64):
            block[row] = words[start + row] if start + row < size else np.uint64(0)
        transpose(block)
        for plane in range(planes.shape[0]):
            planes[plane, column] = block[plane]


@compiled
def from_planes(planes: Any, words: Any) -> None:  # noqa: ANN401  # numba's array type
    """Fill ``words`` from ``planes``."""
    block = np.empty(64, np.uint64)
    size = words.size
    for column in range(planes.shape[1]):
        for plane in range(64):
            block[plane] = planes[plane, column] if plane < planes.shape[0] else np.uint64(0)
        transpose(block)
        start = column * 64
        for row in range(min(64, size - start)):
            words[start + row] = block[row]


@compiled
def fisher_yates(order: Any, words: Any) -> bool:  # noqa: ANN401  # numba's array type
    """Permute ``order`` in place; False if ``words`` did not suffice."""
    used = 0
    for last in range(order.size - 1, 0, -1):
        bound = np.uint64(last + 1)
        while True:
            if used == words.size:
                return False
            word = words[used]
            used += 1
            # The 128-bit product word * bound, in halves; Lemire 2019, algorithm 5.
            low = (word & _LOW) * bound
            high = (word >> _HALF) * bound + (low >> _HALF)
            fraction = (high << _HALF) | (low & _LOW)
            if fraction >= bound or fraction >= (np.uint64(0) - bound) % bound:
                break
        picked = np.int64(high >> _HALF)
        order[last], order[picked] = order[picked], order[last]
    return True


@compiled
def product_terms(x0: Any, x1: Any, y0: Any, y1: Any, mask: Any) -> None:  # noqa: ANN401  # numba's
    """Add x0 (y0 + y1) + x1 y0 to ``mask``."""
    for k in range(mask.size):
        mask[k] += x0[k] * (y0[k] + y1[k]) + x1[k] * y0[k]


@compiled
def and_terms(x0: Any, x1: Any, y0: Any, y1: Any, mask: Any) -> None:  # noqa: ANN401  # numba's
    """The same with exclusive or and and."""
    for k in range(mask.size):
        mask[k] ^= (x0[k] & (y0[k] ^ y1[k])) ^ (x1[k] & y0[k])
