"""Snapshots of the state: a start that executes only what came after, and believes nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger import snapshots
from ledger.errors import StaleHead, StoreCorrupt, StoreUnavailable
from ledger.fsck import check
from ledger.log import Log
from ledger.replay import load
from ledger.store import LedgerStore, Snapshot
from ledger.tables import State, changes
from ledger.testing import Consortium, consortium


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consortium]:
    monkeypatch.setattr(snapshots, "SNAPSHOT_EVERY", 6)
    with consortium(tmp_path, "lender", "bureau", "regulator") as made:
        for number in range(8):
            made.act(("lender", "bureau")[number % 2], "member.update", {"endpoint": f"h{number}:1"})
            made.settle()
        yield made


@pytest.fixture(params=["hub", "member"])
def store(exchange: Consortium, request: pytest.FixtureRequest) -> LedgerStore:
    return exchange.hub_store if request.param == "hub" else exchange.mirrors["bureau"].store


def alter(store: LedgerStore, statement: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(statement))


def test_a_snapshot_follows_the_final_size(exchange: Consortium, store: LedgerStore) -> None:
    snapshot = store.snapshot()
    assert snapshot is not None
    assert 6 <= snapshot.size <= exchange.mirrors["bureau"].final_size
    assert check(store, exchange.genesis) == []
    loaded = load(store)
    assert (loaded.head.size, loaded.head.state.root()) == (exchange.log.size, exchange.log.state.root())
    assert loaded.states[0][0] == snapshot.size
    assert loaded.tree.root() == exchange.log._public.tree.root()
    assert loaded.electorates.since == snapshot.size


def test_only_what_came_after_the_snapshot_is_executed(
    exchange: Consortium, store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[int] = []
    from ledger import replay

    original = replay.verify_batch
    monkeypatch.setattr(
        replay, "verify_batch", lambda head, *a, **k: executed.append(head.size) or original(head, *a, **k)
    )
    load(store)
    snapshot = store.snapshot()
    assert snapshot is not None
    assert executed == list(range(snapshot.size, exchange.log.size, 2))


def test_log_and_mirror_go_on_after_a_start_from_a_snapshot(exchange: Consortium) -> None:
    exchange.log.close()
    hub = exchange.hub
    with Log.open(exchange.hub_store, hub.cosign, hub.tx, clock=exchange.clock, linger_s=0.0) as log:
        exchange.log = log
        for name, mirror in exchange.mirrors.items():
            exchange.mirrors[name] = exchange.new_mirror(name, store=mirror.store)
        placed = exchange.act("lender", "member.update", {"endpoint": "later:1"})
        exchange.settle()
        for mirror in exchange.mirrors.values():
            assert mirror.final_size == placed.index + 2
            assert mirror.final_state.root() == log.state.root()
            assert check(mirror.store, exchange.genesis) == []
        assert check(exchange.hub_store, exchange.genesis) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_state SET row = '{}' WHERE \"table\" = 'members'",
        "UPDATE ledger_state SET row = x'7b7d' WHERE \"table\" = 'members'",
        "UPDATE ledger_state SET row = x'5b5d' WHERE \"table\" = 'members'",
        "UPDATE ledger_state SET row = x'ff' WHERE \"table\" = 'members'",
        "DELETE FROM ledger_state WHERE \"table\" = 'members'",
        "DELETE FROM ledger_state",
        "UPDATE ledger_state SET \"table\" = 'others' WHERE \"table\" = 'params'",
        "UPDATE ledger_snapshots SET size = size - 1",
        "UPDATE ledger_snapshots SET size = size + 100",
        "UPDATE ledger_snapshots SET size = 'many'",
        "UPDATE ledger_entries SET raw = x'00' WHERE \"index\" = 2",
        "UPDATE ledger_entries SET raw = x'00' WHERE \"index\" = (SELECT size - 1 FROM ledger_snapshots)",
        "UPDATE ledger_entries SET leaf = x'00' WHERE \"index\" = 2",
        'DELETE FROM ledger_entries WHERE "index" = 2',
        "UPDATE ledger_checkpoints SET note = (SELECT max(note) FROM ledger_checkpoints) WHERE size = 6",
        "UPDATE ledger_checkpoints SET size = 5 WHERE size = 6",
        "UPDATE ledger_checkpoints SET size = 5000 WHERE size = 6",
        "UPDATE ledger_heads SET root = 'ab'",
    ],
)
def test_a_start_finds_what_was_altered(exchange: Consortium, store: LedgerStore, statement: str) -> None:
    alter(store, statement)
    with pytest.raises(StoreCorrupt, match="ledger_"):
        load(store)


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE ledger_state SET row = x'7b7d' WHERE \"table\" = 'params'", "ledger_state table params"),
        ("DELETE FROM ledger_state WHERE \"table\" = 'params'", "ledger_state table params"),
        ("UPDATE ledger_state SET \"table\" = 'x' WHERE \"table\" = 'params'", "ledger_state table x"),
        ("UPDATE ledger_snapshots SET size = size + 1", "ledger_snapshots: size"),
        ("UPDATE ledger_snapshots SET name = 'x'", "ledger_snapshots: name"),
    ],
)
def test_fsck_names_what_was_altered(
    exchange: Consortium, store: LedgerStore, statement: str, where: str
) -> None:
    alter(store, statement)
    assert any(problem.where.startswith(where) for problem in check(store, exchange.genesis))


def test_a_snapshot_moves_from_where_it_stands_only(exchange: Consortium, store: LedgerStore) -> None:
    snapshot = store.snapshot()
    assert snapshot is not None
    later = Snapshot(snapshot.size + 2, snapshot.state.put("members", "x", {"a": 1}, index=3))
    for stale in (None, Snapshot(2, State())):
        with pytest.raises(StaleHead):
            store.move_snapshot(stale, later)
    store.move_snapshot(snapshot, later)
    found = store.snapshot()
    assert found is not None
    assert (found.size, found.state.root()) == (later.size, later.state.root())


def test_a_snapshot_that_cannot_be_written_is_tried_again(
    exchange: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = exchange.mirrors["bureau"].store
    kept = snapshots.Snapshots(store, load(store))
    before = store.snapshot()
    assert before is not None
    kept.record(before.size + 6, before.state)
    with monkeypatch.context() as patched:

        def fail(*_: object) -> None:
            raise StoreUnavailable("the disk is full")

        patched.setattr(store, "move_snapshot", fail)
        kept.advance(before.size + 6)
    assert (store.snapshot() or before).size == before.size
    kept.advance(before.size + 6)
    assert (store.snapshot() or before).size == before.size + 6
    other = snapshots.Snapshots(store, load_like(before))
    other.record(before.size + 20, before.state)
    other.advance(before.size + 20)
    other.advance(before.size + 20)
    assert (store.snapshot() or before).size == before.size + 20


def load_like(snapshot: Snapshot) -> snapshots.Loaded:
    from ledger.batches import EMPTY_HEAD
    from ledger.membership import Electorates
    from ledger.merkle import Tree

    stands = ((snapshot.size, snapshot.state),)
    return snapshots.Loaded(EMPTY_HEAD, Tree(), Electorates(), b"", stands, snapshot, EMPTY_HEAD.state)


def test_changes_are_exactly_what_differs() -> None:
    old = State()
    for number in range(300):
        old = old.put("t", f"k{number}", {"n": number}, index=0)
    new = old.put("t", "k7", {"n": -7}, index=1).put("t", "new", {}, index=2).put("u", "k", {}, index=3)
    assert {(table, key): row["index"] for table, key, row in changes(old, new)} == {
        ("t", "k7"): 1,
        ("t", "new"): 2,
        ("u", "k"): 3,
    }
    assert len(list(changes(State(), new))) == 302
    assert list(changes(new, new)) == []
