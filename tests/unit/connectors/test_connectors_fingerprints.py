"""The dataset version, against an independent and slow definition of the same words."""

from __future__ import annotations

import hashlib
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal

import pyarrow as pa
import pytest

from connectors import (
    DatasetChanged,
    EmptyTable,
    InvalidSource,
    InvalidValues,
    UnsupportedColumn,
    fingerprints,
)
from connectors.connector import rebatch, require_columns
from connectors.filters import Filter
from connectors.fingerprints import check_version, dataset_version

SALT = bytes(range(32))


class TableSource:
    """A connector over a table in memory."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def schema(self) -> pa.Schema:
        return self.table.schema

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        assert where is None
        names = list(require_columns(columns, self.table.schema))
        return rebatch(iter(self.table.select(names).to_batches()), batch_rows)

    def close(self) -> None:
        """Nothing is open."""


def merkle(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as written."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + merkle(leaves[:k]) + merkle(leaves[k:])).digest()


def row(*cells: bytes | None) -> bytes:
    return b"".join(b"-," if cell is None else str(len(cell)).encode() + b":" + cell + b"," for cell in cells)


def root(*encoded: bytes) -> str:
    return merkle([hashlib.sha256(b"\x00" + SALT + content).digest() for content in encoded]).hex()


def version(columns: dict[str, pa.Array]) -> str:
    return dataset_version(TableSource(pa.table(columns)), SALT).root


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, 9, 31, 100])
def test_the_root_is_rfc_6962_of_salted_leaves(rows: int) -> None:
    table = pa.table({"id": [f"p{i}" for i in range(rows)], "amount": list(range(rows))})
    leaves = [row(b"parley-table/v1", b"id", b"text", b"amount", b"integer")]
    leaves += [row(f"p{i}".encode(), str(i).encode()) for i in range(rows)]
    found = dataset_version(TableSource(table), SALT)
    assert (found.root, found.rows) == (root(*leaves), rows)


@pytest.mark.parametrize("rows", [1, 2, 3, 16, 17, 31, 100, 1000])
@pytest.mark.parametrize("plain", [0, 20, 40])
def test_compiled_loops_give_the_same_root(rows: int, plain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "_BATCH_ROWS", 20)
    monkeypatch.setattr(fingerprints, "_PLAIN_ROWS", plain)
    monkeypatch.delitem(sys.modules, "connectors.sha256_lanes", raising=False)
    texts = ["x" * (number * 7 % 150) for number in range(rows)]
    schema = row(b"parley-table/v1", b"t", b"text")
    assert version({"t": pa.array(texts)}) == root(schema, *(row(text.encode()) for text in texts))


@pytest.mark.parametrize(
    ("array", "kind", "content"),
    [
        (pa.array(["名"]), b"text", "名".encode()),
        (pa.array([b"\x00,"]), b"binary", b"\x00,"),
        (pa.array([-12], pa.int16()), b"integer", b"-12"),
        (pa.array([2**64 - 1], pa.uint64()), b"integer", b"18446744073709551615"),
        (pa.array([True]), b"boolean", b"true"),
        (pa.array([0.1]), b"float", str(struct.unpack(">q", struct.pack(">d", 0.1))[0]).encode()),
        (
            pa.array([0.5], pa.float32()),
            b"float",
            str(struct.unpack(">q", struct.pack(">d", 0.5))[0]).encode(),
        ),
        (pa.array([-0.0]), b"float", b"0"),
        (
            pa.array([Decimal("-1.50")], pa.decimal128(10, 2)),
            b"decimal/2",
            (-150).to_bytes(16, "little", signed=True),
        ),
        (pa.array([Decimal("7")], pa.decimal256(40, 0)), b"decimal/0", (7).to_bytes(16, "little")),
        (pa.array([date(1970, 1, 3)]), b"date", b"2"),
        (pa.array([date(1970, 1, 3)], pa.date64()), b"date", b"2"),
        (pa.array([clock_time(0, 0, 1)]), b"time", b"1000000"),
        (pa.array([datetime(1970, 1, 1, 0, 0, 1)]), b"timestamp", b"1000000"),  # noqa: DTZ001
        (pa.array([datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]), b"timestamp-utc", b"1000000"),
        (pa.array([1], pa.timestamp("s")), b"timestamp", b"1000000"),
        (pa.array(["x"]).dictionary_encode(), b"text", b"x"),
        (pa.array([None], pa.string()), b"text", None),
        (pa.array([""]), b"text", b""),
    ],
)
def test_a_cell_is_encoded_as_documented(array: pa.Array, kind: bytes, content: bytes | None) -> None:
    assert version({"c": array}) == root(row(b"parley-table/v1", b"c", kind), row(content))


def test_a_slice_of_decimals_is_encoded_from_its_offset() -> None:
    array = pa.array([Decimal(1), None, Decimal(3)], pa.decimal128(5, 0))
    assert version({"c": array[1:]}) == version({"c": pa.array([None, Decimal(3)], pa.decimal128(5, 0))})


def test_every_nan_is_one_value() -> None:
    quiet, payload = (
        struct.unpack(">d", bytes.fromhex(bits))[0] for bits in ("7ff8" + "0" * 12, "fff8" + "1" * 12)
    )
    assert version({"c": pa.array([quiet])}) == version({"c": pa.array([payload])})


@pytest.mark.parametrize(
    "other",
    [
        {"a": ["x", "y"], "b": ["1", "3"]},
        {"a": ["y", "x"], "b": ["2", "1"]},
        {"a": ["x", "y"], "c": ["1", "2"]},
        {"b": ["1", "2"], "a": ["x", "y"]},
        {"a": ["x", "y"], "b": [1, 2]},
        {"a": ["x", "y"], "b": ["1", None]},
        {"a": ["x1", "y"], "b": ["", "2"]},
        {"a": ["x", "y", "y"], "b": ["1", "2", "2"]},
    ],
)
def test_another_table_has_another_version(other: dict[str, list[object]]) -> None:
    mine = pa.table({"a": ["x", "y"], "b": ["1", "2"]})
    assert (
        dataset_version(TableSource(mine), SALT).root
        != dataset_version(TableSource(pa.table(other)), SALT).root
    )


def test_another_salt_gives_another_version() -> None:
    source = TableSource(pa.table({"a": [1]}))
    assert dataset_version(source, SALT).root != dataset_version(source, SALT[::-1]).root


def test_a_selection_of_columns_is_a_table_of_its_own() -> None:
    source = TableSource(pa.table({"a": [1], "b": [2]}))
    assert dataset_version(source, SALT, ["b"]).root == version({"b": pa.array([2])})


def test_the_size_of_batches_does_not_matter() -> None:
    whole = pa.table({"a": list(range(40_000))})
    pieces = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 20_000), whole.slice(20_007)])
    assert dataset_version(TableSource(whole), SALT) == dataset_version(TableSource(pieces), SALT)


def test_a_table_without_rows_has_no_version() -> None:
    with pytest.raises(EmptyTable):
        dataset_version(TableSource(pa.table({"a": pa.array([], pa.int64())})), SALT)


def test_a_nested_column_has_no_version() -> None:
    with pytest.raises(UnsupportedColumn, match="column a has the type list"):
        version({"a": pa.array([[1]])})


def test_a_time_finer_than_a_microsecond_has_no_version() -> None:
    with pytest.raises(InvalidValues, match="column a"):
        version({"a": pa.array([1], pa.timestamp("ns"))})


@pytest.mark.parametrize("salt", [b"", bytes(15), bytes(65)])
def test_a_salt_of_the_wrong_length_is_refused(salt: bytes) -> None:
    with pytest.raises(InvalidSource, match="salt"):
        dataset_version(TableSource(pa.table({"a": [1]})), salt)


def test_a_changed_table_is_noticed() -> None:
    published = dataset_version(TableSource(pa.table({"a": [1, 2]})), SALT)
    same = TableSource(pa.table({"a": [1, 2]}))
    assert check_version(same, SALT, published.root) == published
    with pytest.raises(DatasetChanged, match=published.root):
        check_version(TableSource(pa.table({"a": [1, 3]})), SALT, published.root)


def test_thirty_thousand_rows_take_well_under_a_second() -> None:
    table = pa.table({f"c{i}": [f"{i}-{j}" for j in range(30_000)] for i in range(6)})
    started = time.perf_counter()
    dataset_version(TableSource(table), SALT)
    assert time.perf_counter() - started < 2.0  # about 0.1 s when the machine is idle
