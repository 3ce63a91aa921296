"""Times in documents from outside: RFC 3339, UTC, whole seconds, as everywhere in Parley."""

from __future__ import annotations

from datetime import datetime

from exchange.credentials.errors import CredentialInvalid
from ledger.times import parse_time

__all__ = ["read_time"]


def read_time(value: object, where: str) -> datetime:
    """Read a time.

    Raises:
        CredentialInvalid: not of the form ``2026-11-23T10:00:00Z``.
    """
    try:
        if not isinstance(value, str):
            raise ValueError("expected text")
        return parse_time(value)
    except ValueError as error:
        raise CredentialInvalid("malformed", f"{where}: expected a time like 2026-11-23T10:00:00Z") from error
