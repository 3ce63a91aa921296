"""Canonical JSON: RFC 8785 (JCS) over a restricted profile.

The profile: no floats; integers below 2^53 in magnitude; strings in Unicode NFC without lone surrogates; keys
of 1 to 256 printable ASCII characters without space, quote and backslash; at most 16 levels. Inside it
``orjson`` with sorted keys is JCS, which a property test checks against ``rfc8785``. The key alphabet is
wider than ``[a-z0-9_.-]`` because ODRL terms, DIDs and asset ids are keys.

Received bytes are never re-encoded: ``decode`` checks that they are their own canonical form, and the caller
stores and hashes what it received.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import orjson

from ledger.errors import NotCanonical

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "JsonValue", "decode", "encode", "encode_checked"]

JsonValue = None | bool | int | str | list["JsonValue"] | dict[str, "JsonValue"]

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8785, section 3.2.2.3)."""

_KEY = re.compile(r"[!#-\[\]-~]{1,256}")
_KNOWN_KEYS = 4096


def encode(value: object) -> bytes:
    """Encode ``value``, made of dict, list, tuple, str, int, bool and None.

    Raises:
        NotCanonical: the value is outside the profile.
    """
    _check(value, 0)
    return encode_checked(value)


def encode_checked(value: object) -> bytes:
    """Encode a value that is known to be inside the profile, because it came out of ``decode``."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(data: bytes) -> JsonValue:
    """Parse bytes that are their own canonical form.

    Raises:
        NotCanonical: not JSON, outside the profile, or not in canonical form.
    """
    try:
        value: JsonValue = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise NotCanonical(
            f"expected canonical JSON, got {len(data)} bytes that do not parse as such"
        ) from exc
    if encode(value) != data:
        raise NotCanonical("expected the canonical form, got another encoding of the same value")
    return value


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind is str:
        if not value.isascii():  # type: ignore[attr-defined]  # narrowed by the exact type above
            _check_text(value)  # type: ignore[arg-type]  # narrowed by the exact type above
    elif kind is dict:
        _check_depth(depth)
        for key, item in value.items():  # type: ignore[attr-defined]  # narrowed by the exact type above
            if type(key) is not str or not _is_key(key):
                raise NotCanonical("expected keys of 1 to 256 printable ASCII characters")
            if type(item) is not str or not item.isascii():
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


@lru_cache(_KNOWN_KEYS)
def _is_key(key: str) -> bool:
    return _KEY.fullmatch(key) is not None


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise NotCanonical(f"expected at most {MAX_DEPTH} levels")


def _check_text(value: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise NotCanonical("expected text without lone surrogates")
    if not unicodedata.is_normalized("NFC", value):
        raise NotCanonical("expected Unicode NFC")
