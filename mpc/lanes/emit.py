"""LLVM instructions for arithmetic modulo p = 2**255 - 19 on one element in each lane of a vector.

An element is ten limbs of 26 and 25 bits in turn; ten vectors of `LANES` 64-bit words hold one element a
lane. Limbs are *reduced* when they are below 2**26 + 2**13 and 2**25 + 2**16 in turn, and *loose* when they
are at most twice that. Every emitter takes loose limbs; products, squares and differences are reduced, sums
of two reduced elements are loose.

Constant time: no branch and no address depends on a value.

The kernels of `mpc.lanes.points` are kept compiled by that file's date: whoever changes this one touches it.

Sources: Bernstein 2006 (the limbs); Bernstein, Schwabe 2012 (vectors of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llvmlite import ir

LANES: Final = 4
LIMBS: Final = 10
BITS: Final = (26, 25) * 5
SLOT_BYTES: Final = 8 * LANES * LIMBS
VECTOR: Final = ir.VectorType(ir.IntType(64), LANES)
WORD: Final = ir.IntType(64)

Builder = Any
"""An ``llvmlite.ir.IRBuilder``; llvmlite has no types."""
Value = Any
Values = Sequence[Any]

_FOUR_P: Final = (4 * (2**26 - 19), *(4 * (2**bits - 1) for bits in BITS[1:]))


def splat(value: int) -> Value:
    """The same constant in every lane."""
    return ir.Constant(VECTOR, [value] * LANES)


def _place(b: Builder, base: Value, slot: Value, limb: int) -> Value:
    offset = b.add(b.mul(slot, ir.Constant(WORD, SLOT_BYTES)), ir.Constant(WORD, 8 * LANES * limb))
    return b.inttoptr(b.add(base, offset), VECTOR.as_pointer())


def load(b: Builder, base: Value, slot: Value) -> list[Value]:
    """Read the element in a slot of the work area at address ``base``."""
    return [b.load(_place(b, base, slot, limb), align=8) for limb in range(LIMBS)]


def store(b: Builder, base: Value, slot: Value, limbs: Values) -> None:
    """Write an element to a slot."""
    for limb, value in enumerate(limbs):
        b.store(value, _place(b, base, slot, limb), align=8)


def _times(b: Builder, x: Value, y: Value) -> Value:
    """The product of two words below 2**32: one instruction, because the upper halves are known to be 0."""
    return b.mul(b.and_(x, splat(2**32 - 1)), b.and_(y, splat(2**32 - 1)))


def _nineteen(b: Builder, x: Value) -> Value:
    return b.add(b.add(x, b.shl(x, splat(1))), b.shl(x, splat(4)))


def _carry(b: Builder, h: Values, order: Sequence[int]) -> list[Value]:
    """Move what exceeds each limb's width to the next limb, in this order of limbs."""
    h = list(h)
    for i in order:
        over = b.lshr(h[i], splat(BITS[i]))
        h[i] = b.and_(h[i], splat(2 ** BITS[i] - 1))
        following = (i + 1) % LIMBS
        h[following] = b.add(h[following], _nineteen(b, over) if i == LIMBS - 1 else over)
    return h


def product(b: Builder, f: Values, g: Values) -> list[Value]:
    """Multiply; schoolbook, wrapped limbs times 19."""
    twice = [b.shl(x, splat(1)) for x in f]
    wrapped = [_nineteen(b, y) for y in g]
    h = []
    for k in range(LIMBS):
        terms = []
        for i in range(LIMBS):
            j = (k - i) % LIMBS
            x, y = twice[i] if i & j & 1 else f[i], wrapped[j] if i + j >= LIMBS else g[j]
            terms.append(_times(b, x, y))
        h.append(_sum(b, terms))
    return _carry(b, h, (0, 5, 1, 6, 2, 7, 3, 8, 4, 9, 5, 0))


