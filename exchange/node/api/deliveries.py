"""Deliveries: listing them, opening what was received, telling whose copy was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.deliveries import Deliveries, Delivery, Trace
from exchange.node.people import Role
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe

__all__ = ["deliveries_blueprint"]

_TAGS = ("deliveries",)


@dataclass(frozen=True)
class TraceRequest:
    """A copy of an own asset that was found somewhere."""

    asset: Annotated[str, Rule("an asset id", minimum=1, maximum=200)]
    location: Annotated[str, Rule("a file that this node may read", minimum=1, maximum=1000)]


@dataclass(frozen=True)
class DeliveryList:
    """Deliveries, oldest first."""

    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True)
class TraceList:
    """Deliveries that were compared, likeliest first."""

    traces: tuple[Trace, ...]


def deliveries_blueprint(access: Access, deliveries: Deliveries) -> Blueprint:
    """Routes of deliveries."""
    bp = Blueprint("deliveries", __name__, url_prefix="/v1/deliveries")

    @bp.get("")
    @describe("Deliveries given and received", role="any", response=DeliveryList, tags=_TAGS)
    def listed() -> Response:
        access.require()
        return jsonify(deliveries=[vars(one) for one in deliveries.all()])

    @bp.get("/<job>/content")
    @describe(
        "What was received, decrypted; whoever stores it discards it if the connection breaks",
        role="analyst",
        media="application/octet-stream",
        tags=_TAGS,
    )
    def content(job: str) -> Response:
        access.require(Role.ANALYST)
        head, parts = deliveries.open(job)
        answer = Response(parts, content_type=head.media)
        answer.content_length = head.size
        answer.headers["Content-Disposition"] = f'attachment; filename="{head.name}"'
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    @bp.post("/trace")
    @describe(
        "Compare a found copy of an own asset with the marks of its deliveries",
        role="steward",
        request=TraceRequest,
        response=TraceList,
        tags=_TAGS,
    )
    def trace() -> Response:
        access.require(Role.STEWARD)
        asked = body(TraceRequest)
        return jsonify(traces=[vars(one) for one in deliveries.trace(asked.asset, asked.location)])

    return bp
