"""Credentials: issuing, verifying, taking back; schemas and status lists for whoever can connect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response, json, jsonify

from exchange.credentials import documents
from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid, DidUnresolved
from exchange.credentials.subjects import KINDS, context_document, schema_document, subject_document
from exchange.errors import InvalidRequest, NotFound
from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.credentials import LONGEST_DAYS, Credentials
from exchange.node.people import Role
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe
from ledger.rules.credentials import REVIEWED
from ledger.times import format_time

__all__ = ["credentials_blueprint"]

_TAGS = ("identity",)
_DAYS = Rule("days it counts", minimum=1, maximum=LONGEST_DAYS)
_TYPES = tuple(sorted(REVIEWED))
_VC = "application/vc"


@dataclass(frozen=True)
class IssueBody:
    """What to vouch for, on a review of this organisation that passed."""

    type: Annotated[str, Rule(f"one of {', '.join(_TYPES)}", maximum=64)]
    review: Annotated[str, Rule("a review id", maximum=64)]
    claims: dict[str, Annotated[str, Rule("a line", minimum=1, maximum=256)]]
    days: Annotated[int, _DAYS] = 365


@dataclass(frozen=True)
class ReceiptBody:
    """The completed job to vouch for."""

    job: Annotated[str, Rule("a job id", maximum=64)]
    days: Annotated[int, _DAYS] = LONGEST_DAYS


@dataclass(frozen=True)
class VerifyBody:
    """A credential as its text, so that a member twice is seen, and status lists that came with it."""

    credential: Annotated[str, Rule("a JSON document", maximum=documents.MAX_SIZE)]
    lists: Annotated[
        tuple[Annotated[str, Rule("a JSON document", maximum=documents.MAX_SIZE)], ...],
        Rule("status lists", maximum=4),
    ] = ()


@dataclass(frozen=True)
class CredentialsQuery:
    """Narrows the list."""

    holder: Annotated[str | None, Rule("a DID", maximum=300)] = None
    issuer: Annotated[str | None, Rule("a DID", maximum=300)] = None


def credentials_blueprint(access: Access, credentials: Credentials) -> Blueprint:
    """Routes for credentials."""
    bp = Blueprint("credentials", __name__, url_prefix="/v1")

    @bp.post("/credentials")
    @describe(
        "Issue a credential on a review that passed",
        role="approver",
        request=IssueBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def issue() -> tuple[Response, int]:
        access.require(Role.APPROVER, Role.ADMINISTRATOR)
        asked = body(IssueBody)
        document, entry = credentials.issue_reviewed(asked.type, asked.review, asked.claims, asked.days)
        return jsonify(credential=document, txid=entry.txid, index=entry.index), 201

    @bp.post("/credentials/receipts")
    @describe(
        "Issue the receipt of a completed job, made from the ledger",
        role="auditor",
        request=ReceiptBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def receipt() -> tuple[Response, int]:
        access.require(Role.AUDITOR, Role.ANALYST, Role.STEWARD)
        asked = body(ReceiptBody)
        document, entry = credentials.issue_receipt(asked.job, asked.days)
        return jsonify(credential=document, txid=entry.txid, index=entry.index), 201

    @bp.get("/credentials")
    @describe(
        "What the ledger says of credentials",
        role="any",
        query=CredentialsQuery,
        response={"type": "object"},
        tags=_TAGS,
    )
    def listed() -> Response:
        access.require()
        asked = query(CredentialsQuery)
        return jsonify(credentials=[dict(row) for row in credentials.listed(asked.holder, asked.issuer)])

    @bp.get("/credentials/<credential>")
    @describe(
        "A credential that this organisation issued", role="any", response={"type": "object"}, tags=_TAGS
    )
    def shown(credential: str) -> Response:
        access.require()
        return jsonify(credentials.document(credential))

    @bp.post("/credentials/verify")
    @describe(
        "Check anybody's credential against this node's own copy of the ledger",
        role="any",
        request=VerifyBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def verify() -> Response:
        access.require()
        asked = body(VerifyBody)
        try:
            lists = tuple(documents.read(text) for text in asked.lists)
            found = credentials.verify(documents.read(asked.credential), lists)
        except (CredentialInvalid, DidUnresolved) as error:
            reason = error.reason if isinstance(error, CredentialInvalid) else "unknown-issuer"
            return jsonify(valid=False, reason=reason, detail=str(error))
        credential = found.credential
        return jsonify(
            valid=True,
            on_ledger=found.on_ledger,
            credential=credential.id,
            type=credential.kind,
            issuer=credential.issuer,
            subject=subject_document(credential.subject),
            until=format_time(credential.valid_until),
        )

    @bp.post("/credentials/<credential>/<event>")
    @describe(
        "Suspend, resume or revoke a credential of this organisation (event: suspend, resume, revoke)",
        role="approver",
        request=ReasonBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def change(credential: str, event: str) -> Response:
        access.require(Role.APPROVER, Role.ADMINISTRATOR)
        events: dict[str, Literal["suspend", "resume", "revoke"]] = {
            "suspend": "suspend",
            "resume": "resume",
            "revoke": "revoke",
        }
        if event not in events:
            raise InvalidRequest("event", f"one of {', '.join(events)}", "another word")
        entry = credentials.change(credential, events[event], body(ReasonBody).reason)
        return jsonify(credential=credential, txid=entry.txid, index=entry.index)

    @bp.get("/status-lists/<purpose>")
    @describe(
        "This organisation's status list for a purpose: revocation or suspension", media=_VC, tags=_TAGS
    )
    def status_list(purpose: str) -> Response:
        return _as_vc(credentials.status_list(purpose))

    @bp.get("/credential-schemas/<kind>")
    @describe("The JSON Schema of a credential type", media="application/schema+json", tags=_TAGS)
    def schema(kind: str) -> Response:
        if kind not in KINDS:
            raise NotFound(f"expected one of {', '.join(KINDS)}")
        return Response(json.dumps(schema_document(kind)), content_type="application/schema+json")

    @bp.get("/credential-context")
    @describe(
        "The JSON-LD context of credentials; known to every node, never fetched by one",
        media="application/ld+json",
        tags=_TAGS,
    )
    def context() -> Response:
        return Response(context_document(), content_type="application/ld+json")

    return bp


def _as_vc(document: Document) -> Response:
    return Response(json.dumps(document), content_type=_VC)