def square(b: Builder, f: Values) -> list[Value]:
    """Multiply by itself: 55 instead of 100 products."""
    multiples = {1: f, 2: [b.shl(x, splat(1)) for x in f], 4: [b.shl(x, splat(2)) for x in f]}
    wrapped = [_nineteen(b, x) for x in f]
    h = []
    for k in range(LIMBS):
        pairs = [(i, (k - i) % LIMBS) for i in range(LIMBS) if i <= (k - i) % LIMBS]
        h.append(
            _sum(
                b,
                [
                    _times(
                        b,
                        multiples[(1 if i == j else 2) * (2 if i & j & 1 else 1)][i],
                        wrapped[j] if i + j >= LIMBS else f[j],
                    )
                    for i, j in pairs
                ],
            )
        )
    return _carry(b, h, (0, 5, 1, 6, 2, 7, 3, 8, 4, 9, 5, 0))


def _sum(b: Builder, terms: Values) -> Value:
    total = terms[0]
    for term in terms[1:]:
        total = b.add(total, term)
    return total


def plus(b: Builder, f: Values, g: Values) -> list[Value]:
    """Add two reduced elements; loose."""
    return [b.add(x, y) for x, y in zip(f, g, strict=True)]


def minus(b: Builder, f: Values, g: Values) -> list[Value]:
    """F - g + 4 p, reduced by one pass in which every limb carries at once."""
    h = [b.sub(b.add(x, splat(four)), y) for x, four, y in zip(f, _FOUR_P, g, strict=True)]
    over = [b.lshr(x, splat(bits)) for x, bits in zip(h, BITS, strict=True)]
    kept = [b.and_(x, splat(2**bits - 1)) for x, bits in zip(h, BITS, strict=True)]
    return [b.add(kept[i], over[i - 1] if i else _nineteen(b, over[-1])) for i in range(LIMBS)]


def frozen(b: Builder, f: Values) -> list[Value]:
    """The one form with limbs in range and a value below p."""
    h = _carry(b, f, range(LIMBS))
    above = b.lshr(b.add(h[0], splat(19)), splat(BITS[0]))
    for i in range(1, LIMBS):
        above = b.lshr(b.add(h[i], above), splat(BITS[i]))
    h[0] = b.add(h[0], _nineteen(b, above))
    h = _carry(b, h, range(LIMBS - 1))
    h[-1] = b.and_(h[-1], splat(2 ** BITS[-1] - 1))
    return h


def same(b: Builder, f: Values, g: Values) -> list[Value]:
    """A mask in every limb: all ones where the limbs of f and g are equal."""
    differing = b.xor(f[0], g[0])
    for x, y in zip(f[1:], g[1:], strict=True):
        differing = b.or_(differing, b.xor(x, y))
    return [b.sext(b.icmp_unsigned("==", differing, splat(0)), VECTOR)] * LIMBS


def odd(b: Builder, f: Values) -> list[Value]:
    """A mask in every limb: all ones where the element is negative, in RFC 9496's sense."""
    return [b.sub(splat(0), b.and_(frozen(b, f)[0], splat(1)))] * LIMBS


def select(b: Builder, mask: Values, f: Values, g: Values) -> list[Value]:
    """The first where the mask has ones, the second where it has none."""
    return [b.xor(y, b.and_(m, b.xor(x, y))) for m, x, y in zip(mask, f, g, strict=True)]


def both(b: Builder, f: Values, g: Values) -> list[Value]:
    """Where both masks have ones."""
    return [b.and_(x, y) for x, y in zip(f, g, strict=True)]


def either(b: Builder, f: Values, g: Values) -> list[Value]:
    """Where either mask has ones."""
    return [b.or_(x, y) for x, y in zip(f, g, strict=True)]


def without(b: Builder, f: Values, g: Values) -> list[Value]:
    """Where the first mask has ones and the second has none."""
    return [b.and_(x, b.not_(y)) for x, y in zip(f, g, strict=True)]
