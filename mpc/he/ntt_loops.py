"""The compiled loops of `mpc.he.ntt`. Importing this starts the compiler, half a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from mpc.compiling import compiled

__all__ = ["forward", "inverse", "multiply_add", "reduce"]

_Residues = NDArray[np.uint64]
_STRETCH: Final = 256
"""Coefficients whose sums stay in the first cache."""


def _high(_: object, left: object, right: object) -> object:
    """The upper half of the product of two words."""

    def generate(_context: object, builder: Any, _signature: object, operands: Any) -> object:  # noqa: ANN401  # llvmlite has no types
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(operand, wide) for operand in operands))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


_high_product: Final = cast("Callable[[Any, Any], Any]", intrinsic(_high))


@compiled
def _below(value: np.uint64, prime: np.uint64) -> np.uint64:
    """A value below twice the prime, modulo the prime, without a branch: what is negative wraps around."""
    return min(value, value - prime)


@compiled
def _times(value: np.uint64, factor: np.uint64, quotient: np.uint64, prime: np.uint64) -> np.uint64:
    """``value * factor`` modulo the prime, below it."""
    product: np.uint64 = value * factor - _high_product(value, quotient) * prime
    return _below(product, prime)


@compiled
def forward(values: _Residues, roots: _Residues, prime: np.uint64) -> None:
    """Transform in place; roots and their quotients in bit-reversed order, uint64[2, degree]."""
    step, groups = len(values) // 2, 1
    while groups < len(values):
        for group in range(groups):
            root, quotient = roots[0, groups + group], roots[1, groups + group]
            start = 2 * group * step
            for at in range(start, start + step):
                upper, lower = values[at], _times(values[at + step], root, quotient, prime)
                values[at] = _below(upper + lower, prime)
                values[at + step] = _below(upper + prime - lower, prime)
        step, groups = step // 2, groups * 2


@compiled
def inverse(values: _Residues, roots: _Residues, scale: _Residues, prime: np.uint64) -> None:
    """Transform back in place; roots are the inverses of those of `forward`."""
    step, groups = 1, len(values) // 2
    while groups > 0:
        for group in range(groups):
            root, quotient = roots[0, groups + group], roots[1, groups + group]
            start = 2 * group * step
            for at in range(start, start + step):
                upper, lower = values[at], values[at + step]
                values[at] = _below(upper + lower, prime)
                values[at + step] = _times(upper + prime - lower, root, quotient, prime)
        step, groups = step * 2, groups // 2
    for at in range(len(values)):
        values[at] = _times(values[at], scale[0, 0], scale[1, 0], prime)


@compiled
def multiply_add(low: _Residues, high: _Residues, vectors: _Residues, by: _Residues) -> None:
    """Add products of some vectors to sums of 128 bits, a stretch of coefficients at a time.

    Args:
        low: uint64[sums, parts, primes, degree], the lower words.
        high: of the same shape, the upper words.
        vectors: uint64[terms, parts, primes, degree].
        by: uint64[terms, sums, primes, degree].
    """
    terms, parts, primes, degree = vectors.shape
    for one in range(primes):
        for start in range(0, degree, _STRETCH):
            stop = min(start + _STRETCH, degree)
            for total in range(low.shape[0]):
                for term in range(terms):
                    for part in range(parts):
                        for at in range(start, stop):
                            value, factor = vectors[term, part, one, at], by[term, total, one, at]
                            product = value * factor
                            added = low[total, part, one, at] + product
                            carry = np.uint64(1) if added < product else np.uint64(0)
                            low[total, part, one, at] = added
                            high[total, part, one, at] += _high_product(value, factor) + carry


@compiled
def reduce(low: _Residues, high: _Residues, word: _Residues, prime: np.uint64) -> None:
    """Reduce sums of 128 bits into ``low``, uint64[sums, parts, degree]; word is 2^64 modulo the prime."""
    sums, parts, degree = low.shape
    for one in range(sums):
        for part in range(parts):
            for at in range(degree):
                upper = _times(high[one, part, at], word[0, 0], word[1, 0], prime)
                low[one, part, at] = _below(low[one, part, at] % prime + upper, prime)
