"""What a request must look like, declared once as a frozen dataclass and used twice.

``parse``, ``body``, ``query`` and ``form`` turn what was sent into the dataclass or refuse it; ``schema``
turns the same dataclass into JSON Schema for the OpenAPI document. Unknown, missing and repeated fields and
values of another type are refused. A field with a default may be left out::

    @dataclass(frozen=True)
    class VoteRequest:
        approve: bool
        reason: Annotated[str, Rule("why", maximum=500)] = ""

Types: ``str``, ``int``, ``bool``, ``object`` (any JSON), a ``Literal`` of strings, a ``StrEnum``, another
such dataclass, ``tuple[T, ...]``, ``dict[str, T]``, ``T | None``; ``Annotated[T, Rule(...)]`` adds limits and
words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar, cast

from flask import request

from exchange.errors import InvalidRequest
from exchange.web.kinds import Items, Record, Rule, kind_of, short
from ledger.times import parse_time

__all__ = ["TIME", "Rule", "body", "form", "parse", "query", "schema", "unix_time"]

T = TypeVar("T")

TIME = Rule("a time like 2026-11-23T10:00:00Z", pattern=r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
"""For a text that ``unix_time`` reads."""


def parse(kind: type[T], value: object) -> T:
    """Check decoded JSON against the dataclass ``kind`` and build it.

    Raises:
        InvalidRequest: with the path of the field that does not fit, e.g. ``columns[2].role``.
    """
    return cast(T, kind_of(kind).read(value, ""))


def body(kind: type[T]) -> T:
    """Read the present request's JSON body as ``kind``.

    Raises:
        InvalidRequest: not JSON, or not of that form.
    """
    raw = request.get_data(cache=False)
    try:
        value = json.loads(raw, object_pairs_hook=_distinct, parse_constant=_no_constant)
        if b"\\ud" in raw.lower():
            _check_unicode(value, "body")
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise InvalidRequest("body", "a JSON object", f"{len(raw)} bytes of something else") from None
    return parse(kind, value)


def query(kind: type[T]) -> T:
    """Read the present request's query parameters as ``kind``; a list field may be given several times.

    Raises:
        InvalidRequest: not of that form.
    """
    return _texts(kind, request.args.lists())


def form(kind: type[T]) -> T:
    """Read the fields of the form that the present request posts as ``kind``, like ``query``.

    Raises:
        InvalidRequest: not of that form.
    """
    return _texts(kind, request.form.lists())


def _texts(kind: type[T], sent: Iterable[tuple[str, list[str]]]) -> T:
    fields = dict(cast(Record, kind_of(kind)).fields)
    given: dict[str, object] = {}
    for name, values in sent:
        field = fields.get(name)
        if isinstance(field, Items):
            given[name] = [field.item.from_text(value) for value in values]
        elif len(values) > 1:
            raise InvalidRequest(short(name), "one value", f"{len(values)} values")
        else:
            given[name] = field.from_text(values[0]) if field else values[0]
    return parse(kind, given)


def schema(kind: type) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of what ``parse`` accepts as ``kind``."""
    return kind_of(kind).schema()


def unix_time(field: str, text: str | None) -> int | None:
    """Turn a time as people write it into Unix time; None stays None.

    Raises:
        InvalidRequest: there is no such moment.
    """
    if text is None:
        return None
    try:
        return int(parse_time(text).timestamp())
    except ValueError:
        raise InvalidRequest(field, TIME.description or "a time", text) from None


def _distinct(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidRequest(short(name), "each field once", "the same field twice")
        found[name] = value
    return found


def _check_unicode(value: object, place: str) -> None:
    """JSON can escape half of a surrogate pair, which is no character and fits into no database."""
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidRequest(place, "Unicode text", "half of a surrogate pair")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_unicode(item, f"{place}[{number}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_unicode(name, place)
            _check_unicode(item, f"{place}.{short(name)}")


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest("body", "JSON numbers", name)
