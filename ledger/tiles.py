"""Tiles and entry bundles (C2SP tlog-tiles v0.1.0): how a log serves hashes and entries as static files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ledger.errors import MalformedNote
from ledger.merkle import EMPTY_ROOT, HASH_SIZE, root_of

__all__ = [
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "ReadTile",
    "decode_entries",
    "encode_entries",
    "hash_from_tiles",
    "tile_path",
]

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT

_LENGTH_SIZE = 2

ReadTile = Callable[[int, int, int], bytes]
"""Returns a tile, given its level, its number and how many of its hashes are needed; it may return more."""


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Write entries, each behind its big-endian 16-bit length."""
    return b"".join(len(entry).to_bytes(_LENGTH_SIZE, "big") + entry for entry in entries)


def decode_entries(data: bytes) -> list[bytes]:
    """Read an entry bundle.

    Raises:
        MalformedNote: the bytes end within an entry.
    """
    entries = []
    position = 0
    while position < len(data):
        start = position + _LENGTH_SIZE
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data) or start > len(data):
            raise MalformedNote("the entry bundle ends within an entry")
        entries.append(data[start:position])
    return entries


def hash_from_tiles(tile: ReadTile, start: int, stop: int) -> bytes:
    """Return the Merkle tree hash of leaves ``start`` to ``stop``, which is a node of the tree.

    Raises:
        MalformedNote: a tile has fewer hashes than asked for.
    """
    count = stop - start
    if count == 0:
        return EMPTY_ROOT
    if count & (count - 1) or start % count:
        middle = start + (1 << ((count - 1).bit_length() - 1))
        return root_of([hash_from_tiles(tile, start, middle), hash_from_tiles(tile, middle, stop)])
    level, within = divmod(count.bit_length() - 1, TILE_HEIGHT)
    number, offset = divmod(start >> (level * TILE_HEIGHT), TILE_WIDTH)
    end = offset + (1 << within)
    data = tile(level, number, end)
    if len(data) < end * HASH_SIZE:
        raise MalformedNote(f"expected {end} hashes in tile {number} of level {level}, got fewer")
    return root_of([data[place * HASH_SIZE : (place + 1) * HASH_SIZE] for place in range(offset, end)])


def tile_path(number: int, width: int = TILE_WIDTH) -> str:
    """Write a tile's number as in its URL: ``x001/x234/067`` with ``.p/<width>`` for a partial tile."""
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.append(f"x{number % 1000:03d}")
    return "/".join(reversed(parts)) + ("" if width == TILE_WIDTH else f".p/{width}")
