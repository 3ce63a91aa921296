"""Memory for reading a table does not grow with its rows.

A process reads a small table and then a large one; its peak grows by less than half of the large one.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from pymysql.connections import Connection, MysqlPacket
from sqlalchemy import create_engine, text

from connectors import SourceSpec, open_source

SMALL, LARGE, WIDTH = 10_000, 100_000, 800
# A reader that keeps what it has read would need more than half of it.
BOUND = LARGE * WIDTH // 2
READ = """
import sys
from pathlib import Path
from connectors import SourceSpec, open_source
kind, location, folder, *tables = sys.argv[1:]
peaks = []
for table in tables:
    where = {"location": location, "table": table} if kind == "table" else {"location": table}
    source = open_source(SourceSpec(kind, **where), roots=[Path(folder)])
    print(sum(batch.num_rows for batch in source.batches(["id", "note"], batch_rows=2_000)))
    status = Path("/proc/self/status").read_text()
    peaks.append(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
print(peaks[1] - peaks[0])
"""


def growth(*arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-P", "-c", READ, *arguments], capture_output=True, text=True, check=True
    )
    small, large, grown = map(int, done.stdout.split())
    assert (small, large) == (SMALL, LARGE)
    return grown


def rows(count: int) -> Iterator[tuple[int, str]]:
    return ((number, f"{number:0{WIDTH}}") for number in range(count))


def test_parquet(tmp_path: Path) -> None:
    schema = pa.schema({"id": pa.int64(), "note": pa.string()})
    for name, count in (("small", SMALL), ("large", LARGE)):
        with pa.parquet.ParquetWriter(tmp_path / f"{name}.parquet", schema) as writer:
            for start in range(0, count, 50_000):
                some = [(n, f"{n:0{WIDTH}}") for n in range(start, min(start + 50_000, count))]
                ids, notes = zip(*some, strict=True)
                writer.write_table(pa.table({"id": ids, "note": notes}, schema), row_group_size=25_000)
    assert growth("file", "", str(tmp_path), "small.parquet", "large.parquet") < BOUND


def test_sqlite(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "t.db")) as database, database:
        for name, count in (("small", SMALL), ("large", LARGE)):
            database.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, note TEXT)")
            database.executemany(f"INSERT INTO {name} VALUES (?, ?)", rows(count))  # noqa: S608
    assert growth("table", "sqlite:///t.db", str(tmp_path), "small", "large") < BOUND


@pytest.mark.postgresql
def test_postgresql(tmp_path: Path) -> None:
    made = "SELECT n AS id, lpad(n::text, 800, '0') AS note FROM generate_series(1, {count}) n"
    assert server_growth("PARLEY_TEST_POSTGRESQL", made, tmp_path) < BOUND


@pytest.mark.mariadb
def test_mariadb(tmp_path: Path) -> None:
    made = "SELECT seq AS id, lpad(seq, 800, '0') AS note FROM seq_1_to_{count}"
    assert server_growth("PARLEY_TEST_MARIADB", made, tmp_path) < BOUND


def server_growth(variable: str, made: str, folder: Path) -> int:
    location = os.environ.get(variable)
    if not location:
        pytest.skip(f"{variable} names no server")
    names = [f"many_{uuid.uuid4().hex}" for _ in range(2)]
    engine = create_engine(location)
    try:
        with engine.begin() as connection:
            for name, count in zip(names, (SMALL, LARGE), strict=True):
                connection.execute(text(f"CREATE TABLE {name} AS {made.format(count=count)}"))
                connection.execute(text(f"ALTER TABLE {name} ADD PRIMARY KEY (id)"))
        return growth("table", location, str(folder), *names)
    finally:
        with engine.begin() as connection:
            for name in names:
                connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
        engine.dispose()


@pytest.mark.mariadb
def test_a_read_that_is_left_early_does_not_fetch_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is stopped must end at once, whatever is left of a large table."""
    location = os.environ.get("PARLEY_TEST_MARIADB")
    if not location:
        pytest.skip("PARLEY_TEST_MARIADB names no server")
    name, engine = f"early_{uuid.uuid4().hex}", create_engine(location)
    try:
        with engine.begin() as connection:
            made = f"CREATE TABLE {name} AS SELECT seq AS id FROM seq_1_to_20000"  # noqa: S608 - a name made here
            connection.execute(text(made))
            connection.execute(text(f"ALTER TABLE {name} ADD PRIMARY KEY (id)"))
        fetched = 0

        def count(self: Connection, packet_type: type = MysqlPacket) -> object:
            nonlocal fetched
            fetched += 1
            return read_packet(self, packet_type)

        read_packet = Connection._read_packet
        monkeypatch.setattr(Connection, "_read_packet", count)
        source = open_source(SourceSpec("table", location, name), roots=[])
        batches = source.batches(["id"], batch_rows=100)
        next(batches)
        batches.close()
        assert fetched < 1_000
        assert sum(batch.num_rows for batch in source.batches(["id"])) == 20_000
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
        engine.dispose()
