"""SQL in every name and value: tables, columns, filters. Nothing of it is ever parsed as a statement."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, inspect, select

from connectors import (
    Connector,
    InvalidSource,
    MissingColumn,
    MissingTable,
    SourceSpec,
    SourceUnreachable,
    WrongColumnType,
    dataset_version,
    open_source,
    profiles,
)
from connectors.filters import Compare, In, IsNull, Or

VICTIM = f"victim_{uuid.uuid4().hex[:8]}"
HOSTILE = (
    f"'; DROP TABLE {VICTIM}; --",
    f'"; DROP TABLE {VICTIM}; --',
    f"`; DROP TABLE {VICTIM}; --",
    "x' OR '1'='1",
    "100%",
    "%s %(x)s",
    ":x {x} $1 ?",
    "\\' \\",
    "select",
    "名 \U0001f600",
)
SERVERS = [
    "sqlite",
    pytest.param("PARLEY_TEST_POSTGRESQL", marks=pytest.mark.postgresql),
    pytest.param("PARLEY_TEST_MARIADB", marks=pytest.mark.mariadb),
]


def read_everything(connector: Connector, columns: list[str]) -> None:
    """Every use of every name and value."""
    assert connector.schema().names == ["n", *columns]
    assert dataset_version(connector, bytes(32)).rows == len(HOSTILE)
    assert profiles.profile(connector).rows == len(HOSTILE)
    for number, value in enumerate(HOSTILE):
        column = columns[number % len(columns)]
        for where in (Compare(column, "=", value), Or((In(column, (value, "absent")), IsNull(column)))):
            batches = list(connector.batches(["n"], where=where))
            assert [n for batch in batches for n in batch.column(0).to_pylist()] == [number]


@contextmanager
def tables(location: str, name: str, columns: list[str]) -> Iterator[None]:
    metadata, wide = MetaData(), {"mysql_charset": "utf8mb4"}
    key = Column("n", Integer, primary_key=True, autoincrement=False)
    table = Table(name, metadata, key, *(Column(column, Text) for column in columns), **wide)
    victim = Table(VICTIM, metadata, Column("n", Integer, primary_key=True, autoincrement=False), **wide)
    engine = create_engine(location)
    metadata.create_all(engine)
    try:
        rows = [(number, *[value] * len(columns)) for number, value in enumerate(HOSTILE)]
        with engine.begin() as connection:
            for row in rows:
                connection.execute(table.insert().values(row))
        yield
        assert inspect(engine).has_table(VICTIM)
        with engine.connect() as connection:
            assert len(connection.execute(select(table)).all()) == len(HOSTILE)
            assert connection.execute(select(victim)).all() == []
    finally:
        metadata.drop_all(engine)
        engine.dispose()


@pytest.mark.parametrize("server", SERVERS)
def test_a_database(server: str, tmp_path: Path) -> None:
    maria = server == "PARLEY_TEST_MARIADB"
    location = f"sqlite:///{tmp_path}/t.db" if server == "sqlite" else os.environ.get(server)
    if not location:
        pytest.skip(f"{server} names no server")
    # MariaDB's names are of the basic plane, and SQLAlchemy's reflection leaves backticks in them doubled, so
    # that such a column cannot be read.
    columns = [name for name in HOSTILE if name.isascii() and not (maria and "`" in name)]
    name = f"t'; DROP TABLE {VICTIM}; --"
    with tables(location, name, columns):
        read_everything(open_source(SourceSpec("table", location, name), roots=[tmp_path]), columns)
        for other in (*HOSTILE[:4], HOSTILE[-1]):
            with pytest.raises((MissingTable, SourceUnreachable)):
                open_source(SourceSpec("table", location, other), roots=[tmp_path])
            stream = SourceSpec("stream", location, name, {"sequence": other})
            with pytest.raises((InvalidSource, MissingColumn, WrongColumnType)):
                open_source(stream, roots=[tmp_path])


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_file(tmp_path: Path, name: str) -> None:
    columns = list(HOSTILE)
    table = pa.table({"n": list(range(len(HOSTILE))), **{column: list(HOSTILE) for column in columns}})
    if name.endswith("parquet"):
        pa.parquet.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_file(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    read_everything(open_source(SourceSpec("file", name), roots=[tmp_path]), columns)
