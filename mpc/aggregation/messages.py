"""The messages of `mpc.aggregation.secagg`: who sends them, what is in them, how they are read.

Owners are numbered from 1. What the aggregator passes on names the owners it is about, in ascending order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mpc import wire
from mpc.aggregation.masks import KEY_BYTES
from mpc.aggregation.shamir import SHARE_BYTES
from mpc.errors import MalformedMessage

SEALED_BYTES: Final = 2 * SHARE_BYTES + 16
"""Two shares under ChaCha20-Poly1305."""

TAG_BYTES: Final = 32


@dataclass(frozen=True)
class Keys:
    """Owner to aggregator, and on to all: the keys to seal and to mask with, and a hash of the own seed."""

    sealing: bytes
    masking: bytes
    commitment: bytes

    @classmethod
    def of(cls, row: bytes) -> Keys:
        """Read one owner's row."""
        return cls(row[:KEY_BYTES], row[KEY_BYTES : 2 * KEY_BYTES], row[2 * KEY_BYTES :])

    def row(self) -> bytes:
        """One owner's row of a table."""
        return self.sealing + self.masking + self.commitment


KEYS_BYTES: Final = 2 * KEY_BYTES + 32


def encode_rows(rows: Sequence[bytes], width: int) -> bytes:
    """Encode byte strings of one length; uint8[n, width]."""
    return wire.encode_array(np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), width))


def decode_rows(what: str, payload: bytes, count: int, width: int) -> list[bytes]:
    """Decode exactly ``count`` byte strings."""
    reader = wire.Reader(what, payload)
    table = reader.array("rows", "u1", (count, width))
    reader.finish()
    return [row.tobytes() for row in table]


def encode_numbers(numbers: Sequence[int]) -> bytes:
    """Encode owners' numbers; int64[n]."""
    return wire.encode_array(np.array(numbers, dtype=np.int64))


def decode_numbers(what: str, payload: bytes, known: Sequence[int]) -> tuple[int, ...]:
    """Decode the numbers of some of the owners that are known, in ascending order, each once."""
    reader = wire.Reader(what, payload)
    numbers = _numbers(what, reader, known)
    reader.finish()
    return numbers


def encode_table(rows: Mapping[int, bytes], width: int) -> bytes:
    """Encode one byte string of each of some owners."""
    numbers = sorted(rows)
    return encode_numbers(numbers) + encode_rows([rows[number] for number in numbers], width)


def decode_table(what: str, payload: bytes, known: Sequence[int], width: int) -> dict[int, bytes]:
    """Decode what `encode_table` made."""
    reader = wire.Reader(what, payload)
    numbers = _numbers(what, reader, known)
    table = reader.array("rows", "u1", (len(numbers), width))
    reader.finish()
    return {number: row.tobytes() for number, row in zip(numbers, table, strict=True)}


def _numbers(what: str, reader: wire.Reader, known: Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(reader.array("numbers", "<i8", (None,)).tolist())
    if list(numbers) != sorted(set(numbers) & set(known)):
        raise MalformedMessage(f"{what}: expected numbers of known owners, ascending, each once")
    return numbers
