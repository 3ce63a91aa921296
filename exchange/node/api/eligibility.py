"""Eligibility checks by predicate proofs: for issuers of attributes and for verifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify

from exchange.credentials.presentations import Asked, Predicate
from exchange.errors import InvalidRequest
from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.eligibility import Answer, Eligibility
from exchange.node.people import Role
from exchange.web.fields import TIME, Rule, body
from exchange.web.openapi import describe
from ledger.times import parse_time

__all__ = ["eligibility_blueprint"]

_TAGS = ("eligibility",)
_NAME = Rule("a name of lower-case letters, digits and hyphens", pattern="[a-z0-9][a-z0-9-]{0,62}")
_ID = Rule("an id", minimum=1, maximum=64)
_DOCUMENT = Rule("a document", minimum=1, maximum=200_000)
_LARGEST = 2**31 - 1
_MEMBERS = (Role.STEWARD, Role.ANALYST, Role.APPROVER)


@dataclass(frozen=True)
class DefineBody:
    """A set of attributes to vouch for; ``valid-until`` is added."""

    name: Annotated[str, _NAME]
    version: Annotated[str, Rule("a version", minimum=1, maximum=64)]
    attributes: Annotated[tuple[Annotated[str, _NAME], ...], Rule("names", minimum=1, maximum=15)]


@dataclass(frozen=True)
class OfferBody:
    """Under which definition a credential is offered."""

    definition: Annotated[str, _ID]


@dataclass(frozen=True)
class IssueBody:
    """A holder's request that answers an offer, and the values to sign. They are not kept."""

    offer: Annotated[str, _ID]
    request: Annotated[str, _DOCUMENT]
    values: dict[str, object]
    valid_until: Annotated[str, TIME]


@dataclass(frozen=True)
class PredicateBody:
    """What has to hold of an attribute."""

    definition: Annotated[str, _ID]
    attribute: Annotated[str, _NAME]
    operator: Literal[">=", ">", "<=", "<"]
    value: Annotated[int, Rule("a whole number", minimum=-_LARGEST, maximum=_LARGEST)]


@dataclass(frozen=True)
class RevealBody:
    """An attribute to be shown."""

    definition: Annotated[str, _ID]
    attribute: Annotated[str, _NAME]


@dataclass(frozen=True)
class AskBody:
    """What to ask a holder, and for what."""

    purpose: Annotated[str, Rule("a DPV term", minimum=1, maximum=256)]
    predicates: Annotated[tuple[PredicateBody, ...], Rule("predicates", minimum=1, maximum=16)]
    reveal: Annotated[tuple[RevealBody, ...], Rule("attributes to reveal", maximum=16)] = ()
    expires_s: Annotated[int, Rule("seconds until it expires", minimum=1, maximum=604_800)] = 86_400


@dataclass(frozen=True)
class ConcludeBody:
    """A holder's presentation; null: it could or would not prove what was asked."""

    presentation: Annotated[str | None, _DOCUMENT]
    holder: Annotated[str | None, Rule("a did:key", minimum=1, maximum=100)] = None
    sig: Annotated[str | None, Rule("a signature in base64url", minimum=86, maximum=86)] = None


def eligibility_blueprint(access: Access, eligibility: Eligibility) -> Blueprint:
    """Routes for eligibility."""
    bp = Blueprint("eligibility", __name__, url_prefix="/v1/eligibility")

    @bp.post("/definitions")
    @describe(
        "Make a key for attributes and put its public half on the ledger; takes some seconds",
        role="steward",
        request=DefineBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def define() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        asked = body(DefineBody)
        made, entry = eligibility.define(asked.name, asked.version, asked.attributes)
        shown = {**made.as_json(), "txid": entry.txid, "index": entry.index}
        return jsonify(shown), 201

    @bp.get("/definitions")
    @describe("All definitions on the ledger", role="any", response={"type": "object"}, tags=_TAGS)
    def definitions() -> Response:
        access.require()
        return jsonify(definitions=[dict(row) for row in eligibility.definitions()])

    @bp.post("/definitions/<definition>/retire")
    @describe(
        "Take a key of this organisation out of use",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def retire(definition: str) -> Response:
        access.require(Role.STEWARD)
        entry = eligibility.retire(definition, body(ReasonBody).reason)
        return jsonify(definition=definition, txid=entry.txid, index=entry.index)

    @bp.post("/offers")
    @describe(
        "Offer a credential over attributes; the answer is for its holder",
        role="steward",
        request=OfferBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def offer() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        return jsonify(eligibility.offer(body(OfferBody).definition)), 201

    @bp.post("/credentials")
    @describe(
        "Sign a holder's attributes",
        role="steward",
        request=IssueBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def issue() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        asked = body(IssueBody)
        values = {name: _value(name, value) for name, value in asked.values.items()}
        try:
            until = parse_time(asked.valid_until)
        except ValueError as error:
            raise InvalidRequest("valid_until", TIME.description, "no such moment") from error
        made = eligibility.issue(asked.offer, asked.request, values, until)
        return jsonify(offer=asked.offer, credential=made), 201

    @bp.post("/requests")
    @describe(
        "Ask for a predicate proof; the answer is for its holder",
        role="analyst",
        request=AskBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def ask() -> tuple[Response, int]:
        access.require(*_MEMBERS)
        asked = body(AskBody)
        wanted = Asked(
            tuple(
                Predicate(one.definition, one.attribute, one.operator, one.value) for one in asked.predicates
            ),
            tuple((one.definition, one.attribute) for one in asked.reveal),
        )
        return jsonify(eligibility.ask(wanted, asked.purpose, asked.expires_s)), 201

    @bp.get("/requests")
    @describe(
        "Requests of this organisation that wait for an answer",
        role="analyst",
        response={"type": "object"},
        tags=_TAGS,
    )
    def requests() -> Response:
        access.require(*_MEMBERS)
        return jsonify(requests=eligibility.open_requests())

    @bp.post("/requests/<identifier>/conclude")
    @describe(
        "Check a holder's answer, once, and put pass or fail on the ledger",
        role="analyst",
        request=ConcludeBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def conclude(identifier: str) -> Response:
        access.require(*_MEMBERS)
        asked = body(ConcludeBody)
        found = eligibility.conclude(identifier, Answer(asked.presentation, asked.holder, asked.sig))
        return jsonify(
            eligibility=identifier,
            outcome=found.outcome,
            revealed=dict(found.revealed),
            txid=found.entry.txid,
            index=found.entry.index,
        )

    @bp.get("")
    @describe("Concluded checks on the ledger", role="any", response={"type": "object"}, tags=_TAGS)
    def concluded() -> Response:
        access.require()
        return jsonify(eligibility=[dict(row) for row in eligibility.concluded()])

    return bp


def _value(name: str, value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidRequest(f"values.{name}", "a whole number or a text", "another value")
    if isinstance(value, str) and not 1 <= len(value) <= 256:
        raise InvalidRequest(f"values.{name}", "a text of 1 to 256 characters", f"{len(value)} characters")
    return value
