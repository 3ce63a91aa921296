"""The catalog, from the log's present state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange import catalog
from exchange.hub.api.access import Access
from exchange.hub.services import HubServices
from exchange.web.fields import Rule, query
from exchange.web.openapi import describe

__all__ = ["catalog_blueprint"]


@dataclass(frozen=True)
class SearchQuery:
    """What to look for."""

    q: Annotated[str, Rule("words that must all occur", maximum=200)] = ""


def catalog_blueprint(services: HubServices, access: Access) -> Blueprint:
    """Routes of the catalog."""
    bp = Blueprint("catalog", __name__, url_prefix="/v1/catalog")

    @bp.get("")
    @describe(
        "The catalog as DCAT, searched",
        role="member",
        query=SearchQuery,
        response={"type": "object"},
        tags=("catalog",),
    )
    def search() -> Response:
        access.caller()
        state = services.log.state
        found = catalog.search(state.rows("assets").values(), query(SearchQuery).q)
        members = state.rows("members").values()
        return jsonify(catalog.document(found, members, services.settings.net))

    return bp
