"""The trail for auditors: search, compare with the hub, export evidence, and how the ledger stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.audit import Audit, Selection
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe

__all__ = ["audit_blueprint"]


@dataclass(frozen=True)
class EntriesQuery:
    """What to look for; several conditions must all hold."""

    asset: str | None = None
    participant: str | None = None
    agreement: str | None = None
    job: str | None = None
    type: str | None = None
    after: int = -1
    limit: Annotated[int, Rule("1 to 1,000", minimum=1, maximum=1000)] = 100


@dataclass(frozen=True)
class BundleRequest:
    """What the bundle shall concern; all empty means everything."""

    assets: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    agreements: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


def audit_blueprint(services: NodeServices, access: Access, audit: Audit) -> Blueprint:
    """Routes for the trail and the ledger's standing."""
    bp = Blueprint("audit", __name__, url_prefix="/v1")

    @bp.get("/audit/entries")
    @describe(
        "Search the trail", role="auditor", query=EntriesQuery, response={"type": "object"}, tags=("audit",)
    )
    def entries() -> Response:
        access.require(Role.AUDITOR)
        asked = query(EntriesQuery)
        found = audit.entries(
            concerning=[
                s for s in (asked.asset, asked.participant, asked.agreement, asked.job) if s is not None
            ],
            entry_type=asked.type,
            after=asked.after,
            limit=asked.limit,
        )
        response = jsonify(entries=found)
        if len(found) == asked.limit:
            response.headers["Link"] = f'<?after={found[-1]["index"]}&limit={asked.limit}>; rel="next"'
        return response

    @bp.post("/audit/bundle")
    @describe(
        "Export evidence that verifies offline",
        role="auditor",
        request=BundleRequest,
        media="application/zip",
        tags=("audit",),
    )
    def bundle() -> Response:
        access.require(Role.AUDITOR)
        asked = body(BundleRequest)
        data = audit.export(Selection(asked.assets, asked.participants, asked.agreements, asked.jobs))
        return Response(data, content_type="application/zip")

    @bp.post("/audit/compare")
    @describe(
        "Fetch the hub's whole log again and compare it with this node's copy",
        role="auditor",
        response={"type": "object"},
        tags=("audit",),
    )
    def compare() -> Response:
        access.require(Role.AUDITOR)
        return jsonify(audit.compare())

    @bp.get("/ledger/status")
    @describe(
        "How this node's copy of the ledger stands", role="any", response={"type": "object"}, tags=("audit",)
    )
    def status() -> Response:
        access.require()
        return jsonify(audit.status())

    return bp
