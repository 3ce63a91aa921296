"""The holder's side of an eligibility check, under a pseudonym if the holder wishes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from exchange.credentials import data_integrity
from exchange.credentials.data_integrity import AUTHENTICATION
from exchange.credentials.dids import parse_document
from exchange.credentials.errors import CredentialInvalid
from ledger import base64url, canonical
from ledger.errors import InvalidSignature, MalformedKey
from ledger.keys import SigningKey, public_from_did_key, verify_signature

__all__ = ["check_answer", "check_asker", "request_digest", "sign_answer"]

_DOMAIN = b"parley-eligibility/v1\n"


def request_digest(request: Mapping[str, Any]) -> str:
    """Return the digest under which a request is on the ledger: of its members without the proof."""
    unsigned = {name: value for name, value in request.items() if name != "proof"}
    return hashlib.sha256(canonical.encode(unsigned)).hexdigest()


def check_asker(request: Mapping[str, Any], document: Mapping[str, Any], now: datetime) -> None:
    """Check, as a holder, that a request is by the verifier that it names.

    Args:
        request: as received.
        document: the verifier's DID document, from somebody whom the holder believes.
        now: the present time.

    Raises:
        CredentialInvalid, DidUnresolved: somebody else asks.
    """
    verifier = str(request.get("verifier"))
    found = parse_document(document, verifier)
    data_integrity.verify(request, found.key, now=now, purpose=AUTHENTICATION)


def sign_answer(key: SigningKey, request: str, presentation: str) -> str:
    """Sign, as a pseudonym, that it answers a request with a presentation.

    Args:
        key: the pseudonym's.
        request: digest of the request.
        presentation: the answer; empty if there is none.
    """
    return base64url.encode(key.sign(_message(request, presentation)))


def check_answer(holder: str, sig: str, request: str, presentation: str) -> None:
    """Check what ``sign_answer`` made.

    Raises:
        CredentialInvalid: the pseudonym did not sign this answer to this request.
    """
    try:
        public = public_from_did_key(holder)
        verify_signature(public, _message(request, presentation), base64url.decode(sig))
    except (MalformedKey, InvalidSignature, ValueError) as error:
        raise CredentialInvalid("bad-signature", "the pseudonym did not sign this answer") from error


def _message(request: str, presentation: str) -> bytes:
    digest = hashlib.sha256(presentation.encode()).hexdigest()
    return _DOMAIN + canonical.encode({"presentation": digest, "request": request})
