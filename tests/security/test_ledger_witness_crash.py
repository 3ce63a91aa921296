"""No witness ever lets out cosignatures on two roots of one size: not when killed, not from two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ledger.checkpoints import Checkpoint, Cosigner
from ledger.errors import StoreUnavailable
from ledger.keys import SigningKey
from ledger.merkle import Tree, leaf_hash
from ledger.notes import ED25519, Note, Vkey, sign
from ledger.store import open_engine, upgrade
from ledger.witness import AddCheckpoint, Seen, Witness
from ledger.witness_store import SqlWitnessStore

ORIGIN = "example.org/log"
LOG_KEY = SigningKey.from_seed(bytes([1] * 32))
LOG = Vkey(ORIGIN, ED25519, LOG_KEY.public)
WITNESS = Cosigner("witness.example/w1", SigningKey.from_seed(bytes([3] * 32)))
TREES = [Tree(leaf_hash(bytes([index, fork])) for index in range(64)) for fork in range(2)]


def request(old: int, size: int, fork: int) -> bytes:
    text = Checkpoint(ORIGIN, size, TREES[fork].root(size)).encode()
    note = Note(text, (sign(text, ORIGIN, LOG_KEY),))
    return AddCheckpoint(old, tuple(TREES[fork].consistency_proof(old, size)), note.encode()).encode()


def open_store(path: Path) -> SqlWitnessStore:
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    return SqlWitnessStore(engine)


def witness(store: SqlWitnessStore) -> Witness:
    return Witness(store, lambda _: [LOG], [WITNESS])


class Killed(SqlWitnessStore):
    """Ends its process just before, or just after, the record is committed."""

    after = False

    def advance(self, origin: str, old: Seen | None, new: Seen) -> None:
        if self.after:
            super().advance(origin, old, new)
        os._exit(9)


def be_killed(path: str, after: int) -> None:
    store = Killed(open_engine(f"sqlite:///{path}"))
    store.after = bool(after)
    sys.stdout.write(str(witness(store).add_checkpoint(request(0, 5, 0)).status))


def grow(path: str, fork: int) -> None:
    """Offer every size in turn on one branch, and tell what was cosigned."""
    held = witness(SqlWitnessStore(open_engine(f"sqlite:///{path}")))
    cosigned, old = [], 0
    for size in range(1, 40):
        if old > size:
            continue  # the other process is that far already
        answer = held.add_checkpoint(request(old, size, fork))
        if answer.status == 409:
            old = int(answer.body)
            if old <= size:
                answer = held.add_checkpoint(request(old, size, fork))
        if answer.status == 200:
            cosigned.append(size)
            old = size
    sys.stdout.write(json.dumps(cosigned))


def in_a_process(function: str, path: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", __file__, function, str(path), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("after", [False, True])
def test_killed_around_the_commit_nothing_was_let_out(tmp_path: Path, after: bool) -> None:
    path = tmp_path / "w.sqlite"
    store = open_store(path)
    process = in_a_process("be_killed", path, int(after))
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 9
    # what was committed binds, although nobody has seen it; what was not does not
    assert witness(store).add_checkpoint(request(0, 5, 1)).status == (409 if after else 200)
    if after:
        assert witness(store).add_checkpoint(request(5, 5, 1)).status == 422
        assert witness(store).add_checkpoint(request(5, 5, 0)).status == 200


def test_two_processes_over_one_database_stay_on_one_branch(tmp_path: Path) -> None:
    path = tmp_path / "w.sqlite"
    open_store(path)
    processes = [in_a_process("grow", path, fork) for fork in (0, 1)]
    branches = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert [bool(branch) for branch in branches].count(True) == 1


def test_threads_of_one_witness_stay_on_one_branch(tmp_path: Path) -> None:
    held = witness(open_store(tmp_path / "w.sqlite"))
    statuses: list[list[int]] = [[], []]

    def offer(fork: int) -> None:
        statuses[fork].append(held.add_checkpoint(request(0, 7, fork)).status)

    threads = [threading.Thread(target=offer, args=(number % 2,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses[0] + statuses[1]) == [200] + [409] * 7


def test_a_store_that_fails_lets_nothing_out(tmp_path: Path) -> None:
    class Failing(SqlWitnessStore):
        def advance(self, origin: str, old: Seen | None, new: Seen) -> None:
            raise StoreUnavailable("disk full")

    engine = open_engine(f"sqlite:///{tmp_path}/w.sqlite")
    upgrade(engine)
    with pytest.raises(StoreUnavailable):
        witness(Failing(engine)).add_checkpoint(request(0, 5, 0))


if __name__ == "__main__":
    {"be_killed": be_killed, "grow": grow}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
