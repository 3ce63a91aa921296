"""Consent of data subjects: carried to the ledger, required by an owner, bound to the owner's rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.credentials.consents import check_identified
from exchange.credentials.errors import CredentialInvalid
from exchange.errors import InvalidRequest, NotFound
from exchange.node.api.access import Access
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe

__all__ = ["consents_blueprint"]

_TAGS = ("consent",)
_ASSET = Rule("an asset id like owner/name", pattern="[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}")
_CARRIERS = (Role.STEWARD, Role.APPROVER, Role.ANALYST, Role.ADMINISTRATOR)


@dataclass(frozen=True)
class SignedBody:
    """A statement of a data subject and its signature, carried as they are."""

    statement: dict[str, object]
    sig: Annotated[str, Rule("a signature in base64url", minimum=86, maximum=86)]


@dataclass(frozen=True)
class RequireBody:
    """Whether an asset's rows are used only with consent, and which column finds a subject's row."""

    asset: Annotated[str, _ASSET]
    column: Annotated[str, Rule("a column", minimum=1, maximum=256)]
    reason: Annotated[str, Rule("why; for every member to read", minimum=1, maximum=1000)]
    required: bool = True


@dataclass(frozen=True)
class BindBody:
    """What data subjects told this owner of themselves; it stays here, sealed."""

    subjects: Annotated[tuple[SignedBody, ...], Rule("signed statements", minimum=1, maximum=1000)]


@dataclass(frozen=True)
class ConsentsQuery:
    """Narrows the list."""

    subject: Annotated[str | None, Rule("a DID", maximum=300)] = None
    asset: Annotated[str | None, _ASSET] = None


def consents_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for consent."""
    bp = Blueprint("consents", __name__, url_prefix="/v1/consents")

    @bp.post("")
    @describe(
        "Carry a consent, signed by a data subject, to the ledger",
        role="steward",
        request=SignedBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def give() -> tuple[Response, int]:
        access.require(*_CARRIERS)
        return _carried("consent.give"), 201

    @bp.post("/withdrawals")
    @describe(
        "Carry a withdrawal, signed by a data subject, to the ledger",
        role="steward",
        request=SignedBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def withdraw() -> tuple[Response, int]:
        access.require(*_CARRIERS)
        return _carried("consent.withdraw"), 201

    @bp.get("")
    @describe(
        "Consents on the ledger, with who required them",
        role="any",
        query=ConsentsQuery,
        response={"type": "object"},
        tags=_TAGS,
    )
    def listed() -> Response:
        access.require()
        asked = query(ConsentsQuery)
        rows = [
            dict(row)
            for row in services.ledger.final_rows("consents")
            if asked.subject in (None, row["subject"]) and asked.asset in (None, row["asset"])
        ]
        rules = [
            dict(row)
            for row in services.ledger.final_rows("consent_rules")
            if asked.asset in (None, row["asset"])
        ]
        return jsonify(consents=rows, rules=rules)

    @bp.post("/rules")
    @describe(
        "Say whether the rows of an own asset are used only with their subjects' consent",
        role="steward",
        request=RequireBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def require() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        asked = body(RequireBody)
        said: dict[str, object] = {
            "asset": asked.asset,
            "column": asked.column,
            "required": asked.required,
            "reason": asked.reason,
        }
        entry = services.ledger.write("consent.require", said)
        return jsonify(asset=asked.asset, txid=entry.txid, index=entry.index), 201

    @bp.post("/subjects")
    @describe(
        "Bind pseudonyms to rows of an own asset, as their data subjects told; nothing leaves this node",
        role="steward",
        request=BindBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def bind() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        checked = []
        for place, told in enumerate(body(BindBody).subjects):
            signed = {"statement": told.statement, "sig": told.sig}
            try:
                checked.append(check_identified(signed, services.net))
            except CredentialInvalid as error:
                expected = "a statement signed by its data subject for this network"
                raise InvalidRequest(f"subjects[{place}]", expected, error.reason) from error
        for asset, _, _ in checked:
            row = services.ledger.final("assets", asset)
            if row is None or row["owner"] != services.keys.did:
                raise NotFound(f"this participant has no asset {asset}")
        for asset, identifier, subject in checked:
            services.assets.consent.bind(asset, identifier, subject)
        return jsonify(bound=len(checked)), 201

    def _carried(kind: str) -> Response:
        asked = body(SignedBody)
        entry = services.ledger.write(kind, {"statement": asked.statement, "sig": asked.sig})
        return jsonify(consent=asked.statement.get("consent"), txid=entry.txid, index=entry.index)

    return bp
