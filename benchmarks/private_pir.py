"""Anonymous queries: the owner's time beside the speed of reading memory, the client's, traffic, building.

The list of ten million has labels drawn at random in place of the pseudorandom function, whose rate is
measured by itself and over the whole build of the smaller list; where records are and what is sealed does
not depend on it. Both roles are in one process, over a channel in memory.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numba
import numpy as np

from mpc import SystemRandomness, cores
from mpc.oprf import rfc9497
from mpc.pir import build, files, keyword
from mpc.pir.client import ListClient
from mpc.pir.messages import Queries
from mpc.pir.server import ListServer
from mpc.secrecy import SecretBytes
from mpc.testing import channel_pair, run_pair

RNG = SystemRandomness()
KEY = rfc9497.derive_key(SecretBytes(RNG.bytes(32)), b"benchmark")
BATCH = 2**16


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Return the shortest of several runs: other jobs of the machine only ever add."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


@numba.njit(nogil=True)
def read(words: np.ndarray, start: int, stop: int) -> int:
    """Read a slice once, in eight streams: the fastest of the plain loops that were tried."""
    n = (stop - start) // 8
    a, b = words[start : start + n], words[start + n : start + 2 * n]
    c, d = words[start + 2 * n : start + 3 * n], words[start + 3 * n : start + 4 * n]
    e, f = words[start + 4 * n : start + 5 * n], words[start + 5 * n : start + 6 * n]
    g, h = words[start + 6 * n : start + 7 * n], words[start + 7 * n : start + 8 * n]
    total = np.uint64(0)
    for i in range(n):
        total += (a[i] ^ b[i] ^ c[i] ^ d[i]) + (e[i] ^ f[i] ^ g[i] ^ h[i])
    return total


def rows(quick: bool) -> Iterator[dict[str, object]]:
    scale = 200 if quick else 1
    yield from function(2_000 if quick else 100_000)
    with tempfile.TemporaryDirectory() as directory:
        yield from large(Path(directory) / "large", 10_000_000 // scale, 16, quick)
        yield from small(Path(directory) / "small", 1_000_000 // scale, 64)


def function(count: int) -> Iterator[dict[str, object]]:
    keys = [b"person %d" % number for number in range(count)]
    rfc9497.outputs(KEY, keys[:2_000])  # compiles
    yield {
        "metric": f"function on {count:,} own entries, all cores",
        "value": count / seconds(lambda: rfc9497.outputs(KEY, keys), 2),
        "unit": "entries/s",
    }


def batches(entries: int, width: int) -> Iterator[build.Batch]:
    for start in range(0, entries, BATCH):
        keys = [b"person %d" % number for number in range(start, min(start + BATCH, entries))]
        yield keys, np.frombuffer(RNG.bytes(width * len(keys)), dtype=np.uint8).reshape(-1, width)


def made(directory: Path, entries: int, width: int) -> float:
    return seconds(
        lambda: build.build(
            directory,
            batches(entries, width),
            KEY,
            list_id="benchmark",
            epoch=1,
            planned=entries,
            record_bytes=width,
            rng=RNG,
        )
    )


def large(directory: Path, entries: int, width: int, quick: bool) -> Iterator[dict[str, object]]:
    name = f"{entries:,} x {width} bytes"
    with mock.patch.object(rfc9497, "outputs", lambda key, inputs: RNG.bytes(64 * len(inputs))):
        taken = made(directory, entries, width)
    yield {"metric": f"{name}: build without the function", "value": taken, "unit": "s"}
    yield from sizes(name, directory)
    server, client = ListServer(directory, KEY), ListClient.load(directory)
    yield from speed(name, server, client)
    yield from client_side(name, server, client)
    for count in (20,) if quick else (1_000, 10_000):
        vectors = np.frombuffer(RNG.bytes(4 * count * client.manifest.shape.columns), dtype="<u4")
        queries = Queries(client.manifest.digest, vectors.reshape(count, -1).copy())
        taken = seconds(lambda: server.answer(queries))  # noqa: B023  # called at once
        yield {"metric": f"{name}: server, batch of {count:,}", "value": taken, "unit": "s"}
    yield from runs(name, server, client, (1, 20) if quick else (1, 1_000))
    shutil.rmtree(directory)


def small(directory: Path, entries: int, width: int) -> Iterator[dict[str, object]]:
    name = f"{entries:,} x {width} bytes"
    yield {"metric": f"{name}: build, whole", "value": made(directory, entries, width), "unit": "s"}
    yield from sizes(name, directory)
    server, client = ListServer(directory, KEY), ListClient.load(directory)
    yield from speed(name, server, client)
    yield from runs(name, server, client, (1,))
    keys = [b"person %d" % number for number in range(1_000)]
    records = np.zeros((len(keys), width), dtype=np.uint8)
    following = directory.with_name("next")
    taken = seconds(
        lambda: build.update(directory, following, KEY, upserts=(keys, records), removals=[], rng=RNG)
    )
    yield {"metric": f"{name}: update of {len(keys):,} entries", "value": taken, "unit": "s"}
    delta = (following / files.DELTA).read_bytes()
    manifest = files.read_manifest(following)
    yield {"metric": f"{name}: its delta", "value": len(delta), "unit": "B"}
    yield {
        "metric": f"{name}: a client follows it",
        "value": seconds(lambda: client.updated(manifest, delta)),
        "unit": "s",
    }


def sizes(name: str, directory: Path) -> Iterator[dict[str, object]]:
    shape = files.read_manifest(directory).shape
    for what, size in (
        ("matrix", shape.columns * shape.rows),
        ("hint", (directory / files.HINT).stat().st_size),
        ("stash", (directory / files.STASH).stat().st_size),
        ("a query", keyword.query_bytes(shape)),
        ("an answer", keyword.answer_bytes(shape)),
        ("a run for one key, up", keyword.bytes_sent("client", 1, shape)),
        ("a run for one key, down", keyword.bytes_sent("server", 1, shape)),
    ):
        yield {"metric": f"{name}: {what}", "value": size, "unit": "B"}


def speed(name: str, server: ListServer, client: ListClient) -> Iterator[dict[str, object]]:
    shape = client.manifest.shape
    size = shape.columns * shape.rows
    words = server._matrix.reshape(-1)[: size // 8 * 8].view(np.uint64)
    queries = Queries(client.manifest.digest, client.prepare(1, RNG).take(1)[0])

    def reading() -> None:
        cores.over_slices(lambda part: read(words, part.start, part.stop), len(words))

    reading(), server.answer(queries)  # compile
    answering, reads = [], []
    for _ in range(15):
        answering.append(seconds(lambda: server.answer(queries)))
        reads.append(seconds(reading))
    taken, bandwidth = min(answering), size / min(reads) / 1e9
    limit = 0.04 if size > 2 * 10**8 else None
    yield {
        "metric": f"{name}: server, one query (best of 15)",
        "value": taken * 1e3,
        "unit": "ms",
        "target": None if limit is None else limit * 1e3,
        "met": None if limit is None else taken <= limit,
        "peer": "the matrix read once by both cores, in turn with it",
        "peer_value": min(reads) * 1e3,
        "ratio": taken / min(reads),
    }
    yield {"metric": f"{name}: server, median", "value": float(np.median(answering)) * 1e3, "unit": "ms"}
    yield {
        "metric": f"{name}: server, rate",
        "value": size / taken / 1e9,
        "unit": "GB/s",
        "target": bandwidth / 2,
        "met": size / taken / 1e9 >= bandwidth / 2,
        "peer": "memory read bandwidth",
        "peer_value": bandwidth,
        "ratio": size / taken / 1e9 / bandwidth,
    }
    part = shape.columns // 16
    wide = server._matrix[:part].astype(np.uint32)
    plain = 16 * seconds(lambda: queries.vectors[:, :part] @ wide, 2)
    yield {
        "metric": f"{name}: server, the same",
        "value": taken * 1e3,
        "unit": "ms",
        "peer": "numpy, 32-bit matrix (a sixteenth, scaled)",
        "peer_value": plain * 1e3,
        "ratio": taken / plain,
    }


def client_side(name: str, server: ListServer, client: ListClient) -> Iterator[dict[str, object]]:
    prepared = client.prepare(1, RNG)
    blinding, request = client.blind([b"person 1"], RNG)
    reply = server.evaluate(request, RNG)
    labels = client.labels(blinding, reply)
    pending, queries = client.query(labels, RNG, prepared)
    answers = server.answer(queries)
    works: dict[str, Callable[[], object]] = {
        "client, blind": lambda: client.blind([b"person 1"], RNG),
        "server, function and proof": lambda: server.evaluate(request, RNG),
        "client, check and unblind": lambda: client.labels(blinding, reply),
        "client, prepare a query": lambda: client.prepare(1, RNG),
        "client, open an answer": lambda: client.recover(pending, answers),
    }
    for what, work in works.items():
        yield {"metric": f"{name}: {what}", "value": seconds(work, 5) * 1e3, "unit": "ms"}


def runs(
    name: str, server: ListServer, client: ListClient, counts: tuple[int, ...]
) -> Iterator[dict[str, object]]:
    for count in counts:
        keys = [b"person %d" % number for number in range(count)]
        taken = seconds(
            lambda: run_pair(
                lambda channel: keyword.client(channel, client, keys, RNG),  # noqa: B023
                lambda channel: keyword.server(channel, server, RNG),
                channel_pair(timeout_s=600),
            ),
            5 if count == 1 else 1,
        )
        yield {
            "metric": f"{name}: both roles, {count:,} keys, nothing prepared",
            "value": taken * 1e3,
            "unit": "ms",
            "target": 150.0 if count == 1 else None,
            "met": taken <= 0.15 if count == 1 else None,
        }
