"""The log over HTTP: C2SP tiles and checkpoints to read, entries and cosignatures to hand in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.errors import InvalidRequest
from exchange.hub.api.access import Access, raw_body
from exchange.hub.services import HubServices
from exchange.web import tiles
from exchange.web.fields import Rule, query
from exchange.web.openapi import describe
from ledger.entries import MAX_ENTRY_SIZE
from ledger.errors import LedgerError, MalformedNote
from ledger.log import Placed
from ledger.tiles import decode_entries

__all__ = ["LONGEST_WAIT_S", "MAX_BUNDLE", "ledger_blueprint"]

LONGEST_WAIT_S = 30.0
"""Longest wait for a new checkpoint; shorter than the server keeps a silent connection."""

MAX_BUNDLE = 1000
"""Entries handed in at once at most."""

_LINE_LIMIT = 2048
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


@dataclass(frozen=True)
class BundleItem:
    """Where an entry stands, or the error that kept it out of the log: ``error`` and ``detail``."""

    index: int | None
    txid: str | None
    code: str | None
    error: str | None
    detail: str | None
    retryable: bool


@dataclass(frozen=True)
class PlacedBundle:
    """One answer for each entry."""

    entries: tuple[BundleItem, ...]


def _answer(placed: Placed | LedgerError) -> BundleItem:
    if isinstance(placed, Placed):
        return BundleItem(placed.index, placed.txid, placed.code, None, None, False)
    return BundleItem(None, None, None, placed.code, str(placed), placed.retryable)


def ledger_blueprint(services: HubServices, access: Access) -> Blueprint:
    """Routes of the log. Every member may read all of it."""
    bp, log = Blueprint("ledger", __name__, url_prefix="/ledger"), services.log

    @bp.get("/checkpoint")
    @describe(
        "The newest checkpoint with its cosignatures, those of outside witnesses too; waits for one that "
        "differs from what is known",
        role="member",
        query=CheckpointQuery,
        media="text/plain",
        tags=_TAGS,
    )
    def checkpoint() -> Response:
        access.caller()
        asked = query(CheckpointQuery)
        note = log.checkpoint((asked.size, asked.cosignatures), min(float(asked.wait), LONGEST_WAIT_S))
        return tiles.checkpoint(services.witnesses.signed(note))

    @bp.get("/checkpoint/<int:size>")
    @describe(
        "The log's checkpoint of one size, with the cosignatures of outside witnesses only",
        role="member",
        media="text/plain",
        tags=_TAGS,
    )
    def checkpoint_of(size: int) -> Response:
        access.caller()
        return tiles.checkpoint(services.witnesses.signed(log.checkpoint_of(size)))

    @bp.get("/tile/entries/<path:place>")
    @describe("A bundle of entries (C2SP tlog-tiles)", role="member", media=tiles.BINARY, tags=_TAGS)
    def entries(place: str) -> Response:
        access.caller()
        number, width = tiles.tile_place(place)
        return tiles.entry_bundle(log.entry_bundle(number, width), public=False)

    @bp.get("/tile/<level>/<path:place>")
    @describe("A tile of hashes (C2SP tlog-tiles)", role="member", media=tiles.BINARY, tags=_TAGS)
    def tile(level: str, place: str) -> Response:
        access.caller()
        number, width = tiles.tile_place(place)
        return tiles.tile(log.tile(tiles.tile_level(level), number, width), public=False)

    @bp.post("/entries")
    @describe(
        "Hand in an entry; answers when it is sequenced. Handing it in again answers the same",
        role="member",
        request_media=tiles.BINARY,
        response=PlacedAnswer,
        tags=_TAGS,
    )
    def submit() -> Response:
        access.caller()
        placed = services.metrics.timed(log.submit_many, [raw_body("entry", MAX_ENTRY_SIZE)])[0]
        if isinstance(placed, LedgerError):
            raise placed
        return jsonify(index=placed.index, txid=placed.txid, code=placed.code)

    @bp.post("/entries/bundle")
    @describe(
        "Hand in up to 1,000 entries as an entry bundle (C2SP tlog-tiles); answers for each, in their order, "
        "when all are sequenced or refused. Handing them in again answers the same",
        role="member",
        request_media=tiles.BINARY,
        response=PlacedBundle,
        tags=_TAGS,
    )
    def submit_bundle() -> Response:
        access.caller()
        try:
            raws = decode_entries(raw_body("entries", MAX_BUNDLE * (MAX_ENTRY_SIZE + 2)))
        except MalformedNote as error:
            raise InvalidRequest("entries", "entries, each behind its 16-bit length", str(error)) from error
        if not 1 <= len(raws) <= MAX_BUNDLE:
            raise InvalidRequest("entries", f"1 to {MAX_BUNDLE} entries", f"{len(raws)}")
        placed = services.metrics.timed(log.submit_many, raws)
        return jsonify(entries=[vars(_answer(one)) for one in placed])

    @bp.post("/promises")
    @describe(
        "Have an entry promised: signed by the hub, that it will be in the log by a time; it is handed in "
        "by this too",
        role="member",
        request_media=tiles.BINARY,
        media="application/json",
        tags=_TAGS,
    )
    def promise() -> Response:
        access.caller()
        promised = log.promise(raw_body("entry", MAX_ENTRY_SIZE))
        return Response(promised, content_type="application/json")

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
        services.metrics.final(log.final_size)
        return "", 204

    return bp
