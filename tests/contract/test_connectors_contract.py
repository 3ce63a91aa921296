"""Every connector keeps the same promises, over the same table."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Float,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
)

from connectors import Connector, SourceSpec, open_source
from connectors.testing import ConnectorContract, sample_table


class TestSqlite(ConnectorContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Connector:
        with closing(sqlite3.connect(tmp_path / "owner.db")) as database, database:
            database.execute(
                "CREATE TABLE loans (person TEXT, amount INTEGER, price DECIMAL(10,2), rate REAL, since DATE)"
            )
            rows = [
                (row["person"], row["amount"], _number(row["price"]), row["rate"], _text(row["since"]))
                for row in sample_table().to_pylist()
            ]
            database.executemany("INSERT INTO loans VALUES (?, ?, ?, ?, ?)", rows)
        return open_source(SourceSpec("sql", "sqlite:///owner.db", "loans"), roots=[tmp_path])


class TestParquet(ConnectorContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Connector:
        pa.parquet.write_table(sample_table(), tmp_path / "table.parquet", row_group_size=3)
        return open_source(SourceSpec("file", "table.parquet"), roots=[tmp_path])


class TestArrowFile(ConnectorContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Connector:
        table = sample_table()
        with pa.ipc.new_file(tmp_path / "table.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
        return open_source(SourceSpec("file", "table.arrow"), roots=[tmp_path])


class TestArrowStream(ConnectorContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Connector:
        table = sample_table()
        with pa.ipc.new_stream(tmp_path / "table.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
        return open_source(SourceSpec("file", "table.arrow"), roots=[tmp_path])


class TestCsv(ConnectorContract):
    @pytest.fixture
    def expected(self) -> pa.Table:
        """CSV has no decimals: DuckDB reads a column with a point as floats."""
        table = sample_table()
        return table.set_column(2, "price", table["price"].cast(pa.float64()))

    @pytest.fixture
    def connector(self, tmp_path: Path) -> Connector:
        pa.csv.write_csv(sample_table(), tmp_path / "table.csv")
        return open_source(SourceSpec("file", "table.csv"), roots=[tmp_path], text_columns=["person"])


@pytest.mark.postgresql
class TestPostgresql(ConnectorContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[Connector]:
        location = os.environ.get("PARLEY_TEST_POSTGRESQL")
        if not location:
            pytest.skip("PARLEY_TEST_POSTGRESQL names no server")
        table = Table(
            f"loans_{uuid.uuid4().hex}",
            MetaData(),
            Column("position", Integer, primary_key=True, autoincrement=False),
            Column("person", String),
            Column("amount", BigInteger),
            Column("price", Numeric(10, 2)),
            Column("rate", Float(53)),
            Column("since", Date),
        )
        engine = create_engine(location)
        table.create(engine)
        try:
            rows = [{"position": i, **row} for i, row in enumerate(sample_table().to_pylist())]
            with engine.begin() as connection:
                connection.execute(table.insert(), rows[::-1])
            yield open_source(SourceSpec("sql", location, table.name), roots=[])
        finally:
            table.drop(engine)
            engine.dispose()

    @pytest.fixture
    def expected(self) -> pa.Table:
        """The primary key that gives the rows their order comes first."""
        table = sample_table()
        return table.add_column(0, "position", pa.array(range(table.num_rows)))


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
