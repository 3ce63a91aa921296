"""Verifiable Credentials Data Model 2.0, as far as this exchange uses it; everything else is refused.

The recommendation lets a verifier pass over members that it does not know. Here that would let a credential
carry conditions (``termsOfUse``, ``refreshService``, another status) that nobody looks at, so a credential
has the members below and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exchange.credentials.documents import Document, canonical
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.status import LIST_SIZE, PURPOSES, StatusEntry
from exchange.credentials.subjects import CONTEXTS, Subject, read_subject, schema_id, subject_document
from exchange.credentials.times import read_time
from ledger.times import format_time

__all__ = ["Credential", "digest", "draft", "read"]

BASE_TYPE = "VerifiableCredential"
_REQUIRED = {
    "@context",
    "id",
    "type",
    "issuer",
    "validFrom",
    "validUntil",
    "credentialSubject",
    "credentialSchema",
    "proof",
}
_OPTIONAL = {"name", "description", "credentialStatus"}
_LONGEST_TEXT = 1024
_STATUS = {"id", "type", "statusPurpose", "statusListIndex", "statusListCredential"}


@dataclass(frozen=True)
class Credential:
    """A credential of the right form. Whether it holds is for ``verification`` to say.

    Attributes:
        document: as received, with its proof.
        id: names this credential.
        kind: its type beside ``VerifiableCredential``.
        issuer: who vouches.
        subject: what is vouched for.
        valid_from: since when.
        valid_until: until when, not included.
        status: where revocation and suspension are published, if anywhere.
    """

    document: Document
    id: str
    kind: str
    issuer: str
    subject: Subject
    valid_from: datetime
    valid_until: datetime
    status: tuple[StatusEntry, ...]


def draft(
    identifier: str,
    kind: str,
    issuer: str,
    subject: Subject,
    valid_from: datetime,
    valid_until: datetime,
    status: tuple[StatusEntry, ...] = (),
) -> Document:
    """Write a credential without a proof."""
    document: Document = {
        "@context": list(CONTEXTS),
        "id": identifier,
        "type": [BASE_TYPE, kind],
        "issuer": issuer,
        "validFrom": format_time(valid_from),
        "validUntil": format_time(valid_until),
        "credentialSubject": subject_document(subject),
        "credentialSchema": {"id": schema_id(kind), "type": "JsonSchema"},
    }
    if status:
        document["credentialStatus"] = [entry.document() for entry in status]
    return document


def digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a credential with its proof, as the ledger states it."""
    return hashlib.sha256(canonical(document)).hexdigest()


def read(document: Mapping[str, Any]) -> Credential:
    """Check the form of a credential that carries a proof.

    Raises:
        CredentialInvalid: it is not of the form that this exchange understands; ``reason`` says why.
    """
    if document.get("@context") != list(CONTEXTS):
        raise CredentialInvalid("unknown-context", f"@context: expected exactly {', '.join(CONTEXTS)}")
    unknown = set(document) - _REQUIRED - _OPTIONAL
    if unknown:
        raise CredentialInvalid(
            "unknown-member", f"expected the members of a credential, got {len(unknown)} more"
        )
    missing = sorted(_REQUIRED - set(document))
    if missing:
        raise CredentialInvalid("malformed", f"expected {', '.join(missing)}, got nothing")
    kind = _kind(document["type"])
    _check_schema(document["credentialSchema"], kind)
    valid_from = read_time(document["validFrom"], "validFrom")
    valid_until = read_time(document["validUntil"], "validUntil")
    if valid_from >= valid_until:
        raise CredentialInvalid("malformed", "validUntil: expected a time after validFrom")
    for name in ("name", "description"):
        _text(document.get(name, name), name)
    return Credential(
        dict(document),
        _text(document["id"], "id"),
        kind,
        _text(document["issuer"], "issuer"),
        read_subject(kind, document["credentialSubject"]),
        valid_from,
        valid_until,
        _status(document.get("credentialStatus")),
    )


def _kind(value: object) -> str:
    if not isinstance(value, list) or len(value) != 2 or value[0] != BASE_TYPE:
        raise CredentialInvalid("unknown-type", f"type: expected {BASE_TYPE} and one type more")
    return _text(value[1], "type")


def _check_schema(value: object, kind: str) -> None:
    if value != {"id": schema_id(kind), "type": "JsonSchema"}:
        raise CredentialInvalid("unknown-schema", "credentialSchema: expected the JSON Schema of the type")


def _status(value: object) -> tuple[StatusEntry, ...]:
    items = [] if value is None else value if isinstance(value, list) else [value]
    entries = tuple(_entry(item) for item in items[: len(PURPOSES) + 1])
    purposes = [entry.purpose for entry in entries]
    if len(set(purposes)) != len(purposes):
        raise CredentialInvalid("malformed", "credentialStatus: expected each purpose once")
    return entries


def _entry(item: object) -> StatusEntry:
    if not isinstance(item, dict) or item.get("type") != "BitstringStatusListEntry":
        raise CredentialInvalid("unknown-status", "credentialStatus: expected a BitstringStatusListEntry")
    if not _STATUS - {"id"} <= set(item) <= _STATUS:
        raise CredentialInvalid("unknown-status", f"credentialStatus: expected {', '.join(sorted(_STATUS))}")
    if item["statusPurpose"] not in PURPOSES:
        raise CredentialInvalid("unknown-status", f"statusPurpose: expected one of {', '.join(PURPOSES)}")
    index = item["statusListIndex"]
    if not isinstance(index, str) or not index.isascii() or not index.isdigit() or len(index) > 9:
        raise CredentialInvalid("malformed", "statusListIndex: expected a number in decimal digits, as text")
    if int(index) >= LIST_SIZE:
        raise CredentialInvalid("malformed", f"statusListIndex: expected less than {LIST_SIZE}")
    return StatusEntry(
        item["statusPurpose"], int(index), _text(item["statusListCredential"], "statusListCredential")
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_TEXT:
        raise CredentialInvalid("malformed", f"{where}: expected text of 1 to {_LONGEST_TEXT} characters")
    return value
