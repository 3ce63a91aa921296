"""Points of ristretto255, one in each lane: decoding, encoding, the map, multiplication; compiled by numba.

Every lane runs the same instructions, and a table is read as a whole and masked: constant time in points and
scalars. Compiled code is kept beside this file or in the user's cache.

Sources: RFC 9496, whose names are used; Hisil, Wong, Carter, Dawson 2008 (point formulas).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from mpc.lanes import emit
from mpc.lanes.area import (
    CHOSEN,
    D_MINUS_ONE_SQ,
    ENTRIES,
    INPUT,
    INVSQRT_A_MINUS_D,
    LEFT,
    MINUS_ONE,
    ONE,
    ONE_MINUS_D_SQ,
    POINT,
    POWER,
    RIGHT,
    ROOT,
    SCRATCH,
    SQRT_AD_MINUS_ONE,
    SQRT_M1,
    TABLE,
    TWO,
    TWO_D,
    VALID,
    ZERO,
    D,
)
from mpc.lanes.emit import LANES, LIMBS, VECTOR, WORD, Builder, Value, load, splat, store
from mpc.lanes.operations import (
    add,
    choose,
    compiled,
    conjoin,
    disjoin,
    freeze,
    function,
    mask_odd,
    mask_same,
    mul,
    sqr,
    step,
    sub,
    without,
)

DIGITS: Final = 64
"""Signed digits of four bits in a scalar."""


def _look_up_intrinsic(typingctx: Value, base: Value, digit: Value) -> Value:
    """Write to `CHOSEN` the multiple of a point that one digit of each lane says."""

    def body(b: Builder, base: Value, digit: Value) -> None:
        value = b.load(b.inttoptr(digit, VECTOR.as_pointer()), align=8)
        is_negative = b.ashr(value, splat(63))
        magnitude = b.sub(b.xor(value, is_negative), is_negative)
        chosen = [b.sext(b.icmp_unsigned("==", magnitude, splat(entry)), VECTOR) for entry in range(ENTRIES)]
        found = []
        for coordinate in range(4):
            limbs: list[Value] = [splat(0)] * LIMBS
            for entry, mask in enumerate(chosen):
                entry_limbs = load(b, base, ir.Constant(WORD, TABLE + 4 * entry + coordinate))
                limbs = [b.or_(x, b.and_(y, mask)) for x, y in zip(limbs, entry_limbs, strict=True)]
            found.append(limbs)
        plus, minus, twice_z, product = found
        negated = [minus, plus, twice_z, emit.minus(b, [splat(0)] * LIMBS, product)]
        for coordinate, (one, other) in enumerate(zip(negated, found, strict=True)):
            limbs = emit.select(b, [is_negative] * LIMBS, one, other)
            store(b, base, ir.Constant(WORD, CHOSEN + coordinate), limbs)

    def codegen(context: Value, b: Builder, signature: Value, arguments: Value) -> Value:
        b.call(function(b.module, "look_up", 2, body), arguments)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


_look_up = cast(Callable[[int, int], None], intrinsic(_look_up_intrinsic))


@step(3)
def _is_same(w: int, o: int, x: int, y: int) -> None:
    """A mask of where x and y are one residue."""
    sub(w, o, x, y)
    freeze(w, o, o)
    mask_same(w, o, o, ZERO)


@step(2)
def _abs(w: int, o: int, x: int) -> None:
    mask_odd(w, POWER + 1, x)
    sub(w, POWER, ZERO, x)
    choose(w, o, POWER + 1, POWER, x)


@step(3)
def _sqr_often(w: int, o: int, x: int, times: int) -> None:
    sqr(w, o, x)
    for _ in range(times - 1):
        sqr(w, o, o)


@step(2)
def _power(w: int, o: int, z: int) -> None:
    """Z ** ((p - 5) / 8) = z ** (2**252 - 3), by the usual chain; ``POWER`` to ``POWER + 2`` are scratch."""
    a, b, c = POWER, POWER + 1, POWER + 2
    sqr(w, a, z)  # 2
    _sqr_often(w, b, a, 2)  # 8
    mul(w, b, z, b)  # 9
    mul(w, a, a, b)  # 11
    sqr(w, a, a)  # 22
    mul(w, a, b, a)  # 2**5 - 1
    _sqr_often(w, b, a, 5)
    mul(w, a, b, a)  # 2**10 - 1
    _sqr_often(w, b, a, 10)
    mul(w, b, b, a)  # 2**20 - 1
    _sqr_often(w, c, b, 20)
    mul(w, b, c, b)  # 2**40 - 1
    _sqr_often(w, b, b, 10)
    mul(w, a, b, a)  # 2**50 - 1
    _sqr_often(w, b, a, 50)
    mul(w, b, b, a)  # 2**100 - 1
    _sqr_often(w, c, b, 100)
    mul(w, b, c, b)  # 2**200 - 1
    _sqr_often(w, b, b, 50)
    mul(w, a, b, a)  # 2**250 - 1
    _sqr_often(w, a, a, 2)
    mul(w, o, a, z)


@step(4)
def _sqrt_ratio(w: int, o: int, was_square: int, u: int, v: int) -> None:
    """SQRT_RATIO_M1, section 4.2; ``POWER`` and ``ROOT`` are scratch."""
    v3, r, check, flipped = ROOT, ROOT + 1, ROOT + 2, ROOT + 3
    sqr(w, v3, v)
    mul(w, v3, v3, v)
    sqr(w, r, v3)
    mul(w, r, r, v)
    mul(w, r, r, u)
    _power(w, r, r)
    mul(w, v3, v3, u)
    mul(w, r, r, v3)
    sqr(w, check, r)
    mul(w, check, check, v)
    _is_same(w, was_square, check, u)
    sub(w, v3, ZERO, u)
    _is_same(w, flipped, check, v3)
    disjoin(w, was_square, was_square, flipped)
    mul(w, v3, v3, SQRT_M1)
    _is_same(w, check, check, v3)
    disjoin(w, flipped, flipped, check)
    mul(w, check, r, SQRT_M1)
    choose(w, r, flipped, check, r)
    _abs(w, o, r)


@step(3)
def _decode(w: int, p: int, s: int, valid: int) -> None:
    """Decode, section 4.3.1; the mask says where ``s`` is canonical, of the group and not the identity."""
    u1, u2, square, v, inverse, t = SCRATCH, SCRATCH + 1, SCRATCH + 2, SCRATCH + 3, SCRATCH + 4, SCRATCH + 5
    sqr(w, t, s)
    sub(w, u1, ONE, t)
    add(w, u2, ONE, t)
    sqr(w, square, u2)
    sqr(w, v, u1)
    mul(w, v, v, D)
    sub(w, v, ZERO, v)
    sub(w, v, v, square)
    mul(w, t, v, square)
    _sqrt_ratio(w, inverse, valid, ONE, t)
    mul(w, u2, inverse, u2)  # den_x
    mul(w, v, u2, v)
    mul(w, v, inverse, v)  # den_y
    add(w, t, s, s)
    mul(w, t, t, u2)
    _abs(w, p, t)
    mul(w, p + 1, u1, v)
    add(w, p + 2, ONE, ZERO)
    mul(w, p + 3, p, p + 1)
    mask_odd(w, t, p + 3)
    without(w, valid, valid, t)
    _is_same(w, t, p + 1, ZERO)
    without(w, valid, valid, t)
    freeze(w, t, s)
    mask_same(w, t, t, s)
    conjoin(w, valid, valid, t)
    mask_odd(w, t, s)
    without(w, valid, valid, t)
    mask_same(w, t, s, ZERO)
    without(w, valid, valid, t)


@step(2)
def _encode(w: int, s: int, p: int) -> None:
    """Encode, section 4.3.2."""
    x, y, z, t = p, p + 1, p + 2, p + 3
    u1, u2, den1, z_inv, rotate, mask = (
        SCRATCH,
        SCRATCH + 1,
        SCRATCH + 2,
        SCRATCH + 3,
        SCRATCH + 4,
        SCRATCH + 5,
    )
    add(w, u1, z, y)
    sub(w, u2, z, y)
    mul(w, u1, u1, u2)
    mul(w, u2, x, y)
    sqr(w, den1, u2)
    mul(w, den1, den1, u1)
    _sqrt_ratio(w, z_inv, mask, ONE, den1)
    mul(w, den1, z_inv, u1)
    mul(w, u2, z_inv, u2)  # den2
    mul(w, z_inv, den1, u2)
    mul(w, z_inv, z_inv, t)
    mul(w, mask, t, z_inv)
    mask_odd(w, rotate, mask)
    mul(w, u1, x, SQRT_M1)  # ix0
    mul(w, mask, y, SQRT_M1)  # iy0
    choose(w, x, rotate, mask, x)
    choose(w, y, rotate, u1, y)
    mul(w, den1, den1, INVSQRT_A_MINUS_D)
    choose(w, den1, rotate, den1, u2)  # den_inv
    mul(w, u1, x, z_inv)
    mask_odd(w, mask, u1)
    sub(w, u1, ZERO, y)
    choose(w, y, mask, u1, y)
    sub(w, u1, z, y)
    mul(w, u1, u1, den1)
    _abs(w, u1, u1)
    freeze(w, s, u1)


@step(2)
def _map(w: int, p: int, t: int) -> None:
    """MAP, section 4.3.4."""
    r, u, v, s, was_square, c = SCRATCH, SCRATCH + 1, SCRATCH + 2, SCRATCH + 3, SCRATCH + 4, SCRATCH + 5
    sqr(w, r, t)
    mul(w, r, r, SQRT_M1)
    add(w, u, r, ONE)
    mul(w, u, u, ONE_MINUS_D_SQ)
    mul(w, v, r, D)
    sub(w, v, MINUS_ONE, v)
    add(w, c, r, D)
    mul(w, v, v, c)
    _sqrt_ratio(w, s, was_square, u, v)
    mul(w, u, s, t)
    _abs(w, u, u)
    sub(w, u, ZERO, u)
    choose(w, s, was_square, s, u)
    choose(w, c, was_square, MINUS_ONE, r)
    sub(w, r, r, ONE)
    mul(w, c, c, r)
    mul(w, c, c, D_MINUS_ONE_SQ)
    sub(w, c, c, v)  # N
    mul(w, v, s, v)
    add(w, v, v, v)  # w0
    mul(w, c, c, SQRT_AD_MINUS_ONE)  # w1
    sqr(w, s, s)
    sub(w, r, ONE, s)  # w2
    add(w, s, ONE, s)  # w3
    mul(w, p, v, s)
    mul(w, p + 1, r, c)
    mul(w, p + 2, c, s)
    mul(w, p + 3, v, r)


@step(1)
def _double(w: int, p: int) -> None:
    """Section 3.3 of Hisil and others, in the order of Ed25519's reference code; T is left to `_complete`."""
    a, b, c, e, h = SCRATCH, SCRATCH + 1, SCRATCH + 2, LEFT, RIGHT
    sqr(w, a, p)
    sqr(w, b, p + 1)
    sqr(w, c, p + 2)
    add(w, c, c, c)
    add(w, e, p, p + 1)
    sqr(w, e, e)
    add(w, h, a, b)
    sub(w, e, e, h)
    sub(w, b, b, a)
    sub(w, c, c, b)
    mul(w, p, e, c)
    mul(w, p + 1, h, b)
    mul(w, p + 2, b, c)


