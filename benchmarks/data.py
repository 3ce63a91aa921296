"""What publishing a table costs: profile and fingerprint; and what reading one costs, in time and memory."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from connectors import SourceSpec, dataset_version, open_source, profiles

LIMIT_S = 10.0
# A process of its own: the peak of this one would hold the making of the tables.
READ = """
import json, sys, time
from pathlib import Path
from connectors import SourceSpec, open_source
from connectors.filters import Compare
kind, location, table, folder = sys.argv[1:5]
source = open_source(SourceSpec(kind, location, table or None), roots=[Path(folder)])
where = Compare("amount", "<", 0) if sys.argv[5:] else None
started = time.perf_counter()
rows = sum(batch.num_rows for batch in source.batches(["id", "amount"], where=where))
taken = time.perf_counter() - started
status = Path("/proc/self/status").read_text()  # getrusage would count the process that started this one
peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps({"rows": rows, "seconds": taken, "peak": peak}))
"""

Row = dict[str, object]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rows(quick: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        folder = Path(name)
        yield from publishing(folder, 20_000 if quick else 1_000_000)
        yield from reading(folder, 100_000 if quick else 10_000_000)


def publishing(folder: Path, size: int) -> Iterator[Row]:
    path = folder / "publish.parquet"
    pa.parquet.write_table(table_of(size), path, row_group_size=131_072)
    source = open_source(SourceSpec("file", path.name), roots=[folder])
    profiled = seconds(lambda: profiles.profile(source))
    printed = seconds(lambda: dataset_version(source, bytes(32)))
    with duckdb.connect() as database:
        relation = database.from_parquet(str(path))
        summarised = seconds(lambda: relation.query("t", "SUMMARIZE t").fetchall())
    hashed = seconds(lambda: hashlib.sha256(path.read_bytes()).digest())
    shape = f"{size:,} rows x 20 columns"
    yield {
        "metric": f"profile, {shape}",
        "value": profiled,
        "unit": "s",
        "peer": "DuckDB SUMMARIZE",
        "peer_value": summarised,
        "ratio": profiled / summarised,
    }
    yield {
        "metric": f"fingerprint, {shape}",
        "value": printed,
        "unit": "s",
        "peer": "SHA-256 of the file",
        "peer_value": hashed,
        "ratio": printed / hashed,
    }
    both = profiled + printed
    yield {
        "metric": f"profile and fingerprint, {shape}",
        "value": both,
        "unit": "s",
        "target": LIMIT_S,
        "met": both <= LIMIT_S,
    }


def reading(folder: Path, size: int) -> Iterator[Row]:
    made = folder / "read.parquet"
    with duckdb.connect() as database:
        database.sql(
            "SELECT i AS id, i * 7919 % 2000003 - 1000000 AS amount, 'a text beside, number ' || i AS note, "
            "i / 7.0::DOUBLE AS rate FROM range($size) t(i)",
            params={"size": size},
        ).write_parquet(str(made))
    with closing(sqlite3.connect(folder / "read.db")) as lite, lite:
        lite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, amount INTEGER, note TEXT)")
        lite.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) "
            "INSERT INTO t SELECT i, i * 7919 % 2000003 - 1000000, 'a text beside it, number ' || i FROM n",
            [size],
        )
    for form, kind, location, table in (
        ("Parquet", "file", made.name, ""),
        ("SQLite", "table", "sqlite:///read.db", "t"),
    ):
        for what, more in (("2 columns", ()), ("2 columns, half the rows by a filter", ("filtered",))):
            found = read(kind, location, table, str(folder), *more)
            yield {"metric": f"read {form}, {size:,} rows, {what}", "value": found["seconds"], "unit": "s"}
            yield {"metric": f"peak memory of it, {form}", "value": found["peak"] / 2**20, "unit": "MiB"}


def read(*arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", READ, *arguments], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def table_of(size: int) -> pa.Table:
    """Twenty columns as lenders have them: identifiers, amounts, counts, rates, prices, days, groups."""
    generator = np.random.Generator(np.random.PCG64(1))
    columns: dict[str, pa.Array] = {
        "id": pa.array([f"P{number:09d}" for number in range(size)]),
        "phone": pa.array(generator.integers(13 * 10**9, 14 * 10**9, size)).cast(pa.string()),
        "active": pa.array(generator.integers(0, 2, size) == 1),
    }
    for k in range(4):
        columns[f"amount{k}"] = pa.array(generator.integers(-(10**6), 10**6, size))
        columns[f"rate{k}"] = pa.array(generator.normal(size=size))
    for k in range(3):
        columns[f"count{k}"] = pa.array(generator.integers(0, 50, size))
    regions = np.array([f"region {number}" for number in range(30)])
    for k in range(2):
        columns[f"price{k}"] = pa.array(generator.integers(0, 10**6, size)).cast(pa.decimal128(21, 2))
        columns[f"day{k}"] = pa.array(generator.integers(10_000, 20_000, size, dtype=np.int32)).cast(
            pa.date32()
        )
        columns[f"region{k}"] = pa.array(regions[generator.integers(0, 30, size)])
    return pa.table(columns)
