"""Signs, equality and bits of shared integers, by an adder over bit planes.

x is s + t where s = x_0 + x_1 is party 0's and t = x_2 is known to parties 1 and 2. Party 0 shares the bits
of s; those of t are shares already. Adding s and t as binary numbers gives the bits of x: bit j generates a
carry when g_j = s_j and t_j, and passes one on when p_j = s_j xor t_j; segments combine as

    (g, p) = (g_high xor (p_high and g_low), p_high and p_low).

A tree of combinations yields the last carry alone (`sign`); Sklansky's prefix network yields all (`bits_of`).
One machine word holds one bit of 64 values, so that an and-gate costs one bit and not one word.

Only the low planes enter: a value that is known to lie in [-2^(b-1), 2^(b-1)) has its sign in bit b-1, and
small ranges are cheaper in proportion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput
from mpc.replicated import kernels
from mpc.replicated.sharing import Shared, SharedBits, words_of

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["bits_of", "is_zero", "sign"]

Words = NDArray[np.uint64]


def sign(rt: Runtime, a: Shared, bits: int = 64) -> SharedBits:
    """Whether each value is negative.

    Args:
        rt: the run.
        a: shared int64[n], each in [-2^(bits-1), 2^(bits-1)).
        bits: 1 to 64.

    Returns:
        Shared bits [n].

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.sign`.
    Source: Mohassel, Rindal 2018, section 5.3; carry tree: Brent, Kung 1982.
    """
    s, t = _summands(rt, a, bits, negate_second=False)
    top = rt.xor(s.plane(bits - 1), t.plane(bits - 1))
    if bits == 1:
        return top
    low = slice(0, bits - 1)
    generate = rt.and_(s.plane(low), t.plane(low)).shares
    passes = rt.xor(s, t).shares[:, low]
    while (planes := generate.shape[1]) > 1:
        pairs = planes // 2
        # The lowest segment never passes a carry on from below: there is none.
        left = np.concatenate([passes[:, 1::2], passes[:, 3::2]], axis=1)
        right = np.concatenate([generate[:, 0 : 2 * pairs : 2], passes[:, 2 : 2 * pairs : 2]], axis=1)
        combined = rt.and_(SharedBits(left, a.rows), SharedBits(right, a.rows)).shares
        rest = slice(2 * pairs, planes)
        generate = np.concatenate([generate[:, 1::2] ^ combined[:, :pairs], generate[:, rest]], axis=1)
        passes = np.concatenate([passes[:, :1], combined[:, pairs:], passes[:, rest]], axis=1)
    return rt.xor(top, SharedBits(generate[:, 0], a.rows))


def is_zero(rt: Runtime, a: Shared, bits: int = 64) -> SharedBits:
    """Whether each value is zero modulo 2^bits: whether s = -t in the low planes.

    For the difference of two values that ``bits`` bits hold, that is whether they are equal.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.is_zero`.
    Source: Mohassel, Rindal 2018, section 5.3, with a tree of conjunctions.
    """
    s, t = _summands(rt, a, bits, negate_second=True)
    same = rt.not_(rt.xor(s, t)).shares
    while (planes := same.shape[1]) > 1:
        pairs = planes // 2
        both = rt.and_(
            SharedBits(same[:, 0 : 2 * pairs : 2], a.rows), SharedBits(same[:, 1::2], a.rows)
        ).shares
        same = np.concatenate([both, same[:, 2 * pairs :]], axis=1)
    return SharedBits(same[:, 0], a.rows)


def bits_of(rt: Runtime, a: Shared, bits: int = 64) -> SharedBits:
    """The low bits of each value.

    Args:
        rt: the run.
        a: shared int64[n].
        bits: 1 to 64.

    Returns:
        Shared bits [bits, n], lowest first.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.bits_of`.
    Source: Mohassel, Rindal 2018, section 5.3; prefix network: Sklansky 1960.
    """
    s, t = _summands(rt, a, bits, negate_second=False)
    sums = rt.xor(s, t)
    if bits == 1:
        return sums
    low = slice(0, bits - 1)
    generate = rt.and_(s.plane(low), t.plane(low)).shares.copy()
    passes = sums.shares[:, low].copy()
    place = np.arange(bits - 1)
    width = 1
    while width < bits - 1:
        upper = place[(place & width) != 0]
        below = upper // width * width - 1
        inner = upper >= 2 * width
        left = np.concatenate([passes[:, upper], passes[:, upper[inner]]], axis=1)
        right = np.concatenate([generate[:, below], passes[:, below[inner]]], axis=1)
        combined = rt.and_(SharedBits(left, a.rows), SharedBits(right, a.rows)).shares
        generate[:, upper] ^= combined[:, : len(upper)]
        passes[:, upper[inner]] = combined[:, len(upper) :]
        width *= 2
    carried = sums.shares.copy()
    carried[:, 1:] ^= generate
    return SharedBits(carried, a.rows)


def _summands(rt: Runtime, a: Shared, bits: int, *, negate_second: bool) -> tuple[SharedBits, SharedBits]:
    """Share the low planes of s and of t (or -t). One round; party 0 sends 8 bytes a plane and 64 values."""
    if len(a.shape) != 1 or not 1 <= bits <= 64:
        raise InvalidInput(f"expected one axis and 1 to 64 bits, got the shape {a.shape} and {bits} bits")
    shape = (bits, words_of(a.rows))
    first: Words | None = None
    second: Words | None = None
    if rt.rank == 0:
        first = kernels.to_planes(a.shares[0] + a.shares[1], bits)
    if rt.rank in (1, 2):
        last = a.shares[2 - rt.rank]
        second = kernels.to_planes(-last if negate_second else last, bits)
    s = rt.input_words("planes", 0, first, shape, add=False)
    t = rt.known(second, position=2, shape=shape)
    return SharedBits(s, a.rows), SharedBits(t, a.rows)
