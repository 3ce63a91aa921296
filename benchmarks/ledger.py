"""The ledger: its pieces, a hub and four members as real processes, the engines bare, and a long log.

``--quick`` measures the same on fewer entries. The peers take the same records in the same run, in batches of
the same size, durable at each: a bare SQLite table, and the order engines without anything around them.
"""

from __future__ import annotations

import gc
import hashlib
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, create_engine

from exchange.config import node_settings
from exchange.identity import NodeKeys
from exchange.local.consortium import Consortium
from exchange.node.hub_client import HubClient
from exchange.node.setup import KEYS_FILE
from ledger.algorithms import Signer
from ledger.batches import EMPTY_HEAD, split_batches, verify_batch
from ledger.checkpoints import cosign
from ledger.entries import Draft, Entry, new_id, new_ulid
from ledger.log import Log, Placed
from ledger.merkle import Tree, leaf_hash, verify_inclusion
from ledger.mirror import Mirror
from ledger.notarization import notarize_digests
from ledger.notes import Note
from ledger.orderers.etcd import EtcdOrderer
from ledger.orderers.nats import NatsOrderer
from ledger.search import Query, Search
from ledger.store import LedgerStore, open_engine, upgrade
from ledger.testing import NET, InMemorySource, Member, make_genesis, make_hub, make_member
from ledger.testing.clusters import etcd_cluster, nats_cluster
from ledger.tiles import encode_entries
from ledger.times import format_time, system_clock
from ledger.verification import Claim, Verifier

NAMES = ("lender", "bureau", "analyst", "regulator")
QUORUM = 3
BUNDLE = 250
"""Entries handed in, or written to a peer, at once."""

_POLL_S = 0.03
_ALL = 1_000_000  # more cosignatures than there can be: asks for the newest checkpoint

Row = dict[str, object]


def rows(quick: bool) -> Iterator[Row]:
    yield from pieces(2_000 if quick else 20_000)
    yield from whole(quick)
    yield from peers(2_000 if quick else 20_000)
    yield from long_log(20_000 if quick else 1_000_000)


def rate(number: int, work: Callable[[], object]) -> float:
    return number / seconds(work)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def per_second(
    metric: str, value: float, target: float | None = None, peer: str = "", than: float = 0.0
) -> Row:
    row: Row = {"metric": metric, "value": value, "unit": "per second", "target": target}
    if target is not None:
        row["met"] = value >= target
    return {**row, "peer": peer, "peer_value": than, "ratio": value / than} if peer else row


def at_most(metric: str, value: float, unit: str, target: float | None = None) -> Row:
    met = None if target is None else value <= target
    return {"metric": metric, "value": value, "unit": unit, "target": target, "met": met}


def notarized(net: str, did: str, kid: str, key: Signer, root: str) -> bytes:
    """One signed entry that puts the fingerprint of one document on record."""
    number = new_id("notarization", system_clock)
    body = {"notarization": number, "alg": "sha-256", "count": 1, "root": root}
    exp = format_time(system_clock() + timedelta(hours=12))
    draft = Draft(net, "evidence.notarize", did, body, exp=exp, seq=new_ulid(system_clock))
    return draft.sign(kid, key).encode()


def records(number: int, members: Sequence[Member]) -> list[bytes]:
    made = []
    for n in range(number):
        member = members[n % len(members)]
        root = hashlib.sha256(n.to_bytes(8, "big")).hexdigest()
        made.append(notarized(NET, member.did, member.kid, member.tx, root))
    return made


def bundles(raws: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(raws), BUNDLE):
        yield raws[start : start + BUNDLE]


# --- the pieces, in this process


def pieces(number: int) -> Iterator[Row]:
    members = [make_member(name) for name in NAMES]
    raws: list[bytes] = []
    yield per_second(
        "entries drafted and signed", rate(number, lambda: raws.extend(records(number, members)))
    )
    entries: list[Entry] = []
    yield per_second("entries parsed", rate(number, lambda: entries.extend(map(Entry.parse, raws))))
    claims = [
        Claim("EdDSA", members[n % 4].tx.public, entry.signed_bytes, entry.sigs[0].value)
        for n, entry in enumerate(entries)
    ]
    alone, pooled = Verifier(0), Verifier(1)
    pooled.check(claims[:100])  # starts the worker
    one = rate(number, lambda: alone.check(claims))
    two = rate(number, lambda: pooled.check(claims))
    pooled.close()
    yield per_second("signatures checked, one process", one)
    yield per_second("signatures checked, a worker beside it", two, peer="one process", than=one)
    yield from proofs(raws)
    yield per_second("full replay, one process", replayed(raws, members), 8_000)


