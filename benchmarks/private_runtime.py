"""Three computing parties, each a process over pipes, beside pooled rows and SPU's ABY3 in one process."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from exchange.jobs.secret_columns import figures
from exchange.jobs.secret_columns.nodes import Kind, Node
from exchange.jobs.secret_columns.query import Figure, Key, Query
from mpc import SystemRandomness, replicated
from mpc.channel import ChannelStats
from mpc.errors import UnexpectedMessage
from mpc.mesh import Mesh
from mpc.replicated import Runtime, Shared

PARTIES = 3
GROUPS = 10
KEY_BITS = 20
SORTED_BY_SPU = 10_000
RANKS = {"owner-1": 0, "owner-2": 1, "owner-3": 2}
PEER = "SPU ABY3 in one process, with sharing and opening"
Outcome = dict[str, Any]


class PipeChannel:
    """One end of a pipe; a thread writes, so that sending does not wait for the peer."""

    def __init__(self, rank: int, pipe: Connection) -> None:
        self.session, self.rank, self.peer, self.stats = b"benchmark".ljust(32), rank, "", ChannelStats()
        self._pipe, self._waiting = pipe, queue.SimpleQueue[bytes | None]()
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def _write(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            self._pipe.send_bytes(waiting)

    def close(self) -> None:
        """Wait until everything is with the peer."""
        self._waiting.put(None)
        self._writer.join()

    def send(self, label: str, payload: bytes) -> None:
        self.stats.count_sent(len(payload))
        self._waiting.put(label.encode().ljust(64))
        self._waiting.put(payload)

    def receive(self, label: str) -> bytes:
        arrived = self._pipe.recv_bytes().decode().strip()
        if arrived != label:
            raise UnexpectedMessage(label, arrived)
        payload = self._pipe.recv_bytes()
        self.stats.count_received(len(payload))
        return payload

    def abort(self, code: str) -> None:
        raise SystemExit(code)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def together(work: Callable[[Runtime, Outcome], None]) -> Outcome:
    """Run ``work`` at three processes; what rank 0 wrote down, and the bytes that all sent."""
    context = multiprocessing.get_context("fork")
    pipes = {(low, high): context.Pipe() for low in range(PARTIES) for high in range(low + 1, PARTIES)}
    found = context.SimpleQueue()

    def party(rank: int) -> None:
        channels = {
            (high if rank == low else low): PipeChannel(int(rank == high), ends[rank == high])
            for (low, high), ends in pipes.items()
            if rank in (low, high)
        }
        outcome: Outcome = {}
        mesh = Mesh(rank, b"benchmark of three", channels)
        with replicated.run(mesh, replicated.SPEC, SystemRandomness()) as rt:
            work(rt, outcome)
        for channel in channels.values():
            channel.close()
        sent = sum(channel.stats.bytes_sent for channel in channels.values())
        found.put((rank, outcome, sent))

    processes = [context.Process(target=party, args=(rank,)) for rank in range(PARTIES)]
    for process in processes:
        process.start()
    ended = [found.get() for _ in processes]
    for process in processes:
        process.terminate()
    return {**next(out for rank, out, _ in ended if rank == 0), "bytes": sum(sent for *_, sent in ended)}


def shared(rt: Runtime, owner: int, values: np.ndarray) -> Shared:
    return rt.share(owner, values if rt.rank == owner else None, values.shape)


def rows(quick: bool) -> Iterator[dict[str, object]]:
    """In a process of its own: the parties are forked, which a process with other threads must not do."""
    command = [sys.executable, "-P", __file__, *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **_paths()})
    yield from (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


def _paths() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def measured(quick: bool) -> Iterator[dict[str, object]]:
    for count in (10_000,) if quick else (100_000, 1_000_000):
        yield from operations(count)
    yield from sorting(1_000 if quick else SORTED_BY_SPU, with_spu=True)
    if not quick:
        yield from sorting(100_000, with_spu=False)
    yield from statistics(20_000 if quick else 1_000_000)


def operations(count: int) -> Iterator[dict[str, object]]:
    generator = np.random.Generator(np.random.PCG64(7))
    a, b = (generator.integers(-(2**30), 2**30, count) for _ in range(2))

    def work(rt: Runtime, outcome: Outcome) -> None:
        x, y = shared(rt, 0, a), shared(rt, 1, b)
        rt.less(rt.mul(x[:64], y[:64]), y[:64])  # compiles
        outcome["mul"] = seconds(lambda: rt.mul(x, y))
        outcome["less"] = seconds(lambda: rt.less(x, y))
        outcome["less of 32 bits"] = seconds(lambda: rt.less(x, y, bits=32))

    ours = together(work)
    spu = by_spu({"mul": lambda x, y: x * y, "less": lambda x, y: x < y}, a, b)
    spu["less of 32 bits"] = spu.get("less")
    for name in ("mul", "less", "less of 32 bits"):
        yield compared(f"{name}, {count:,} values", ours[name], PEER, spu[name])


def sorting(count: int, *, with_spu: bool) -> Iterator[dict[str, object]]:
    keys = np.random.Generator(np.random.PCG64(8)).integers(0, 2 ** (KEY_BITS - 1), count)

    def work(rt: Runtime, outcome: Outcome) -> None:
        x = shared(rt, 0, keys)
        rt.sort([x[:64]], [], [2])  # compiles
        outcome["sort"] = seconds(lambda: rt.sort([x], [], [KEY_BITS]))

    ours = together(work)["sort"]
    peer = by_spu({"sort": _sorted}, keys, keys)["sort"] if with_spu else None
    name = f"sort by {KEY_BITS} bits, {count:,} rows"
    yield compared(name, ours, PEER, peer)


def statistics(count: int) -> Iterator[dict[str, object]]:
    generator = np.random.Generator(np.random.PCG64(9))
    table = {
        "g": generator.integers(0, GROUPS, count),
        "x": generator.integers(0, 100_000, count),
        "y": generator.integers(0, 100_000, count),
    }
    numbers = {
        name: Node("column", holders=frozenset({owner}), upper=100_000, column=name)
        for name, owner in (("x", "owner-2"), ("y", "owner-3"))
    }
    labels = tuple(map(str, range(GROUPS)))
    code = Node(
        "column", (), Kind.CATEGORY, frozenset({"owner-1"}), upper=GROUPS - 1, labels=labels, column="g"
    )
    means = Query(
        {}, None, (Key("g", labels, code),), tuple(Figure(n, "mean", (numbers[n],)) for n in numbers)
    )
    third = Node("column", holders=frozenset({"owner-1"}), upper=GROUPS, column="g")
    correlation = Query({}, None, (), (Figure("c", "correlation", (third, *numbers.values())),))

    def work(rt: Runtime, outcome: Outcome) -> None:
        own = {name: values for rank, (name, values) in enumerate(table.items()) if rank == rt.rank}
        minimum = figures.Minimum(1, complementary=False)
        for name, query in (("warm", means), ("group-by mean", means), ("correlation", correlation)):
            used = {column: values[:64] for column, values in own.items()} if name == "warm" else own
            size = 64 if name == "warm" else count

            def run(query: Query = query, used: Outcome = used, size: int = size, name: str = name) -> None:
                answer = rt.open(figures.compute(rt, query, RANKS, used, size, minimum), (0,))
                outcome[f"{name} answer"] = None if answer is None else answer.tolist()

            outcome[name] = seconds(run)

    ours = together(work)
    with duckdb.connect() as database:
        database.register("t", pa.table(table))
        wanted: list[Any] = []
        grouping = (
            "SELECT count(*)::BIGINT, sum(x)::BIGINT, sum(y)::BIGINT, avg(x), avg(y) FROM t "
            "GROUP BY g ORDER BY g"
        )
        pooled = seconds(lambda: wanted.extend(database.sql(grouping).fetchall()))
        correlated = seconds(
            lambda: database.sql("SELECT corr(g, x), corr(g, y), corr(x, y) FROM t").fetchall()
        )
    if [line[1:] for line in ours["group-by mean answer"]] != [list(line[:3]) for line in wanted]:
        raise SystemExit("the shared sums differ from the pooled ones")
    name = f"3 owners x {count:,} rows"
    yield compared(
        f"group-by mean of 2 columns, {GROUPS} groups, {name}",
        ours["group-by mean"],
        "DuckDB, pooled",
        pooled,
    )
    yield compared(f"correlation of 3 columns, {name}", ours["correlation"], "DuckDB, pooled", correlated)
    yield {"metric": "both, bytes of all parties", "value": ours["bytes"], "unit": "B"}


def _sorted(x: object, y: object) -> object:
    import jax

    return jax.numpy.sort(x)


def compared(name: str, value: float, peer: str, peer_value: float | None) -> dict[str, object]:
    row: dict[str, object] = {"metric": name, "value": value, "unit": "s"}
    if peer_value is not None:
        row |= {"peer": peer, "peer_value": peer_value, "ratio": value / peer_value}
    return row


def by_spu(operations: dict[str, Callable[[Any, Any], Any]], a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """The same by SPU where it is installed: three parties in one process, without compiling.

    A process of its own, because jax starts threads that must not be there when ours fork.
    """
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()

    def measure() -> None:
        try:
            import spu
            from spu.utils import simulation
        except ModuleNotFoundError:
            found.put(dict.fromkeys(operations))
            return
        simulator = simulation.Simulator.simple(PARTIES, spu.ProtocolKind.ABY3, spu.FieldType.FM64)
        taken = {}
        for name, operation in operations.items():
            run = simulation.sim_jax(simulator, operation)
            run(a, b)
            taken[name] = seconds(functools.partial(run, a, b))
        found.put(taken)

    process = context.Process(target=measure)
    process.start()
    measured: dict[str, Any] = found.get()
    process.terminate()
    return measured


if __name__ == "__main__":
    for row in measured("--quick" in sys.argv):
        print(json.dumps(row), flush=True)
