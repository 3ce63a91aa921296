from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from flask import Flask

from exchange.errors import InvalidRequest
from exchange.web import fields
from exchange.web.fields import Rule


class Role(StrEnum):
    IDENTIFIER = "identifier"
    MEASURE = "measure"


@dataclass(frozen=True)
class Column:
    """One column."""

    name: Annotated[str, Rule("column name", minimum=1, maximum=10, pattern=r"[a-z_]+")]
    role: Role


@dataclass(frozen=True)
class Publish:
    """Publish an asset.

    Not in the schema.
    """

    name: str
    kind: Literal["sql", "file"]
    columns: Annotated[tuple[Column, ...], Rule(minimum=1, maximum=3)]
    uses: Annotated[int, Rule("number of uses", minimum=1, maximum=100)] = 1
    expires: str | None = None
    labels: dict[str, int] | None = None
    public: bool = False
    extra: object = None


GOOD: dict[str, Any] = {"name": "loans", "kind": "sql", "columns": [{"name": "id", "role": "identifier"}]}


def test_parse_builds_the_dataclass_with_its_defaults() -> None:
    found = fields.parse(Publish, GOOD | {"labels": {"a": 1}, "extra": [1, {"b": None}], "expires": None})
    assert found == Publish(
        "loans", "sql", (Column("id", Role.IDENTIFIER),), 1, None, {"a": 1}, False, [1, {"b": None}]
    )
    assert found.columns[0].role is Role.IDENTIFIER


BAD: dict[str, tuple[object, str, str, str]] = {
    "not an object": ([], "body", "an object", "a list"),
    "null": (None, "body", "an object", "null"),
    "unknown field": (
        GOOD | {"colour": 1},
        "colour",
        "one of name, kind, columns, uses, expires, labels, public, extra",
        "an unknown field",
    ),
    "unknown nested field": (
        GOOD | {"columns": [{"name": "id", "role": "measure", "typo": 1}]},
        "columns[0].typo",
        "one of name, role",
        "an unknown field",
    ),
    "missing field": ({"name": "x"}, "kind", "one of sql, file", "nothing"),
    "missing nested field": (
        GOOD | {"columns": [{"role": "measure"}]},
        "columns[0].name",
        "column name",
        "nothing",
    ),
    "number for text": (GOOD | {"name": 3}, "name", "a text", "the number 3"),
    "text for number": (GOOD | {"uses": "3"}, "uses", "number of uses", "the text '3'"),
    "true for number": (GOOD | {"uses": True}, "uses", "number of uses", "true or false"),
    "float for number": (GOOD | {"uses": 1.0}, "uses", "number of uses", "the number 1.0"),
    "number for flag": (GOOD | {"public": 1}, "public", "true or false", "the number 1"),
    "too small": (GOOD | {"uses": 0}, "uses", "at least 1", "0"),
    "too large": (GOOD | {"uses": 101}, "uses", "at most 100", "101"),
    "no such literal": (GOOD | {"kind": "ftp"}, "kind", "one of sql, file", "the text 'ftp'"),
    "no such member": (
        GOOD | {"columns": [{"name": "id", "role": "king"}]},
        "columns[0].role",
        "one of identifier, measure",
        "the text 'king'",
    ),
    "text for list": (GOOD | {"columns": "id"}, "columns", "a list", "the text 'id'"),
    "empty list": (GOOD | {"columns": []}, "columns", "at least 1 items", "0"),
    "long list": (GOOD | {"columns": GOOD["columns"] * 4}, "columns", "at most 3 items", "4"),
    "long text": (GOOD | {"name": "x" * 10_001}, "name", "at most 10000 characters", "10001"),
    "pattern": (
        GOOD | {"columns": [{"name": "ID", "role": "measure"}]},
        "columns[0].name",
        "column name",
        "the text 'ID'",
    ),
    "wrong map value": (GOOD | {"labels": {"a": "b"}}, "labels.a", "a whole number", "the text 'b'"),
    "list for map": (GOOD | {"labels": []}, "labels", "an object", "a list"),
    "long unknown name": (GOOD | {"y" * 99: 1}, "y" * 60 + "…", "one of", "an unknown field"),
}


