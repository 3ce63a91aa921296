"""Two-party intersections, each party in a process of its own, beside SPU on the same identifiers.

``psi/ecdh`` works over a socket on loopback, with both sets on disk; SPU's protocols over its own links. Both
parties share the machine's cores. 10,000,000 rows a side are run where ``PARLEY_BENCH_PSI_ROWS`` says so:
``PARLEY_BENCH_PSI_ROWS=10000000 make bench-private_psi``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpc import SystemRandomness
from mpc.channel import ChannelStats
from mpc.oprf import rfc9497
from mpc.psi import cardinality, ecdh, unbalanced
from mpc.secrecy import SecretBytes
from mpc.testing import run_pair

QUICK, FULL, ASKED = 2_000, 1_000_000, 1_000
BATCH = 65_536
SPU = {
    "SPU ECDH-25519": ("PROTOCOL_ECDH", "CURVE_25519"),
    "SPU KKRT": ("PROTOCOL_KKRT", None),
    "SPU RR22": ("PROTOCOL_RR22", None),
}
_HEAD = struct.Struct("<QQ")


def rows(quick: bool) -> Iterator[dict[str, object]]:
    people = QUICK if quick else int(os.environ.get("PARLEY_BENCH_PSI_ROWS", FULL))
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for rank in range(2):
            write_items(here / f"{rank}.csv", rank, people)
        own = played("ecdh", here, people)
        counted = played("cardinality", here, people)
        peers = {} if quick or importlib.util.find_spec("spu") is None else spu_runs(here, people)
    yield from figures("psi/ecdh", people, own, peers)
    yield from figures("psi/cardinality", people, counted, {})
    yield from kept_list(QUICK if quick else min(people, 100_000))


def figures(
    name: str, people: int, found: list[dict[str, Any]], peers: dict[str, list[dict[str, Any]]]
) -> Iterator[dict[str, object]]:
    taken = max(one["seconds"] for one in found)
    row: dict[str, object] = {"metric": f"{name}, {people:,} x {people:,}", "value": taken, "unit": "s"}
    if not peers:
        yield row
    for peer, theirs in peers.items():
        took = max(one["seconds"] for one in theirs)
        yield row | {"peer": peer, "peer_value": took, "ratio": taken / took}
        memory = max(one["memory"] for one in theirs)
        yield {"metric": f"{peer}, peak memory of a party", "value": memory, "unit": "B"}
    yield {
        "metric": f"{name}, curve points a second and machine",
        "value": sum(one["points"] for one in found) / taken,
        "unit": "1/s",
    }
    yield {"metric": f"{name}, CPU of both", "value": sum(one["cpu"] for one in found), "unit": "s"}
    memory = max(one["memory"] for one in found)
    yield {"metric": f"{name}, peak memory of a party", "value": memory, "unit": "B"}
    yield {"metric": f"{name}, bytes both ways", "value": sum(one["sent"] for one in found), "unit": "B"}


def kept_list(people: int) -> Iterator[dict[str, object]]:
    """A few items against a list: the work of the first time, and of every other time."""
    key = rfc9497.derive_key(SecretBytes(bytes(32)), b"benchmark")
    items = [b"%018d" % number for number in range(people)]
    asked = items[: min(ASKED, people) // 2] + [b"x%d" % number for number in range(min(ASKED, people) // 2)]
    started = time.perf_counter()
    prepared = unbalanced.prepare(key, [items])
    name = f"psi/unbalanced, {people:,} kept"
    yield {"metric": f"{name}, masking the list", "value": time.perf_counter() - started, "unit": "s"}
    started = time.perf_counter()
    _, found = run_pair(
        lambda channel: unbalanced.serve(channel, key, prepared, SystemRandomness()),
        lambda channel: unbalanced.ask(channel, asked, prepared, SystemRandomness()),
    )
    taken = time.perf_counter() - started
    if len(found.rows) != len(asked) // 2:
        raise SystemExit("the unbalanced intersection is another than was put in")
    yield {"metric": f"{name}, {len(asked):,} asked, both parties", "value": taken, "unit": "s"}


def write_items(path: Path, rank: int, people: int) -> None:
    """18-digit numbers, half of them at both parties, in an order that is no party's."""
    step = 7_919
    with path.open("w") as file:
        file.write("id\n")
        for number in range(people):
            file.write(f"{110_101 * 10**12 + (number * step) % people + rank * (people // 2):018d}\n")


