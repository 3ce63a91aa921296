"""What a request must look like, declared once as a frozen dataclass and used twice.

``parse``, ``body`` and ``query`` turn what was sent into the dataclass or refuse it; ``schema`` turns the
same dataclass into JSON Schema for the OpenAPI document. Unknown, missing and repeated fields and values of
another type are refused. A field with a default may be left out::

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

__all__ = ["Rule", "body", "parse", "query", "schema"]

T = TypeVar("T")


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
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise InvalidRequest("body", "a JSON object", f"{len(raw)} bytes of something else") from None
    return parse(kind, value)


def query(kind: type[T]) -> T:
    """Read the present request's query parameters as ``kind``; a list field may be given several times.

    Raises:
        InvalidRequest: not of that form.
    """
    fields = dict(cast(Record, kind_of(kind)).fields)
    given: dict[str, object] = {}
    for name, values in request.args.lists():
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


def _distinct(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidRequest(short(name), "each field once", "the same field twice")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest("body", "JSON numbers", name)
