"""SQL over three owners, all parties in one process over channels in memory, beside DuckDB on pooled rows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from exchange.sql.alignment import Joining
from exchange.sql.binding import bind
from exchange.sql.execution import play_joined
from exchange.sql.inputs import Inputs, Side
from exchange.sql.joined import Found, OwnGroups
from exchange.sql.local import LocalRows
from exchange.sql.matching import RR22
from exchange.sql.program import Program, compile_query
from exchange.sql.protocol import SPEC
from exchange.sql.ranges import column_bits
from exchange.sql.testing import JOINING, answer, catalog_of, own_table
from mpc import SystemRandomness
from mpc.engines import spu
from mpc.mesh import Mesh
from mpc.replicated.runtime import run
from mpc.replicated.sharing import Shared
from mpc.testing import mesh_of, run_mesh

GROUPS = 5
JOIN = """SELECT people.band AS band, COUNT(*) AS n, AVG(loans.balance) AS mean
FROM lender.loans JOIN bureau.people ON loans.id = people.id JOIN tax.returns ON people.id = returns.id
WHERE returns.paid > 20 GROUP BY people.band"""
ACROSS = JOIN.replace("returns.paid > 20", "returns.paid * 100 > loans.balance")
UNION = """SELECT band, COUNT(*) AS n, AVG(balance) AS mean FROM (
SELECT band, balance FROM lender.book UNION ALL SELECT band, balance FROM bureau.book
UNION ALL SELECT band, balance FROM tax.book) AS r GROUP BY band"""


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rows(quick: bool) -> Iterator[dict[str, object]]:
    # The first run of a process compiles the kernels.
    answer(UNION, parts(100), minimum=1)
    answer(JOIN, wide(100), minimum=1)
    yield from united(20_000 if quick else 1_000_000)
    yield from joined(1_000 if quick else 100_000)
    for query, name in ((JOIN, "one owner's condition"), (ACROSS, "a comparison across owners")):
        yield from on_shares(query, name, 20_000 if quick else 1_000_000)


def united(count: int) -> Iterator[dict[str, object]]:
    yield compared(UNION, parts(count), f"group-by mean, 3 x {count:,} rows united")


def parts(count: int) -> dict[str, pa.Table]:
    """Rows of one table at three owners."""
    generator = np.random.Generator(np.random.PCG64(1))
    return {
        f"{owner}/book": pa.table(
            {
                "band": pa.array([f"band {i}" for i in range(GROUPS)]).take(
                    pa.array(generator.integers(0, GROUPS, count))
                ),
                "balance": generator.integers(0, 10_000, count),
            }
        )
        for owner in ("lender", "bureau", "tax")
    }


def joined(count: int) -> Iterator[dict[str, object]]:
    metric = f"join of 3 and group-by mean, {count:,} rows each"
    yield compared(JOIN, wide(count), metric)
    if spu.version() is not None:
        with tempfile.TemporaryDirectory() as folder:
            joining = replace(JOINING, matching=RR22, folder=Path(folder))
            yield compared(JOIN, wide(count), f"{metric}, keys by psi/rr22", joining)


def wide(count: int) -> dict[str, pa.Table]:
    """Three tables of one row for each person; the keys of nine in ten are in all."""
    generator = np.random.Generator(np.random.PCG64(2))
    keys = [
        pa.array([f"p{i}" for i in range(shift, count + shift)]) for shift in (0, count // 20, count // 10)
    ]
    bands = pa.array([f"band {i}" for i in range(GROUPS)])
    return {
        "lender/loans": pa.table({"id": keys[0], "balance": generator.integers(0, 10_000, count)}),
        "bureau/people": pa.table(
            {"id": keys[1], "band": bands.take(pa.array(generator.integers(0, GROUPS, count)))}
        ),
        "tax/returns": pa.table({"id": keys[2], "paid": generator.integers(0, 100, count)}),
    }


def compared(
    query: str, tables: dict[str, pa.Table], metric: str, joining: Joining = JOINING
) -> dict[str, object]:
    """Time the query and DuckDB, and check that they agree."""
    found: list[tuple[object, ...]] = []
    taken = seconds(
        lambda: found.extend(
            answer(query, tables, minimum=10, meshes=mesh_of(3, timeout_s=600), joining=joining).rows
        )
    )
    with duckdb.connect() as database:
        for asset, table in tables.items():
            owner, name = asset.split("/")
            database.execute(f"CREATE SCHEMA {owner}")
            database.register("given", table)
            database.execute(f"CREATE TABLE {owner}.{name} AS SELECT * FROM given")  # noqa: S608 - of this file
            database.unregister("given")
        wanted: list[tuple[object, ...]] = []
        peer = seconds(lambda: wanted.extend(database.sql(query).fetchall()))
    if sorted(row[:2] for row in found) != sorted(row[:2] for row in wanted):
        raise SystemExit("the answer differs from that on pooled rows")
    return {
        "metric": metric,
        "value": taken,
        "unit": "s",
        "peer": "DuckDB on pooled rows",
        "peer_value": peer,
        "ratio": taken / peer,
    }


def on_shares(query: str, name: str, count: int) -> Iterator[dict[str, object]]:
    """What comes after the joins: rows that are aligned already."""
    tables = wide(count)
    program = compile_query(bind(query, catalog_of(tables)), 10)
    bits = column_bits(program, count)
    meshes = mesh_of(3, timeout_s=600)
    started = time.perf_counter()
    run_mesh([lambda mesh, at=at: play(mesh, program, tables, at, bits, count) for at in range(3)], meshes)
    taken = time.perf_counter() - started
    sent = sum(channel.stats.bytes_sent for mesh in meshes for channel in mesh.channels.values())
    yield {"metric": f"on shares: group-by mean, {count:,} joined rows, {name}", "value": taken, "unit": "s"}
    yield {"metric": f"the same, bytes of all parties, {name}", "value": sent, "unit": "B"}


def play(mesh: Mesh, program: Program, tables: dict[str, pa.Table], at: int, bits: int, count: int) -> Shared:
    table = program.tables[at]
    own = own_table(table.name, table.parts[0], tables[table.name])
    side = Side(table.name, LocalRows(own.read, np.arange(count), bits))
    (key,) = program.local_keys
    found = Found(key, side.rows, np.ones(count, dtype=np.bool_)) if key.table == table.name else None
    words = dict.fromkeys(key.values, 2)
    ranks = {one.name: rank for rank, one in enumerate(program.tables)}
    with run(mesh, SPEC, SystemRandomness()) as rt:
        inputs = Inputs(rt, count, ranks, frozenset(), side)
        groups = [OwnGroups(key, GROUPS, words, found)]
        return play_joined(rt, program, inputs, groups, {}, bits, lambda name: None)