def played(task: str, here: Path, people: int) -> list[dict[str, Any]]:
    """Run both parties of a task to their ends; what each measured of itself."""
    ports = [_free_port() for _ in range(2)]
    command = [sys.executable, "-P", __file__, task, str(here), *map(str, ports)]
    running = [subprocess.Popen([*command, str(rank)], stdout=subprocess.DEVNULL) for rank in range(2)]
    ends = [process.wait() for process in running]
    if any(ends):
        raise SystemExit(f"a party of {task} failed")
    found: list[dict[str, Any]] = [
        json.loads((here / f"measured-{rank}.json").read_text()) for rank in range(2)
    ]
    expected = people - people // 2
    if any(one["shared"] != expected for one in found):
        raise SystemExit(f"{task}: expected {expected} shared items")
    return found


def spu_runs(here: Path, people: int) -> dict[str, list[dict[str, Any]]]:
    return {peer: played(f"spu:{':'.join(filter(None, which))}", here, people) for peer, which in SPU.items()}


def party(task: str, here: Path, ports: list[int], rank: int) -> dict[str, Any]:
    started = time.perf_counter()
    done = _spu(task, here, ports, rank) if task.startswith("spu:") else _own(task, here, ports, rank)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return done | {
        "seconds": time.perf_counter() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
    }


def _own(task: str, here: Path, ports: list[int], rank: int) -> dict[str, Any]:
    channel = SocketChannel(ports[0], rank)
    play = ecdh.run_batches if task == "ecdh" else cardinality.run
    spool = here / f"spool-{rank}"
    found: Any = play(channel, _batches(here / f"{rank}.csv"), SystemRandomness(), folder=spool)
    channel.close()
    items = sum(1 for _ in (here / f"{rank}.csv").open()) - 1
    return {"shared": found.shared, "sent": channel.stats.bytes_sent, "points": 2 * items}


def _batches(path: Path) -> Iterator[list[bytes]]:
    with path.open("rb") as file:
        next(file)
        batch: list[bytes] = []
        for line in file:
            batch.append(line.rstrip())
            if len(batch) == BATCH:
                yield batch
                batch = []
        yield batch


def _spu(task: str, here: Path, ports: list[int], rank: int) -> dict[str, Any]:
    from spu import libspu, psi

    _, protocol, *curve = task.split(":")
    described = libspu.link.Desc()
    for number, port in enumerate(ports):
        described.add_party(f"party-{number}", f"127.0.0.1:{port}")
    context = libspu.link.create_brpc(described, rank)
    chosen: dict[str, Any] = {"protocol": getattr(psi.PsiProtocol, protocol), "broadcast_result": True}
    if curve:
        chosen["ecdh_params"] = psi.EcdhParams(curve=getattr(psi.EllipticCurveType, curve[0]))
    report = psi.psi_execute(
        psi.PsiExecuteConfig(
            protocol_conf=psi.PsiProtocolConfig(receiver_rank=0, **chosen),
            input_params=psi.InputParams(
                path=str(here / f"{rank}.csv"), selected_keys=["id"], keys_unique=True
            ),
            output_params=psi.OutputParams(path=str(here / f"out-{rank}.csv")),
        ),
        context,
    )
    context.stop_link()
    return {"shared": report.intersection_count}


class SocketChannel:
    """A channel over one connection on loopback; a thread writes, so that both may send at once."""

    def __init__(self, port: int, rank: int) -> None:
        self.session, self.rank, self.peer = b"benchmark".ljust(32), rank, f"rank {1 - rank}"
        self.stats = ChannelStats()
        self._socket = _listen(port) if rank == 0 else _connect(port)
        self._reader = self._socket.makefile("rb")
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def send(self, label: str, payload: bytes) -> None:
        self.stats.count_sent(len(payload))
        self._waiting.put(_HEAD.pack(len(label), len(payload)) + label.encode() + payload)

    def receive(self, label: str) -> bytes:
        name, size = _HEAD.unpack(self._reader.read(_HEAD.size))
        if self._reader.read(name).decode() != label:
            raise SystemExit(f"expected {label}")
        payload = self._reader.read(size)
        self.stats.count_received(size)
        return payload

    def abort(self, code: str) -> None:
        raise SystemExit(code)

    def close(self) -> None:
        self._waiting.put(None)
        self._writer.join()
        self._socket.close()

    def _write(self) -> None:
        while (data := self._waiting.get()) is not None:
            self._socket.sendall(data)


def _listen(port: int) -> socket.socket:
    with socket.create_server(("127.0.0.1", port)) as server:
        return server.accept()[0]


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    task, folder, first, second, rank = sys.argv[1:]
    measured = party(task, Path(folder), [int(first), int(second)], int(rank))
    (Path(folder) / f"measured-{rank}.json").write_text(json.dumps(measured))