@step(2)
def _add_prepared(w: int, p: int, q: int) -> None:
    """P + q, complete; section 3.1 of Hisil and others; T is left to `_complete`."""
    a, c, d, f, e, h = SCRATCH, SCRATCH + 1, SCRATCH + 2, SCRATCH + 5, LEFT, RIGHT
    sub(w, a, p + 1, p)
    mul(w, a, a, q + 1)
    add(w, h, p + 1, p)
    mul(w, h, h, q)
    mul(w, c, p + 3, q + 3)
    mul(w, d, p + 2, q + 2)
    sub(w, e, h, a)
    add(w, h, h, a)
    sub(w, f, d, c)
    add(w, d, d, c)
    mul(w, p, e, f)
    mul(w, p + 1, d, h)
    mul(w, p + 2, f, d)


@step(1)
def _complete(w: int, p: int) -> None:
    """T of the point that was doubled or added last; only some operations after it need T."""
    mul(w, p + 3, LEFT, RIGHT)


@step(2)
def _prepare(w: int, q: int, p: int) -> None:
    """The form in which a point is added: Y + X, Y - X, 2 Z, 2 d T."""
    add(w, q, p + 1, p)
    sub(w, q + 1, p + 1, p)
    add(w, q + 2, p + 2, p + 2)
    mul(w, q + 3, p + 3, TWO_D)


