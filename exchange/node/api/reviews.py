"""Reviews of parties and of data sources, made by people of this organisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify

from exchange.credentials.holdings import reviews_of
from exchange.errors import InvalidRequest
from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.people import Role
from exchange.node.reviews import CheckRequest, Reviews
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe

__all__ = ["reviews_blueprint"]

_TAGS = ("identity",)
_REVIEWERS = (Role.AUDITOR, Role.APPROVER, Role.STEWARD, Role.ADMINISTRATOR)
_DIGEST = Rule("a SHA-256 in lower-case hex", pattern="[0-9a-f]{64}")
_NAME = Rule("a name like real-name", pattern="[a-z0-9][a-z0-9-]{0,62}")
_DID = Rule("a DID", pattern=r"did:[a-z0-9]+:[!-~]{1,200}")
_ASSET = Rule("an asset id like owner/name", pattern="[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class OpenBody:
    """Whom or what to review: exactly one of the two."""

    holder: Annotated[str | None, _DID] = None
    asset: Annotated[str | None, _ASSET] = None


@dataclass(frozen=True)
class CheckBody:
    """What somebody found. Only its commitment leaves this node."""

    check: Annotated[str, _NAME]
    outcome: Literal["passed", "failed"]
    documents: Annotated[
        tuple[Annotated[str, _DIGEST], ...], Rule("documents looked at", minimum=1, maximum=64)
    ]
    note: Annotated[str, Rule("what was seen", maximum=4096)] = ""


@dataclass(frozen=True)
class ReviewsQuery:
    """Reviews on the ledger about this DID or asset, by anybody; without it, this organisation's own."""

    subject: Annotated[str | None, Rule("a DID or an asset id", minimum=1, maximum=300)] = None


def reviews_blueprint(services: NodeServices, access: Access, reviews: Reviews) -> Blueprint:
    """Routes for reviews."""
    bp = Blueprint("reviews", __name__, url_prefix="/v1")

    @bp.post("/reviews")
    @describe(
        "Open a review of another organisation or of its data source",
        role="auditor",
        request=OpenBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def opened() -> tuple[Response, int]:
        person, asked = access.require(*_REVIEWERS), body(OpenBody)
        if (asked.holder is None) == (asked.asset is None):
            raise InvalidRequest("holder", "a holder or an asset", "both or neither")
        if asked.holder is not None:
            return jsonify(reviews.open("member", asked.holder, person)), 201
        return jsonify(reviews.open("asset", str(asked.asset), person)), 201

    @bp.get("/reviews")
    @describe(
        "This organisation's reviews, or those on the ledger about a DID or an asset",
        role="any",
        query=ReviewsQuery,
        response={"type": "object"},
        tags=_TAGS,
    )
    def listed() -> Response:
        subject = query(ReviewsQuery).subject
        if subject is None:
            access.require(*_REVIEWERS)
            return jsonify(reviews=reviews.all())
        access.require()
        return jsonify(reviews=[dict(row) for row in reviews_of(services.ledger.state, subject)])

    @bp.get("/reviews/<review>")
    @describe(
        "One review of this organisation, with the checkers' words and what opens each commitment",
        role="auditor",
        response={"type": "object"},
        tags=_TAGS,
    )
    def shown(review: str) -> Response:
        access.require(*_REVIEWERS)
        return jsonify(reviews.show(review))

    @bp.post("/reviews/<review>/checks")
    @describe(
        "Keep what was found in a review",
        role="auditor",
        request=CheckBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def checked(review: str) -> tuple[Response, int]:
        person, asked = access.require(*_REVIEWERS), body(CheckBody)
        found = CheckRequest(asked.check, asked.outcome, asked.documents, asked.note)
        return jsonify(reviews.check(review, found, person)), 201

    @bp.post("/reviews/<review>/conclude")
    @describe(
        "Put a review on the ledger, as somebody who made none of its checks",
        role="approver",
        response={"type": "object"},
        tags=_TAGS,
    )
    def concluded(review: str) -> Response:
        found, entry = reviews.conclude(review, access.require(Role.APPROVER, Role.ADMINISTRATOR))
        return jsonify({**found, "txid": entry.txid, "index": entry.index})

    @bp.post("/reviews/<review>/withdraw")
    @describe(
        "Take a review back: credentials on it count no more",
        role="approver",
        request=ReasonBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def withdrawn(review: str) -> Response:
        access.require(Role.APPROVER, Role.ADMINISTRATOR)
        entry = reviews.withdraw(review, body(ReasonBody).reason)
        return jsonify(review=review, txid=entry.txid, index=entry.index)

    return bp
