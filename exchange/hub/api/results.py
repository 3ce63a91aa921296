"""Sealed results on their way from one member to another."""

from __future__ import annotations

from flask import Blueprint, Response

from exchange.hub.api.access import Access, raw_body
from exchange.hub.relay import RESULT_LIMIT
from exchange.hub.services import HubServices
from exchange.web.openapi import describe

__all__ = ["results_blueprint"]

_BINARY = "application/octet-stream"
_PLACE = "/<job>/<step>/<sender>/<recipient>"


def results_blueprint(services: HubServices, access: Access) -> Blueprint:
    """Routes of results."""
    bp, relay = Blueprint("results", __name__, url_prefix="/v1/results"), services.relay

    @bp.put(_PLACE)
    @describe(
        "Leave what the caller releases in a step, sealed to its recipient",
        role="member",
        request_media=_BINARY,
        media="text/plain",
        status=204,
        tags=("results",),
    )
    def put(job: str, step: str, sender: str, recipient: str) -> tuple[str, int]:
        sealed = raw_body("sealed result", RESULT_LIMIT)
        relay.put_result(access.caller(), job, step, sender, recipient, sealed)
        return "", 204

    @bp.get(_PLACE)
    @describe(
        "Fetch what was released to the caller; its digest is the one on the ledger",
        role="member",
        media=_BINARY,
        tags=("results",),
    )
    def get(job: str, step: str, sender: str, recipient: str) -> Response:
        return Response(relay.get_result(access.caller(), job, step, sender, recipient), content_type=_BINARY)

    return bp
