"""Tiles over HTTP (C2SP tlog-tiles): their addresses, how long they keep, how they are compressed."""

from __future__ import annotations

import gzip
import re

from flask import Response, request

from exchange.errors import NotFound
from ledger.tiles import TILE_WIDTH, tile_path

__all__ = ["BINARY", "checkpoint", "entry_bundle", "tile", "tile_level", "tile_place"]

BINARY = "application/octet-stream"

_TILE = re.compile(r"((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_LEVEL = re.compile(r"[0-9]|[1-5][0-9]|6[0-3]")
_FOREVER = "max-age=31536000, immutable"
_FAST = 1


def tile_place(place: str) -> tuple[int, int]:
    """Read a tile's number and width as they stand in its address.

    Raises:
        NotFound: another spelling than the one a tile has.
    """
    found = _TILE.fullmatch(place)
    if found is None:
        raise NotFound("expected the address of a tile, like x001/234 or 007.p/25")
    number = int(re.sub(r"[x/]", "", found[1]))
    width = int(found[2] or TILE_WIDTH)
    if tile_path(number, width) != place:
        raise NotFound("expected the one spelling of a tile's address, like x001/234 or 007.p/25")
    return number, width


def tile_level(level: str) -> int:
    """Read the level of a tile, 0 to 63.

    Raises:
        NotFound: another spelling.
    """
    if _LEVEL.fullmatch(level) is None:
        raise NotFound("expected the level of a tile, 0 to 63")
    return int(level)


def checkpoint(note: bytes) -> Response:
    """Answer with a checkpoint, which nobody may keep."""
    return Response(note, content_type="text/plain; charset=utf-8")


def tile(content: bytes, *, public: bool) -> Response:
    """Answer with a tile; one of one width never changes."""
    scope = "public" if public else "private"
    return Response(content, content_type=BINARY, headers={"Cache-Control": f"{scope}, {_FOREVER}"})


def entry_bundle(content: bytes, *, public: bool) -> Response:
    """Answer with a bundle of entries, compressed if the caller asks for gzip."""
    response = tile(content, public=public)
    response.headers["Vary"] = "Accept-Encoding"
    if request.accept_encodings["gzip"] > 0 and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.set_data(gzip.compress(content, _FAST, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response
