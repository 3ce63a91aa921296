"""The witness over HTTP (C2SP tlog-witness and tlog-mirror); mirrored logs are served under ``/mirror``."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flask import Blueprint, Flask, Response, abort, jsonify, request

from exchange import product_version
from exchange.errors import NotFound
from exchange.web import openapi, problem, tiles
from exchange.web.openapi import describe
from exchange.witness.logs import KnownLogs, origin_hash
from ledger.raw_mirror import RawMirror
from ledger.tiles import TILE_WIDTH
from ledger.uploads import MAX_PACKAGES, Read
from ledger.witness import MAX_BODY, Answer, Witness

__all__ = ["UPLOAD_LIMIT", "WitnessServices", "create_app"]

UPLOAD_LIMIT = (MAX_PACKAGES + 1) * (TILE_WIDTH * (2 + 0xFFFF) + 1 + 63 * 32)
"""Largest body: the packages a client may send at once, and a header."""

_TITLE = "Parley witness"
_TEXT = "text/plain"
_PIECE = 1 << 16
_TAGS = ("witness",)
_MIRROR_TAGS = ("mirror",)


@dataclass(frozen=True, kw_only=True)
class WitnessServices:
    """A witness's parts. Each is safe to use from several threads.

    Attributes:
        name: of its keys.
        logs: which logs it knows.
        witness: cosigns checkpoints.
        mirror: holds entries; None for a witness that does not.
    """

    name: str
    logs: KnownLogs
    witness: Witness
    mirror: RawMirror | None


@dataclass(frozen=True)
class _LogAnswer:
    """One known log: the sizes cosigned as witness and as mirror, and the first entry not held."""

    origin: str
    hash: str
    cosigned: int | None
    mirrored: int | None
    next: int | None


class _Stream(Protocol):
    def read(self, size: int) -> bytes: ...


def create_app(services: WitnessServices) -> Flask:
    """Build the application. Anyone may call it; submissions need the log's signature."""
    app = Flask("exchange.witness", static_folder=None)
    problem.install(app)
    openapi.install(app, _TITLE)
    app.register_blueprint(_about(services))
    app.register_blueprint(_witness(services))
    if services.mirror is not None:
        app.register_blueprint(_mirror(services.logs, services.mirror))
    return app


def _about(services: WitnessServices) -> Blueprint:
    bp = Blueprint("about", __name__)

    @bp.get("/")
    @describe("Who this witness is, its keys and its logs", response={"type": "object"}, tags=("about",))
    def about() -> Response:
        mirror = services.mirror
        return jsonify(
            name=services.name,
            version=product_version(),
            witness=[vkey.encode() for vkey in services.witness.vkeys],
            mirror=[vkey.encode() for vkey in mirror.vkeys] if mirror else [],
            logs=[_log(services, origin) for origin in services.logs.origins()],
        )

    @bp.get("/healthz")
    @describe("200 while the database can be read", response={"type": "object"}, tags=("about",))
    def health() -> Response:
        services.witness.latest("")
        return jsonify(healthy=True)

    return bp


def _log(services: WitnessServices, origin: str) -> _LogAnswer:
    latest = services.witness.latest(origin)
    standing = services.mirror.standing(origin) if services.mirror else None
    return _LogAnswer(
        origin=origin,
        hash=origin_hash(origin),
        cosigned=latest.size if latest else None,
        mirrored=standing.size if standing and standing.note else None,
        next=standing.next if standing else None,
    )


def _witness(services: WitnessServices) -> Blueprint:
    bp, witness, logs = Blueprint("witness", __name__), services.witness, services.logs

    @bp.post("/add-checkpoint")
    @describe("Have a checkpoint cosigned (C2SP tlog-witness)", request_media=_TEXT, media=_TEXT, tags=_TAGS)
    def add_checkpoint() -> Response:
        if (request.content_length or 0) > MAX_BODY:
            abort(413)
        return _answered(witness.add_checkpoint(request.get_data(cache=False)))

    @bp.get("/<hashed>/checkpoint")
    @describe("The last checkpoint cosigned for a log", media=_TEXT, tags=_TAGS)
    def checkpoint(hashed: str) -> Response:
        latest = witness.latest(_origin(logs, hashed))
        if latest is None:
            raise NotFound("expected a log that this witness has cosigned for")
        return tiles.checkpoint(latest.note)

    return bp


def _mirror(logs: KnownLogs, mirror: RawMirror) -> Blueprint:
    bp = Blueprint("mirror", __name__)

    @bp.post("/add-entries")
    @describe(
        "Upload entries of a log (C2SP tlog-mirror)",
        request_media=tiles.BINARY,
        media=_TEXT,
        tags=_MIRROR_TAGS,
    )
    def add_entries() -> Response:
        if request.mimetype != tiles.BINARY:
            abort(415)
        answer = mirror.add_entries(_body())
        # whatever was not looked at is read past, so that the connection stays in step
        while request.stream.read(_PIECE):
            pass
        response = _answered(answer)
        response.headers["Accept-Encoding"] = "gzip"
        return response

    @bp.get("/mirror/<hashed>/checkpoint")
    @describe("The checkpoint up to which a log is mirrored", media=_TEXT, tags=_MIRROR_TAGS)
    def mirror_checkpoint(hashed: str) -> Response:
        return tiles.checkpoint(mirror.checkpoint(_origin(logs, hashed)))

    @bp.get("/mirror/<hashed>/tile/entries/<path:place>")
    @describe("A bundle of a log's entries (C2SP tlog-tiles)", media=tiles.BINARY, tags=_MIRROR_TAGS)
    def entries(hashed: str, place: str) -> Response:
        origin, (number, width) = _origin(logs, hashed), tiles.tile_place(place)
        return tiles.entry_bundle(mirror.entry_bundle(origin, number, width), public=True)

    @bp.get("/mirror/<hashed>/tile/<level>/<path:place>")
    @describe("A tile of a log's hashes (C2SP tlog-tiles)", media=tiles.BINARY, tags=_MIRROR_TAGS)
    def tile(hashed: str, level: str, place: str) -> Response:
        origin, (number, width) = _origin(logs, hashed), tiles.tile_place(place)
        return tiles.tile(mirror.tile(origin, tiles.tile_level(level), number, width), public=True)

    return bp


def _origin(logs: KnownLogs, hashed: str) -> str:
    origin = logs.origin_of(hashed)
    if origin is None:
        raise NotFound("expected the SHA-256 of a known origin, in lower-case hex")
    return origin


def _answered(answer: Answer) -> Response:
    return Response(answer.body, answer.status, content_type=answer.media)


def _body() -> Read:
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        abort(415)
    return _unzipped(request.stream) if encoding == "gzip" else request.stream.read


def _unzipped(stream: _Stream) -> Callable[[int], bytes]:
    """Decompress as it is read; a body that is no gzip ends where it stops being one."""
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    ready = bytearray()

    def read(size: int) -> bytes:
        while len(ready) < size and not unzip.eof:
            piece = unzip.unconsumed_tail or stream.read(_PIECE)
            if not piece:
                break
            try:
                ready.extend(unzip.decompress(piece, _PIECE))
            except zlib.error:
                break
        taken = bytes(ready[:size])
        del ready[:size]
        return taken

    return read