def proofs(raws: Sequence[bytes]) -> Iterator[Row]:
    tree, leaves, number = Tree(), [leaf_hash(raw) for raw in raws], len(raws)
    yield per_second("leaves appended", rate(number, lambda: tree.extend(leaves)))
    made = [tree.inclusion_proof(index) for index in range(number)]
    root = tree.root()

    def verify() -> None:
        for index, path in enumerate(made):
            verify_inclusion(root, number, index, leaves[index], path)

    yield per_second("inclusion proofs verified", rate(number, verify), 1_000)


class Ledger:
    """A log in this process on a SQLite file; members' keys cosign it, their mirrors are not there."""

    def __init__(self, path: Path, members: Sequence[Member]) -> None:
        self.path, self.members, self.hub = path, members, make_hub()
        self.genesis = make_genesis(self.hub, members)
        self._open()
        self.log = Log.create(self.store, self.genesis, self.hub.cosign, self.hub.tx, linger_s=0.0)

    def _open(self) -> None:
        self.engine = open_engine(f"sqlite:///{self.path}")
        upgrade(self.engine)
        self.store = LedgerStore(self.engine)

    def cosign(self) -> None:
        """Cosign the newest checkpoint as a quorum of members, unseen."""
        text = Note.parse(self.log.checkpoint((self.log.final_size, _ALL))).text
        for member in self.members[:QUORUM]:
            line = cosign(text, f"{NET}/{member.name}", member.cosign, int(time.time()))
            self.log.add_cosignature(int(text.split("\n")[1]), line.encode())

    def close(self) -> None:
        self.log.close()
        self.engine.dispose()

    def reopen(self) -> None:
        self._open()
        self.log = Log.open(self.store, self.hub.cosign, self.hub.tx, linger_s=0.0)


@contextmanager
def new_ledger(members: Sequence[Member]) -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        with closing(Ledger(Path(folder) / "log.sqlite", members)) as ledger:
            yield ledger


def replayed(raws: Sequence[bytes], members: Sequence[Member]) -> float:
    """Entries a second from bytes to the state root of every batch, each signature checked."""
    with new_ledger(members) as ledger:
        for part in bundles(raws):
            ledger.log.submit_many(part)
        stored = ledger.store.raws(0, ledger.log.size)

    def replay() -> None:
        head = EMPTY_HEAD
        for entries in split_batches(stored, 0):
            head = verify_batch(head, entries, now=None, seen=lambda _: frozenset()).head

    return rate(len(stored), replay)


# --- a hub and four members, each a process with its own database, over mutual TLS on loopback


class Client:
    """A member's own system: signs with the member's key and hands in at the hub's interface."""

    def __init__(self, consortium: Consortium, name: str) -> None:
        directory = consortium.home / "nodes" / name
        passphrase = (consortium.home / "secrets" / name).read_text(encoding="utf-8")
        self.keys = NodeKeys.load(directory / KEYS_FILE, passphrase)
        hub = node_settings(directory, {}).hub
        if hub is None:
            raise SystemExit(f"{name} has not joined a hub")
        self.hub = HubClient(hub.url, self.keys, hub.certificate)

    def entries(self, roots: Sequence[str]) -> list[bytes]:
        keys = self.keys
        return [notarized(keys.net, keys.did, keys.kid, keys.tx, root) for root in roots]

    def hand_in(self, raws: Sequence[bytes]) -> int:
        """Hand in a bundle; return the index behind its last entry."""
        answers = self.hub.submit_many(raws)
        placed = [answer for answer in answers if isinstance(answer, Placed) and answer.code is None]
        if len(placed) != len(raws):
            raise SystemExit(f"expected {len(raws)} valid entries, got {len(placed)}: {answers[0]}")
        return max(answer.index for answer in placed) + 1


