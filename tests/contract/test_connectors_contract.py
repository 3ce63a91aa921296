"""Every connector keeps the same promises, over the same table."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Double,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
)
from sqlalchemy.dialects import mysql

from connectors import Connector, SourceSpec, open_source
from connectors.segments import append
from connectors.testing import ConnectorContract, sample_table
from connectors.testing_api import Answer, Asked, JsonApi


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
        return open_source(SourceSpec("table", "sqlite:///owner.db", "loans"), roots=[tmp_path])


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


class TestList(ConnectorContract):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Connector:
        table = sample_table()
        pa.parquet.write_table(table.add_column(1, "unlisted", pa.array(range(7))), tmp_path / "list.parquet")
        identifier, *attributes = table.schema.names
        options = {"colour": "grey", "identifier": identifier, "attributes": attributes}
        return open_source(SourceSpec("list", "list.parquet", options=options), roots=[tmp_path])


class TestSegments(ConnectorContract):
    """A segment of each format, and one after the position."""

    @pytest.fixture
    def connector(self, tmp_path: Path) -> Connector:
        table = sample_table()
        append(tmp_path, table.slice(0, 4))
        append(tmp_path, table.slice(4), suffix="parquet")
        append(tmp_path, table)
        return open_source(SourceSpec("stream", ".", options={"position": 2}), roots=[tmp_path])


class TestApi(ConnectorContract):
    """Over TLS, in pages of four records."""

    @pytest.fixture
    def connector(self) -> Iterator[Connector]:
        rows = [
            {**row, "price": _text(row["price"]), "since": _text(row["since"])}
            for row in sample_table().to_pylist()
        ]

        def answer(asked: Asked) -> Answer:
            start = int(asked.query["offset"])
            return Answer({"data": rows[start : start + 4]})

        types = ("text", "integer", "decimal/2", "float", "date")
        with JsonApi(answer) as api:
            options = {
                "columns": [
                    {"name": name, "type": kind}
                    for name, kind in zip(sample_table().schema.names, types, strict=True)
                ],
                "records": "/data",
                "paging": {"style": "offset", "parameter": "offset"},
                "ca": api.ca,
            }
            yield open_source(
                SourceSpec("api", f"{api.url}/rows", options=options), roots=[], hosts=[api.place]
            )


class ServerContract(ConnectorContract):
    """A table of a database server, with a key of its own, since servers keep no order."""

    variable: str
    kind = "table"
    options: Mapping[str, object] = MappingProxyType({})
    text = String(40)

    @pytest.fixture
    def connector(self) -> Iterator[Connector]:
        location = os.environ.get(self.variable)
        if not location:
            pytest.skip(f"{self.variable} names no server")
        table = Table(
            f"loans_{uuid.uuid4().hex}",
            MetaData(),
            Column("position", Integer, primary_key=True, autoincrement=False),
            Column("person", self.text),
            Column("amount", BigInteger),
            Column("price", Numeric(10, 2)),
            Column("rate", Double),
            Column("since", Date),
        )
        engine = create_engine(location)
        table.create(engine)
        try:
            rows = [{"position": i, **row} for i, row in enumerate(sample_table().to_pylist())]
            with engine.begin() as connection:
                connection.execute(table.insert(), rows[::-1])
            yield open_source(SourceSpec(self.kind, location, table.name, self.options), roots=[])
        finally:
            table.drop(engine)
            engine.dispose()

    @pytest.fixture
    def expected(self) -> pa.Table:
        """The primary key that gives the rows their order comes first."""
        table = sample_table()
        return table.add_column(0, "position", pa.array(range(table.num_rows)))


@pytest.mark.postgresql
class TestPostgresql(ServerContract):
    variable = "PARLEY_TEST_POSTGRESQL"


@pytest.mark.postgresql
class TestTableStream(TestPostgresql):
    kind, options = "stream", MappingProxyType({"sequence": "position"})


@pytest.mark.mariadb
class TestMariadb(ServerContract):
    """The column's collation ignores case, as MariaDB's default does."""

    variable = "PARLEY_TEST_MARIADB"
    text = mysql.VARCHAR(40, charset="utf8mb4", collation="utf8mb4_general_ci")


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
