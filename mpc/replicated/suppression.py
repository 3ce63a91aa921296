"""Which groups are large enough to be told of, decided on shares, before anything of them is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mpc.replicated.sharing import Shared, SharedBits

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["large_enough"]

_ABOVE: Final = 2**61
"""Above every number of rows."""


def large_enough(rt: Runtime, counts: Shared, least: int, *, complementary: bool) -> Shared:
    """Which groups have the least rows, as 0 and 1.

    With ``complementary`` they are fewer where what is left is too few: if the rows of all other groups
    together are some but fewer than the least, the smallest of the large ones are left out too, as a total
    from elsewhere would give those rows away.

    Args:
        rt: the run.
        counts: shared int64[groups], each from 0 to 2^61 - 1.
        least: fewest rows.
        complementary: see above; the same at all parties.

    Returns:
        Shared int64[groups].

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.large_enough`.
    Source: complementary suppression: Hundepool et al. 2012, section 4.2.
    """
    enough = rt.not_(rt.is_negative(rt.add_public(counts, -least)))
    flags = rt.to_arithmetic(enough)
    if not complementary or counts.rows == 1:
        return flags
    shown = rt.mul(flags, counts)
    left = rt.sub(rt.sum(counts), rt.sum(shown))
    some = rt.not_(rt.is_zero(left))
    few = rt.and_(some, rt.is_negative(rt.add_public(left, -least)))
    # Groups that are left out must not be the smallest: they get a number above all.
    high = rt.add(shown, rt.scale(rt.add_public(rt.neg(flags), 1), _ABOVE))
    smallest = rt.extreme(high.reshape(1, counts.rows), bits=63, largest=False)
    is_smallest = rt.is_zero(rt.sub(high, smallest))
    spread = rt.and_(is_smallest, _repeated(few, counts.rows))
    return rt.to_arithmetic(rt.and_(enough, rt.not_(spread)))


def _repeated(bit: SharedBits, rows: int) -> SharedBits:
    return bit.take(np.zeros(rows, dtype=np.int64))