class Finality:
    """Notes when which size became final, as a client sees it: by cosignatures on the hub's checkpoint."""

    def __init__(self, hub: HubClient) -> None:
        self._hub, self._stop = hub, threading.Event()
        self._seen: list[tuple[int, float]] = [(0, 0.0)]
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            # the last final checkpoint is shown to whoever has an older one, and nothing else is of interest
            note = Note.parse(self._hub.checkpoint(known=(self._seen[-1][0], _ALL)))
            size, cosignatures = int(note.text.split("\n")[1]), len(note.signatures) - 1
            if cosignatures >= QUORUM and size > self._seen[-1][0]:
                self._seen.append((size, time.perf_counter()))

    def wait(self, size: int, timeout_s: float = 120.0) -> float:
        """Wait until ``size`` entries are final; return when they were."""
        deadline = time.perf_counter() + timeout_s
        while self._seen[-1][0] < size:
            if time.perf_counter() > deadline:
                raise SystemExit(f"expected size {size} to become final, {self._seen[-1][0]} is")
            time.sleep(0.005)
        return next(at for final, at in self._seen if final >= size)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def whole(quick: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        consortium = Consortium.up(Path(folder) / "home", NAMES, data={})
        try:
            client = Client(consortium, NAMES[0])
            with closing(Finality(client.hub)) as finality:
                yield from singles(client, finality, 2_000 if quick else 50_000)
                for rate_s in (250, 1_250):
                    yield from latency(client, finality, rate_s, 2.0 if quick else 15.0)
                yield from fingerprints(client, finality, 20 if quick else 300)
            for name, running in consortium.processes.items():
                if name in ("hub", NAMES[0]):
                    yield at_most(f"memory of the {name}'s process", resident(running.pid), "MB")
            client.hub.close()
        finally:
            consortium.stop()


def singles(client: Client, finality: Finality, number: int) -> Iterator[Row]:
    """As fast as it goes: one client signs, three of its connections hand in."""
    roots = [hashlib.sha256(n.to_bytes(8, "big")).hexdigest() for n in range(number)]
    started = time.perf_counter()
    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(lambda part: client.hand_in(client.entries(part)), bundles(roots)))
    ordered = time.perf_counter()
    final = finality.wait(max(ends))
    yield per_second(
        "single entries signed, ordered and durable, 4 members following", number / (ordered - started), 2_500
    )
    yield per_second("the same, until final by quorum", number / (final - started), 2_500)


def latency(client: Client, finality: Finality, rate_s: int, duration_s: float) -> Iterator[Row]:
    """At a tenth and at half of the throughput asked for: small bundles at even distances."""
    size = 25
    pause = size / rate_s
    ordered: list[float] = []
    handed: list[tuple[int, float]] = []

    def hand_in(raws: Sequence[bytes]) -> None:
        started = time.perf_counter()
        end = client.hand_in(raws)
        ordered.append(time.perf_counter() - started)
        handed.append((end, started))

    count = int(duration_s / pause)
    prepared = [
        client.entries([hashlib.sha256(b"%d %d %d" % (rate_s, n, m)).hexdigest() for m in range(size)])
        for n in range(count)
    ]
    with ThreadPoolExecutor(8) as pool:
        begun = time.perf_counter()
        for number, raws in enumerate(prepared):
            time.sleep(max(0.0, begun + number * pause - time.perf_counter()))
            pool.submit(hand_in, raws)
    finals = [finality.wait(end) - started for end, started in handed]
    for what, found, target in (("ordered", ordered, 50.0), ("final", finals, 1_000.0)):
        found.sort()
        name = f"to {what}, at {rate_s:,} entries a second"
        yield at_most(f"p50 {name}", statistics.median(found) * 1e3, "ms", target)
        yield at_most(f"p99 {name}", found[int(len(found) * 0.99)] * 1e3, "ms")


