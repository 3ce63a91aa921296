"""For auditors: compare with the hub, export evidence. Search and single entries are the explorer's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.audit import Audit, Selection
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import TIME, body, unix_time
from exchange.web.openapi import describe

__all__ = ["audit_blueprint"]


@dataclass(frozen=True)
class BundleRequest:
    """What the bundle shall concern; all empty means everything.

    ``entries`` are shown too, by txid; those of ``disclose`` with their private content. ``earlier`` are
    sizes of checkpoints to prove prefixes of its own. ``everything`` adds the whole log, so that the bundle
    can be replayed. ``since`` and ``until`` narrow what concerns the subjects to batches sealed in that time.
    """

    assets: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    agreements: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    negotiations: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    disclose: tuple[str, ...] = ()
    earlier: tuple[int, ...] = ()
    everything: bool = False
    since: Annotated[str | None, TIME] = None
    until: Annotated[str | None, TIME] = None


def audit_blueprint(services: NodeServices, access: Access, audit: Audit) -> Blueprint:
    """Routes for evidence and comparison."""
    bp = Blueprint("audit", __name__, url_prefix="/v1")

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
        times = {name: unix_time(name, getattr(asked, name)) for name in ("since", "until")}
        data = audit.export(Selection(**{**vars(asked), **times}))
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

    return bp
