"""Metrics in the Prometheus text format, over HTTP."""

from __future__ import annotations

from flask import Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

__all__ = ["exposed"]


def exposed(registry: CollectorRegistry) -> Response:
    """Answer with all metrics of a registry, in the version of the format that the caller asks for."""
    encode, media = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=media)
