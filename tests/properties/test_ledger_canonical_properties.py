"""The fast canonical encoder equals RFC 8785 inside the profile, and nothing outside it gets through."""

import unicodedata
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import canonical
from ledger.errors import NotCanonical

KEYS = st.text(
    st.sampled_from([chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"\\']), min_size=1, max_size=12
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: unicodedata.normalize("NFC", text)
)
INTEGERS = st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_encoding_equals_jcs_and_decodes_back(value: Any) -> None:
    data = canonical.encode(value)
    assert data == rfc8785.dumps(value)
    assert canonical.decode(data) == value


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_raise_only_the_promised_error(data: bytes) -> None:
    try:
        value = canonical.decode(data)
    except NotCanonical:
        return
    assert canonical.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b"1.0",
        b"1e2",
        b"-0",
        b"NaN",
        b"Infinity",
        b"9007199254740992",
        b'"\\u0041"',
        '"e\u0301"'.encode(),
        b'"\\ud800"',
        b'{"":1}',
        b'{"a b":1}',
        '{"ä":1}'.encode(),
        b"[" * 17 + b"]" * 17,
        b"[" * 100_000,
        b"1" * 5000,
        b"\xff",
        b"",
    ],
    ids=lambda data: data[:12].hex() or "empty",
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        canonical.decode(data)


@pytest.mark.parametrize("value", [1.5, {1: 2}, b"x", {"a": {1, 2}}, "\ud800", 2**53], ids=repr)
def test_values_outside_the_profile_are_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical.encode(value)


def test_sixteen_levels_are_allowed() -> None:
    assert canonical.decode(b"[" * 16 + b"]" * 16)
