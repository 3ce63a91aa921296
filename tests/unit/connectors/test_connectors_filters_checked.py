"""Filters that do not fit a table are refused, by the column and the kind of value, never by the value."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from connectors import InvalidFilter, MissingColumn, SourceSpec, open_source
from connectors.filters import And, Compare, Filter, In, IsNull, Not, Or, check, names

SCHEMA = pa.schema(
    {
        "i": pa.int16(),
        "f": pa.float32(),
        "d": pa.decimal128(6, 2),
        "b": pa.bool_(),
        "t": pa.string(),
        "x": pa.binary(),
        "y": pa.date32(),
        "s": pa.timestamp("us"),
        "z": pa.timestamp("us", tz="UTC"),
        "h": pa.time64("us"),
        "l": pa.list_(pa.int64()),
    }
)
NAIVE = datetime(2020, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    "where",
    [
        Compare("i", "=", True),
        Compare("i", "=", 1.0),
        Compare("i", "=", 2**15),
        Compare("i", "like", 1),  # type: ignore[arg-type]
        Compare("i", "= 1 OR 1", 1),  # type: ignore[arg-type]
        Compare("f", "=", float("nan")),
        Compare("f", "<", float("inf")),
        Compare("f", "=", "0"),
        Compare("f", "=", 2**60 + 1),
        Compare("d", "=", Decimal("1.005")),
        Compare("d", "=", Decimal("NaN")),
        Compare("d", "=", Decimal(10**5)),
        Compare("d", "=", 0.5),
        Compare("b", "<", True),
        Compare("b", "=", 1),
        Compare("t", "=", "sal\0ary"),
        Compare("t", "=", "\ud800"),
        Compare("t", "=", b"salary"),
        Compare("x", "=", "salary"),
        Compare("y", "=", NAIVE),
        Compare("y", "=", "2020-01-01"),
        Compare("s", "=", NAIVE.replace(tzinfo=UTC)),
        Compare("s", "=", date(2020, 1, 1)),
        Compare("z", "=", NAIVE),
        Compare("h", "=", time(1, tzinfo=UTC)),
        Compare("l", "=", 1),
        Compare("i", "=", None),  # type: ignore[arg-type]
        In("i", ()),
        In("i", (1, None)),  # type: ignore[arg-type]
        In("i", (1,) * 10_001),
        And(()),
        Or([IsNull("i")]),  # type: ignore[arg-type]
        And(("1 = 1",)),  # type: ignore[arg-type]
        And((IsNull("i"),) * 1_000),
    ],
)
def test_what_does_not_fit_is_refused_without_its_value(where: Filter) -> None:
    with pytest.raises(InvalidFilter) as caught:
        check(where, SCHEMA)
    assert "sal" not in str(caught.value)


def test_a_filter_of_any_depth_is_refused_in_bounded_time() -> None:
    where: Filter = IsNull("i")
    for _ in range(100_000):
        where = Not(where)
    with pytest.raises(InvalidFilter, match="at most"):
        check(where, SCHEMA)


def test_a_column_that_is_absent_is_named() -> None:
    with pytest.raises(MissingColumn) as caught:
        check(Or((IsNull("i"), Compare("i; DROP TABLE t", "=", 1))), SCHEMA)
    assert caught.value.expected == ("i; DROP TABLE t",)


@pytest.mark.parametrize(
    "where",
    [
        Compare("i", "=", -(2**15)),
        Compare("f", "=", 1),
        Compare("d", "=", 7),
        Compare("b", "!=", False),
        Compare("t", ">", ""),
        Compare("x", "<", b"\0"),
        Compare("z", "=", NAIVE.replace(tzinfo=UTC)),
        Compare("h", ">=", time(23)),
        IsNull("l"),
    ],
)
def test_what_fits_is_returned(where: Filter) -> None:
    assert check(where, SCHEMA) is where


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_float_that_is_no_number_is_on_neither_side_of_one(tmp_path: Path, name: str) -> None:
    table = pa.table({"n": [1, 2, 3, 4], "d": [float("nan"), float("inf"), 1.0, None]})
    if name == "t.parquet":
        pa.parquet.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_file(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    source = open_source(SourceSpec("file", name), roots=[tmp_path])
    for where, kept in (
        (Compare("d", ">", 0), [2, 3]),
        (Compare("d", ">=", 1), [2, 3]),
        (Compare("d", "<", 2), [3]),
        (Compare("d", "!=", 1), [1, 2]),
        (Not(Compare("d", ">", 0)), [1]),
        (Not(In("d", (1, 2))), [1, 2]),
    ):
        assert [n for b in source.batches(["n"], where=where) for n in b.column(0).to_pylist()] == kept


def test_the_columns_a_filter_reads_are_listed_once() -> None:
    assert names(And((Not(IsNull("t")), Or((Compare("i", "=", 1), IsNull("t")))))) == ("t", "i")
