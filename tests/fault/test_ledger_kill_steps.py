"""Real processes killed at every single step of the hub's commit and of a member's take, keep and cosign.

A process forks a child for each step: before and after every SQL statement that writes and every commit,
around every call of the source. The child kills itself there with SIGKILL. What it leaves is opened again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ledger import merkle, notes
from ledger.checkpoints import Checkpoint, cosign, verify_cosignature
from ledger.errors import Divergence
from ledger.fsck import check
from ledger.log import Log
from ledger.mirror import Mirror
from ledger.notes import Note, NoteSignature, Vkey
from ledger.schema import PROMISES
from ledger.store import LedgerStore, open_engine, upgrade
from ledger.testing import ORIGIN, ManualClock, draft_entry, make_genesis, make_hub, make_member
from ledger.tiles import decode_entries, encode_entries

HUB = make_hub()
MEMBERS = [make_member(name) for name in ("lender", "bureau")]
GENESIS = make_genesis(HUB, MEMBERS)
SELF = Path(__file__)

DRIVER = """
import importlib.util, json, os, signal, sys
from pathlib import Path
from sqlalchemy import event
from ledger.store import LedgerStore, open_engine, upgrade

spec = importlib.util.spec_from_file_location("steps", sys.argv[1])
steps = importlib.util.module_from_spec(spec)
spec.loader.exec_module(steps)
job, folder = getattr(steps, sys.argv[2]), Path(sys.argv[3])

class Steps:
    def __init__(self, last):
        self.left = last

    def write(self, connection, cursor, statement, *_):
        if not statement.lstrip().upper().startswith("SELECT"):
            self.wrote = True
            self.step()

    def commit(self, connection):
        if self.wrote:
            self.step()
            connection.connection.dbapi_connection.commit()
            self.step()
        self.wrote = False

    wrote = False

    def step(self, *_):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

last = 0
while True:
    path = folder / f"{last}.sqlite"
    child = os.fork()
    if not child:
        engine = open_engine(f"sqlite:///{path}")
        upgrade(engine)
        steps_of = Steps(last)
        for name in ("before_cursor_execute", "after_cursor_execute"):
            event.listen(engine, name, steps_of.write)
        event.listen(engine, "commit", steps_of.commit)
        job(LedgerStore(engine), folder / f"{last}.acknowledged", steps_of.step)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"step": last, "killed": os.WIFSIGNALED(status), "code": status}), flush=True)
    if not os.WIFSIGNALED(status):
        break
    last += 1
"""


def signed(number: int, endpoint: str = "") -> bytes:
    member = MEMBERS[number % 2]
    body = {"endpoint": endpoint or f"h{number}:1"}
    draft = draft_entry(member, "member.update", body, now=ManualClock()())
    return draft.sign(member.kid, member.tx).encode()


def killed_at_every_step(job: str, folder: Path) -> int:
    """Run the driver; returns how many steps the job has. The run after the last one was not killed."""
    command = [sys.executable, "-P", "-c", DRIVER, str(SELF), job, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert [run["killed"] for run in runs] == [True] * (len(runs) - 1) + [False], done.stderr
    assert runs[-1]["code"] == 0, done.stderr
    return len(runs) - 1


def run_hub(store: LedgerStore, acknowledged: Path, step: Any) -> None:
    """The hub's job: found a log, sequence entries, promise one; each answer is noted once it is given."""
    with acknowledged.open("a", buffering=1) as told:
        log = Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=ManualClock(), linger_s=0.0)
        for number in (1, 2):
            raw = signed(number)
            placed = log.submit(raw)
            told.write(json.dumps({"raw": raw.decode(), "index": placed.index}) + "\n")
        raw = signed(3)
        log.promise(raw)
        told.write(json.dumps({"raw": raw.decode(), "index": None}) + "\n")
        placed = log.submit(raw)
        told.write(json.dumps({"raw": raw.decode(), "index": placed.index}) + "\n")
        line = notes_line(log)
        log.add_cosignature(log.size, line)
        told.write(json.dumps({"line": line, "size": log.size}) + "\n")
        log.close()


def notes_line(log: Log) -> str:
    text = Note.parse(log.checkpoint_of(log.size)).text
    return cosign(text, "example/net/lender", MEMBERS[0].cosign, 1).encode()


@contextmanager
def opened(path: Path) -> Iterator[LedgerStore]:
    engine = open_engine(f"sqlite:///{path}")
    try:
        yield LedgerStore(engine)
    finally:
        engine.dispose()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
