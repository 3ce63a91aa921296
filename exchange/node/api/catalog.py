"""The catalog of everybody's assets: search with facets, and one asset's record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

import orjson
from flask import Blueprint, Response, jsonify, request

from exchange.catalog import CatalogQuery, Sort
from exchange.node.api.access import Access
from exchange.node.catalog import Catalog
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.node.versions import versions
from exchange.store import PaperKind
from exchange.web.fields import Rule, query
from exchange.web.openapi import describe

__all__ = ["SearchQuery", "catalog_blueprint"]

_TAGS = ("catalog",)
_PARQUET = "application/vnd.apache.parquet"
_Value = Annotated[str, Rule("a value", minimum=1, maximum=256)]
_Optional = Annotated[str | None, Rule("a value", minimum=1, maximum=256)]


@dataclass(frozen=True)
class SearchQuery:
    """What to look for; all of it must hold. ``tag``, ``column`` and ``owner`` may be given several times."""

    q: Annotated[str, Rule("words that must all occur", maximum=200)] = ""
    tag: tuple[_Value, ...] = ()
    column: tuple[_Value, ...] = ()
    owner: tuple[_Value, ...] = ()
    purpose: _Optional = None
    kind: _Optional = None
    grade: _Optional = None
    max_price: Annotated[int | None, Rule("points for one use, at most", minimum=0)] = None
    min_rows: Annotated[int | None, Rule("rows, at least", minimum=0)] = None
    sort: Sort = "relevance"
    offset: Annotated[int, Rule("how many to skip", minimum=0, maximum=1_000_000)] = 0
    limit: Annotated[int, Rule("1 to 100", minimum=1, maximum=100)] = 20
    facets: bool = False
    federated: Annotated[bool, Rule("ask the owners for their quality reports too")] = False

    def asked(self) -> CatalogQuery:
        """The conditions without order and page."""
        return CatalogQuery(
            words=self.q,
            tags=self.tag,
            columns=self.column,
            purpose=self.purpose,
            owners=self.owner,
            kind=self.kind,
            grade=self.grade,
            max_price=self.max_price,
            min_rows=self.min_rows,
        )


def catalog_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes below ``/v1/catalog``."""
    bp = Blueprint("catalog", __name__, url_prefix="/v1/catalog")
    catalog = Catalog(services.ledger, services.net, services.papers)

    @bp.get("")
    @describe(
        "The catalog as DCAT, searched; a Link header names the next page",
        role="any",
        query=SearchQuery,
        response={"type": "object"},
        tags=_TAGS,
    )
    def search() -> Response:
        access.require()
        asked = query(SearchQuery)
        found = catalog.search(
            asked.asked(),
            sort=asked.sort,
            offset=asked.offset,
            limit=asked.limit,
            facets=asked.facets,
            federated=asked.federated,
        )
        response = Response(orjson.dumps(found), content_type="application/json")
        if asked.offset + asked.limit < found["parley:total"]:
            response.headers["Link"] = _next(asked.offset + asked.limit)
        return response

    @bp.get("/<path:asset>")
    @describe("One asset as a DCAT dataset", role="any", response={"type": "object"}, tags=_TAGS)
    def show(asset: str) -> Response:
        access.require()
        return jsonify(catalog.record(asset))

    @bp.get("/<path:asset>/versions")
    @describe(
        "Every version of an asset with its root, oldest first",
        role="any",
        response={"type": "object"},
        tags=_TAGS,
    )
    def list_versions(asset: str) -> Response:
        access.require()
        return jsonify(versions=versions(services.ledger, asset))

    @bp.get("/<path:asset>/quality")
    @describe(
        "The quality report of an asset, from its owner's node, with the digest on the ledger",
        role="any",
        response={"type": "object"},
        tags=_TAGS,
    )
    def quality(asset: str) -> Response:
        access.require()
        return Response(services.papers.fetch(asset, PaperKind.QUALITY), content_type="application/json")

    @bp.get("/<path:asset>/twin")
    @describe(
        "The synthetic twin of an asset as Parquet, from its owner's node, with the digest on the ledger",
        role="any",
        media=_PARQUET,
        tags=_TAGS,
    )
    def twin(asset: str) -> Response:
        access.require()
        return Response(services.papers.fetch(asset, PaperKind.TWIN), content_type=_PARQUET)

    @bp.post("/index")
    @describe(
        "Make the search index anew from this node's copy of the ledger",
        role="administrator",
        response={"type": "object", "properties": {"assets": {"type": "integer"}}},
        tags=_TAGS,
    )
    def rebuild() -> Response:
        access.require(Role.ADMINISTRATOR)
        return jsonify(assets=catalog.rebuild())

    return bp


def _next(offset: int) -> str:
    args = request.args.copy()
    args["offset"] = str(offset)
    return f'<{request.path}?{urlencode(list(args.items(multi=True)))}>; rel="next"'
