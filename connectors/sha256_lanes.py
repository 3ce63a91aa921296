"""SHA-256 of many short messages at once, one in each lane of a vector; plain Python that numba compiles.

FIPS 180-4, section 6.2. Every inner loop runs over the lanes, so that LLVM turns it into the vector
instructions that the processor has. The loops run without the interpreter lock. Compiled code is kept in
numba's cache where that can be written. Digests are rows of eight 32-bit words. The tests compare every
function with ``hashlib``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["LANES", "digests", "parents"]

LANES = 16

_CONSTANTS = np.array(
    [
        int.from_bytes(bytes.fromhex(word))
        for word in (
            "428a2f98 71374491 b5c0fbcf e9b5dba5 3956c25b 59f111f1 923f82a4 ab1c5ed5 "
            "d807aa98 12835b01 243185be 550c7dc3 72be5d74 80deb1fe 9bdc06a7 c19bf174 "
            "e49b69c1 efbe4786 0fc19dc6 240ca1cc 2de92c6f 4a7484aa 5cb0a9dc 76f988da "
            "983e5152 a831c66d b00327c8 bf597fc7 c6e00bf3 d5a79147 06ca6351 14292967 "
            "27b70a85 2e1b2138 4d2c6dfc 53380d13 650a7354 766a0abb 81c2c92e 92722c85 "
            "a2bfe8a1 a81a664b c24b8b70 c76c51a3 d192e819 d6990624 f40e3585 106aa070 "
            "19a4c116 1e376c08 2748774c 34b0bcb5 391c0cb3 4ed8aa4a 5b9cca4f 682e6ff3 "
            "748f82ee 78a5636f 84c87814 8cc70208 90befffa a4506ceb bef9a3f7 c67178f2"
        ).split()
    ],
    dtype=np.uint32,
)
_INITIAL = np.array(
    [
        int.from_bytes(bytes.fromhex(word))
        for word in "6a09e667 bb67ae85 3c6ef372 a54ff53a 510e527f 9b05688c 1f83d9ab 5be0cd19".split()
    ],
    dtype=np.uint32,
)
_U32 = np.uint32


def _compiled(function: Any) -> Any:  # noqa: ANN401 - numba has no types
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder for the cache can be written
        return numba.njit(nogil=True)(function)


@_compiled
def _rotated(word: Any, right: int) -> Any:  # noqa: ANN401 - a 32-bit word
    return _U32(_U32(word >> _U32(right)) | _U32(word << _U32(32 - right)))


@_compiled
def _compress(state: Any, words: Any, work: Any) -> None:  # noqa: ANN401 - (8, LANES), (64, LANES), (8, LANES)
    """Take in a block: the first 16 rows of ``words``, which it extends; ``work`` is overwritten."""
    lanes = words.shape[1]
    for t in range(16, 64):
        for lane in range(lanes):
            w2, w15 = words[t - 2, lane], words[t - 15, lane]
            small0 = _U32(_rotated(w15, 7) ^ _rotated(w15, 18) ^ _U32(w15 >> _U32(3)))
            small1 = _U32(_rotated(w2, 17) ^ _rotated(w2, 19) ^ _U32(w2 >> _U32(10)))
            words[t, lane] = _U32(words[t - 16, lane] + small0 + words[t - 7, lane] + small1)
    for row in range(8):
        for lane in range(lanes):
            work[row, lane] = state[row, lane]
    for t in range(64):
        # The eight variables stay where they are; their names move by one row each round.
        i = 64 - t
        a, b, c, d = i & 7, (i + 1) & 7, (i + 2) & 7, (i + 3) & 7
        e, f, g, h = (i + 4) & 7, (i + 5) & 7, (i + 6) & 7, (i + 7) & 7
        constant = _CONSTANTS[t]
        for lane in range(lanes):
            va, vb, vc, ve = work[a, lane], work[b, lane], work[c, lane], work[e, lane]
            big1 = _U32(_rotated(ve, 6) ^ _rotated(ve, 11) ^ _rotated(ve, 25))
            choice = _U32((ve & work[f, lane]) ^ (~ve & work[g, lane]))
            first = _U32(work[h, lane] + big1 + choice + constant + words[t, lane])
            big0 = _U32(_rotated(va, 2) ^ _rotated(va, 13) ^ _rotated(va, 22))
            majority = _U32((va & vb) ^ (va & vc) ^ (vb & vc))
            work[d, lane] = _U32(work[d, lane] + first)
            work[h, lane] = _U32(first + big0 + majority)


@_compiled
def _digests(prefix: Any, ends: Any, content: Any, out: Any) -> None:  # noqa: ANN401 - bytes, (n + 1,), bytes, (n, 8)
    state, words = np.empty((8, LANES), np.uint32), np.zeros((64, LANES), np.uint32)
    work, block = np.empty((8, LANES), np.uint32), np.empty(64, np.uint8)
    count, head = len(ends) - 1, len(prefix)
    for first in range(0, count, LANES):
        used = min(LANES, count - first)
        for row in range(8):
            for lane in range(LANES):
                state[row, lane] = _INITIAL[row]
        most = 0
        for lane in range(used):
            most = max(most, (head + ends[first + lane + 1] - ends[first + lane] + 72) // 64)
        for number in range(most):
            low = 64 * number
            for lane in range(used):
                start = ends[first + lane]
                size = head + ends[first + lane + 1] - start
                for at in range(64):
                    block[at] = 0
                for at in range(low, min(low + 64, head)):
                    block[at - low] = prefix[at]
                for at in range(max(low, head), min(low + 64, size)):
                    block[at - low] = content[start + at - head]
                if low <= size < low + 64:
                    block[size - low] = 0x80
                for t in range(16):
                    words[t, lane] = (
                        (_U32(block[4 * t]) << _U32(24))
                        | (_U32(block[4 * t + 1]) << _U32(16))
                        | (_U32(block[4 * t + 2]) << _U32(8))
                        | _U32(block[4 * t + 3])
                    )
                if (size + 72) // 64 == number + 1:
                    words[14, lane] = _U32((8 * size) >> 32)
                    words[15, lane] = _U32((8 * size) & 0xFFFFFFFF)
            _compress(state, words, work)
            for lane in range(used):
                if number < (head + ends[first + lane + 1] - ends[first + lane] + 72) // 64:
                    for row in range(8):
                        state[row, lane] = _U32(state[row, lane] + work[row, lane])
        for lane in range(used):
            for row in range(8):
                out[first + lane, row] = state[row, lane]


@_compiled
def _parents(nodes: Any, out: Any) -> None:  # noqa: ANN401 - (2 n, 8), (n, 8)
    state, words = np.empty((8, LANES), np.uint32), np.zeros((64, LANES), np.uint32)
    work, last = np.empty((8, LANES), np.uint32), np.zeros(LANES, np.uint32)
    count = len(out)
    for first in range(0, count, LANES):
        used = min(LANES, count - first)
        for row in range(8):
            for lane in range(LANES):
                state[row, lane] = _INITIAL[row]
        # 65 bytes: a one, then both children, each word one byte further back.
        for lane in range(used):
            before = _U32(1)
            for t in range(16):
                word = nodes[2 * (first + lane) + (t >> 3), t & 7]
                words[t, lane] = _U32(_U32(before << _U32(24)) | _U32(word >> _U32(8)))
                before = word
            last[lane] = before
        _compress(state, words, work)
        for row in range(8):
            for lane in range(LANES):
                state[row, lane] = _U32(state[row, lane] + work[row, lane])
        for lane in range(LANES):
            words[0, lane] = _U32(_U32(last[lane] << _U32(24)) | _U32(0x800000))
            for t in range(1, 15):
                words[t, lane] = 0
            words[15, lane] = _U32(520)
        _compress(state, words, work)
        for lane in range(used):
            for row in range(8):
                out[first + lane, row] = _U32(state[row, lane] + work[row, lane])


def digests(
    prefix: NDArray[np.uint8], ends: NDArray[np.int64], content: NDArray[np.uint8]
) -> NDArray[np.uint32]:
    """Hash ``prefix || content[ends[i]:ends[i + 1]]`` for each i.

    Args:
        prefix: bytes that every message begins with.
        ends: shape ``(n + 1,)``, ascending.
        content: bytes.

    Returns:
        Shape ``(n, 8)``.
    """
    out = np.empty((len(ends) - 1, 8), np.uint32)
    _digests(prefix, ends, content, out)
    return out


def parents(nodes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Hash ``0x01 || left || right`` for each pair of rows, as RFC 6962: ``(2 n, 8)`` to ``(n, 8)``."""
    out = np.empty((len(nodes) // 2, 8), np.uint32)
    _parents(nodes, out)
    return out
