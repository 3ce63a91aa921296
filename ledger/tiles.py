"""Tiles and entry bundles (C2SP tlog-tiles v0.1.0): how a log serves hashes and entries as static files."""

from __future__ import annotations

from collections.abc import Iterable

from ledger.errors import MalformedNote

__all__ = ["TILE_HEIGHT", "TILE_WIDTH", "decode_entries", "encode_entries", "tile_path"]

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT

_LENGTH_SIZE = 2


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


def tile_path(number: int, width: int = TILE_WIDTH) -> str:
    """Write a tile's number as in its URL: ``x001/x234/067`` with ``.p/<width>`` for a partial tile."""
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.append(f"x{number % 1000:03d}")
    return "/".join(reversed(parts)) + ("" if width == TILE_WIDTH else f".p/{width}")
