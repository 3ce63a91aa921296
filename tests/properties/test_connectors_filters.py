"""Any filter keeps the same rows at every source: those for which SQL's three-valued logic says true."""

from __future__ import annotations

import operator
import os
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    create_engine,
)
from sqlalchemy.dialects import mysql

from connectors import Connector, SourceSpec, open_source
from connectors.filters import And, Compare, Filter, In, IsNull, Not, Or

Row = Mapping[str, Any]
# Few values of each type, so that filters meet rows; awkward ones.
DOMAINS: dict[str, tuple[Any, ...]] = {
    "t": ("a", "A", "a ", "á", "名", "'; DROP TABLE t; --", "%", "_", "\\", '"', "\U0001f600"),
    "i": (0, -1, 7, 2**53 + 1, 2**63 - 1, -(2**63)),
    "d": tuple(map(Decimal, ("0.00", "0.10", "-1.50", "12345678901.25"))),
    "f": (0.0, 0.1, -2.5, 1e300, 5e-324, 0.10000000149011612),
    "y": (date(1, 1, 1), date(2020, 2, 29), date(9999, 12, 31)),
    "s": (datetime(2020, 2, 29, 1, 2, 3), datetime(2020, 2, 29, 1, 2, 3, 500_000)),  # noqa: DTZ001
}
TYPES = {
    "t": pa.string(),
    "i": pa.int64(),
    "d": pa.decimal128(15, 2),
    "f": pa.float64(),
    "y": pa.date32(),
    "s": pa.timestamp("us"),
}
ROWS: list[dict[str, Any]] = [
    {
        "n": n,
        **{
            name: (*domain, None)[(n * (k + 1)) % (len(domain) + 1)]
            for k, (name, domain) in enumerate(DOMAINS.items())
        },
    }
    for n in range(24)
]
SIGNS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@st.composite
def leaves(draw: st.DrawFn) -> Filter:
    name = draw(st.sampled_from(sorted(DOMAINS)))
    values = st.sampled_from(DOMAINS[name])
    match draw(st.sampled_from(["compare", "in", "null"])):
        case "compare":
            return Compare(name, draw(st.sampled_from(sorted(SIGNS))), draw(values))  # type: ignore[arg-type]
        case "in":
            return In(name, tuple(draw(st.lists(values, min_size=1, max_size=4))))
        case _:
            return IsNull(name)


FILTERS = st.recursive(
    leaves(),
    lambda parts: st.one_of(
        parts.map(Not),
        st.lists(parts, min_size=1, max_size=3).map(lambda some: And(tuple(some))),
        st.lists(parts, min_size=1, max_size=3).map(lambda some: Or(tuple(some))),
    ),
    max_leaves=6,
)


def truth(where: Filter, row: Row) -> bool | None:
    """SQL's logic, written down once more and slowly."""
    match where:
        case IsNull(column):
            return row[column] is None
        case Compare(column, sign, value):
            return None if row[column] is None else SIGNS[sign](key(row[column]), key(value))
        case In(column, values):
            return None if row[column] is None else row[column] in values
        case Not(part):
            found = truth(part, row)
            return None if found is None else not found
        case And(parts):
            truths = [truth(part, row) for part in parts]
            return False if False in truths else None if None in truths else True
        case Or(parts):
            truths = [truth(part, row) for part in parts]
            return True if True in truths else None if None in truths else False


def key(value: object) -> Any:
    return value.encode() if isinstance(value, str) else value


def agree(connector: Connector, where: Filter) -> None:
    found = [n for batch in connector.batches(["n"], where=where) for n in batch.column(0).to_pylist()]
    assert found == [row["n"] for row in ROWS if truth(where, row) is True]


@pytest.fixture(scope="module")
def sources() -> Iterator[list[Connector]]:
    schema = pa.schema([("n", pa.int64()), *TYPES.items()])
    table = pa.Table.from_pylist(ROWS, schema)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pa.parquet.write_table(table, folder / "t.parquet", row_group_size=7)
        with pa.ipc.new_file(folder / "t.arrow", schema) as writer:
            writer.write_table(table, max_chunksize=5)
        with closing(sqlite3.connect(folder / "t.db")) as database, database:
            database.execute(
                "CREATE TABLE t (n INTEGER, t TEXT COLLATE NOCASE, i INTEGER, d DECIMAL(15, 2), f REAL, "
                "y DATE, s DATETIME)"
            )
            stored = [
                tuple(v if isinstance(v, int | float | None) else str(v) for v in row.values())
                for row in ROWS
            ]
            database.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", stored)
        specs = [SourceSpec("file", "t.parquet"), SourceSpec("file", "t.arrow")]
        specs.append(SourceSpec("table", "sqlite:///t.db", "t"))
        yield [open_source(spec, roots=[folder]) for spec in specs]


@settings(max_examples=25, deadline=None)
@given(FILTERS)
def test_files_and_sqlite_agree(sources: list[Connector], where: Filter) -> None:
    for connector in sources:
        agree(connector, where)


@contextmanager
def server(variable: str) -> Iterator[Connector]:
    location = os.environ.get(variable)
    if not location:
        pytest.skip(f"{variable} names no server")
    maria = variable == "PARLEY_TEST_MARIADB"
    table = Table(
        f"filters_{uuid.uuid4().hex}",
        MetaData(),
        Column("n", Integer, primary_key=True, autoincrement=False),
        Column("t", mysql.VARCHAR(60, charset="utf8mb4", collation="utf8mb4_general_ci") if maria else Text),
        Column("i", BigInteger),
        Column("d", Numeric(15, 2)),
        Column("f", Double),
        Column("y", Date),
        Column("s", mysql.DATETIME(fsp=6) if maria else DateTime),
    )
    engine = create_engine(location)
    table.create(engine)
    try:
        with engine.begin() as connection:
            connection.execute(table.insert(), ROWS)
        yield open_source(SourceSpec("table", location, table.name), roots=[])
    finally:
        table.drop(engine)
        engine.dispose()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Connector]:
    with server("PARLEY_TEST_POSTGRESQL") as connector:
        yield connector


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Connector]:
    with server("PARLEY_TEST_MARIADB") as connector:
        yield connector


@pytest.mark.postgresql
@settings(max_examples=25, deadline=None)
@given(FILTERS)
def test_postgresql_agrees(postgresql: Connector, where: Filter) -> None:
    agree(postgresql, where)


@pytest.mark.mariadb
@settings(max_examples=25, deadline=None)
@given(FILTERS)
def test_mariadb_agrees(mariadb: Connector, where: Filter) -> None:
    agree(mariadb, where)
