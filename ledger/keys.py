"""Ed25519 keys: signing, strict verification, ``did:key`` names.

Signing and verifying use libsodium, which refuses non-canonical signatures and points of small order. Keys
are held in memory only; storing them is the caller's duty.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import nacl.bindings
import nacl.exceptions

from ledger.errors import InvalidSignature, MalformedKey

__all__ = [
    "PUBLIC_SIZE",
    "SEED_SIZE",
    "SIGNATURE_SIZE",
    "SigningKey",
    "did_key",
    "public_from_did_key",
    "verify_signature",
]

SEED_SIZE = 32
PUBLIC_SIZE = 32
SIGNATURE_SIZE = 64

_DID_KEY_PREFIX = "did:key:z"
_ED25519_MULTICODEC = b"\xed\x01"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key pair. Its ``repr`` shows the public half only."""

    seed: bytes = field(repr=False)
    public: bytes
    _secret: bytes = field(repr=False, compare=False)
    alg = "EdDSA"

    @classmethod
    def generate(cls) -> SigningKey:
        """Draw a new key."""
        return cls.from_seed(secrets.token_bytes(SEED_SIZE))

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Derive the pair from its 32-byte seed (RFC 8032)."""
        if len(seed) != SEED_SIZE:
            raise MalformedKey(f"expected a seed of {SEED_SIZE} bytes, got {len(seed)}")
        public, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
        return cls(seed, public, secret)

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``; 64 bytes."""
        signed: bytes = nacl.bindings.crypto_sign(message, self._secret)
        return signed[:SIGNATURE_SIZE]

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("signing keys are not serialised; store the seed encrypted")


def verify_signature(public: bytes, message: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature.

    Raises:
        InvalidSignature: wrong lengths, or the signature does not verify.
    """
    if len(public) != PUBLIC_SIZE or len(signature) != SIGNATURE_SIZE:
        raise InvalidSignature("expected a 32-byte key and a 64-byte signature")
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except nacl.exceptions.BadSignatureError as exc:
        raise InvalidSignature("the signature does not verify under the key") from exc


def did_key(public: bytes) -> str:
    """Name an Ed25519 public key as ``did:key:z6Mk…`` (multicodec 0xed, base58btc)."""
    if len(public) != PUBLIC_SIZE:
        raise MalformedKey(f"expected a public key of {PUBLIC_SIZE} bytes, got {len(public)}")
    number = int.from_bytes(_ED25519_MULTICODEC + public, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return _DID_KEY_PREFIX + text


def public_from_did_key(did: str) -> bytes:
    """Return the Ed25519 public key that a ``did:key`` names.

    Raises:
        MalformedKey: another method, key type or spelling.
    """
    text = did.removeprefix(_DID_KEY_PREFIX)
    if text == did or len(did) > 100 or any(character not in _BASE58 for character in text):
        raise MalformedKey("expected did:key:z… in base58btc")
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    size = len(_ED25519_MULTICODEC) + PUBLIC_SIZE
    if number.bit_length() > 8 * size:
        raise MalformedKey("expected an Ed25519 did:key, got more bytes")
    data = number.to_bytes(size, "big")
    if not data.startswith(_ED25519_MULTICODEC):
        raise MalformedKey("expected an Ed25519 did:key, got another key type")
    public = data[len(_ED25519_MULTICODEC) :]
    if did_key(public) != did:
        raise MalformedKey("expected the canonical spelling of the did:key")
    return public
