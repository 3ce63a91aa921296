"""The log over HTTP: C2SP tiles and checkpoints to read, entries and cosignatures to hand in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.errors import NotFound
from exchange.hub.api.access import Access, raw_body
from exchange.hub.services import HubServices
from exchange.web.fields import Rule, query
from exchange.web.openapi import describe
from ledger.entries import MAX_ENTRY_SIZE
from ledger.tiles import TILE_WIDTH, tile_path

__all__ = ["LONGEST_WAIT_S", "ledger_blueprint", "tile_place"]

LONGEST_WAIT_S = 30.0
"""Longest wait for a new checkpoint; shorter than the server keeps a silent connection."""

_LINE_LIMIT = 2048
_TILE = re.compile(r"((?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_BINARY = "application/octet-stream"
_FOREVER = "private, max-age=31536000, immutable"
_TAGS = ("ledger",)


@dataclass(frozen=True)
class CheckpointQuery:
    """What the caller knows, and how long it is ready to wait for something else."""

    size: Annotated[int, Rule("size of the newest checkpoint known", minimum=0)] = 0
    cosignatures: Annotated[int, Rule("number of its cosignatures known", minimum=0)] = 0
    wait: Annotated[str, Rule("seconds", pattern=r"[0-9]{1,4}(\.[0-9]{1,3})?")] = "0"


@dataclass(frozen=True)
class CosignatureQuery:
    """Which checkpoint is cosigned."""

    size: Annotated[int, Rule("size of the checkpoint", minimum=1)]


@dataclass(frozen=True)
class PlacedAnswer:
    """Where an entry stands; ``code`` says why it was refused, null where it is valid."""

    index: int
    txid: str
    code: str | None


def ledger_blueprint(services: HubServices, access: Access) -> Blueprint:
    """Routes of the log. Every member may read all of it."""
    bp, log = Blueprint("ledger", __name__, url_prefix="/ledger"), services.log

    @bp.get("/checkpoint")
    @describe(
        "The newest checkpoint with its cosignatures; waits for one that differs from what is known",
        role="member",
        query=CheckpointQuery,
        media="text/plain",
        tags=_TAGS,
    )
    def checkpoint() -> Response:
        access.caller()
        asked = query(CheckpointQuery)
        note = log.checkpoint((asked.size, asked.cosignatures), min(float(asked.wait), LONGEST_WAIT_S))
        return Response(note, content_type="text/plain; charset=utf-8")

    @bp.get("/tile/entries/<path:place>")
    @describe("A bundle of entries (C2SP tlog-tiles)", role="member", media=_BINARY, tags=_TAGS)
    def entries(place: str) -> Response:
        access.caller()
        number, width = tile_place(place)
        return _immutable(log.entry_bundle(number, width))

    @bp.get("/tile/<int:level>/<path:place>")
    @describe("A tile of hashes (C2SP tlog-tiles)", role="member", media=_BINARY, tags=_TAGS)
    def tile(level: int, place: str) -> Response:
        access.caller()
        number, width = tile_place(place)
        return _immutable(log.tile(level, number, width))

    @bp.post("/entries")
    @describe(
        "Hand in an entry; answers when it is sequenced. Handing it in again answers the same",
        role="member",
        request_media=_BINARY,
        response=PlacedAnswer,
        tags=_TAGS,
    )
    def submit() -> Response:
        access.caller()
        placed = log.submit(raw_body("entry", MAX_ENTRY_SIZE))
        return jsonify(index=placed.index, txid=placed.txid, code=placed.code)

    @bp.post("/cosignatures")
    @describe(
        "Hand in a cosignature line",
        role="member",
        query=CosignatureQuery,
        request_media="text/plain",
        media="text/plain",
        status=204,
        tags=_TAGS,
    )
    def cosign() -> tuple[str, int]:
        access.caller()
        line = raw_body("cosignature", _LINE_LIMIT).decode(errors="replace")
        log.add_cosignature(query(CosignatureQuery).size, line)
        return "", 204

    return bp


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


def _immutable(content: bytes) -> Response:
    """A tile of one width never changes."""
    return Response(content, content_type=_BINARY, headers={"Cache-Control": _FOREVER})
