"""The shapes of entry bodies: small checks that combine, and refuse with ``entry.malformed-body``.

A shape takes a value and the name of its place, and returns the value. Objects are closed: an unknown member
is refused, so that nothing unchecked stands on the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ledger import base64url
from ledger.canonical import MAX_INTEGER
from ledger.errors import Refusal
from ledger.times import parse_time

__all__ = [
    "ASSET_ID",
    "BOOLEAN",
    "BYTES",
    "COUNT",
    "DID",
    "DIGEST",
    "ENDPOINT",
    "NAME",
    "NUMBER_OR_WORD",
    "OBJECT",
    "POSITIVE",
    "REASON",
    "SENTENCE",
    "TIME",
    "WEB_ADDRESS",
    "WORD",
    "Shape",
    "between",
    "constant",
    "identifier",
    "list_of",
    "malformed",
    "one_of",
    "optional",
    "record",
    "text",
]

Shape = Callable[[object, str], Any]

_ULID = r"[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}"
_SLUG = r"[a-z0-9][a-z0-9-]{0,62}"


def malformed(where: str, expected: str) -> Refusal:
    """Return the refusal of a body that does not have its shape."""
    return Refusal("entry.malformed-body", f"{where}: expected {expected}")


def text(limit: int, *, least: int = 1) -> Shape:
    """Text of ``least`` to ``limit`` characters."""

    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or not least <= len(value) <= limit:
            raise malformed(where, f"text of {least} to {limit} characters")
        return value

    return check


def _pattern(pattern: str, meaning: str) -> Shape:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or compiled.fullmatch(value) is None:
            raise malformed(where, meaning)
        return value

    return check


def _integer(least: int) -> Shape:
    def check(value: object, where: str) -> int:
        if type(value) is not int or not least <= value <= MAX_INTEGER:
            raise malformed(where, f"an integer of at least {least}")
        return value

    return check


def between(least: int, most: int) -> Shape:
    """An integer in a closed range."""

    def check(value: object, where: str) -> int:
        if type(value) is not int or not least <= value <= most:
            raise malformed(where, f"an integer from {least} to {most}")
        return value

    return check


def _time(value: object, where: str) -> str:
    checked: str = text(20)(value, where)
    try:
        parse_time(checked)
    except ValueError as exc:
        raise malformed(where, "a time like 2026-11-23T10:00:00Z") from exc
    return checked


def _bytes(value: object, where: str) -> bytes:
    try:
        return base64url.decode(text(8192)(value, where))
    except ValueError as exc:
        raise malformed(where, "base64url without padding") from exc


def _boolean(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise malformed(where, "true or false")
    return value


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise malformed(where, "an object")
    return value


def _number_or_word(value: object, where: str) -> int | str:
    if isinstance(value, str):
        word: str = WORD(value, where)
        return word
    number: int = COUNT(value, where)
    return number


def constant(expected: object) -> Shape:
    """Exactly this value, and of this type."""

    def check(value: object, where: str) -> Any:  # noqa: ANN401 - a shape returns what it checked
        if type(value) is not type(expected) or value != expected:
            raise malformed(where, repr(expected))
        return value

    return check


def one_of(*words: str) -> Shape:
    """One of a few words."""

    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in words:
            raise malformed(where, " or ".join(words))
        return value

    return check


def optional(shape: Shape) -> Shape:
    """Null, or the shape."""
    return lambda value, where: None if value is None else shape(value, where)


def list_of(shape: Shape, *, most: int, least: int = 0, distinct: bool = True) -> Shape:
    """A list of ``least`` to ``most`` items of one shape; distinct unless told otherwise."""

    def check(value: object, where: str) -> list[Any]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise malformed(where, f"a list of {least} to {most} items")
        for position, item in enumerate(value):
            shape(item, f"{where}[{position}]")
            if distinct and item in value[:position]:
                raise malformed(where, "distinct items")
        return value

    return check


def record(required: Mapping[str, Shape], extra: Mapping[str, Shape] | None = None) -> Shape:
    """A closed object with these members; those of ``extra`` may be absent."""
    known = {**required, **(extra or {})}

    def check(value: object, where: str) -> dict[str, Any]:
        members: dict[str, Any] = _object(value, where)
        if not set(required) <= set(members) <= set(known):
            raise malformed(where, f"the members {', '.join(sorted(required))}")
        for name, item in members.items():
            known[name](item, f"{where}.{name}")
        return members

    return check


def identifier(kind: str) -> Shape:
    """An id like ``job-01j…``."""
    return _pattern(f"{kind}-{_ULID}", f"an id like {kind}- and 26 characters")


WORD = text(64)
SENTENCE = text(256)
REASON = text(1024)
BOOLEAN: Shape = _boolean
BYTES: Shape = _bytes
COUNT = _integer(0)
POSITIVE = _integer(1)
OBJECT: Shape = _object
NUMBER_OR_WORD: Shape = _number_or_word
TIME: Shape = _time
DIGEST = _pattern("[0-9a-f]{64}", "64 hex digits")
DID = _pattern(r"did:[a-z0-9]+:[!-~]{1,200}", "a DID")
NAME = _pattern(_SLUG, "a name of lower-case letters, digits and hyphens")
ASSET_ID = _pattern(f"{_SLUG}/{_SLUG}", "an asset id like owner/name")
ENDPOINT = _pattern(r"[!-~]{1,253}:[1-9][0-9]{0,4}", "an address like host:port")
WEB_ADDRESS = _pattern(r"https://[a-z0-9.:\[\]-]{1,253}(?:/[A-Za-z0-9._~-]{1,64}){0,4}", "an https address")
