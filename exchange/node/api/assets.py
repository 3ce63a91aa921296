"""This owner's assets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify

from connectors.spec import SourceSpec
from exchange.node.api.access import Access
from exchange.node.asset_requests import AssetRequest, ColumnChoice, ColumnRequest, Confirmation
from exchange.node.assets import Published
from exchange.node.drafts import Drafts
from exchange.node.lineage import lineage
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.node.twins import MOST_ROWS, Twins
from exchange.node.versions import life
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from policies.terms import Terms

__all__ = ["assets_blueprint"]


@dataclass(frozen=True)
class SourceBody:
    """Where the data lies, as this node reaches it."""

    kind: Annotated[str, Rule("table, file, document, api, list, stream or an installed one", maximum=20)]
    location: Annotated[str, Rule("a database URL, a path or an address", minimum=1, maximum=2000)]
    table: str | None = None
    options: dict[str, object] = field(default_factory=dict)

    def spec(self) -> SourceSpec:
        """The source as the connectors take it."""
        return SourceSpec(**vars(self))


_Grade = Literal["public", "internal", "confidential", "secret"]
_Controls = Annotated[dict[str, str], Rule("levels of single participants, by DID")]
_Words = Annotated[str, Rule("words about the column", maximum=1024)]
_Title = Annotated[str, Rule("a title", minimum=1, maximum=200)]


@dataclass(frozen=True)
class ColumnBody:
    """One column to publish."""

    name: str
    role: str
    sensitivity: _Grade
    control: str
    controls: _Controls = field(default_factory=dict)
    description: _Words = ""


@dataclass(frozen=True)
class PublishBody:
    """An asset to publish."""

    name: str
    title: _Title
    source: SourceBody
    columns: tuple[ColumnBody, ...]
    terms: dict[str, object]
    description: str = ""
    keywords: tuple[str, ...] = ()
    kind: str | None = None


@dataclass(frozen=True)
class DraftBody:
    """A source to examine under a name."""

    name: str
    source: SourceBody


@dataclass(frozen=True)
class ChoiceBody:
    """A drafted column to publish; what is left out is taken as suggested."""

    name: str
    role: str | None = None
    sensitivity: _Grade | None = None
    control: str | None = None
    controls: _Controls = field(default_factory=dict)
    description: _Words = ""


@dataclass(frozen=True)
class ConfirmBody:
    """How to publish a draft; without columns, all of them as suggested."""

    title: _Title
    terms: dict[str, object]
    columns: tuple[ChoiceBody, ...] = ()
    description: str = ""
    keywords: tuple[str, ...] = ()
    kind: str | None = None


@dataclass(frozen=True)
class TwinBody:
    """How to draw a twin; less epsilon is more noise."""

    rows: Annotated[int, Rule("rows to draw", minimum=1, maximum=MOST_ROWS)] = 1000
    epsilon_micro: Annotated[int, Rule("noise of all columns together, in millionths", minimum=1)] = 5_000_000


@dataclass(frozen=True)
class ReasonBody:
    """Why."""

    reason: Annotated[str, Rule("a reason", minimum=1, maximum=500)]


def assets_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for assets."""
    bp = Blueprint("assets", __name__, url_prefix="/v1")
    twins = Twins(services.assets, services.store.asset_papers, services.ledger)
    drafts = Drafts(services.settings, services.store, services.assets, services.clock)

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
        steward = access.require(Role.STEWARD)
        asked = body(PublishBody)
        request = AssetRequest(
            name=asked.name,
            title=asked.title,
            description=asked.description,
            keywords=asked.keywords,
            source=asked.source.spec(),
            columns=tuple(ColumnRequest(**vars(column)) for column in asked.columns),
            terms=Terms.parse(asked.terms),
            kind=asked.kind,
        )
        return _published(services.assets.publish(request, steward.name)), 201

    @bp.get("/assets")
    @describe(
        "Assets this participant has published", role="any", response={"type": "object"}, tags=("assets",)
    )
    def own() -> Response:
        access.require()
        rows = [row for row in services.ledger.final_rows("assets") if row["owner"] == services.keys.did]
        return jsonify(assets=[{**row, "state": life(row)} for row in rows])

    @bp.post("/assets/<path:asset>/withdraw")
    @describe(
        "Withdraw an asset: no new job may use it, those under way end; lists what used it",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=("assets",),
    )
    def withdraw(asset: str) -> Response:
        access.require(Role.STEWARD)
        entry = services.assets.withdraw(asset, body(ReasonBody).reason)
        used = lineage(services.ledger.state, asset)["forwards"]
        return jsonify(asset=asset, txid=entry.txid, index=entry.index, used=used)

    @bp.post("/assets/drafts")
    @describe(
        "Examine a source: profile, quality report, and a suggestion for each column with its reasons",
        role="steward",
        request=DraftBody,
        response={"type": "object"},
        status=201,
        tags=("assets",),
    )
    def draft() -> tuple[Response, int]:
        steward = access.require(Role.STEWARD)
        asked = body(DraftBody)
        return jsonify(drafts.draft(asked.name, asked.source.spec(), steward.name)), 201

    @bp.get("/assets/drafts")
    @describe(
        "Drafts that no steward has confirmed", role="steward", response={"type": "object"}, tags=("assets",)
    )
    def list_drafts() -> Response:
        access.require(Role.STEWARD)
        return jsonify(drafts=drafts.all())

    @bp.get("/assets/drafts/<path:asset>")
    @describe("One draft", role="steward", response={"type": "object"}, tags=("assets",))
    def show_draft(asset: str) -> Response:
        access.require(Role.STEWARD)
        return jsonify(drafts.find(asset))

    @bp.delete("/assets/drafts/<path:asset>")
    @describe("Drop a draft", role="steward", status=204, media="text/plain", tags=("assets",))
    def discard(asset: str) -> tuple[str, int]:
        access.require(Role.STEWARD)
        drafts.discard(asset)
        return "", 204

    @bp.post("/assets/drafts/<path:asset>/confirm")
    @describe(
        "Publish a draft as suggested or as the steward chooses; overrides are kept in the review",
        role="steward",
        request=ConfirmBody,
        response={"type": "object"},
        status=201,
        tags=("assets",),
    )
    def confirm(asset: str) -> tuple[Response, int]:
        steward = access.require(Role.STEWARD)
        asked = body(ConfirmBody)
        confirmation = Confirmation(
            title=asked.title,
            description=asked.description,
            keywords=asked.keywords,
            columns=tuple(ColumnChoice(**vars(column)) for column in asked.columns),
            terms=Terms.parse(asked.terms),
            kind=asked.kind,
        )
        return _published(drafts.confirm(asset, confirmation, steward.name)), 201

    @bp.post("/assets/<path:asset>/twin")
    @describe(
        "Draw a synthetic twin of the published version and put its digest on the ledger",
        role="steward",
        request=TwinBody,
        response={"type": "object"},
        status=201,
        tags=("assets",),
    )
    def twin(asset: str) -> tuple[Response, int]:
        access.require(Role.STEWARD)
        asked = body(TwinBody)
        made = twins.publish(asset, asked.rows, asked.epsilon_micro)
        return jsonify(
            asset=made.asset,
            version=made.version,
            rows=made.rows,
            bytes=made.size,
            digest=made.digest,
            txid=made.entry.txid,
        ), 201

    @bp.get("/assets/<path:asset>/review")
    @describe(
        "What was suggested, chosen and overridden when the present version was confirmed, and by whom",
        role="steward or auditor",
        response={"type": "object"},
        tags=("assets",),
    )
    def review(asset: str) -> Response:
        access.require(Role.STEWARD, Role.AUDITOR)
        return jsonify(services.assets.review(asset))

    return bp


def _published(published: Published) -> Response:
    return jsonify(
        asset=published.asset,
        version=published.version,
        rows=published.rows,
        root=published.root,
        txid=published.entry.txid,
        profile=published.profile,
        quality=published.quality,
    )