@pytest.mark.parametrize("case", BAD)
def test_parse_names_the_place_the_expected_and_the_found(case: str) -> None:
    value, field, expected, actual = BAD[case]
    with pytest.raises(InvalidRequest) as caught:
        fields.parse(Publish, value)
    assert caught.value.field == field
    assert caught.value.expected.startswith(expected)
    assert caught.value.actual == actual


def test_schema_says_the_same_as_parse() -> None:
    found = fields.schema(Publish)
    assert found["description"] == "Publish an asset."
    assert found["required"] == ["name", "kind", "columns"]
    assert found["additionalProperties"] is False
    assert found["properties"]["uses"] == {
        "type": "integer",
        "description": "number of uses",
        "minimum": 1,
        "maximum": 100,
    }
    assert found["properties"]["kind"] == {"type": "string", "enum": ["sql", "file"]}
    assert found["properties"]["expires"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    column = found["properties"]["columns"]["items"]
    assert column["properties"]["name"]["pattern"] == "^(?:[a-z_]+)$"
    assert column["properties"]["role"]["enum"] == ["identifier", "measure"]
    assert found["properties"]["labels"]["anyOf"][0]["additionalProperties"] == {"type": "integer"}
    json.dumps(found)


def test_a_type_that_no_field_can_have_is_a_programming_error() -> None:
    @dataclass(frozen=True)
    class Wrong:
        ratio: float

    with pytest.raises(TypeError, match="float"):
        fields.schema(Wrong)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        (b'"text"', "body"),
        (b'{"name": NaN}', "body"),
        (b'{"name": "a", "name": "b"}', "name"),
        (b"[" * 100_000, "body"),
    ],
)
def test_body_refuses_what_is_not_one_json_object(raw: bytes, field: str) -> None:
    with (
        Flask("t").test_request_context("/", method="POST", data=raw),
        pytest.raises(InvalidRequest) as caught,
    ):
        fields.body(Publish)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (rb'{"name": "x\ud800"}', "body.name"),
        (rb'{"extra": [{"a": ["\uDFFF"]}]}', "body.extra[0].a[0]"),
        (rb'{"x\udc00": 1}', "body"),
    ],
)
def test_half_a_character_is_refused_where_it_stands(raw: bytes, field: str) -> None:
    with (
        Flask("t").test_request_context("/", method="POST", data=raw),
        pytest.raises(InvalidRequest, match="half of a surrogate pair") as caught,
    ):
        fields.body(Publish)
    assert caught.value.field == field


def test_a_whole_pair_is_a_character() -> None:
    raw = json.dumps(GOOD | {"extra": "\U0001f4a1"}).encode()
    with Flask("t").test_request_context("/", method="POST", data=raw):
        assert fields.body(Publish).extra == "\U0001f4a1"


def test_body_reads_json() -> None:
    with Flask("t").test_request_context("/", method="POST", data=json.dumps(GOOD)):
        assert fields.body(Publish).name == "loans"


@dataclass(frozen=True)
class Search:
    """A search."""

    q: str = ""
    type: tuple[str, ...] = ()
    limit: Annotated[int, Rule(minimum=1, maximum=50)] = 20
    wait: bool = True
    after: int | None = None


def test_query_converts_texts() -> None:
    with Flask("t").test_request_context("/?q=a&type=b&type=c&limit=5&wait=0&after=7"):
        assert fields.query(Search) == Search("a", ("b", "c"), 5, False, 7)
    with Flask("t").test_request_context("/"):
        assert fields.query(Search) == Search()


@pytest.mark.parametrize(
    ("text", "field"),
    [("limit=x", "limit"), ("limit=99", "limit"), ("wait=maybe", "wait"), ("q=a&q=b", "q"), ("z=1", "z")],
)
def test_query_refuses_what_does_not_fit(text: str, field: str) -> None:
    with Flask("t").test_request_context(f"/?{text}"), pytest.raises(InvalidRequest) as caught:
        fields.query(Search)
    assert caught.value.field == field
