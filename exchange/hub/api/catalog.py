"""The catalog, from the log's present state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.catalog import CatalogIndex, CatalogQuery, document
from exchange.hub.api.access import Access
from exchange.hub.services import HubServices
from exchange.web.fields import Rule, query
from exchange.web.openapi import describe

__all__ = ["catalog_blueprint"]


@dataclass(frozen=True)
class SearchQuery:
    """What to look for."""

    q: Annotated[str, Rule("words that must all occur", maximum=200)] = ""
    offset: Annotated[int, Rule("how many to skip", minimum=0, maximum=1_000_000)] = 0
    limit: Annotated[int, Rule("1 to 100", minimum=1, maximum=100)] = 100


def catalog_blueprint(services: HubServices, access: Access) -> Blueprint:
    """Routes of the catalog."""
    bp, index = Blueprint("catalog", __name__, url_prefix="/v1/catalog"), CatalogIndex()

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
        asked, state = query(SearchQuery), services.log.state
        index.follow(state.rows("assets"))
        found = index.search(CatalogQuery(words=asked.q), offset=asked.offset, limit=asked.limit)
        rows = [state.rows("assets")[asset] for asset in found.assets]
        answer = document(rows, state.rows("members").values(), services.settings.net)
        return jsonify(answer | {"parley:total": found.total})

    return bp
