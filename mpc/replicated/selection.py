"""Values picked out of many, or their places: the smallest, the largest, a quantile, all of it in secret."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.replicated import comparison
from mpc.replicated.sharing import Shared

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["MAX_PART", "extreme", "place_of_largest", "quantile"]

MAX_PART = 10**6
"""Largest denominator of a quantile's part."""


def extreme(rt: Runtime, a: Shared, *, bits: int, largest: bool) -> Shared:
    """The smallest or largest value along the last axis, by a tree of comparisons and choices.

    Args:
        rt: the run.
        a: shared int64[k, n], n at least 1.
        bits: how many bits hold the difference of two values.
        largest: which end.

    Returns:
        Shared int64[k].

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.extreme`.
    Source: a tournament of comparisons as in Mohassel, Rindal 2018.
    """
    _check_rows(a)
    while a.shape[1] > 1:
        a, _ = _halved(rt, a, bits, largest=largest)
    return a[:, 0]


def place_of_largest(rt: Runtime, a: Shared, *, bits: int) -> Shared:
    """Where the largest value along the last axis is, the first one where several are as large.

    Args:
        rt: the run.
        a: shared int64[k, n], n at least 1.
        bits: how many bits hold the difference of two values.

    Returns:
        Shared int64[k, n] of 0 and a single 1 in each row.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.place_of_largest`.
    Source: the tournament of `extreme`; the 1 goes back from its winner, multiplied by each choice.
    """
    _check_rows(a)
    choices = []
    while a.shape[1] > 1:
        a, second = _halved(rt, a, bits, largest=True)
        choices.append(second)
    place = rt.constant(np.ones((a.rows, 1), dtype=np.int64))
    for second in reversed(choices):
        pairs = second.shape[1]
        right = rt.mul(second, place[:, :pairs])
        left = rt.sub(place[:, :pairs], right)
        both = np.stack([left.shares, right.shares], axis=-1).reshape(len(a.shares), a.rows, 2 * pairs)
        place = Shared(np.concatenate([both, place.shares[:, :, pairs:]], axis=2))
    return place


def quantile(rt: Runtime, values: Shared, chosen: Shared, part: Fraction, *, bits: int) -> Shared:
    """The smallest value that at least a part of the chosen rows do not exceed.

    A binary search by the bits of the values, from the highest: at each bit the chosen rows that still match
    are counted, the count is compared in secret with what is needed, and a secret bit of the result decides
    which rows match on.

    Args:
        rt: the run.
        values: shared int64[n], each from 0 to 2^bits - 1.
        chosen: shared int64[k, n] of 0 and 1: the rows of each of k quantiles.
        part: above 0, at most 1, with a denominator of at most `MAX_PART`.
        bits: 1 to 62.

    Returns:
        Shared int64[k]; for a row of ``chosen`` without any 1 it means nothing.

    Raises:
        ValueOutOfRange: n times the denominator does not fit.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.quantile`.
    Source: the inverse of the empirical distribution function; search over bits as in Aggarwal, Mishra,
    Pinkas 2004.
    """
    if not 0 < part <= 1 or part.denominator > MAX_PART:
        raise InvalidInput(f"expected a part in (0, 1] with a denominator of at most {MAX_PART}")
    if values.rows * part.denominator >= 2**62:
        raise ValueOutOfRange(f"{values.rows} rows are too many for parts of {part.denominator}")
    digits = rt.to_arithmetic(comparison.bits_of(rt, values, bits))
    needed = rt.scale(rt.sum(chosen), part.numerator)
    below = rt.constant(np.zeros((chosen.rows, 1), dtype=np.int64))
    result = rt.constant(np.zeros(chosen.rows, dtype=np.int64))
    matching = chosen
    for place in reversed(range(bits)):
        ones = rt.mul(matching, digits[place])
        zeros = rt.sub(matching, ones)
        passed = rt.sum(zeros)
        # The bit of the result is 1 where too few rows lie at or below the zeros.
        lack = rt.sub(rt.scale(rt.add(below, passed), part.denominator), needed)
        bit = rt.to_arithmetic(rt.is_negative(lack.reshape(chosen.rows)))
        taken = Shared(np.concatenate([rt.sub(ones, zeros).shares, passed.shares], axis=2))
        taken = rt.mul(bit.reshape(chosen.rows, 1), taken)
        matching, below = rt.add(zeros, taken[:, :-1]), rt.add(below, taken[:, -1:])
        result = rt.add(result, rt.scale(bit, 2**place))
    return result


def _check_rows(a: Shared) -> None:
    if len(a.shape) != 2 or not a.shape[1]:
        raise InvalidInput(f"expected [k, n] with a value in each row, got the shape {a.shape}")


def _halved(rt: Runtime, a: Shared, bits: int, *, largest: bool) -> tuple[Shared, Shared]:
    """Winners of neighbours and who has none, [k, ceil(n / 2)], and where the second won, [k, n // 2].

    Of neighbours that are equal the first wins, whichever end is asked for.
    """
    pairs = a.shape[1] // 2
    left, right = (a[:, start : 2 * pairs : 2] for start in (0, 1))
    ahead = rt.sub(left, right) if largest else rt.sub(right, left)
    second = rt.to_arithmetic(rt.is_negative(ahead.reshape(a.rows * pairs), bits=bits)).reshape(a.rows, pairs)
    won = rt.add(left, rt.mul(second, rt.sub(right, left)))
    return Shared(np.concatenate([won.shares, a.shares[:, :, 2 * pairs :]], axis=2)), second
