"""A gradient and a hessian in one integer, so that one encrypted sum holds both.

    number = G + 2^22 H  mod 2^44,   -2^21 <= sum G < 2^21,  0 <= sum H < 2^22

Values are scaled so that even the sum of all magnitudes stays in its half, and rounded up or down at random
so that sums have no bias (as in the quantised training of Shi et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import ValueOutOfRange
from mpc.he.subset_sums import SUM_BITS
from mpc.randomness import Randomness
from mpc.secrecy import Unprintable

__all__ = ["Quantised", "quantise", "unpack"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HALF_BITS: Final = SUM_BITS // 2
GRADIENT_LIMIT: Final = 2 ** (HALF_BITS - 1) - 1
HESSIAN_LIMIT: Final = 2**HALF_BITS - 1
_LARGEST: Final = 2.0**20
"""Of a single scaled value; where rows are few, more digits would serve nothing."""


@dataclass(frozen=True, repr=False, eq=False)
class Quantised(Unprintable):
    """Gradients and hessians of all rows as integers.

    Attributes:
        g, h: int64[rows].
        g_scale, h_scale: by which they were multiplied.
    """

    g: Integers
    h: Integers
    g_scale: float
    h_scale: float

    def packed(self) -> Integers:
        """One number for each row, between 0 and 2^44 - 1.

        Raises:
            ValueOutOfRange: the sums of some rows could leave their half; nothing was encrypted.
        """
        if np.abs(self.g).sum() > GRADIENT_LIMIT or self.h.sum() > HESSIAN_LIMIT or np.any(self.h < 0):
            raise ValueOutOfRange(
                f"gradients and hessians: expected sums of at most {GRADIENT_LIMIT} and {HESSIAN_LIMIT} units"
            )
        packed: Integers = (self.g + (self.h << HALF_BITS)) & (2**SUM_BITS - 1)
        return packed


def quantise(g: Floats, h: Floats, rng: Randomness) -> Quantised:
    """Scale and round gradients and hessians.

    Args:
        g: gradients, float64[rows], finite.
        h: hessians, float64[rows], finite and not negative.
        rng: for the rounding.

    Raises:
        ValueOutOfRange: a value is not finite, or a hessian negative.
    """
    misfits = int(np.count_nonzero(~(np.isfinite(g) & np.isfinite(h) & (h >= 0))))
    if misfits:
        raise ValueOutOfRange(f"gradients and hessians: {misfits} of {len(g)} rows are out of range")
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(rng.bytes(16))))
    g_scale, h_scale = _scale(g, GRADIENT_LIMIT), _scale(h, HESSIAN_LIMIT)
    return Quantised(_rounded(g * g_scale, generator), _rounded(h * h_scale, generator), g_scale, h_scale)


def unpack(sums: Integers) -> tuple[Integers, Integers]:
    """Sums of gradients and of hessians from sums of packed numbers."""
    low = sums & (2**HALF_BITS - 1)
    g = np.where(low > GRADIENT_LIMIT, low - 2**HALF_BITS, low)
    return g, ((sums - g) >> HALF_BITS) & (2**HALF_BITS - 1)


def _scale(values: Floats, limit: int) -> float:
    """So that the sum of magnitudes, each rounded up, stays within the limit."""
    total, largest = float(np.abs(values).sum()), float(np.abs(values).max(initial=0))
    if not total:
        return 1.0
    return min((limit - len(values)) / total, _LARGEST / largest)


def _rounded(values: Floats, generator: np.random.Generator) -> Integers:
    return np.floor(values + generator.random(len(values))).astype(np.int64)
