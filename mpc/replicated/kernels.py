"""The kernels of replicated sharing: arrays in, arrays out, the loops in `mpc.replicated.compiled`.

`to_planes` and `from_planes` turn 64-bit words
into bit planes and back, so that one machine word holds one bit of 64 values; `permutation` draws exactly
uniform permutations; the products save numpy's temporary arrays.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput

__all__ = ["SPARE_WORDS", "and_terms", "from_planes", "permutation", "product_terms", "to_planes"]

Words = NDArray[np.uint64]

SPARE_WORDS: Final = 64
"""Words drawn besides one an element, for those that `permutation` rejects (chance below n**2 / 2**65)."""


def to_planes(words: Words, planes: int) -> Words:
    """Return the low ``planes`` bits of each word as planes.

    Args:
        words: uint64[n].
        planes: 1 to 64.

    Returns:
        uint64[planes, ceil(n / 64)]; bit r of word c of plane p is bit p of value 64 c + r; past n, 0.
    """
    from mpc.replicated import compiled

    sliced = np.empty((planes, -(-words.size // 64)), dtype=np.uint64)
    compiled.to_planes(np.ascontiguousarray(words), sliced)
    return sliced


def from_planes(planes: Words, size: int) -> Words:
    """Return the words whose planes were given; bits beyond the given planes are 0."""
    from mpc.replicated import compiled

    words = np.empty(size, dtype=np.uint64)
    compiled.from_planes(np.ascontiguousarray(planes), words)
    return words


def permutation(words: Words, size: int) -> NDArray[np.int64]:
    """Make a permutation of ``range(size)`` from uniform words; every order is equally likely.

    Args:
        words: uint64[size + SPARE_WORDS], uniform.
        size: number of elements, below 2**31.

    Raises:
        InvalidInput: size out of range, or too many words were rejected (chance below 2**-1000).

    Security: exactly uniform. Leaks: nothing; local. Cost: local; 15 ms for a million elements.
    Source: Fisher, Yates 1938 with the unbiased bounded integers of Lemire 2019.
    """
    from mpc.replicated import compiled

    if not 0 <= size < 2**31:
        raise InvalidInput(f"expected a size below 2**31, got {size}")
    order = np.arange(size, dtype=np.int64)
    if not compiled.fisher_yates(order, words):
        raise InvalidInput("too many words were rejected")
    return order


def product_terms(x: Words, y: Words, mask: Words) -> Words:
    """Add one party's terms of a product to its mask in place; x and y are shares uint64[2, ...]."""
    from mpc.replicated import compiled

    compiled.product_terms(_flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]), mask.reshape(-1))
    return mask


def and_terms(x: Words, y: Words, mask: Words) -> Words:
    """Add one party's terms of a conjunction to its mask in place; x and y are shares uint64[2, ...]."""
    from mpc.replicated import compiled

    compiled.and_terms(_flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]), mask.reshape(-1))
    return mask


def _flat(words: Words) -> Words:
    return np.ascontiguousarray(words).reshape(-1)
