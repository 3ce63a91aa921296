"""Division of shared integers: by public numbers, by shared ones, and square roots, with stated errors.

Fixed point is the caller's scale: a product of two values with d decimals has 2 d, and `quotient` by 10^d
brings it back; dividing two values with equal decimals to d decimals is `divide` of 10^d a by b. Results are
integers within the stated distance of the exact real quotient, always; there is no small chance of a large
error, as truncation of shares by itself would have.

`divide` and `square_root` normalise their argument by its leading bit into [1/2, 1) or [1/4, 1), iterate by
Newton at 30 fractional bits, and scale back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput
from mpc.replicated import comparison
from mpc.replicated.sharing import Shared, SharedBits

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = [
    "MAX_DIVIDEND_BITS",
    "MAX_DIVISOR_BITS",
    "MAX_ROOT_BITS",
    "divide",
    "leading_places",
    "quotient",
    "square_root",
    "steps_of",
    "weighted",
]

Words = NDArray[np.uint64]

FRACTION: Final = 30
ROOT_FRACTION: Final = 29
MAX_DIVIDEND_BITS: Final = 61
MAX_DIVISOR_BITS: Final = 29
MAX_ROOT_BITS: Final = 58
_OFFSET: Final = 2**62
_KEPT: Final = 30
"""Bits of a dividend that are divided at once: its product with an inverse must stay below 2^62."""
_GAIN: Final = 25
"""The inverse is right to one part in 2^25."""
_INVERSE_START: Final = 2.9142
_ROOT_START: Final = (2.1328, 1.2187)
"""Linear first approximations of 1/x on [1/2, 1) and of 1/sqrt(x) on [1/4, 1): errors below 0.086."""
INVERSE_ITERATIONS: Final = 3
ROOT_ITERATIONS: Final = 4


def quotient(rt: Runtime, a: Shared, divisor: int) -> Shared:
    """The quotient of a and a public positive integer, rounded.

    With an offset that makes a non-negative, s = x_0 + x_1 and t = x_2 sum to it or, if either has its top
    bit, to it and 2^64. Both are divided where they are known, and the quotient of 2^64 is taken off.

    Args:
        rt: the run.
        a: shared int64, magnitudes at most 2^62 - divisor.
        divisor: 1 to 2^61.

    Returns:
        Integers within 1.5 of a / divisor; within 1 if the divisor is a power of 2.

    Security: semi-honest, one of three. Leaks: nothing. Cost: two rounds; 8 bytes a value and party, and 16
    more from party 0. Source: Escudero, Ghosh, Keller, Rachuri, Scholl 2020, truncation with a known top bit.
    """
    if not 1 <= divisor <= 2**61:
        raise InvalidInput(f"expected a divisor of 1 to 2^61, got {divisor}")
    if divisor == 1:
        return a
    multiples = _OFFSET // divisor
    correction = np.uint64((2**64 + divisor // 2) // divisor)
    first = second = None
    if rt.rank == 0:
        s = a.shares[0] + a.shares[1] + np.uint64(multiples * divisor)
        first = np.stack([_rounded(s, divisor) - (s >> np.uint64(63)) * correction, s >> np.uint64(63)])
    if rt.rank in (1, 2):
        t = a.shares[2 - rt.rank]
        second = np.stack([_rounded(t, divisor) - (t >> np.uint64(63)) * correction, t >> np.uint64(63)])
    shape = (2, *a.shape)
    left = Shared(rt.input_words("input", 0, first, shape, add=True))
    right = Shared(rt.known(second, position=2, shape=shape))
    both = rt.mul(left[1], right[1])
    total = rt.add(rt.add(left[0], right[0]), Shared(both.shares * correction))
    return rt.add_public(total, -multiples)


def divide(
    rt: Runtime,
    a: Shared,
    b: Shared,
    *,
    dividend_bits: int = MAX_DIVIDEND_BITS,
    divisor_bits: int = MAX_DIVISOR_BITS,
) -> Shared:
    """The quotient of two shared integers.

    Args:
        rt: the run.
        a: shared int64[n], magnitudes below 2^dividend_bits.
        b: shared int64[n], each from 1 to 2^divisor_bits - 1; where it is not, the result means nothing.
        dividend_bits: at most `MAX_DIVIDEND_BITS`.
        divisor_bits: at most `MAX_DIVISOR_BITS`.

    Returns:
        Integers within 3 of a / b.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.divide`.
    Source: Newton-Raphson on a normalised divisor, as in Catrina, Saxena 2010; what is left is divided again
    until the error is in the last place.
    """
    if not (1 <= dividend_bits <= MAX_DIVIDEND_BITS and 1 <= divisor_bits <= MAX_DIVISOR_BITS):
        raise InvalidInput(
            f"expected at most {MAX_DIVIDEND_BITS} and {MAX_DIVISOR_BITS} bits, "
            f"got {dividend_bits} and {divisor_bits}"
        )
    # b = m 2^(j+1) with m in [1/2, 1): its leading bit is j, and scale = 2^(divisor_bits - 1 - j).
    leading = leading_places(rt, comparison.bits_of(rt, b, divisor_bits))
    scale = weighted(leading, [2**place for place in range(divisor_bits)])
    inverse = _inverse(rt, rt.scale(rt.mul(b, scale), 2 ** (FRACTION - divisor_bits)))
    total, rest = rt.constant(np.zeros(a.shape, dtype=np.int64)), a
    for shift in steps_of(dividend_bits, divisor_bits):
        part = quotient(rt, rt.mul(quotient(rt, rest, 2**shift), inverse), 2**FRACTION)
        part = rt.scale(rt.mul(part, scale), 2 ** max(0, shift - divisor_bits))
        part = quotient(rt, part, 2 ** max(0, divisor_bits - shift))
        total, rest = rt.add(total, part), rt.sub(rest, rt.mul(part, b))
    return total


def steps_of(dividend_bits: int, divisor_bits: int) -> list[int]:
    """By how many bits what is left is shifted before each division; one to three of them.

    After a division with shift s of something below 2^c, what is left is below b + 3 2^s + 2^(c - 25).
    """
    shifts: list[int] = []
    bits = excess = dividend_bits
    while True:
        shifts.append(max(0, bits - _KEPT))
        if shifts[-1] == 0 and excess < _GAIN:
            return shifts
        excess = max(shifts[-1] + 2, bits - _GAIN) + 1
        bits = max(divisor_bits, excess) + 1


def square_root(rt: Runtime, a: Shared, *, bits: int = MAX_ROOT_BITS) -> Shared:
    """The square root of a shared integer.

    Args:
        rt: the run.
        a: shared int64[n], each from 0 to 2^bits - 1; where it is not, the result means nothing.
        bits: even, at most `MAX_ROOT_BITS`.

    Returns:
        Integers within 2 + sqrt(a) / 2^24 of sqrt(a).

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.square_root`.
    Source: Newton's iteration for the inverse square root on a normalised argument, as in Aly, Smart 2019.
    """
    if bits % 2 or not 2 <= bits <= MAX_ROOT_BITS:
        raise InvalidInput(f"expected an even number of bits, at most {MAX_ROOT_BITS}, got {bits}")
    planes = comparison.bits_of(rt, a, bits)
    # a = m 4^(j+1) with m in [1/4, 1): j is the leading pair of bits.
    even, odd = planes.plane(slice(0, bits, 2)), planes.plane(slice(1, bits, 2))
    leading = leading_places(rt, rt.or_(even, odd))
    pairs = bits // 2
    scale = weighted(leading, [4**place for place in range(pairs)])
    width = weighted(leading, [2 ** (pairs - place) for place in range(pairs)])
    scaled = rt.scale(rt.mul(a, scale), 2 ** max(0, ROOT_FRACTION - bits))
    m = quotient(rt, scaled, 2 ** max(0, bits - ROOT_FRACTION))
    one = 2**ROOT_FRACTION
    start, slope = _ROOT_START
    y = rt.add_public(quotient(rt, rt.scale(m, -round(slope * 2**20)), 2**20), round(start * one))
    for _ in range(ROOT_ITERATIONS):
        square = quotient(rt, rt.mul(quotient(rt, rt.mul(m, y), one), y), one)
        y = quotient(rt, rt.mul(y, rt.add_public(rt.neg(square), 3 * one)), 2 * one)
    return quotient(rt, rt.mul(quotient(rt, rt.mul(m, y), one), width), one)


def _inverse(rt: Runtime, m: Shared) -> Shared:
    """2^30 / m for m in [1/2, 1), both with 30 fractional bits; right to one part in 2^25."""
    one = 2**FRACTION
    w = rt.add_public(rt.scale(m, -2), round(_INVERSE_START * one))
    for _ in range(INVERSE_ITERATIONS):
        product = quotient(rt, rt.mul(m, w), one)
        w = quotient(rt, rt.mul(w, rt.add_public(rt.neg(product), 2 * one)), one)
    return w


def leading_places(rt: Runtime, planes: SharedBits) -> Shared:
    """The place of the highest 1 of each value.

    Conjunctions of complements from the top (Sklansky's network), and their differences.

    Args:
        rt: the run.
        planes: shared bits [planes, n], lowest first.

    Returns:
        Shared int64[planes, n] of 0 and at most one 1 for each value, highest place first.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.leading_places`.
    Source: Sklansky 1960.
    """
    none = rt.not_(planes).shares[:, ::-1].copy()
    place, width = np.arange(none.shape[1]), 1
    while width < len(place):
        upper = place[(place & width) != 0]
        below = SharedBits(none[:, upper // width * width - 1], planes.rows)
        none[:, upper] = rt.and_(SharedBits(none[:, upper], planes.rows), below).shares
        width *= 2
    before = rt.constant_bits(np.ones((1, planes.rows), dtype=np.bool_)).shares
    differences = np.concatenate([before, none[:, :-1]], axis=1) ^ none
    return rt.to_arithmetic(SharedBits(differences, planes.rows))


def weighted(leading: Shared, weights: list[int]) -> Shared:
    """The weight of the leading place of each value, one weight a place from the highest on. Local."""
    column = np.array(weights, dtype=np.uint64)[:, None]
    return Shared((leading.shares * column).sum(axis=1, dtype=np.uint64))


def _rounded(words: Words, divisor: int) -> Words:
    """Unsigned quotients, to the nearest."""
    if divisor & (divisor - 1) == 0:
        shift = np.uint64(divisor.bit_length() - 1)
        return (words >> shift) + (words >> (shift - np.uint64(1)) & np.uint64(1))
    whole = words // np.uint64(divisor)
    rest = words - whole * np.uint64(divisor)
    whole[rest >= np.uint64((divisor + 1) // 2)] += np.uint64(1)
    return whole
