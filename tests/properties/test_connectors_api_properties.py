"""Whatever an API answers or a steward describes, what comes back is exact, or an error of ours."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors import ConnectorError, HostNotAllowed, InvalidSource, InvalidValues, SourceSpec
from connectors.api_hosts import Hosts, parse_api_url
from connectors.api_options import ApiOptions
from connectors.api_records import decode, record_batch, records_of
from connectors.spec import KINDS

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
TYPES = ("boolean", "date", "float", "integer", "text", "timestamp", "timestamp-utc", "decimal/2")
NAMES = ("columns", "records", "paging", "auth", "limits", "ca", "name", "type", "style", "scheme", "token")
DESCRIPTIONS = st.recursive(
    JSON | st.sampled_from(TYPES),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=10,
)
ADDRESSES = st.text(st.characters(codec="ascii"), max_size=40).map(lambda text: f"https://{text}")


@given(st.lists(st.fixed_dictionaries({}, optional={"v": JSON}), max_size=4), st.sampled_from(TYPES))
@example([{"v": "1e99999999999999999999"}], "decimal/2")
@example([{"v": "\ud800"}], "text")
@example([{"v": "0001-01-01T00:00:00+23:59"}], "timestamp-utc")
@example([{"v": 10**400}], "float")
@example([{"v": 2**53 + 1}], "float")
def test_a_record_is_read_exactly_or_refused(records: list[dict[str, Any]], kind: str) -> None:
    options = ApiOptions.parse({"columns": [{"name": "v", "type": kind}]})
    page = records_of(decode(json.dumps(records).encode(), "page 1"), "", "page 1")
    refused = None
    try:
        found = record_batch(page, options.columns, "page 1").column(0).to_pylist()
    except InvalidValues as error:
        refused = error
    if refused is not None:
        assert refused.place.startswith("page 1, record ")
        return
    sent = [record["v"] for record in records]
    if kind in ("boolean", "integer", "text", "float"):
        assert found == sent
    if kind == "decimal/2":
        assert found == [None if value is None else Decimal(str(value)) for value in sent]


@given(st.binary(max_size=40))
def test_bytes_that_are_no_page_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidValues, match="page 1") as caught:
        records_of(decode(body, "page 1"), "/a/b", "page 1")
    assert caught.value.__cause__ is None


@given(DESCRIPTIONS)
def test_a_description_is_read_or_refused_by_field(value: object) -> None:
    place = "options"
    try:
        ApiOptions.parse(value)
    except InvalidSource as error:
        place = error.field
    assert place.startswith("options")


@given(ADDRESSES | st.text(max_size=30))
@example("https://[::1%25eth0]:443/")
@example("https://a:b@c:1/")
@example("https://\u2100.example/")
def test_an_address_is_read_or_refused_and_never_listed_by_chance(text: str) -> None:
    try:
        url = parse_api_url(text)
    except InvalidSource:
        return
    assert "@" not in url.place
    with pytest.raises(HostNotAllowed):
        Hosts(["not.generated.example:443"]).check(url)


@given(st.sampled_from(KINDS), st.text(max_size=20), st.dictionaries(st.sampled_from(NAMES), DESCRIPTIONS))
def test_a_source_is_described_or_refused(kind: str, location: str, options: dict[str, object]) -> None:
    try:
        shown = SourceSpec(kind, location, None, options).display
    except ConnectorError:
        return
    assert shown == location or kind in ("api", "list", "stream")
