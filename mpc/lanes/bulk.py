"""Many rows at once: bytes to limbs in lanes and back, around the kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc.lanes import points
from mpc.lanes.area import STARTS, work_area
from mpc.lanes.emit import BITS, LANES, LIMBS


def apply(scalars: NDArray[np.uint8] | None, rows: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
    """Bring rows into the group and multiply them.

    Args:
        scalars: uint8[1, 32], for all rows, or uint8[n, 32], one each; little-endian, below the group order.
            None: no multiplication.
        rows: uint8[n, 32] encodings of elements, or uint8[n, 64] uniform bytes to be mapped; n at least 1.

    Returns:
        uint8[n, 32], the encodings; and whether every row was a canonical encoding of an element other than
        the identity. If not, the encodings mean nothing.

    Security: constant time in scalars and rows.
    Leaks: nothing; local.
    Cost: local; 27 microseconds to decode, multiply and encode, 6 to map and encode, on one core.
    Source: RFC 9496, section 4; the module says where the arithmetic is from.
    """
    area = work_area()
    source = _blocks(rows)
    target = np.empty((len(source), LIMBS, LANES), np.uint64)
    digits = np.zeros(0, np.int64) if scalars is None else _digits(scalars)
    address = 0 if scalars is None else digits.ctypes.data
    stride = digits.strides[0] if len(digits) > 1 else 0
    refused = points.run(area, area.ctypes.data, address, stride, source, target)
    return _rows(target)[: len(rows)], refused == 0


def _digits(scalars: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Split the scalar of each lane into digits from -8 to 7, lowest first: int64[blocks, 64, LANES]."""
    filled = np.concatenate([scalars, np.repeat(scalars[-1:], -len(scalars) % LANES, axis=0)])
    digits = np.stack([filled & 15, filled >> 4], axis=2).reshape(-1, LANES, points.DIGITS).astype(np.int64)
    for i in range(points.DIGITS - 1):
        over = (digits[:, :, i] + 8) >> 4
        digits[:, :, i] -= 16 * over
        digits[:, :, i + 1] += over
    return np.ascontiguousarray(digits.transpose(0, 2, 1))


def _blocks(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Split rows into limbs, uint64[blocks, parts, 10, LANES]; the last row fills what is left of a block."""
    words = np.ascontiguousarray(rows).view("<u8").reshape(len(rows), -1, 4).astype(np.uint64)
    if words.shape[1] == 2:
        words[:, :, 3] &= np.uint64(2**63 - 1)
    limbs = np.empty((-(-len(rows) // LANES) * LANES, words.shape[1], LIMBS), np.uint64)
    for limb, (start, bits) in enumerate(zip(STARTS, BITS, strict=True)):
        at, shift = divmod(start, 64)
        value = words[:, :, at] >> np.uint64(shift)
        if shift + bits > 64:
            value |= words[:, :, at + 1] << np.uint64(64 - shift)
        # The last limb keeps bit 255, with which no encoding is canonical.
        width = bits + (limb == LIMBS - 1)
        limbs[: len(rows), :, limb] = value & np.uint64(2**width - 1)
    limbs[len(rows) :] = limbs[len(rows) - 1]
    grouped = limbs.reshape(-1, LANES, words.shape[1], LIMBS).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(grouped)


def _rows(blocks: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Put limbs below their width together, uint8[LANES * blocks, 32]."""
    limbs = blocks.transpose(0, 2, 1).reshape(-1, LIMBS)
    words = np.zeros((len(limbs), 4), np.uint64)
    for limb, (start, bits) in enumerate(zip(STARTS, BITS, strict=True)):
        at, shift = divmod(start, 64)
        words[:, at] |= limbs[:, limb] << np.uint64(shift)
        if shift + bits > 64:
            words[:, at + 1] |= limbs[:, limb] >> np.uint64(64 - shift)
    return words.astype("<u8").view(np.uint8)
