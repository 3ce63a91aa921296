"""Evidence from outside and for outside: time stamps, anchors between ledgers, private content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.node.anchors import Anchors
from exchange.node.api.access import Access
from exchange.node.people import Role
from exchange.node.timestamps import Timestamps
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe
from ledger.payloads import PayloadStore

__all__ = ["evidence_blueprint"]


@dataclass(frozen=True)
class TimestampRequest:
    """Which authority to ask, and the certificates that its answer must lead to."""

    authority: Annotated[str, Rule("address of the authority, http or https", maximum=256)]
    certificates: Annotated[str, Rule("its root certificate and any between, PEM", maximum=65536)]


@dataclass(frozen=True)
class OfferQuery:
    """Which size the other ledger has on record; 0 if none."""

    after: Annotated[int, Rule("a size", minimum=0)] = 0


@dataclass(frozen=True)
class AnchorRequest:
    """A checkpoint of another ledger, as a node there offers it."""

    anchor: dict[str, object]


def evidence_blueprint(
    access: Access, timestamps: Timestamps, anchors: Anchors, payloads: PayloadStore
) -> Blueprint:
    """Routes for time stamps, anchors and private content."""
    bp = Blueprint("evidence", __name__, url_prefix="/v1/ledger")

    @bp.post("/timestamps")
    @describe(
        "Have the final checkpoint stamped by a time stamp authority (RFC 3161)",
        role="administrator",
        request=TimestampRequest,
        response={"type": "object"},
        status=201,
        tags=("audit",),
    )
    def stamp() -> tuple[Response, int]:
        access.require(Role.ADMINISTRATOR)
        asked = body(TimestampRequest)
        return jsonify(timestamps.stamp(asked.authority, asked.certificates.encode())), 201

    @bp.get("/timestamps")
    @describe("Time stamps kept here", role="auditor", response={"type": "object"}, tags=("audit",))
    def stamps() -> Response:
        access.require(Role.AUDITOR)
        return jsonify(timestamps=[{"size": one.size, "url": one.authority} for one in timestamps.stamps()])

    @bp.get("/anchor")
    @describe(
        "The final checkpoint, as another ledger anchors it",
        role="auditor",
        query=OfferQuery,
        response={"type": "object"},
        tags=("audit",),
    )
    def offer() -> Response:
        access.require(Role.AUDITOR)
        return jsonify(anchors.offer(query(OfferQuery).after))

    @bp.get("/anchors")
    @describe(
        "Checkpoints of other ledgers on record here",
        role="auditor",
        response={"type": "object"},
        tags=("audit",),
    )
    def taken() -> Response:
        access.require(Role.AUDITOR)
        return jsonify(anchors=anchors.taken())

    @bp.post("/anchors")
    @describe(
        "Put a checkpoint of another ledger on record, as an entry of this member",
        role="administrator",
        request=AnchorRequest,
        response={"type": "object"},
        status=201,
        tags=("audit",),
    )
    def take() -> tuple[Response, int]:
        access.require(Role.ADMINISTRATOR)
        return jsonify(anchors.take(body(AnchorRequest).anchor)), 201

    @bp.get("/private")
    @describe(
        "Entries whose private content is kept here, by txid",
        role="auditor",
        response={"type": "object"},
        tags=("audit",),
    )
    def private() -> Response:
        access.require(Role.AUDITOR)
        return jsonify(txids=payloads.txids())

    @bp.delete("/private/<txid>")
    @describe(
        "Erase the private content behind an entry's commitment; the ledger stays whole",
        role="steward",
        media="text/plain",
        status=204,
        tags=("audit",),
    )
    def erase(txid: str) -> tuple[str, int]:
        access.require(Role.STEWARD)
        payloads.erase(txid)
        return "", 204

    return bp
