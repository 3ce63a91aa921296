"""Data Integrity proofs with ``eddsa-jcs-2022`` (W3C Data Integrity EdDSA Cryptosuites 1.0).

The signature is Ed25519 over two SHA-256 digests: of the canonical proof without its value, and of the
canonical document without its proof. Documents, proof and key are bound to each other by that alone, so a
proof that was made for another document, or with other words about itself, does not verify.

The 64 signed bytes never collide with an entry's: those begin with ``dx-tx/v1`` and a newline and go on as
JSON, which the concatenation of two SHA-256 digests does not do but by a second preimage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from exchange.credentials.documents import Document, canonical
from exchange.credentials.errors import ProofInvalid
from exchange.credentials.multibase import decode58, encode58
from exchange.credentials.times import read_time
from ledger.errors import InvalidSignature
from ledger.keys import SIGNATURE_SIZE, verify_signature
from ledger.times import format_time

__all__ = ["ASSERTION", "AUTHENTICATION", "CRYPTOSUITE", "Proof", "Signer", "hash_data", "secure", "verify"]

CRYPTOSUITE = "eddsa-jcs-2022"
ASSERTION, AUTHENTICATION = "assertionMethod", "authentication"
_TYPE = "DataIntegrityProof"
_REQUIRED = {"type", "cryptosuite", "created", "verificationMethod", "proofPurpose", "proofValue"}
_OPTIONAL = {"@context", "expires"}
"""What else may stand in a proof. ``domain``, ``challenge``, ``previousProof`` and anything unknown would
have to be acted on, so a proof that has them is refused."""


class Signer(Protocol):
    """An Ed25519 key that signs."""

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes."""


@dataclass(frozen=True)
class Proof:
    """A proof that verified.

    Attributes:
        method: the verification method, a URL inside the controller's DID document.
        purpose: what the key was used for.
        created: when, by the signer's word.
        expires: from when on the proof does not count any more.
    """

    method: str
    purpose: str
    created: datetime
    expires: datetime | None


def secure(
    document: Mapping[str, Any],
    key: Signer,
    method: str,
    created: datetime,
    *,
    purpose: str = ASSERTION,
    expires: datetime | None = None,
) -> Document:
    """Return ``document`` with a proof.

    Args:
        document: without a proof.
        key: signs.
        method: the verification method under which the key's public half is found.
        created: whole seconds.
        purpose: why it is signed.
        expires: when the proof ends by itself.
    """
    options: Document = {
        "type": _TYPE,
        "cryptosuite": CRYPTOSUITE,
        "created": format_time(created),
        "verificationMethod": method,
        "proofPurpose": purpose,
    }
    if expires is not None:
        options["expires"] = format_time(expires)
    if "@context" in document:
        options["@context"] = document["@context"]
    value = encode58(key.sign(hash_data(document, options)))
    return {**document, "proof": {**options, "proofValue": value}}


def hash_data(document: Mapping[str, Any], options: Mapping[str, Any]) -> bytes:
    """Return what is signed: the digests of the proof's options and of the document without its proof."""
    return hashlib.sha256(canonical(options)).digest() + hashlib.sha256(canonical(document)).digest()


def verify(
    document: Mapping[str, Any],
    resolve: Callable[[str, str], bytes],
    *,
    now: datetime,
    skew_s: int = 60,
    purpose: str = ASSERTION,
) -> Proof:
    """Check the one proof of a document.

    Args:
        document: with its proof.
        resolve: finds the public key of a verification method for a purpose, or raises.
        now: the proof was not made later and has not expired.
        skew_s: how far the signer's clock may be ahead.
        purpose: what the key must have been used for.

    Raises:
        ProofInvalid: no proof, or it does not hold; ``reason`` says why.
    """
    options = _options(document.get("proof"))
    if options["proofPurpose"] != purpose:
        raise ProofInvalid("wrong-purpose", f"expected a proof for {purpose}, got one for another purpose")
    created, expires = read_time(options["created"], "proof.created"), None
    if (created - now).total_seconds() > skew_s:
        raise ProofInvalid("proof-from-the-future", "expected a proof that was made before now")
    if "expires" in options:
        expires = read_time(options["expires"], "proof.expires")
        if expires <= now:
            raise ProofInvalid("proof-expired", "expected a proof that has not expired")
    signature = decode58(options.pop("proofValue"))
    if len(signature) != SIGNATURE_SIZE:
        raise ProofInvalid("bad-signature", f"expected a signature of {SIGNATURE_SIZE} bytes")
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    if "@context" in options and options["@context"] != document.get("@context"):
        raise ProofInvalid("context-differs", "expected the context that the proof was made with")
    public = resolve(options["verificationMethod"], purpose)
    try:
        verify_signature(public, hash_data(unsecured, options), signature)
    except InvalidSignature as error:
        raise ProofInvalid("bad-signature", "the proof does not verify under the key it names") from error
    return Proof(options["verificationMethod"], purpose, created, expires)


def _options(proof: object) -> Document:
    if not isinstance(proof, dict):
        raise ProofInvalid("no-proof", "expected one proof, got none or several")
    if proof.get("type") != _TYPE or proof.get("cryptosuite") != CRYPTOSUITE:
        raise ProofInvalid("unknown-cryptosuite", f"expected a {_TYPE} with {CRYPTOSUITE}, got another proof")
    if not _REQUIRED <= set(proof) <= _REQUIRED | _OPTIONAL:
        raise ProofInvalid("malformed", f"expected a proof of {', '.join(sorted(_REQUIRED))}")
    if not all(isinstance(proof[name], str) for name in _REQUIRED):
        raise ProofInvalid("malformed", "expected texts in the proof")
    return dict(proof)