@step(5)
def _put(w: int, p: int, x: int, y: int, z: int, t: int) -> None:
    add(w, p, x, ZERO)
    add(w, p + 1, y, ZERO)
    add(w, p + 2, z, ZERO)
    add(w, p + 3, t, ZERO)


@step(2)
def _multiply(w: int, p: int, digits: int) -> None:
    """Multiply point ``p`` by the scalars with these digits, from the highest on."""
    _put(w, TABLE, ONE, ONE, TWO, ZERO)
    _prepare(w, TABLE + 4, p)
    for entry in range(2, ENTRIES):
        _add_prepared(w, p, TABLE + 4)
        _complete(w, p)
        _prepare(w, TABLE + 4 * entry, p)
    _put(w, p, ZERO, ONE, ONE, ZERO)
    for digit in range(DIGITS - 1, -1, -1):
        for _ in range(4):
            _double(w, p)
        _complete(w, p)
        _look_up(w, digits + 8 * LANES * digit)
        _add_prepared(w, p, CHOSEN)
    _complete(w, p)


@compiled("intp(uint64[:, :, ::1], intp, intp, intp, uint64[:, :, :, ::1], uint64[:, :, ::1])")
def run(
    area: NDArray[np.uint64],
    w: int,
    digits: int,
    stride: int,
    source: NDArray[np.uint64],
    target: NDArray[np.uint64],
) -> int:
    """Decode or map each block, multiply, encode; return how many lanes hold no element.

    ``digits`` is the address of the first block's digits, 0 for no multiplication, ``stride`` the bytes from
    one block's to the next.
    """
    refused = 0
    for block in range(source.shape[0]):
        for part in range(source.shape[1]):
            for limb in range(LIMBS):
                for lane in range(LANES):
                    area[INPUT + part, limb, lane] = source[block, part, limb, lane]
        if source.shape[1] == 2:
            _map(w, POINT, INPUT)
            _prepare(w, CHOSEN, POINT)
            _map(w, POINT, INPUT + 1)
            _add_prepared(w, POINT, CHOSEN)
            _complete(w, POINT)
        else:
            _decode(w, POINT, INPUT, VALID)
            for lane in range(LANES):
                refused += area[VALID, 0, lane] == 0
        if digits:
            _multiply(w, POINT, digits + block * stride)
        _encode(w, INPUT, POINT)
        for limb in range(LIMBS):
            for lane in range(LANES):
                target[block, limb, lane] = area[INPUT, limb, lane]
    return refused
