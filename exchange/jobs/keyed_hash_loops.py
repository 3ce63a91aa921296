"""The compiled loop of `exchange.jobs.keyed_hashes`: BLAKE2b (RFC 7693) under a key, 8 bytes of output.

Plain Python that numba compiles on first use. Compiled code is kept in its cache where that can be written.
"""

# numba infers the types; the docstrings state them.
# ruff: noqa: ANN001
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mpc.compiling import compiled

__all__ = ["hash_all"]

Kernel = Callable[..., Any]

_INITIAL: Final = np.frombuffer(
    bytes.fromhex(
        "6a09e667f3bcc908 bb67ae8584caa73b 3c6ef372fe94f82b a54ff53a5f1d36f1"
        "510e527fade682d1 9b05688c2b3e6c1f 1f83d9abfb41bd6b 5be0cd19137e2179"
    ),
    dtype=">u8",
).astype(np.uint64)
_ORDER: Final = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ]
)
_MIXED: Final = np.array(
    [(n, 4 + n, 8 + n, 12 + n) for n in range(4)]
    + [(n, 4 + (n + 1) % 4, 8 + (n + 2) % 4, 12 + (n + 3) % 4) for n in range(4)]
)


@compiled
def _compress(state, block, counted, is_last, v) -> None:
    """Take one block of 16 words into ``state``, of 8; ``v``, of 16, is overwritten."""
    for row in range(8):
        v[row], v[row + 8] = state[row], _INITIAL[row]
    v[12] ^= np.uint64(counted)
    if is_last:
        v[14] = ~v[14]
    for number in range(12):
        for mix in range(8):
            a, b, c, d = _MIXED[mix, 0], _MIXED[mix, 1], _MIXED[mix, 2], _MIXED[mix, 3]
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = va + vb + block[_ORDER[number % 10, 2 * mix]]
            vd ^= va
            vd = (vd >> np.uint64(32)) | (vd << np.uint64(32))
            vc = vc + vd
            vb ^= vc
            vb = (vb >> np.uint64(24)) | (vb << np.uint64(40))
            va = va + vb + block[_ORDER[number % 10, 2 * mix + 1]]
            vd ^= va
            vd = (vd >> np.uint64(16)) | (vd << np.uint64(48))
            vc = vc + vd
            vb ^= vc
            vb = (vb >> np.uint64(63)) | (vb << np.uint64(1))
            v[a], v[b], v[c], v[d] = va, vb, vc, vd
    for row in range(8):
        state[row] ^= v[row] ^ v[row + 8]


@compiled
def hash_all(key, key_size, ends, content, out) -> None:
    """Hash ``content[ends[i]:ends[i + 1]]``, none of them empty, into ``out[i]``.

    Args:
        key: uint8[128], the key and zeros.
        key_size: of the key without the zeros.
        ends: int64[n + 1].
        content: uint8.
        out: uint64[n].
    """
    block, v = np.zeros(128, np.uint8), np.empty(16, np.uint64)
    words, state = block.view(np.uint64), np.empty(8, np.uint64)
    begun = _INITIAL.copy()
    begun[0] ^= np.uint64(0x01010000 ^ (key_size << 8) ^ 8)
    for place in range(128):
        block[place] = key[place]
    _compress(begun, words, 128, False, v)
    for number in range(len(out)):
        start, stop = ends[number], ends[number + 1]
        for row in range(8):
            state[row] = begun[row]
        at = start
        while at < stop:
            taken = min(stop - at, 128)
            for place in range(taken):
                block[place] = content[at + place]
            for place in range(taken, 128):
                block[place] = 0
            at += taken
            _compress(state, words, 128 + at - start, at == stop, v)
        out[number] = state[0]
