"""The logistic function of shared numbers, by a sine series that needs one sharing and one product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mpc.replicated.series import Series
from mpc.replicated.sharing import Shared

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["ERROR", "FRACTION", "REACH", "TERMS", "sigmoid"]

REACH: Final = 60
"""The stated error holds between -60 and 60."""
ERROR: Final = 0.0032
"""Largest distance from the logistic function there: 0.0023 of the series, the rest of rounding."""
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
_SERIES: Final = Series(7, _COEFFICIENTS, (0.0,) * TERMS, left=12, right=15)
FRACTION: Final = _SERIES.fraction
"""Fractional bits of the result."""


def sigmoid(rt: Runtime, a: Shared, fraction: int) -> Shared:
    """The logistic function 1 / (1 + exp(-x)) less one half.

    Args:
        rt: the run.
        a: shared int64[n], x with ``fraction`` fractional bits.
        fraction: 7 to 57.

    Returns:
        int64[n] with `FRACTION` fractional bits, between -0.504 and 0.504; within `ERROR` for x between
        -`REACH` and `REACH`. Further out the series goes back to 0 at 64, and repeats.

    Security, Leaks, Cost, Source: as `mpc.replicated.series.Series.of`, with `TERMS` terms; the minimax fit:
    Lawson 1961.
    """
    return _SERIES.of(rt, a, fraction)
