"""What the node measures, for a Prometheus that shows the token of any of the node's people."""

from __future__ import annotations

from flask import Blueprint, Response

from exchange.node.api.access import Access
from exchange.node.metrics import node_registry
from exchange.node.services import NodeServices
from exchange.web.metrics import exposed
from exchange.web.openapi import describe

__all__ = ["metrics_blueprint"]


def metrics_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """One route; errors and backlogs are the organisation's own business, so it asks for a token."""
    bp, registry = Blueprint("metrics", __name__), node_registry(services)

    @bp.get("/metrics")
    @describe("Metrics in the Prometheus text format", role="any", media="text/plain", tags=("about",))
    def metrics() -> Response:
        access.require()
        return exposed(registry)

    return bp
