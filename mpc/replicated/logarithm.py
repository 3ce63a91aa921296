"""The natural logarithm of shared positive integers: their leading place, and a polynomial of the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from mpc.errors import InvalidInput
from mpc.replicated import comparison, division
from mpc.replicated.sharing import Shared

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["DEGREE", "ERROR", "FRACTION", "MAX_BITS", "logarithm"]

FRACTION: Final = 24
"""Fractional bits of the result."""
ERROR: Final = 1e-6
"""Largest distance from the logarithm: 2.6e-7 of the polynomial, the rest of rounding."""
MAX_BITS: Final = 31
_COEFFICIENTS: Final = (4, 16776664, -8376613, 5489937, -3744102, 2195021, -879756, 167928)
"""Of u^k in ln(1 + u) with `FRACTION` fractional bits: interpolation at Chebyshev's points of [0, 1]."""
DEGREE: Final = len(_COEFFICIENTS) - 1


def logarithm(rt: Runtime, a: Shared, *, bits: int) -> Shared:
    """The natural logarithm ln(x).

    A value 2^k (1 + u) with u in [0, 1) has the logarithm k ln(2) + ln(1 + u).

    Args:
        rt: the run.
        a: shared int64[n], each from 1 to 2^bits - 1; where it is not, the result means nothing.
        bits: 2 to `MAX_BITS`.

    Returns:
        int64[n] with `FRACTION` fractional bits, within `ERROR`.

    Raises:
        InvalidInput: another number of bits.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.logarithm`.
    Source: normalisation and a polynomial as in Aly, Smart 2019, "Benchmarking privacy preserving scientific
    operations".
    """
    if not 2 <= bits <= MAX_BITS:
        raise InvalidInput(f"expected 2 to {MAX_BITS} bits, got {bits}")
    top, one = bits - 1, 2**FRACTION
    leading = division.leading_places(rt, comparison.bits_of(rt, a, bits))
    powers = division.weighted(leading, [round((top - place) * math.log(2) * one) for place in range(bits)])
    scaled = rt.mul(a, division.weighted(leading, [2**place for place in range(bits)]))
    rest = rt.scale(rt.add_public(scaled, -(2**top)), 2 ** max(0, FRACTION - top))
    u = division.quotient(rt, rest, 2 ** max(0, top - FRACTION))
    total = rt.scale(u, _COEFFICIENTS[-1])
    for place in reversed(range(1, DEGREE)):
        total = rt.mul(rt.add_public(division.quotient(rt, total, one), _COEFFICIENTS[place]), u)
    logarithms = rt.add_public(division.quotient(rt, total, one), _COEFFICIENTS[0])
    return rt.add(powers, logarithms)
