"""The exponential function of shared numbers near 0, by a trigonometric series and one truncation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mpc.replicated import division, logistic
from mpc.replicated.series import Series
from mpc.replicated.sharing import Shared

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["ERROR", "FRACTION", "REACH", "TERMS", "exponential"]

REACH: Final = 4.75
"""The stated error holds between -4.75 and 4.75, where the result is 0.0087 to 115.6."""
ERROR: Final = 0.0006
"""Largest distance from the exponential function there: 0.0002 of the series, the rest of rounding."""
FRACTION: Final = logistic.FRACTION
"""Fractional bits of the result."""
_CONSTANT: Final = 131.0333066
_SINES: Final = (
    84.5030763,
    -102.2010949,
    78.3661116,
    -48.0598197,
    25.0489963,
    -11.1614513,
    4.1625681,
    -1.2386123,
    0.2666008,
    -0.0320767,
)
_COSINES: Final = (
    -214.8885834,
    129.8740518,
    -66.3272822,
    30.4663101,
    -12.6806739,
    4.6979564,
    -1.4975672,
    0.388576,
    -0.0740308,
    0.0079739,
)
"""Of sin and cos(2 pi k x / 16), k from 1: the best fit in the largest error on [-4.75, 4.75] with eleven
cosines and ten sines, by Lawson's algorithm."""
TERMS: Final = len(_SINES)
_SERIES: Final = Series(4, _SINES, _COSINES, left=22, right=18)


def exponential(rt: Runtime, a: Shared, fraction: int) -> Shared:
    """The exponential function exp(x).

    Args:
        rt: the run.
        a: shared int64[n], x with ``fraction`` fractional bits.
        fraction: 7 to 57.

    Returns:
        int64[n] with `FRACTION` fractional bits, within `ERROR` for x between -`REACH` and `REACH`. Further
        out the series stays between 0 and 750, has the period 16 and is no exponential.

    Security, Leaks: as `mpc.replicated.series.Series.of`. Cost: four rounds; that of `Series.of` with `TERMS`
    terms, and of `mpc.replicated.division.quotient`. Source: as `Series.of`; Fourier extension of a function
    that is not periodic: Huybrechs 2010; the minimax fit: Lawson 1961.
    """
    total = rt.add_public(_SERIES.of(rt, a, fraction), round(_CONSTANT * 2**_SERIES.fraction))
    return division.quotient(rt, total, 2 ** (_SERIES.fraction - FRACTION))
