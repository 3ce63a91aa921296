"""Canonical JSON: RFC 8785 (JCS) over a restricted profile.

The profile: no floats; integers below 2^53 in magnitude; strings in Unicode NFC without lone surrogates; keys
of 1 to 256 printable ASCII characters without space, quote and backslash; at most 16 levels. Inside it
``json.dumps`` with sorted keys is JCS, which a property test checks against ``rfc8785``. The key alphabet is
wider than ``[a-z0-9_.-]`` because ODRL terms, DIDs and asset ids are keys.

Received bytes are never re-encoded: ``decode`` checks that they are their own canonical form, and the caller
stores and hashes what it received.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import NoReturn

from ledger.errors import NotCanonical

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "JsonValue", "decode", "encode"]

JsonValue = None | bool | int | str | list["JsonValue"] | dict[str, "JsonValue"]

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8785, section 3.2.2.3)."""

_KEY = re.compile(r"[!#-\[\]-~]{1,256}")
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode(value: object) -> bytes:
    """Encode ``value``, made of dict, list, tuple, str, int, bool and None.

    Raises:
        NotCanonical: the value is outside the profile.
    """
    _check(value, 0)
    return _ENCODER.encode(value).encode()


def decode(data: bytes) -> JsonValue:
    """Parse bytes that are their own canonical form.

    Raises:
        NotCanonical: not JSON, outside the profile, or not in canonical form.
    """
    try:
        value: JsonValue = json.loads(data.decode(), parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        raise NotCanonical(
            f"expected canonical JSON, got {len(data)} bytes that do not parse as such"
        ) from exc
    if encode(value) != data:
        raise NotCanonical("expected the canonical form, got another encoding of the same value")
    return value


def _refuse(literal: str) -> NoReturn:
    raise ValueError(f"number {literal[:32]} is not an integer")


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind is str:
        _check_text(value)  # type: ignore[arg-type]  # narrowed by the exact type above
    elif kind is dict:
        _check_depth(depth)
        for key, item in value.items():  # type: ignore[attr-defined]  # narrowed by the exact type above
            if type(key) is not str or _KEY.fullmatch(key) is None:
                raise NotCanonical("expected keys of 1 to 256 printable ASCII characters")
            _check(item, depth + 1)
    elif kind is list or kind is tuple:
        _check_depth(depth)
        for item in value:  # type: ignore[attr-defined]  # narrowed by the exact type above
            _check(item, depth + 1)
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]  # narrowed above
            raise NotCanonical("expected an integer below 2^53 in magnitude")
    elif kind is not bool and value is not None:
        raise NotCanonical(f"expected a JSON value without floats, got {kind.__name__}")


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise NotCanonical(f"expected at most {MAX_DEPTH} levels")


def _check_text(value: str) -> None:
    if value.isascii():
        return
    if not unicodedata.is_normalized("NFC", value):
        raise NotCanonical("expected Unicode NFC")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise NotCanonical("expected text without lone surrogates")
