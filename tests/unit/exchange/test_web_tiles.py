"""Tiles over HTTP: addresses, media types, how long they keep, compression."""

from __future__ import annotations

import gzip

import pytest
from flask import Flask

from exchange.errors import NotFound
from exchange.web import tiles
from exchange.web.tiles import tile_level, tile_place
from ledger.tiles import TILE_WIDTH, tile_path


@pytest.mark.parametrize("number", [0, 7, 999, 1000, 1_234_067, 10**12])
@pytest.mark.parametrize("width", [1, 99, 255, TILE_WIDTH])
def test_a_tiles_address_is_read_back(number: int, width: int) -> None:
    assert tile_place(tile_path(number, width)) == (number, width)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "1",
        "0001",
        "x000/001",
        "x001/x000/1",
        "001.p/",
        "001.p/0",
        "001.p/01",
        "001.p/256",
        "001/",
        "-01",
        "٠٠١",
    ],
)
def test_another_spelling_is_not_found(place: str) -> None:
    with pytest.raises(NotFound, match="expected the"):
        tile_place(place)


@pytest.mark.parametrize("level", ["0", "9", "10", "63"])
def test_a_level_is_read(level: str) -> None:
    assert tile_level(level) == int(level)


@pytest.mark.parametrize("level", ["", "00", "01", "64", "-1", "100", "٣", "entries"])
def test_another_level_is_not_found(level: str) -> None:
    with pytest.raises(NotFound, match="level"):
        tile_level(level)


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        (None, False),
        ("gzip, deflate", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("br", False),
        ("*", False),
    ],
)
def test_bundles_are_compressed_for_those_who_ask(accepted: str | None, compressed: bool) -> None:
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    content = b"entry" * 1000
    with Flask("test").test_request_context(headers=headers):
        response = tiles.entry_bundle(content, public=True)
    assert response.content_type == "application/octet-stream"
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert (response.headers.get("Content-Encoding") == "gzip") == compressed
    body = response.get_data()
    assert (gzip.decompress(body) if compressed else body) == content
    assert int(response.headers["Content-Length"]) == len(body)


def test_tiles_are_as_they_are() -> None:
    with Flask("test").test_request_context(headers={"Accept-Encoding": "gzip"}):
        assert tiles.tile(b"hash", public=False).headers["Cache-Control"].startswith("private, ")
        assert tiles.checkpoint(b"note").content_type == "text/plain; charset=utf-8"
