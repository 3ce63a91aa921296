"""Types of real servers: what is read is exact, and a filter for what was read finds its row and no other."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from connectors import Connector, InvalidValues, SourceSpec, UnsupportedColumn, open_source
from connectors.filters import Compare, Filter, In, Not

MARIADB = """
    id INT PRIMARY KEY, s VARCHAR(20) CHARACTER SET utf8mb4, l VARCHAR(20) CHARACTER SET latin1, c CHAR(5),
    f FLOAT, d DOUBLE, m DECIMAL(10, 2), u BIGINT UNSIGNED, b TINYINT(1), dt DATETIME(6),
    ts TIMESTAMP(6) NULL, ti TIME(6), y DATE, vb VARBINARY(10), bl BLOB, e ENUM('x', 'y'), lt LONGTEXT, g UUID
"""
MARIADB_ROW = """
    1, '名', 'é', 'ab', 0.1, 5e-324, 1.50, 18446744073709551615, 1, '2024-02-29 13:14:15.5',
    '2024-02-29 13:14:15.5', '13:14:15.25', '2024-02-29', x'00ff', x'01', 'y', 'long',
    '123e4567-e89b-12d3-a456-426655440000'
"""
POSTGRESQL = """
    id INT PRIMARY KEY, s VARCHAR(20), c CHAR(5), f REAL, d DOUBLE PRECISION, m NUMERIC(10, 2), n NUMERIC,
    b BOOLEAN, dt TIMESTAMP, ts TIMESTAMPTZ, ti TIME, y DATE, bl BYTEA, g UUID
"""
POSTGRESQL_ROW = """
    1, '名', 'ab', 0.1, 5e-324, 1.50, 1.5, true, '2024-02-29 13:14:15.5', '2024-02-29 14:14:15.5+01',
    '13:14:15.25', '2024-02-29', '\\x00ff', '123e4567-e89b-12d3-a456-426655440000'
"""
MOMENT = datetime(2024, 2, 29, 13, 14, 15, 500_000, UTC)
EXACT: dict[str, Any] = {
    "s": "名",
    "f": 0.10000000149011612,
    "d": 5e-324,
    "m": Decimal("1.50"),
    "u": 2**64 - 1,
    "dt": MOMENT.replace(tzinfo=None),
    "ts": MOMENT,
    "ti": time(13, 14, 15, 250_000),
    "y": date(2024, 2, 29),
    "vb": b"\x00\xff",
    "g": "123e4567-e89b-12d3-a456-426655440000",
}


@contextmanager
def made(variable: str, declared: str) -> Iterator[tuple[Connection, str, str]]:
    location = os.environ.get(variable)
    if not location:
        pytest.skip(f"{variable} names no server")
    name, engine = f"types_{uuid.uuid4().hex}", create_engine(location)
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE TABLE {name} ({declared})"))
            yield connection, name, location
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP TABLE {name}"))
        engine.dispose()


def insert(connection: Connection, name: str, *rows: str) -> None:
    for row in rows:
        connection.execute(text(f"INSERT INTO {name} VALUES ({row})"))  # noqa: S608 - the rows above
    connection.commit()


def ids(connector: Connector, where: Filter) -> list[int]:
    return [n for batch in connector.batches(["id"], where=where) for n in batch.column(0).to_pylist()]


def check(variable: str, declared: str, row: str) -> None:
    columns = declared.count(",") - declared.count("(10, 2)") - declared.count("'x', 'y'") + 1
    with made(variable, declared) as (connection, name, location):
        insert(connection, name, row, ", ".join(["2", *["NULL"] * (columns - 1)]))
        connector = open_source(SourceSpec("table", location, name), roots=[])
        first = next(connector.batches(connector.schema().names)).to_pylist()[0]
        assert {key: first[key] for key in first if key in EXACT} == {
            key: value for key, value in EXACT.items() if key in first
        }
        for column, value in first.items():
            assert ids(connector, Compare(column, "=", value)) == [1], column
            assert ids(connector, Not(In(column, (value,)))) == ([2] if column == "id" else []), column


@pytest.mark.mariadb
def test_types_of_mariadb() -> None:
    check("PARLEY_TEST_MARIADB", MARIADB, MARIADB_ROW)


@pytest.mark.postgresql
def test_types_of_postgresql() -> None:
    check("PARLEY_TEST_POSTGRESQL", POSTGRESQL, POSTGRESQL_ROW)


@pytest.mark.postgresql
def test_a_float_that_is_no_number_is_on_neither_side_of_one() -> None:
    with made("PARLEY_TEST_POSTGRESQL", "id INT, d DOUBLE PRECISION") as (connection, name, location):
        insert(connection, name, "1, 'NaN'", "2, 'Infinity'", "3, 1", "4, NULL")
        connector = open_source(SourceSpec("table", location, name), roots=[])
        assert ids(connector, Compare("d", ">", 0)) == [2, 3]
        assert ids(connector, Compare("d", ">=", 1)) == [2, 3]
        assert ids(connector, Compare("d", "<", 2)) == [3]
        assert ids(connector, Compare("d", "!=", 1)) == [1, 2]
        assert ids(connector, Not(Compare("d", ">", 0))) == [1]
        assert ids(connector, Not(In("d", (1, 2)))) == [1, 2]


@pytest.mark.mariadb
@pytest.mark.parametrize("declared", ["SET('a', 'b')", "BIT(3)", "YEAR", "DECIMAL(50, 2)"])
def test_a_type_of_mariadb_without_exact_form_is_named(declared: str) -> None:
    with made("PARLEY_TEST_MARIADB", f"id INT, odd {declared}") as (_, name, location):
        with pytest.raises(UnsupportedColumn, match="column odd"):
            open_source(SourceSpec("table", location, name), roots=[])


@pytest.mark.mariadb
@pytest.mark.parametrize("interval", ["'-00:00:01'", "'24:00:00'", "'838:59:59'"])
def test_an_interval_that_is_no_time_of_day_is_refused(interval: str) -> None:
    with made("PARLEY_TEST_MARIADB", "id INT, t TIME") as (connection, name, location):
        insert(connection, name, f"1, {interval}")
        connector = open_source(SourceSpec("table", location, name), roots=[])
        with pytest.raises(InvalidValues, match="column t"):
            list(connector.batches(["t"]))


@pytest.mark.mariadb
def test_rows_without_a_key_come_in_the_order_of_their_bytes() -> None:
    with made("PARLEY_TEST_MARIADB", "t VARCHAR(10) CHARACTER SET utf8mb4") as (connection, name, location):
        insert(connection, name, "'b'", "'B'", "'a '", "'a'", "'é'", "NULL")
        connector = open_source(SourceSpec("table", location, name), roots=[])
        rows = [value for batch in connector.batches(["t"]) for value in batch.column(0).to_pylist()]
        assert rows == [None, "B", "a", "a ", "b", "é"]


@pytest.mark.mariadb
def test_a_session_cannot_write() -> None:
    with made("PARLEY_TEST_MARIADB", "id INT") as (_, name, location):
        connector = open_source(SourceSpec("table", location, name), roots=[])
        with connector._engine.connect() as session, pytest.raises(Exception, match="READ ONLY"):  # type: ignore[attr-defined]
            session.execute(text(f"INSERT INTO {name} VALUES (1)"))  # noqa: S608 - a name made here
