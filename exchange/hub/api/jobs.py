"""Jobs at the hub: specifications to relay, and what parties tell of their progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.hub.api.access import Access, raw_body
from exchange.hub.relay import SPEC_LIMIT
from exchange.hub.services import HubServices
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe

__all__ = ["jobs_blueprint"]

_BINARY = "application/octet-stream"
_TAGS = ("jobs",)
_MOST = 2**53 - 1


@dataclass(frozen=True)
class ProgressBody:
    """How far the caller is with a step."""

    step: Annotated[str, Rule("id of the step", minimum=1, maximum=80)]
    done: Annotated[int, Rule("parts done", minimum=0, maximum=_MOST)]
    total: Annotated[int, Rule("parts in all", minimum=1, maximum=_MOST)]
    left_s: Annotated[int | None, Rule("seconds that the rest will take", minimum=0, maximum=_MOST)] = None


def jobs_blueprint(services: HubServices, access: Access) -> Blueprint:
    """Routes of jobs."""
    bp, relay = Blueprint("jobs", __name__, url_prefix="/v1/jobs"), services.relay

    @bp.put("/<job>/spec")
    @describe(
        "Leave a job's specification, as its submitter; its digest is the one on the ledger",
        role="member",
        request_media=_BINARY,
        media="text/plain",
        status=204,
        tags=_TAGS,
    )
    def put_spec(job: str) -> tuple[str, int]:
        relay.put_spec(access.caller(), job, raw_body("specification", SPEC_LIMIT))
        return "", 204

    @bp.get("/<job>/spec")
    @describe("A job's specification, for those it concerns", role="member", media=_BINARY, tags=_TAGS)
    def get_spec(job: str) -> Response:
        return Response(relay.get_spec(access.caller(), job), content_type=_BINARY)

    @bp.post("/<job>/progress")
    @describe(
        "Tell how far a step is, as one of its parties",
        role="member",
        request=ProgressBody,
        media="text/plain",
        status=204,
        tags=_TAGS,
    )
    def progress(job: str) -> tuple[str, int]:
        told = body(ProgressBody)
        relay.tell_progress(access.caller(), job, told.step, told.done, told.total, told.left_s)
        return "", 204

    @bp.get("/<job>")
    @describe(
        "A job as the ledger has it, with its parties' progress",
        role="member",
        response={"type": "object"},
        tags=_TAGS,
    )
    def show(job: str) -> Response:
        access.caller()
        return jsonify(relay.describe(job))

    return bp
