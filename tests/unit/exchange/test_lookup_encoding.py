"""Keys of one form and records of one size."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import InvalidRequest
from exchange.lookup.encoding import decode_record, encode_keys, encode_records
from exchange.lookup.errors import LookupFailed
from exchange.lookup.requests import KeyColumn

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=8)


def test_a_key_of_one_column_is_its_normalised_text() -> None:
    made = encode_keys([pa.array([" ab 1", "", None, "AB1"])], [KeyColumn("id", ("upper", "remove-spaces"))])
    assert made.to_pylist() == [b"AB1", None, None, b"AB1"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=2, unique=True))
def test_no_two_keys_of_several_columns_share_an_encoding(pairs: list[tuple[str, str]]) -> None:
    columns = [pa.array([pair[side] for pair in pairs], pa.string()) for side in (0, 1)]
    first, second = encode_keys(columns, [KeyColumn("a"), KeyColumn("b")]).to_pylist()
    assert first != second


def test_a_key_lacks_nothing() -> None:
    columns = [pa.array(["a", None, "c"]), pa.array([1, 2, None])]
    assert encode_keys(columns, [KeyColumn("a"), KeyColumn("b")]).to_pylist() == [b"1:a1:1", None, None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.none() | TEXTS, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=5))
def test_records_read_back_equal_and_are_of_one_size(rows: list[tuple[str | None, int | None]]) -> None:
    columns = [
        pa.array([row[0] for row in rows], pa.string()),
        pa.array([row[1] for row in rows], pa.int64()),
    ]
    made = encode_records(columns, len(rows), 64)
    assert made.shape == (len(rows), 64)
    kinds = {"reason": "string", "level": "int64"}
    found = [decode_record(record.tobytes(), kinds) for record in made]
    assert [(one["reason"], one["level"]) for one in found] == rows


def test_every_type_with_a_text_goes_into_a_record() -> None:
    columns = [pa.array([True, None]), pa.array([date(2026, 1, 2), None]), pa.array([1.5, None])]
    made = encode_records(columns, 2, 32)
    kinds = {"hit": "bool", "day": "date32[day]", "score": "double"}
    assert decode_record(made[0].tobytes(), kinds) == {"hit": True, "day": "2026-01-02", "score": "1.5"}
    assert set(decode_record(made[1].tobytes(), kinds).values()) == {None}


def test_a_slice_of_a_column_is_encoded_alone() -> None:
    made = encode_records([pa.array(["a", "bb", "ccc", "dd"]).slice(1, 2)], 2, 16)
    assert [decode_record(record.tobytes(), {"x": "string"})["x"] for record in made] == ["bb", "ccc"]


def test_a_record_of_no_columns_says_only_that_there_is_one() -> None:
    assert decode_record(encode_records([], 1, 16)[0].tobytes(), {}) == {}


def test_records_that_do_not_fit_are_refused_by_number_and_size() -> None:
    with pytest.raises(InvalidRequest, match="at least 24, or shorter records, got 16, too small for 1"):
        encode_records([pa.array(["x" * 19, "short"])], 2, 16)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\0\3" + b"3:a",
        b"\0\5" + b"9:abc",
        b"\0\5" + b"x:abc",
        b"\0\5" + b"3:abcd",
        b"\0\5" + b"3:\xff\xff\xff",
    ],
    ids=range(6),
)
def test_other_bytes_are_no_record(record: bytes) -> None:
    with pytest.raises(LookupFailed):
        decode_record(record.ljust(8, b"\0"), {"x": "string"})