def fingerprints(client: Client, finality: Finality, batches: int) -> Iterator[Row]:
    """Documents whose digests are known, salted and put under one signature for each thousand."""
    digests = [hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(1_000)]
    keys = client.keys

    def entry() -> bytes:
        batch = notarize_digests(digests, notarization=new_id("notarization", system_clock))
        exp = format_time(system_clock() + timedelta(hours=1))
        draft = Draft(
            keys.net, "evidence.notarize", keys.did, batch.body(), exp=exp, seq=new_ulid(system_clock)
        )
        return draft.sign(keys.kid, keys.tx).encode()

    started = time.perf_counter()
    end = max(client.hand_in([entry() for _ in range(10)]) for _ in range(batches // 10))
    final = finality.wait(end)
    yield per_second(
        "fingerprints notarized, 1,000 under an entry, until final",
        batches * 1_000 / (final - started),
        10_000,
    )


def resident(pid: int) -> float:
    """Resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"process {pid} is gone")


# --- the peers


def peers(number: int) -> Iterator[Row]:
    members = [make_member(name) for name in NAMES]
    raws = records(number, members)
    batches = [encode_entries(part) for part in bundles(raws)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ledger = stack.enter_context(closing(Ledger(folder / "log.sqlite", members)))
        own = rate(number, lambda: [ledger.log.submit_many(part) for part in bundles(raws)])
        mirror = Mirror(
            LedgerStore(new_engine(folder / "mirror.sqlite", stack)),
            InMemorySource(ledger.log),
            ledger.genesis,
            members[0].cosign,
            evidence=folder / "evidence",
        )
        yield per_second("a log alone, in one process", own)
        yield per_second("a member catching up, in one process", rate(number, mirror.sync))
        bare = bare_sqlite(folder / "bare.sqlite", raws)
        yield per_second("bare SQLite table", bare, peer="a log alone", than=own)
        etcd = stack.enter_context(etcd_cluster(directory(folder / "etcd")))
        with closing(EtcdOrderer(etcd.endpoints, "bench")) as orderer:
            yield per_second(
                "bare etcd, 3 nodes", proposed(orderer, batches, number), peer="a log alone", than=own
            )
        nats = stack.enter_context(nats_cluster(directory(folder / "nats")))
        with closing(NatsOrderer(nats.servers, nats.monitors, "bench")) as orderer:
            yield per_second(
                "bare NATS JetStream, 3 nodes",
                proposed(orderer, batches, number),
                peer="a log alone",
                than=own,
            )


def directory(path: Path) -> Path:
    path.mkdir()
    return path


def new_engine(path: Path, stack: ExitStack) -> Engine:
    engine = open_engine(f"sqlite:///{path}")
    stack.callback(engine.dispose)
    upgrade(engine)
    return engine


def bare_sqlite(path: Path, raws: Sequence[bytes]) -> float:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE records (number INTEGER PRIMARY KEY, raw BLOB NOT NULL)")

        def write() -> None:
            for part in bundles(raws):
                with database:
                    database.executemany("INSERT INTO records (raw) VALUES (?)", [(raw,) for raw in part])

        return rate(len(raws), write)


def proposed(orderer: EtcdOrderer | NatsOrderer, batches: Sequence[bytes], number: int) -> float:
    orderer.begin(0)

    def propose() -> None:
        with create_engine("sqlite://").connect() as unused:  # an engine apart writes to no database of ours
            for height, batch in enumerate(batches):
                orderer.propose(height, batch, unused)

    return rate(number, propose)


# --- a log of a million entries


def long_log(number: int) -> Iterator[Row]:
    members = [make_member(name) for name in NAMES]
    with new_ledger(members) as ledger:
        sizes = [number // 10, number]
        memory: list[float] = []
        for size in sizes:
            while ledger.log.size < size:
                ledger.log.submit_many(records(4 * BUNDLE, members))
                ledger.cosign()
            gc.collect()
            memory.append(resident_here())
        yield at_most(f"memory of the process with {sizes[0]:,} entries", memory[0], "MB")
        yield at_most(
            f"memory of the process with {sizes[1]:,} entries", memory[1], "MB", memory[0] * 1.25 + 16
        )
        yield at_most("database, per entry", ledger.path.stat().st_size / ledger.log.size, "B")
        size = ledger.log.size
        ledger.close()
        yield at_most(f"start-up with {size:,} entries", seconds(ledger.reopen), "s", 10.0)
        yield from searches(ledger, members)


def resident_here() -> float:
    return resident(int(Path("/proc/self").resolve().name))


def searches(ledger: Ledger, members: Sequence[Member]) -> Iterator[Row]:
    below, search = ledger.log.size, Search(ledger.store)
    yield at_most(
        "taking all entries into the search index", seconds(lambda: search.postings.extend(below)), "s"
    )
    now = int(datetime.now(UTC).timestamp())
    rarely = Query(types=("gov.*",), actor=ledger.hub.did)
    queries = {
        "by actor, newest page": (Query(actor=members[0].did), True),
        "by type and actor, oldest page": (Query(types=("evidence.notarize",), actor=members[1].did), False),
        "by time and participant": (Query(concerning=(members[2].did,), since=now - 60, until=now), True),
        "rare type of an actor": (rarely, False),
        "two participants, no match": (Query(concerning=(members[0].did, members[1].did)), True),
    }
    for what, (query, newest_first) in queries.items():
        taken = [
            seconds(lambda: search.page(query, below=below, newest_first=newest_first, limit=100))  # noqa: B023
            for _ in range(11)
        ]
        yield at_most(f"search {what}", statistics.median(taken) * 1e3, "ms", 50.0)
