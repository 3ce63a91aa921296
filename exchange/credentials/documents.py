"""JSON documents from outside: read strictly, within limits, and written canonically (RFC 8785).

Credentials may hold what the ledger's own profile of canonical JSON refuses, such as fractions, so they are
canonicalised by the full algorithm. A document with a key twice means two things to two readers: refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

import rfc8785

from exchange.credentials.errors import CredentialInvalid

__all__ = ["MAX_DEPTH", "MAX_SIZE", "Document", "canonical", "read"]

Document = dict[str, Any]
"""A JSON object."""

MAX_SIZE = 512 * 1024
"""Bytes of a document; a status list of 131,072 entries without any repetition stays below."""

MAX_DEPTH = 24


def read(raw: bytes | str) -> Document:
    """Parse a JSON object.

    Raises:
        CredentialInvalid: too large, too deep, no JSON object, a key twice, or a number that no two readers
            agree on.
    """
    if len(raw) > MAX_SIZE:
        raise _malformed(f"expected at most {MAX_SIZE} bytes, got {len(raw)}")
    try:
        value = json.loads(raw, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise _malformed("expected a JSON document, got something else") from error
    if not isinstance(value, dict):
        raise _malformed("expected a JSON object, got another value")
    canonical(value)
    return value


def canonical(value: object) -> bytes:
    """Return the canonical bytes of a JSON value (RFC 8785).

    Raises:
        CredentialInvalid: it is too deep, or has no canonical form: a number beyond 2^53, a lone surrogate.
    """
    _check_depth(value)
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # whatever is no JSON value, it refuses
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise _malformed("expected a JSON value with a canonical form (RFC 8785)") from error


def _check_depth(value: object) -> None:
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise _malformed(f"expected at most {MAX_DEPTH} levels")
        level = [
            child
            for item in level
            if isinstance(item, dict | list | tuple)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1


def _distinct(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _malformed("expected each member of an object once, got one twice")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise _malformed(f"expected JSON numbers, got {name}")


def _malformed(message: str) -> CredentialInvalid:
    return CredentialInvalid("malformed", message)
