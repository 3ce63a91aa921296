"""The logistic function of shared numbers, by a sine series that needs one sharing and one product.

Sines of a sum of shares are exact: with x = s + t modulo 2^64, s at party 0 and t at parties 1 and 2,

    sin(w k x) = sin(w k s) cos(w k t) + cos(w k s) sin(w k t)

and a period that divides 2^64 makes the wrap of the ring invisible. Party 0 shares its sines and cosines, the
other two know theirs with the coefficients in them, and the 2 K products are added before they are masked.
Nothing is compared and nothing truncated, however many fractional bits x has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput
from mpc.replicated.sharing import Shared

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["ERROR", "FRACTION", "PERIOD_BITS", "REACH", "TERMS", "sigmoid"]

Words = NDArray[np.uint64]

PERIOD_BITS: Final = 7
"""The series has the period 2^7 = 128."""
REACH: Final = 60
"""The stated error holds between -60 and 60."""
ERROR: Final = 0.0032
"""Largest distance from the logistic function there: 0.0023 of the series, the rest of rounding."""
FRACTION: Final = 27
"""Fractional bits of the result: 12 of party 0's factor and 15 of the other."""
_LEFT: Final = 2.0**12
_RIGHT: Final = 2.0**15
_COEFFICIENTS: Final = (
    0.634068897,
    7.8498e-05,
    0.204681211,
    0.000227026,
    0.115187531,
    0.000491569,
    0.074748949,
    0.000880063,
    0.05115126,
    0.001362639,
    0.035631561,
    0.001883265,
    0.024798163,
    0.002376212,
    0.017027005,
    0.002781208,
    0.011411502,
    0.003053845,
    0.007381763,
    0.003170446,
    0.004544884,
    0.003128238,
    0.002610623,
    0.002942299,
    0.00135414,
    0.002640694,
    0.000596357,
    0.002258961,
    0.000193241,
    0.001834784,
    2.9799e-05,
    0.00306176,
)
"""Of sin(2 pi k x / 128), k from 1: the best fit in the largest error on [-60, 60], by Lawson's algorithm."""
TERMS: Final = len(_COEFFICIENTS)


def sigmoid(rt: Runtime, a: Shared, fraction: int) -> Shared:
    """The logistic function 1 / (1 + exp(-x)) less one half.

    Args:
        rt: the run.
        a: shared int64[n], x with ``fraction`` fractional bits.
        fraction: 7 to 57.

    Returns:
        int64[n] with `FRACTION` fractional bits, between -0.504 and 0.504; within `ERROR` for x between
        -`REACH` and `REACH`. Further out the series goes back to 0 at 64, and repeats.

    Security: semi-honest, one of three; party 0 sees s, uniform by itself. Leaks: nothing. Cost: two rounds;
    8 bytes a value and party, and 512 more from party 0. Source: Fourier series on shares: Zheng, Zhang,
    Chow, Peng, Tan, Li, Yin 2023, "Secure Softmax/Sigmoid for Machine-learning Computation"; here with
    replicated shares and a minimax fit, Lawson 1961, in place of the Fourier coefficients.
    """
    if len(a.shape) != 1 or not PERIOD_BITS <= fraction <= 64 - PERIOD_BITS:
        raise InvalidInput(f"expected one axis and 7 to 57 fractional bits, got {a.shape} and {fraction}")
    period = PERIOD_BITS + fraction
    own = other = None
    if rt.rank == 0:
        turned = _powers(a.shares[0] + a.shares[1], period)
        own = np.concatenate([_fixed(turned.imag, _LEFT), _fixed(turned.real, _LEFT)])
    if rt.rank in (1, 2):
        turned = _powers(a.shares[2 - rt.rank], period) * np.array(_COEFFICIENTS)[:, None]
        other = np.concatenate([_fixed(turned.real, _RIGHT), _fixed(turned.imag, _RIGHT)])
    left = rt.input_words("input", 0, own, (2 * TERMS, a.rows), add=True)
    terms: Words | None = None
    if rt.computes:
        terms = rt.zero((a.rows,))
    if terms is not None and other is not None:
        # The known share is party 1's second and party 2's first; see the formula of a product.
        factor = left[0] if rt.rank == 1 else left[0] + left[1]
        terms += (factor * other).sum(axis=0, dtype=np.uint64)
    return Shared(rt.reshare("product", terms, (a.rows,)))


def _powers(words: Words, period: int) -> NDArray[np.complex128]:
    """exp(i k angle) for k = 1 to `TERMS`, [TERMS, n], where 2^period words are a full turn."""
    inside = words & np.uint64(2**period - 1)
    turns = np.exp(2j * np.pi * (inside.astype(np.float64) * 2.0**-period))
    return np.cumprod(np.broadcast_to(turns, (TERMS, len(words))), axis=0)


def _fixed(values: NDArray[np.float64], unit: float) -> Words:
    words: Words = np.rint(values * unit).astype(np.int64).view(np.uint64)
    return words
