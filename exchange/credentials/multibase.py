"""Multibase and Multikey (W3C Controlled Identifiers 1.0): base58btc, base64url, Ed25519 public keys."""

from __future__ import annotations

from exchange.credentials.errors import CredentialInvalid
from ledger import base64url
from ledger.errors import MalformedKey
from ledger.keys import PUBLIC_SIZE, did_key, public_from_did_key

__all__ = ["decode58", "decode64", "encode58", "encode64", "multikey", "public_of"]

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUE = {character: value for value, character in enumerate(_ALPHABET)}
_BASE58, _BASE64URL = "z", "u"
_LONGEST58 = 512  # the conversion is quadratic; keys and signatures are far shorter


def encode58(data: bytes) -> str:
    """Encode as multibase base58btc: ``z…``."""
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return _BASE58 + _ALPHABET[0] * zeros + digits


def decode58(text: object) -> bytes:
    """Decode ``z…``.

    Raises:
        CredentialInvalid: another base, a foreign character, or too long.
    """
    if not isinstance(text, str) or not text.startswith(_BASE58) or len(text) > _LONGEST58:
        raise CredentialInvalid("malformed", f"expected z and base58btc, at most {_LONGEST58} characters")
    digits = text[1:]
    if not all(character in _VALUE for character in digits):
        raise CredentialInvalid("malformed", "expected characters of base58btc, got another one")
    number = 0
    for character in digits:
        number = number * 58 + _VALUE[character]
    zeros = len(digits) - len(digits.lstrip(_ALPHABET[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def encode64(data: bytes) -> str:
    """Encode as multibase base64url without padding: ``u…``."""
    return _BASE64URL + base64url.encode(data)


def decode64(text: object) -> bytes:
    """Decode ``u…``.

    Raises:
        CredentialInvalid: another base, or not base64url without padding.
    """
    if not isinstance(text, str) or not text.startswith(_BASE64URL):
        raise CredentialInvalid("malformed", "expected u and base64url without padding")
    try:
        return base64url.decode(text[1:])
    except ValueError as error:
        raise CredentialInvalid(
            "malformed", "expected base64url without padding, got another text"
        ) from error


def multikey(public: bytes) -> str:
    """Encode an Ed25519 public key as a Multikey, ``z6Mk…``."""
    return did_key(public).removeprefix("did:key:")


def public_of(text: object) -> bytes:
    """Return the Ed25519 public key of a Multikey.

    Raises:
        CredentialInvalid: a key of another kind, or another spelling.
    """
    try:
        if not isinstance(text, str):
            raise MalformedKey("expected text")
        public = public_from_did_key(f"did:key:{text}")
    except MalformedKey as error:
        expected = f"expected an Ed25519 Multikey of {PUBLIC_SIZE} bytes, got something else"
        raise CredentialInvalid("unknown-key-type", expected) from error
    return public
