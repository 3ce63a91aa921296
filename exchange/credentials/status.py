"""Bitstring Status Lists (W3C Recommendation 1.0): which credentials of an issuer are revoked or suspended.

A list has 131,072 places, so that asking for a list tells its keeper little about which credential is meant.
It is a credential itself, signed by the issuer and short-lived: an old one that somebody kept shows nothing
after that.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from exchange.credentials import data_integrity
from exchange.credentials.data_integrity import Signer
from exchange.credentials.dids import did_of
from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid, ProofInvalid
from exchange.credentials.multibase import decode64, encode64
from exchange.credentials.times import read_time
from ledger.times import format_time

__all__ = [
    "LIFETIME",
    "LIST_SIZE",
    "PURPOSES",
    "StatusEntry",
    "encode_bits",
    "is_set",
    "read_list",
    "sign_list",
]

LIST_SIZE: Final = 131_072
"""Places of a list: the least that the recommendation allows, 16 KiB."""

LIFETIME: Final = timedelta(hours=24)
"""How long a list counts after it was signed."""

PURPOSES: Final = ("revocation", "suspension")
_CONTEXT = "https://www.w3.org/ns/credentials/v2"
_BYTES = LIST_SIZE // 8
_MEMBERS = {"@context", "id", "type", "issuer", "validFrom", "validUntil", "credentialSubject", "proof"}


@dataclass(frozen=True)
class StatusEntry:
    """Where a credential's status stands: the purpose, the place, and the address of the list."""

    purpose: str
    index: int
    address: str

    def document(self) -> Document:
        """Write it as a ``BitstringStatusListEntry``."""
        return {
            "id": f"{self.address}#{self.index}",
            "type": "BitstringStatusListEntry",
            "statusPurpose": self.purpose,
            "statusListIndex": str(self.index),
            "statusListCredential": self.address,
        }


def encode_bits(places: Collection[int]) -> str:
    """Encode a list in which these places are set: GZIP, then multibase base64url."""
    bits = bytearray(_BYTES)
    for place in places:
        bits[place // 8] |= 0x80 >> place % 8
    return encode64(gzip.compress(bytes(bits), mtime=0))


def is_set(bits: bytes, place: int) -> bool:
    """Whether a place of a decoded list is set."""
    return bool(bits[place // 8] & 0x80 >> place % 8)


def sign_list(
    address: str, purpose: str, places: Collection[int], issuer: str, key: Signer, method: str, now: datetime
) -> Document:
    """Sign a list as of now."""
    document = {
        "@context": [_CONTEXT],
        "id": address,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": issuer,
        "validFrom": format_time(now),
        "validUntil": format_time(now + LIFETIME),
        "credentialSubject": {
            "id": f"{address}#list",
            "type": "BitstringStatusList",
            "statusPurpose": purpose,
            "encodedList": encode_bits(places),
        },
    }
    return data_integrity.secure(document, key, method, now)


def read_list(
    document: Mapping[str, Any],
    entry: StatusEntry,
    issuer: str,
    resolve: Callable[[str, str], bytes],
    now: datetime,
) -> bytes:
    """Check a list that is to tell about ``entry`` of a credential by ``issuer``, and return its bits.

    Raises:
        CredentialInvalid: it is another list, somebody else's, forged, or too old; ``reason`` says which.
    """
    if set(document) != _MEMBERS or document["@context"] != [_CONTEXT]:
        raise CredentialInvalid("status-list-malformed", "expected a BitstringStatusListCredential")
    if document["type"] != ["VerifiableCredential", "BitstringStatusListCredential"]:
        raise CredentialInvalid("status-list-malformed", "expected the type BitstringStatusListCredential")
    if document["id"] != entry.address:
        raise CredentialInvalid("status-list-wrong", "expected the list that the credential names")
    if document["issuer"] != issuer:
        raise CredentialInvalid("status-list-wrong", "expected a list by the credential's issuer")
    try:
        proof = data_integrity.verify(document, resolve, now=now)
    except ProofInvalid as error:
        raise CredentialInvalid("status-list-forged", f"the status list: {error}") from error
    if did_of(proof.method) != issuer:
        raise CredentialInvalid("status-list-forged", "expected a list that the credential's issuer signed")
    since = read_time(document["validFrom"], "validFrom")
    until = read_time(document["validUntil"], "validUntil")
    if not since - timedelta(seconds=60) <= now < until or until - since > LIFETIME:
        raise CredentialInvalid(
            "status-list-stale", "expected a status list that counts now, got another one"
        )
    subject = document["credentialSubject"]
    purpose = subject.get("statusPurpose") if isinstance(subject, dict) else None
    if purpose != entry.purpose or subject.get("type") != "BitstringStatusList":
        raise CredentialInvalid("status-list-wrong", f"expected a list for {entry.purpose}")
    return _bits(subject.get("encodedList"))


def _bits(encoded: object) -> bytes:
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        bits = unpacker.decompress(decode64(encoded), _BYTES + 1)
    except zlib.error as error:
        raise CredentialInvalid("status-list-malformed", "expected a GZIP-compressed bitstring") from error
    if len(bits) != _BYTES or not unpacker.eof or unpacker.unused_data:
        raise CredentialInvalid("status-list-malformed", f"expected a list of exactly {LIST_SIZE} places")
    return bits
