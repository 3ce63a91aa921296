"""Fixed-point numbers: decimals as int64, so that sums over secret shares are exact.

A value v is encoded with d decimals as the integer nearest to v * 10**d; a tie goes to the even one. The
nearest is taken of the exact value: a float64 is the binary fraction it holds, not its printed form, so
2.675, which is stored just below, becomes 267 with two decimals. Nothing wraps and nothing saturates: what
does not fit is refused.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, ValueOutOfRange

MAX_DECIMALS: Final = 9
_LIMIT: Final = 2**63
_CLOSE_BELOW: Final = 2.0**44
_CLOSE: Final = 2.0**-10
"""A product below 2**44, rounded to float64, is within 2**-10 of the exact one (half a last place)."""

_EXACT: Final = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def encode(values: Sequence[Decimal | int] | NDArray[Any], decimals: int) -> NDArray[np.int64]:
    """Encode values with ``decimals`` decimals, rounding exactly, half to even.

    Args:
        values: Decimals and integers in any mixture, or an array of integers or float64 of any shape.
        decimals: 0 to 9.

    Returns:
        int64 of the same shape.

    Raises:
        ValueOutOfRange: a value is not finite, or its encoding does not fit int64. Counts them, shows none.
        InvalidInput: ``decimals`` is out of range, or an array of another type.

    Security: local.
    Leaks: nothing; local.
    Cost: local; 20 nanoseconds a float64 below 2**44 / 10**decimals, 1 microsecond a Decimal.
    Source: rounding: IEEE 754-2019, roundTiesToEven.
    """
    _check_decimals(decimals)
    if not isinstance(values, np.ndarray):
        return _encode_exactly(values, decimals, total=len(values))
    if values.dtype == np.float64:
        return _encode_floats(values, decimals)
    if values.dtype.kind in "iu":
        return _encode_integers(values, decimals)
    raise InvalidInput(f"expected an array of integers or float64, got {values.dtype}")


def decode(encoded: NDArray[np.int64], decimals: int) -> NDArray[np.object_]:
    """Return the exact Decimals of an encoded array, in its shape, each with ``decimals`` decimals.

    Security: local.
    Leaks: nothing; local.
    Cost: local; 1 microsecond a value.
    Source: the inverse of `encode`.
    """
    _check_decimals(decimals)
    decoded = np.empty(encoded.shape, dtype=np.object_)
    decoded.flat[:] = [Decimal(value).scaleb(-decimals, _EXACT) for value in encoded.ravel().tolist()]
    return decoded


def total(encoded: NDArray[np.int64]) -> int:
    """Sum encoded values exactly.

    Raises:
        ValueOutOfRange: the sum does not fit int64.

    Security: local. Leaks: nothing; local. Cost: local; 2 nanoseconds a value.
    Source: the two halves of each value are summed apart, which for 2**31 values cannot overflow.
    """
    high, low = int((encoded >> 32).sum()), int((encoded & 0xFFFFFFFF).sum())
    found = (high << 32) + low
    if not -_LIMIT <= found < _LIMIT:
        raise ValueOutOfRange("a sum of encoded values does not fit 64 bits")
    return found


def _encode_floats(values: NDArray[np.float64], decimals: int) -> NDArray[np.int64]:
    infinite = int(np.count_nonzero(~np.isfinite(values)))
    if infinite:
        raise ValueOutOfRange(f"{infinite} of {values.size} values are not finite")
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values * 10.0**decimals
        fraction = np.abs(scaled - np.trunc(scaled))
    # The rounded product decides, unless it is so near a tie or so large that the exact one is needed.
    unclear = (np.abs(fraction - 0.5) <= _CLOSE) | ~(np.abs(scaled) < _CLOSE_BELOW)
    encoded = np.zeros(values.shape, dtype=np.int64)
    encoded[~unclear] = np.rint(scaled[~unclear]).astype(np.int64)
    difficult = [Fraction(value) for value in values[unclear].tolist()]
    encoded[unclear] = _encode_exactly(difficult, decimals, total=values.size)
    return encoded


def _encode_integers(values: NDArray[Any], decimals: int) -> NDArray[np.int64]:
    largest = (_LIMIT - 1) // 10**decimals
    misfits = int(np.count_nonzero((values > largest) | (values < -largest)))
    if misfits:
        raise ValueOutOfRange(f"{misfits} of {values.size} values do not fit int64 with {decimals} decimals")
    return values.astype(np.int64) * np.int64(10**decimals)


def _encode_exactly(
    values: Sequence[Decimal | int | Fraction], decimals: int, *, total: int
) -> NDArray[np.int64]:
    encoded = [_nearest(value, decimals) for value in values]
    misfits = sum(integer is None for integer in encoded)
    if misfits:
        raise ValueOutOfRange(
            f"{misfits} of {total} values are not finite or do not fit int64 with {decimals} decimals"
        )
    return np.array(encoded, dtype=np.int64)


def _nearest(value: Decimal | int | Fraction, decimals: int) -> int | None:
    """Return the integer nearest to ``value * 10**decimals``, or None where it is not finite or too large."""
    if isinstance(value, Decimal):
        if not value.is_finite() or value.adjusted() + decimals > 19:
            return None
        scaled = value.scaleb(decimals, _EXACT)
        nearest = int(scaled.to_integral_value(decimal.ROUND_HALF_EVEN, _EXACT))
    elif isinstance(value, Fraction):
        nearest = round(value * 10**decimals)
    else:
        nearest = operator.index(value) * 10**decimals
    return nearest if -_LIMIT < nearest < _LIMIT else None


def _check_decimals(decimals: int) -> None:
    if not 0 <= decimals <= MAX_DECIMALS:
        raise InvalidInput(f"expected 0 to {MAX_DECIMALS} decimals, got {decimals}")
