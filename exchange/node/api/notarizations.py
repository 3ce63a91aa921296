"""Notarizing fingerprints, their proofs and evidence, and signed verdicts on presented copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.notarizations import Fingerprints, Notarizations, Notarized, Presented
from exchange.node.people import Role
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe
from ledger.notarization import MAX_FINGERPRINTS

__all__ = ["notarizations_blueprint"]

_DIGEST = Rule("a SHA-256 in lower-case hex", pattern="[0-9a-f]{64}")
_ULID = "notarization-[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}"
_ID = Rule("an id like notarization- and a ULID in lower case", pattern=_ULID)
_TAGS = ("notarization",)


@dataclass(frozen=True)
class NotarizeBody:
    """Fingerprints to put on the ledger under one entry. The same body again changes nothing."""

    notarization: Annotated[str, _ID]
    digests: Annotated[
        tuple[Annotated[str, _DIGEST], ...],
        Rule("fingerprints of documents", minimum=1, maximum=MAX_FINGERPRINTS),
    ]
    kind: Annotated[str | None, Rule("what sort of documents; public", minimum=1, maximum=64)] = None
    note: Annotated[str | None, Rule("words about them; public", minimum=1, maximum=256)] = None
    private: Annotated[
        str | None, Rule("words about them; kept at this node, committed to", minimum=1, maximum=8192)
    ] = None


@dataclass(frozen=True)
class VerifyBody:
    """A proof and fingerprints to compare. Without ``original`` the comparison is two-way."""

    proof: dict[str, object]
    copy: Annotated[str, _DIGEST]
    original: Annotated[str | None, _DIGEST] = None
    challenge: Annotated[str | None, Rule("words that make the verdict fresh", minimum=1, maximum=256)] = None
    record: bool = False


@dataclass(frozen=True)
class EvidenceQuery:
    """An entry to show besides, by its place in the log."""

    index: Annotated[int | None, Rule("a place in the log", minimum=0)] = None


def notarizations_blueprint(access: Access, notarizations: Notarizations) -> Blueprint:
    """Routes for notarization and verification."""
    bp = Blueprint("notarizations", __name__, url_prefix="/v1")

    @bp.post("/notarizations")
    @describe(
        "Notarize fingerprints; answers with a proof for each when the entry is final",
        role="steward",
        request=NotarizeBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def notarize() -> tuple[Response, int]:
        access.require(Role.STEWARD, Role.ANALYST)
        asked = body(NotarizeBody)
        digests = tuple(bytes.fromhex(digest) for digest in asked.digests)
        fingerprints = Fingerprints(asked.notarization, digests, asked.kind, asked.note, asked.private)
        found = notarizations.notarize(fingerprints)
        return jsonify(_shown(found)), 201

    @bp.get("/notarizations/<notarization>/proof")
    @describe(
        "The proofs of a notarization made at this node",
        role="steward",
        response={"type": "object"},
        tags=_TAGS,
    )
    def proof(notarization: str) -> Response:
        access.require(Role.STEWARD, Role.ANALYST)
        return jsonify(_shown(notarizations.find(notarization)))

    @bp.get("/notarizations/<notarization>/evidence")
    @describe(
        "A bundle that shows anybody's notarization and the verdicts on record about it",
        role="any",
        query=EvidenceQuery,
        media="application/zip",
        tags=_TAGS,
    )
    def evidence(notarization: str) -> Response:
        access.require()
        bundle = notarizations.evidence(notarization, query(EvidenceQuery).index)
        return Response(bundle, content_type="application/zip")

    @bp.delete("/notarizations/<notarization>")
    @describe(
        "Forget the fingerprints and salts of a notarization; proofs handed out stay valid",
        role="steward",
        media="text/plain",
        status=204,
        tags=_TAGS,
    )
    def forget(notarization: str) -> tuple[str, int]:
        access.require(Role.STEWARD)
        notarizations.forget(notarization)
        return "", 204

    @bp.post("/verifications")
    @describe(
        "Compare ledger, original and copy; answers with a verdict signed by this participant",
        role="auditor",
        request=VerifyBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def verify() -> Response:
        person = access.require(Role.STEWARD, Role.ANALYST, Role.AUDITOR)
        asked = body(VerifyBody)
        original = None if asked.original is None else bytes.fromhex(asked.original)
        presented = Presented(asked.proof, bytes.fromhex(asked.copy), original, asked.challenge, asked.record)
        found = notarizations.verify(presented, person.name)
        comparison = found.verdict.comparison
        return jsonify(
            outcome=comparison.outcome,
            findings=comparison.findings(),
            reason=found.verdict.reason,
            verdict=found.verdict.as_json(),
            txid=None if found.entry is None else found.entry.txid,
            index=None if found.entry is None else found.entry.index,
        )

    return bp


def _shown(found: Notarized) -> dict[str, Any]:
    return {
        "notarization": found.batch.notarization,
        "txid": found.place.txid,
        "index": found.place.index,
        "time": found.time,
        "root": found.batch.root.hex(),
        "count": len(found.batch.digests),
        "proofs": [proof.as_json() for proof in found.proofs()],
    }
