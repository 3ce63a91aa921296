"""One party's piece of values that three parties share by replication.

A value x in Z_2^64 is x_0 + x_1 + x_2 (`Shared`), bits are x_0 xor x_1 xor x_2 (`SharedBits`); computing
party i holds x_i and x_{i+1}, so any two hold all and one alone holds uniform values. Parties that do not
compute hold nothing: the first axis of their arrays has length 0, and local operations on it cost nothing.

Int64 two's complement throughout. Nothing here communicates; what needs messages is in
`mpc.replicated.runtime`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput
from mpc.secrecy import Unprintable

__all__ = [
    "Shared",
    "SharedBits",
    "concatenate",
    "concatenate_bits",
    "pack",
    "stack",
    "stack_bits",
    "unpack",
    "words_of",
]

Words = NDArray[np.uint64]


def aligned(a: Words, b: Words) -> tuple[Words, Words]:
    """Bring shares to one number of axes, so that numpy broadcasts values and never the axis of shares."""
    extra = a.ndim - b.ndim
    ones = (1,) * abs(extra)
    if extra > 0:
        return a, b.reshape(b.shape[0], *ones, *b.shape[1:])
    return a.reshape(a.shape[0], *ones, *a.shape[1:]), b


def matched(a: Words, b: Words) -> tuple[Words, Words]:
    """Bring shares to one shape, whole in memory, as compiled kernels take them."""
    a, b = aligned(a, b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    first, second = (
        one if one.shape == shape else np.ascontiguousarray(np.broadcast_to(one, shape)) for one in (a, b)
    )
    return first, second


def words_of(rows: int) -> int:
    """Number of 64-bit words that hold ``rows`` bits."""
    return -(-rows // 64)


def pack(bits: NDArray[Any]) -> Words:
    """Pack bool[..., n] into uint64[..., ceil(n / 64)], lowest bit first; bits past n are 0."""
    packed = np.packbits(bits, axis=-1, bitorder="little")
    words = np.zeros((*bits.shape[:-1], 8 * words_of(bits.shape[-1])), dtype=np.uint8)
    words[..., : packed.shape[-1]] = packed
    return words.view("<u8").astype(np.uint64, copy=False)


def unpack(words: Words, rows: int) -> NDArray[np.uint8]:
    """Undo `pack`: uint8[..., rows] of 0 and 1."""
    octets = np.ascontiguousarray(words, dtype="<u8").view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=rows, bitorder="little")


@dataclass(frozen=True, repr=False, eq=False)
class Shared(Unprintable):
    """One party's shares of an array of int64.

    Attributes:
        shares: uint64[2, *shape], own share first, then the next party's; uint64[0, *shape] where this party
            does not compute.
    """

    shares: Words

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the shared array."""
        return self.shares.shape[1:]

    @property
    def rows(self) -> int:
        """Length of the first axis."""
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of shared values."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, key: Any) -> Shared:  # noqa: ANN401  # whatever numpy takes
        key = key if isinstance(key, tuple) else (key,)
        return Shared(self.shares[(slice(None), *key)])

    def reshape(self, *shape: int) -> Shared:
        """The same values in another shape."""
        return Shared(self.shares.reshape(len(self.shares), *shape))


@dataclass(frozen=True, repr=False, eq=False)
class SharedBits(Unprintable):
    """One party's shares of bits, 64 to a word.

    Attributes:
        shares: uint64[2, *lead, ceil(rows / 64)], or uint64[0, ...] where this party does not compute.
        rows: number of bits along the last axis; what is beyond them in the last word means nothing.
    """

    shares: Words
    rows: int

    def __post_init__(self) -> None:
        if self.shares.shape[-1] != words_of(self.rows):
            raise InvalidInput(f"expected {words_of(self.rows)} words, got {self.shares.shape[-1]}")

    @property
    def lead(self) -> tuple[int, ...]:
        """Shape before the axis of bits."""
        return self.shares.shape[1:-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the shared array of bits."""
        return (*self.lead, self.rows)

    def plane(self, index: int | slice) -> SharedBits:
        """One entry, or a range, of the first axis of several rows of bits."""
        return SharedBits(self.shares[:, index], self.rows)

    def take(self, index: Any) -> SharedBits:  # noqa: ANN401  # a slice or an array
        """The bits at ``index`` of the last axis, in that order. Local."""
        picked = unpack(self.shares, self.rows)[..., index]
        return SharedBits(pack(picked), picked.shape[-1])


def stack(values: Sequence[Shared]) -> Shared:
    """Stack arrays of one shape along a new first axis."""
    return Shared(np.stack([one.shares for one in values], axis=1))


def concatenate(values: Sequence[Shared]) -> Shared:
    """Join arrays along their first axis."""
    return Shared(np.concatenate([one.shares for one in values], axis=1))


def stack_bits(values: Sequence[SharedBits]) -> SharedBits:
    """Stack bits of one shape along a new first axis."""
    return SharedBits(np.stack([one.shares for one in values], axis=1), values[0].rows)


def concatenate_bits(values: Sequence[SharedBits]) -> SharedBits:
    """Join bits along their last axis."""
    joined = np.concatenate([unpack(one.shares, one.rows) for one in values], axis=-1)
    return SharedBits(pack(joined), joined.shape[-1])
