"""base64url without padding (RFC 4648, section 5): how keys, signatures and certificates stand in JSON."""

from __future__ import annotations

import base64
import binascii

__all__ = ["decode", "encode"]


def encode(data: bytes) -> str:
    """Encode bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Decode; only the one canonical spelling is taken.

    Raises:
        ValueError: another alphabet, padding, or unused bits that are not zero.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as exc:
        raise ValueError("expected base64url without padding") from exc
    if encode(data) != text:
        raise ValueError("expected the canonical base64url spelling")
    return data
