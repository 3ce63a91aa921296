"""ORDER BY with LIMIT on shares: which rows come first, without anyone seeing the others.

Every pair of rows is compared, so the order costs the square of their number and few rounds; it is meant for
groups. Rows that are equal by every criterion come in the order in which they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mpc.replicated.runtime import Runtime
from mpc.replicated.sharing import Shared, SharedBits

__all__ = ["MAX_ORDERED", "OrderKey", "first_rows"]

MAX_ORDERED: Final = 1_024


@dataclass(frozen=True)
class OrderKey:
    """One criterion: ``value``, or the quotient of it and ``divisor`` where there is one.

    ``valid`` says which rows have a value, None: all; ``bits`` bound the magnitudes, products included.
    """

    value: Shared
    divisor: Shared | None
    valid: SharedBits | None
    bits: int
    descending: bool
    nulls_first: bool


def first_rows(rt: Runtime, keys: Sequence[OrderKey], keep: SharedBits, limit: int) -> SharedBits:
    """Of the rows that are kept, those that come first; one bit a row.

    Security: as the runtime's. Leaks: nothing. Cost: for n rows and each criterion, one comparison and one
    test for equality of n^2 values, with two products of them for a quotient; without criteria, one
    comparison of n values. Source: rank by counting.
    """
    rows = keep.rows
    kept = rt.to_arithmetic(keep)
    if not keys:
        before = rt.sub(rt.cumsum(kept), kept)
    else:
        earlier = rt.to_arithmetic(_before(rt, keys, rows)).reshape(rows, rows)
        before = rt.dot(earlier, kept).reshape(rows)
    bound = rt.constant(np.full(rows, limit, dtype=np.int64))
    return rt.and_(keep, rt.less(before, bound, bits=max(rows, limit).bit_length() + 2))


def _before(rt: Runtime, keys: Sequence[OrderKey], rows: int) -> SharedBits:
    """Bit i * rows + j: whether row j comes before row i."""
    place = np.arange(rows)
    before = rt.constant_bits((place[None, :] < place[:, None]).reshape(-1))
    for key in reversed(keys):
        value = key.value
        if key.valid is not None:
            value = rt.mul(value, rt.to_arithmetic(key.valid))
        before = _then(rt, _difference(rt, key, value), key.bits + 2, before, descending=key.descending)
        if key.valid is not None:
            missing = rt.to_arithmetic(rt.not_(key.valid))
            before = _then(rt, _pairs(rt, missing), 3, before, descending=key.nulls_first)
    return before


def _difference(rt: Runtime, key: OrderKey, value: Shared) -> Shared:
    """Entry i * rows + j: what has the sign of row j less row i."""
    if key.divisor is None:
        return _pairs(rt, value)
    rows = value.rows
    crossed = rt.mul(value.reshape(1, rows), key.divisor.reshape(rows, 1))
    other = rt.mul(value.reshape(rows, 1), key.divisor.reshape(1, rows))
    return rt.sub(crossed, other).reshape(rows * rows)


def _pairs(rt: Runtime, value: Shared) -> Shared:
    rows = value.rows
    return rt.sub(value.reshape(1, rows), value.reshape(rows, 1)).reshape(rows * rows)


def _then(rt: Runtime, difference: Shared, bits: int, before: SharedBits, *, descending: bool) -> SharedBits:
    """The order by one criterion first, then by what was before."""
    bits = min(bits, 64)
    signed = rt.neg(difference) if descending else difference
    same = rt.equal(difference, rt.scale(difference, 0), bits=bits)
    return rt.xor(rt.is_negative(signed, bits=bits), rt.and_(same, before))
