"""Salted commitments: what an entry says about content that stays private.

``SHA-256(0x02 || salt || payload)`` with a fresh 32-byte salt. Without the salt nobody can guess a
low-entropy payload from the ledger; dropping payload and salt erases the content and keeps the ledger whole.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from ledger.errors import CommitmentMismatch

__all__ = ["SALT_SIZE", "Opening", "check", "commit"]

SALT_SIZE = 32
_PREFIX = b"\x02"


@dataclass(frozen=True)
class Opening:
    """What opens a commitment: the payload and its 32-byte salt. Its ``repr`` shows neither."""

    payload: bytes = field(repr=False)
    salt: bytes = field(repr=False)


def commit(payload: bytes, salt: bytes | None = None) -> tuple[str, bytes]:
    """Commit to ``payload``.

    Args:
        payload: the content.
        salt: 32 random bytes; drawn here if left out.

    Returns:
        The commitment as lower hex, and the salt to keep with the payload.
    """
    salt = secrets.token_bytes(SALT_SIZE) if salt is None else salt
    if len(salt) != SALT_SIZE:
        raise ValueError(f"expected a salt of {SALT_SIZE} bytes, got {len(salt)}")
    return hashlib.sha256(_PREFIX + salt + payload).hexdigest(), salt


def check(commitment: str, payload: bytes, salt: bytes) -> None:
    """Check that ``commitment`` was made from this payload and salt.

    Raises:
        CommitmentMismatch: it was not.
    """
    if len(salt) != SALT_SIZE or not hmac.compare_digest(commit(payload, salt)[0], commitment):
        raise CommitmentMismatch("the payload and salt are not what the commitment was made from")
