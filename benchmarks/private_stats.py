"""Joint statistics of three owners beside DuckDB and pyarrow on pooled rows, and secure aggregation.

All parties are threads of one process with channels in memory: computation without the network. The owners'
tables are Arrow batches in memory, as DuckDB's and pyarrow's are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.statistics import COMPONENT
from exchange.jobs.testing import JOB, nothing_lent
from exchange.sdk import Share, joint_spec
from mpc import SystemRandomness
from mpc.aggregation import secagg
from mpc.mesh import Mesh
from mpc.testing import channel_pair, mesh_of, run_mesh

OWNERS = 3
GROUPS = tuple("abcdefgh")
BATCH_ROWS = 65_536
MIN_COHORT = 10
AGGREGATORS = 10


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rows(quick: bool) -> Iterator[dict[str, object]]:
    yield from means(20_000 if quick else 1_000_000)
    yield from aggregation(10_000 if quick else 1_000_000)


def means(size: int) -> Iterator[dict[str, object]]:
    draw = np.random.Generator(np.random.PCG64(1))
    tables = [
        pa.table(
            {
                "g": pa.array(np.array(GROUPS)[draw.integers(0, len(GROUPS), size)]),
                "x": draw.integers(0, 10**6, size),
            }
        )
        for _ in range(OWNERS)
    ]
    pooled = pa.concat_tables(tables).combine_chunks()
    found: dict[str, list[tuple[str, int, float]]] = {}

    def by_duckdb() -> None:
        with duckdb.connect(config={"threads": 2}) as database:
            database.register("pooled", pooled)
            query = "SELECT g, count(*), avg(x) FROM pooled GROUP BY g ORDER BY g"
            found["duckdb"] = database.sql(query).fetchall()

    def by_pyarrow() -> None:
        grouped = pooled.group_by("g").aggregate([("x", "count"), ("x", "mean")])
        found["pyarrow"] = sorted(zip(*(grouped.column(i).to_pylist() for i in range(3)), strict=True))

    step, meshes = _step(), mesh_of(OWNERS)

    def jointly() -> None:
        ended = run_mesh([_role(step, rank, table) for rank, table in enumerate(tables)], meshes)
        releases = {f"owner-{rank + 1}": end.release for rank, end in enumerate(ended)}
        table = COMPONENT.open_result(step, releases)  # type: ignore[misc, arg-type]
        found["joint"] = [(str(g), int(n or 0), float(mean or 0)) for g, n, mean in table.rows]

    jointly()  # compiles the kernels once
    meshes = mesh_of(OWNERS)
    taken = seconds(jointly)
    peers = {"duckdb": seconds(by_duckdb), "pyarrow": seconds(by_pyarrow)}
    for name in peers:
        if [row[:2] for row in found[name]] != [row[:2] for row in found["joint"]]:
            raise SystemExit(f"the joint counts differ from those of {name}")
        if not np.allclose([row[2] for row in found[name]], [row[2] for row in found["joint"]], atol=1e-5):
            raise SystemExit(f"the joint means differ from those of {name}")
    for name, peer in peers.items():
        yield {
            "metric": f"stats/joint, means by group, {OWNERS} x {size:,} rows",
            "value": taken,
            "unit": "s",
            "target": "3 x pooled",
            "met": taken <= 3 * peer,
            "peer": f"{name} on pooled rows",
            "peer_value": peer,
            "ratio": taken / peer,
        }
    yield {
        "metric": "stats/joint, bytes of all parties",
        "value": sum(channel.stats.bytes_sent for mesh in meshes for channel in mesh.channels.values()),
        "unit": "B",
    }


def _step() -> Step:
    spec = joint_spec(
        job=JOB,
        title="means",
        purpose="dpv:ResearchAndDevelopment",
        reader="did:key:zAnalyst",
        shares=[Share(f"did:key:z{n}", f"owner-{n}/rows", "agreement") for n in range(1, OWNERS + 1)],
        min_cohort=MIN_COHORT,
        keys=[{"column": "g", "labels": list(GROUPS)}],
        measures=[{"column": "x", "statistics": ["mean"]}],
    )
    return JobSpec.from_json(spec).step("statistics")


def _role(step: Step, rank: int, table: pa.Table) -> Callable[[Mesh], Outcome]:
    roles = COMPONENT.ranks(step)

    def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from table.select(list(names)).to_batches(max_chunksize=BATCH_ROWS)

    def run(mesh: Mesh) -> Outcome:
        return COMPONENT.run(
            StepContext(
                step=step,
                role=roles[rank],
                ranks=roles,
                session=mesh.session,
                minimum_cohort=MIN_COHORT,
                read=lambda name: batches([name]),
                channel=lambda role: mesh.channels[roles.index(role)],
                before={},
                earlier={},
                released={},
                rng=SystemRandomness(),
                progress=lambda done, total: None,
                hand_over=replace(nothing_lent(), rows=batches),
            )
        )

    return run


def aggregation(words: int) -> Iterator[dict[str, object]]:
    draw = np.random.Generator(np.random.PCG64(2))
    vectors = [draw.integers(0, 2**64, words, dtype=np.uint64) for _ in range(AGGREGATORS)]
    plain: list[Any] = []
    peer = seconds(lambda: plain.append(np.sum(vectors, axis=0, dtype=np.uint64)))
    for gone in (0, 1):
        taken = seconds(lambda gone=gone: _aggregate(vectors, gone, plain[0]))  # type: ignore[misc]
        yield {
            "metric": f"aggregation/secagg, {AGGREGATORS} owners x {words:,} words, {gone} drop out",
            "value": taken,
            "unit": "s",
            "target": "2 s",
            "met": taken <= 2,
            "peer": "numpy sum",
            "peer_value": peer,
            "ratio": taken / peer,
        }


def _aggregate(vectors: Sequence[Any], gone: int, total: Any) -> None:  # noqa: ANN401 - numpy's arrays
    owners = len(vectors)
    threshold = secagg.default_threshold(owners)
    session = b"benchmark aggregation".ljust(32)

    def leave(way: str, label: str, payload: bytes) -> None:
        if way == "1->0" and label.endswith("/masked"):
            raise ConnectionError

    pairs = [
        channel_pair(session + bytes([number]), tap=leave if number <= gone else None)
        for number in range(1, owners + 1)
    ]

    def play(number: int) -> None:
        channel = pairs[number - 1][1]
        try:
            secagg.owner(
                channel,
                vectors[number - 1],
                number=number,
                owners=owners,
                threshold=threshold,
                session=session,
                rng=SystemRandomness(),
            )
        except ConnectionError:
            channel.abort("gone")

    threads = [threading.Thread(target=play, args=(number,)) for number in range(1, owners + 1)]
    for thread in threads:
        thread.start()
    channels = {number: pair[0] for number, pair in enumerate(pairs, start=1)}
    found = secagg.aggregator(channels, len(total), threshold=threshold, session=session, patience_s=60)
    for thread in threads:
        thread.join()
    missing = np.sum(vectors[:gone], axis=0, dtype=np.uint64) if gone else np.uint64(0)
    if not np.array_equal(found.total, total - missing):
        raise SystemExit("the sum differs from that of the vectors")
