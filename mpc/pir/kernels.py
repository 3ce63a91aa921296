"""Compiled loops of the retrieval: products modulo 2**32, discrete Gaussians, and sealing many records.

Each is plain Python that numba compiles on first use, runs without the interpreter lock and works on a slice
of its output, so that `mpc.cores` spreads it over the cores. Compiled code is kept in numba's cache where
that can be written.

Every loop does the same whatever the values: no branch and no address depends on them.
"""

# numba infers the types; the docstrings state them.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mpc.compiling import compiled

Kernel = Callable[..., Any]

_WORD: Final = np.uint32
_TILE: Final = 2048
_TILE_COLUMNS: Final = 128
_SCAN_TILE: Final = 8192
_QUARTERS: Final = np.array(
    [
        (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
        (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
    ]
)  # fmt: skip


@compiled
def accumulate(x, y, out, start, stop):
    """Add ``x @ y`` modulo 2**32 to columns ``start`` to ``stop`` of ``out``.

    Args:
        x: uint32[q, w], w a multiple of 8.
        y: int8 or uint32 [w, m].
        out: uint32[q, m].
        start: first column of the slice.
        stop: its end.

    Four rows of x at a time pass over a tile of y that stays in the cache; what is left of x passes over all
    of y row by row, at the speed of memory.
    """
    fours = x.shape[0] // 4 * 4
    if fours:
        _multiply_fours(x, y, out, start, stop, fours)
    for row in range(fours, x.shape[0]):
        _multiply_one(x[row], y, out[row], start, stop)


@compiled
def _multiply_one(x, y, out, start, stop):
    tile = np.empty(_SCAN_TILE, _WORD)
    for left in range(start, stop, _SCAN_TILE):
        width = min(_SCAN_TILE, stop - left)
        right = left + width
        tile[:width] = 0
        for j in range(0, y.shape[0] - 7, 8):
            y0, y1, y2, y3 = (
                y[j, left:right],
                y[j + 1, left:right],
                y[j + 2, left:right],
                y[j + 3, left:right],
            )
            y4, y5 = y[j + 4, left:right], y[j + 5, left:right]
            y6, y7 = y[j + 6, left:right], y[j + 7, left:right]
            x0, x1, x2, x3, x4, x5, x6, x7 = (
                x[j], x[j + 1], x[j + 2], x[j + 3], x[j + 4], x[j + 5], x[j + 6], x[j + 7],
            )  # fmt: skip
            for i in range(width):
                tile[i] = _WORD(
                    tile[i]
                    + _WORD(x0 * _WORD(y0[i])) + _WORD(x1 * _WORD(y1[i]))
                    + _WORD(x2 * _WORD(y2[i])) + _WORD(x3 * _WORD(y3[i]))
                    + _WORD(x4 * _WORD(y4[i])) + _WORD(x5 * _WORD(y5[i]))
                    + _WORD(x6 * _WORD(y6[i])) + _WORD(x7 * _WORD(y7[i]))
                )  # fmt: skip
        for i in range(width):
            out[left + i] = _WORD(out[left + i] + tile[i])


@compiled
def _multiply_fours(x, y, out, start, stop, fours):
    for left in range(start, stop, _TILE):
        right = min(stop, left + _TILE)
        for first in range(0, y.shape[0], _TILE_COLUMNS):
            last = min(y.shape[0], first + _TILE_COLUMNS)
            for row in range(0, fours, 4):
                a, b, c, d = x[row], x[row + 1], x[row + 2], x[row + 3]
                out_a, out_b = out[row, left:right], out[row + 1, left:right]
                out_c, out_d = out[row + 2, left:right], out[row + 3, left:right]
                for j in range(first, last - 3, 4):
                    y0, y1 = y[j, left:right], y[j + 1, left:right]
                    y2, y3 = y[j + 2, left:right], y[j + 3, left:right]
                    a0, a1, a2, a3 = a[j], a[j + 1], a[j + 2], a[j + 3]
                    b0, b1, b2, b3 = b[j], b[j + 1], b[j + 2], b[j + 3]
                    c0, c1, c2, c3 = c[j], c[j + 1], c[j + 2], c[j + 3]
                    d0, d1, d2, d3 = d[j], d[j + 1], d[j + 2], d[j + 3]
                    for i in range(right - left):
                        s0, s1, s2, s3 = _WORD(y0[i]), _WORD(y1[i]), _WORD(y2[i]), _WORD(y3[i])
                        out_a[i] = _WORD(
                            out_a[i] + _WORD(a0 * s0) + _WORD(a1 * s1) + _WORD(a2 * s2) + _WORD(a3 * s3)
                        )
                        out_b[i] = _WORD(
                            out_b[i] + _WORD(b0 * s0) + _WORD(b1 * s1) + _WORD(b2 * s2) + _WORD(b3 * s3)
                        )
                        out_c[i] = _WORD(
                            out_c[i] + _WORD(c0 * s0) + _WORD(c1 * s1) + _WORD(c2 * s2) + _WORD(c3 * s3)
                        )
                        out_d[i] = _WORD(
                            out_d[i] + _WORD(d0 * s0) + _WORD(d1 * s1) + _WORD(d2 * s2) + _WORD(d3 * s3)
                        )


@compiled
def patch(a, hint, columns, rows, differences, start, stop):
    """Add to ``hint[start:stop]`` what changes of the matrix add to it.

    Args:
        a: uint32[stop - start, w], rows ``start`` to ``stop`` of the public matrix.
        hint: uint32[1024, m].
        columns: int64[c], the column of each change.
        rows: int64[c], the first row of each change.
        differences: uint32[c, l], new bytes less old bytes, modulo 2**32.
        start: first row of the slice.
        stop: its end.
    """
    for row in range(start, stop):
        for change in range(columns.shape[0]):
            factor, at = a[row - start, columns[change]], rows[change]
            for i in range(differences.shape[1]):
                hint[row, at + i] = _WORD(hint[row, at + i] + _WORD(factor * differences[change, i]))


@compiled
def gaussian(words, high, low, out, start, stop):
    """Add a discrete Gaussian to each of ``out[start:stop]``.

    Args:
        words: uint64[n, 2], uniform: a sign and a number of 127 bits each.
        high: uint64[t], upper 64 bits of 2**127 P(|X| <= k) for k = 0 to t - 1.
        low: uint64[t], lower 63 bits.
        out: uint32[n].
        start: first of the slice.
        stop: its end.
    """
    one = np.uint64(1)
    for i in range(start, stop):
        upper, lower = words[i, 0], words[i, 1] >> one
        magnitude = np.uint32(0)
        for k in range(high.shape[0]):
            above = (upper > high[k]) | ((upper == high[k]) & (lower >= low[k]))
            magnitude = _WORD(magnitude + _WORD(above))
        sign = _WORD(words[i, 1] & one)
        out[i] = _WORD(out[i] + _WORD(_WORD(magnitude ^ _WORD(_WORD(0) - sign)) + sign))


@compiled
def _rotl64(value, count):
    return (value << np.uint64(count)) | (value >> np.uint64(64 - count))


@compiled
def _sip_round(v0, v1, v2, v3):
    v0, v2 = v0 + v1, v2 + v3
    v1, v3 = _rotl64(v1, 13) ^ v0, _rotl64(v3, 16) ^ v2
    v0, v2 = _rotl64(v0, 32) + v3, v2 + v1
    v1, v3 = _rotl64(v1, 17) ^ v2, _rotl64(v3, 21) ^ v0
    return v0, v1, _rotl64(v2, 32), v3


@compiled
def siphash(k0, k1, message):
    """SipHash-2-4 of ``message``, uint8[l], under the key words k0, k1 (Aumasson, Bernstein 2012)."""
    v0, v1 = k0 ^ np.uint64(0x736F6D6570736575), k1 ^ np.uint64(0x646F72616E646F6D)
    v2, v3 = k0 ^ np.uint64(0x6C7967656E657261), k1 ^ np.uint64(0x7465646279746573)
    size = message.shape[0]
    for block in range(size // 8 + 1):
        word = np.uint64(size & 0xFF) << np.uint64(56) if block == size // 8 else np.uint64(0)
        for i in range(min(8, size - 8 * block)):
            word |= np.uint64(message[8 * block + i]) << np.uint64(8 * i)
        v3 ^= word
        for _ in range(2):
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0 ^= word
    v2 ^= np.uint64(0xFF)
    for _ in range(4):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@compiled
def _rotl32(value, count):
    return _WORD(_WORD(value << _WORD(count)) | _WORD(value >> _WORD(32 - count)))


@compiled
def chacha_xor(key, nonce, data, initial, state):
    """XOR ``data``, uint8[l], with ChaCha20's stream for 64-bit counter and nonce (Bernstein 2008).

    ``key`` is uint32[8], ``nonce`` a uint64; ``initial`` and ``state`` are uint32[16] to work in.
    """
    initial[0], initial[1] = _WORD(0x61707865), _WORD(0x3320646E)
    initial[2], initial[3] = _WORD(0x79622D32), _WORD(0x6B206574)
    for i in range(8):
        initial[4 + i] = key[i]
    initial[13] = _WORD(0)
    initial[14] = _WORD(nonce & np.uint64(0xFFFFFFFF))
    initial[15] = _WORD(nonce >> np.uint64(32))
    for block in range((data.shape[0] + 63) // 64):
        initial[12] = _WORD(block)
        for i in range(16):
            state[i] = initial[i]
        for _ in range(10):
            for quarter in range(8):
                row = _QUARTERS[quarter]
                a, b, c, d = row[0], row[1], row[2], row[3]
                state[a] = _WORD(state[a] + state[b])
                state[d] = _rotl32(_WORD(state[d] ^ state[a]), 16)
                state[c] = _WORD(state[c] + state[d])
                state[b] = _rotl32(_WORD(state[b] ^ state[c]), 12)
                state[a] = _WORD(state[a] + state[b])
                state[d] = _rotl32(_WORD(state[d] ^ state[a]), 8)
                state[c] = _WORD(state[c] + state[d])
                state[b] = _rotl32(_WORD(state[b] ^ state[c]), 7)
        for i in range(min(64, data.shape[0] - 64 * block)):
            word = _WORD(state[i // 4] + initial[i // 4])
            data[64 * block + i] ^= np.uint8((word >> _WORD(8 * (i % 4))) & _WORD(0xFF))


@compiled
def _word64(words, at):
    return np.uint64(words[at]) | (np.uint64(words[at + 1]) << np.uint64(32))


@compiled
def seal(keys, records, sealed, start, stop):
    """Seal records ``start`` to ``stop``, each under a key of its own.

    Args:
        keys: uint32[n, 12]: four words of SipHash's key, eight of ChaCha20's.
        records: uint8[n, l].
        sealed: uint8[n, 8 + l], written: the tag, little-endian, and the ciphertext.
        start: first of the slice.
        stop: its end.
    """
    initial, state = np.empty(16, _WORD), np.empty(16, _WORD)
    for i in range(start, stop):
        key, record, out = keys[i], records[i], sealed[i]
        tag = siphash(_word64(key, 0), _word64(key, 2), record)
        for byte in range(8):
            out[byte] = np.uint8((tag >> np.uint64(8 * byte)) & np.uint64(0xFF))
        for byte in range(record.shape[0]):
            out[8 + byte] = record[byte]
        chacha_xor(key[4:], tag, out[8:], initial, state)


@compiled
def unseal(key, sealed, records, opened):
    """Try one key on every sealed record.

    Args:
        key: uint32[12], as in `seal`.
        sealed: uint8[n, 8 + l].
        records: uint8[n, l], written: what each decrypts to.
        opened: bool[n], written: whether the tag is right.
    """
    initial, state = np.empty(16, _WORD), np.empty(16, _WORD)
    for i in range(sealed.shape[0]):
        slot, record = sealed[i], records[i]
        tag = np.uint64(0)
        for byte in range(8):
            tag |= np.uint64(slot[byte]) << np.uint64(8 * byte)
        for byte in range(record.shape[0]):
            record[byte] = slot[8 + byte]
        chacha_xor(key[4:], tag, record, initial, state)
        opened[i] = siphash(_word64(key, 0), _word64(key, 2), record) == tag
