"""This owner's assets, and the catalog of everybody's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify

from connectors.spec import SourceSpec
from exchange import catalog
from exchange.errors import NotFound
from exchange.node.api.access import Access
from exchange.node.assets import AssetRequest, ColumnRequest
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe
from policies.terms import Terms

__all__ = ["assets_blueprint"]


@dataclass(frozen=True)
class SourceBody:
    """Where the data lies, as this node reaches it."""

    kind: Literal["sql", "file"]
    location: Annotated[str, Rule("a database URL or a file's path", minimum=1, maximum=2000)]
    table: str | None = None


@dataclass(frozen=True)
class ColumnBody:
    """One column to publish."""

    name: str
    role: str
    sensitivity: Literal["public", "internal", "confidential", "secret"]
    control: str


@dataclass(frozen=True)
class PublishBody:
    """An asset to publish."""

    name: str
    title: Annotated[str, Rule("a title", minimum=1, maximum=200)]
    source: SourceBody
    columns: tuple[ColumnBody, ...]
    terms: dict[str, object]
    description: str = ""
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReasonBody:
    """Why."""

    reason: Annotated[str, Rule("a reason", minimum=1, maximum=500)]


@dataclass(frozen=True)
class SearchQuery:
    """Words to look for in titles, descriptions, keywords and columns."""

    q: str = ""


def assets_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for assets and catalog."""
    bp = Blueprint("assets", __name__, url_prefix="/v1")

    @bp.post("/assets")
    @describe(
        "Profile, fingerprint and publish a table",
        role="steward",
        request=PublishBody,
        response={"type": "object"},
        status=201,
        tags=("assets",),
    )
    def publish() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        asked = body(PublishBody)
        published = services.assets.publish(
            AssetRequest(
                name=asked.name,
                title=asked.title,
                description=asked.description,
                keywords=asked.keywords,
                source=SourceSpec(asked.source.kind, asked.source.location, asked.source.table),
                columns=tuple(ColumnRequest(c.name, c.role, c.sensitivity, c.control) for c in asked.columns),
                terms=Terms.parse(asked.terms),
            )
        )
        return jsonify(
            asset=published.asset,
            version=published.version,
            rows=published.rows,
            root=published.root,
            txid=published.entry.txid,
            profile=published.profile,
        ), 201

    @bp.get("/assets")
    @describe(
        "Assets this participant has published", role="any", response={"type": "object"}, tags=("assets",)
    )
    def own() -> Response:
        access.require()
        rows = [row for row in services.ledger.final_rows("assets") if row["owner"] == services.keys.did]
        return jsonify(assets=[dict(row) for row in rows])

    @bp.post("/assets/<path:asset>/withdraw")
    @describe(
        "Withdraw an asset: no new job may use it",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=("assets",),
    )
    def withdraw(asset: str) -> Response:
        access.require(Role.STEWARD)
        entry = services.assets.withdraw(asset, body(ReasonBody).reason)
        return jsonify(asset=asset, txid=entry.txid, index=entry.index)

    @bp.get("/catalog")
    @describe(
        "The catalog as DCAT, searched",
        role="any",
        query=SearchQuery,
        response={"type": "object"},
        tags=("catalog",),
    )
    def search() -> Response:
        access.require()
        found = catalog.search(services.ledger.final_rows("assets"), query(SearchQuery).q)
        return jsonify(catalog.document(found, services.ledger.final_rows("members"), services.net))

    @bp.get("/catalog/<path:asset>")
    @describe("One asset as a DCAT dataset", role="any", response={"type": "object"}, tags=("catalog",))
    def show(asset: str) -> Response:
        access.require()
        row = services.ledger.awaited("assets", asset)
        if row is None:
            raise NotFound(f"no asset {asset} in the catalog")
        return jsonify(catalog.dataset(row, services.ledger.final_rows("members")))

    return bp