def test_a_hub_killed_at_any_step_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    steps = killed_at_every_step("run_hub", tmp_path)
    assert steps > 30
    for number in range(steps + 1):
        with opened(tmp_path / f"{number}.sqlite") as store:
            upgrade(store.engine)
            before = dict(store.checkpoints())
            begin = Log.open if store.head() else Log.create
            genesis = () if store.head() else (GENESIS,)
            with begin(  # type: ignore[operator]
                store, *genesis, HUB.cosign, HUB.tx, clock=ManualClock(), linger_s=0.0
            ) as log:
                told = lines(tmp_path / f"{number}.acknowledged")
                for one in told:
                    if "raw" in one:
                        placed = log.submit(one["raw"].encode())
                        assert placed.code is None
                        assert one["index"] in (None, placed.index), number
                    else:
                        assert one["line"] in store.cosignatures(one["size"]).values()
                log.submit(signed(4))
                assert before.items() <= dict(store.checkpoints()).items()
                assert store.rows(promises()) == []
            assert check(store, GENESIS) == [], number


def promises() -> Any:
    return select(PROMISES.c.txid)


class Served:
    """One of two histories that a hub shows; cosignatures go to a file as they arrive."""

    def __init__(self, raws: list[bytes], published: Path, step: Any = lambda: None) -> None:
        self.raws, self.published, self.step = raws, published, step
        self.sizes = (2, 4, 6)

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        self.step()
        note = self.checkpoint_of(next((size for size in self.sizes if size > known[0]), self.sizes[-1]))
        self.step()
        return note

    def checkpoint_of(self, size: int) -> bytes:
        text = Checkpoint(ORIGIN, size, merkle.root_of([merkle.leaf_hash(raw) for raw in self.raws[:size]]))
        note = Note(text.encode(), (notes.sign(text.encode(), ORIGIN, HUB.cosign),))
        for one in lines(self.published):
            if one["size"] == size and one["raws"] == self.raws[-1].decode():
                note = note.with_signature(NoteSignature.parse(one["line"]))
        return note.encode()

    def entry_bundle(self, number: int, width: int) -> bytes:
        self.step()
        return encode_entries(self.raws[number * 256 : number * 256 + width])

    def add_cosignature(self, size: int, line: str) -> None:
        self.step()
        with self.published.open("a") as file:
            told = {"size": size, "line": line, "raws": self.raws[-1].decode()}
            file.write(json.dumps(told) + "\n")
        self.step()


def follow(store: LedgerStore, source: Any, evidence: Path) -> Mirror:
    mirror = Mirror(
        store, source, GENESIS, MEMBERS[0].cosign, clock=ManualClock(), evidence=evidence / "evidence"
    )
    while mirror.sync():
        pass
    return mirror


def run_member(store: LedgerStore, acknowledged: Path, step: Any) -> None:
    """A member's job: take, keep and cosign three batches of the first history, one after the other."""
    raws = decode_entries((acknowledged.parent / "one.entries").read_bytes())
    follow(store, Served(raws, acknowledged, step), acknowledged.parent)


def history(folder: Path, name: str) -> list[bytes]:
    with opened(folder / f"{name}.history") as store:
        upgrade(store.engine)
        with Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=ManualClock(), linger_s=0.0) as log:
            for number in range(2):
                log.submit(signed(number, f"{name}{number}:1"))
            raws = decode_entries(log.entry_bundle(0, log.size))
    (folder / f"{name}.entries").write_bytes(encode_entries(raws))
    return raws


@pytest.mark.slow
def test_a_member_killed_at_any_step_never_cosigns_two_roots_of_a_size(tmp_path: Path) -> None:
    one, two = history(tmp_path, "one"), history(tmp_path, "two")
    steps = killed_at_every_step("run_member", tmp_path)
    assert steps > 30
    vkey = Vkey.parse(MEMBERS[0].record["cosign"])
    refused = 0
    for number in range(steps + 1):
        database, published = tmp_path / f"{number}.sqlite", tmp_path / f"{number}.acknowledged"
        twin, twin_published = tmp_path / "twin.sqlite", tmp_path / "twin.acknowledged"
        for suffix in ("", "-wal", "-shm"):
            left = database.with_name(database.name + suffix)
            copy = twin.with_name(twin.name + suffix)
            copy.unlink(missing_ok=True)
            if left.exists():
                shutil.copy(left, copy)
        twin_published.write_bytes(published.read_bytes() if published.exists() else b"")

        with opened(database) as store:
            upgrade(store.engine)
            mirror = follow(store, Served(one, published), tmp_path)
            assert mirror.size == 6
            assert check(store, GENESIS) == [], number
        with opened(twin) as store:
            upgrade(store.engine)
            try:
                follow(store, Served(two, twin_published), tmp_path)
            except Divergence:
                refused += 1
            assert check(store, GENESIS) == [], number
        texts: dict[int, set[str]] = {}
        for file in (published, twin_published):
            for line in lines(file):
                raws = one if line["raws"] == one[-1].decode() else two
                served = Note.parse(Served(raws, tmp_path / "none").checkpoint_of(line["size"]))
                verify_cosignature(served.text, NoteSignature.parse(line["line"]), vkey)
                if file == twin_published:
                    texts.setdefault(line["size"], set()).add(served.text)
        assert all(len(text) == 1 for text in texts.values()), number
    assert 0 < refused < steps
