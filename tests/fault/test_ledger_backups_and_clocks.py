"""Members and a hub that are restored from old backups, and clocks that jump by an hour."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ledger import merkle, notes
from ledger.batches import Head, seal_batch
from ledger.checkpoints import Checkpoint, cosignature_time
from ledger.entries import Entry
from ledger.equivocation import Keys, contradictions, read_statements
from ledger.errors import Divergence, SealAhead, StoreCorrupt
from ledger.fsck import check
from ledger.log import Log
from ledger.membership import electorate
from ledger.mirror import Mirror
from ledger.notes import Note, NoteSignature
from ledger.replay import load
from ledger.standing import final_checkpoint
from ledger.store import LedgerStore, open_engine
from ledger.testing import NET, ORIGIN, Consortium, InMemorySource, consortium
from ledger.tiles import decode_entries, encode_entries

NAMES = ("lender", "bureau", "analyst", "regulator")
HOUR = 3600


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, *NAMES) as made:
        yield made


def move(exchange: Consortium, *endpoints: str, name: str = "lender") -> None:
    for endpoint in endpoints:
        assert exchange.act(name, "member.update", {"endpoint": endpoint}).code is None


def backup(store: LedgerStore, path: Path) -> Path:
    with store.engine.connect() as connection:
        connection.exec_driver_sql(f"VACUUM INTO '{path}'")
    return path


def restored(path: Path) -> LedgerStore:
    return LedgerStore(open_engine(f"sqlite:///{path}"))


def assert_one_root_a_size(exchange: Consortium, *stores: LedgerStore) -> None:
    """No two stores hold different checkpoints of one size, and each is sound."""
    seen: dict[int, bytes] = {}
    for store in (exchange.hub_store, *stores):
        assert check(store, exchange.genesis) == []
        for size, note in store.checkpoints():
            assert seen.setdefault(size, note) == note


def test_two_members_restored_from_old_backups_catch_up(exchange: Consortium, tmp_path: Path) -> None:
    move(exchange, "a:1")
    exchange.settle()
    old = {name: backup(exchange.mirrors[name].store, tmp_path / name) for name in ("bureau", "analyst")}
    for number in range(4):
        move(exchange, f"b{number}:1")
        exchange.settle()
    before = {size: exchange.hub_store.cosignatures(size) for size in exchange.hub_store.cosigned_sizes()}
    final = exchange.log.final_size

    for name, path in old.items():
        exchange.mirrors[name] = exchange.new_mirror(name, store=restored(path))
        assert exchange.mirrors[name].size < final
    exchange.settle()
    assert {mirror.final_size for mirror in exchange.mirrors.values()} == {final}
    move(exchange, "c:1")
    exchange.settle()
    assert exchange.log.final_size == exchange.log.size == final + 2
    for size, lines in before.items():
        assert exchange.hub_store.cosignatures(size).items() >= lines.items()
    assert_one_root_a_size(exchange, *(mirror.store for mirror in exchange.mirrors.values()))


class Forked(InMemorySource):
    """A hub that shows another history under its real keys."""

    def __init__(self, exchange: Consortium, raws: list[bytes]) -> None:
        super().__init__(exchange.log)
        self.key, self.raws, self.lines = exchange.hub.cosign, raws, dict[str, NoteSignature]()

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        text = Checkpoint(
            ORIGIN, len(self.raws), merkle.root_of([*map(merkle.leaf_hash, self.raws)])
        ).encode()
        return Note(text, (notes.sign(text, ORIGIN, self.key), *self.lines.values())).encode()

    def entry_bundle(self, number: int, width: int) -> bytes:
        return encode_entries(self.raws[number * 256 : number * 256 + width])

    def add_cosignature(self, size: int, line: str) -> None:
        signature = NoteSignature.parse(line)
        self.lines[signature.name] = signature


def sealed(exchange: Consortium, head: Head, entry: bytes) -> list[bytes]:
    """An entry in a batch that the hub seals as its rules say."""
    batch = seal_batch(
        head,
        [Entry.parse(entry)],
        time=exchange.clock(),
        key=exchange.hub.tx,
        reference="1",
        seen=lambda _: frozenset(),
    )
    return batch.raws


def test_a_hub_cannot_use_two_restored_members_for_another_history(
    exchange: Consortium, tmp_path: Path
) -> None:
    """What they forgot they may sign again; two of four are no quorum, and the two who remember stop."""
    exchange.settle()
    head, shared = load(exchange.hub_store).head, decode_entries(exchange.log.entry_bundle(0, 2))
    old = {name: backup(exchange.mirrors[name].store, tmp_path / name) for name in ("bureau", "analyst")}
    entry = exchange.entry("lender", "member.update", {"endpoint": "forked:1"})
    forked = sealed(exchange, head, entry)
    move(exchange, "honest:1")
    exchange.settle()
    final = exchange.log.checkpoint((0, 0))

    hub = Forked(exchange, [*shared, *forked])
    misled = {name: exchange.new_mirror(name, store=restored(path), source=hub) for name, path in old.items()}
    for mirror in misled.values():
        mirror.sync()
    for name in ("lender", "regulator"):
        with pytest.raises(Divergence, match="split-view"):
            exchange.new_mirror(name, store=exchange.mirrors[name].store, source=hub).sync()
    assert {mirror.final_size for mirror in misled.values()} == {2}

    keys = Keys.of(exchange.mirrors["lender"].state)
    shown = [*read_statements(final, keys), *read_statements(hub.checkpoint(), keys)]
    found = contradictions(shown, keys)
    assert [(one.both, one.finals[0] != one.finals[1]) for one in found] == [
        ((f"{NET}/analyst", f"{NET}/bureau"), True)
    ]
    for name, mirror in misled.items():  # back on the honest history they see what happened
        with pytest.raises(Divergence, match="split-view"):
            exchange.new_mirror(name, store=mirror.store).sync()


def test_a_member_that_kept_its_mark_cosigns_no_other_history(exchange: Consortium, tmp_path: Path) -> None:
    """The database is restored, the file beside it is not: what was forgotten is known all the same."""

    def bureau(store: LedgerStore, source: InMemorySource) -> Mirror:
        keys = (exchange.members["bureau"].cosign, exchange.clock)
        files = {"evidence": tmp_path / "evidence", "cosigned": tmp_path / "cosigned.json"}
        return Mirror(store, source, exchange.genesis, *keys, **files)

    honest, store = InMemorySource(exchange.log), exchange.new_store()
    mirror = bureau(store, honest)
    mirror.sync()
    path = backup(store, tmp_path / "backup")
    head, shared = load(exchange.hub_store).head, decode_entries(exchange.log.entry_bundle(0, 2))
    move(exchange, "honest:1")
    mirror.sync()
    entry = exchange.entry("lender", "member.update", {"endpoint": "forked:1"})
    hub = Forked(exchange, [*shared, *sealed(exchange, head, entry)])
    misled = bureau(restored(Path(shutil.copy(path, tmp_path / "misled"))), hub)
    with pytest.raises(Divergence, match="split-view") as refused:
        misled.sync()
    assert refused.value.expected == mirror.tree.root().hex()
    assert hub.lines == {}

    caught_up = bureau(restored(path), honest)
    move(exchange, "more:1")
    caught_up.sync()
    assert list(exchange.hub_store.cosignatures(exchange.log.size)) == [f"{NET}/bureau"]
    for content in (b"", b"[]", b'{"genesis":"x","root":"00","size":4}'):
        (tmp_path / "cosigned.json").write_bytes(content)
        with pytest.raises(StoreCorrupt, match="cosigned"):
            bureau(store, honest)


def test_a_hub_restored_from_an_old_backup_is_refused(exchange: Consortium, tmp_path: Path) -> None:
    move(exchange, "a:1")
    exchange.settle()
    path = backup(exchange.hub_store, tmp_path / "hub")
    move(exchange, "b:1", "c:1")
    exchange.settle()
    size = exchange.log.final_size
    exchange.log.close()
    with Log.open(
        restored(path), exchange.hub.cosign, exchange.hub.tx, clock=exchange.clock, linger_s=0.0
    ) as old:
        for name in NAMES:
            mirror = exchange.new_mirror(name, store=exchange.mirrors[name].store, source=InMemorySource(old))
            with pytest.raises(Divergence) as refused:
                mirror.sync()
            assert (refused.value.kind, refused.value.expected) == ("rollback", f"at least size {size}")
            facts = json.loads(Path(refused.value.evidence).read_bytes())
            voters = electorate(mirror.state)
            assert voters.is_final(voters.cosigners(Note.parse(facts["own_checkpoint"].encode())))
        assert old.final_size < size
    exchange.reopen()  # on the database as it was: all go on
    move(exchange, "d:1")
    exchange.settle()
    assert exchange.log.final_size == size + 2
    assert_one_root_a_size(exchange, *(mirror.store for mirror in exchange.mirrors.values()))


def seal_times(log: Log) -> list[str]:
    entries = (Entry.parse(raw) for raw in decode_entries(log.entry_bundle(0, log.size)))
    return [entry.body["time"] for entry in entries if entry.type == "seal"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_the_hubs_clock_jumps(exchange: Consortium, jump: int) -> None:
    """Back: its seals stand still and everything goes on. Ahead: members wait until it is right again."""
    move(exchange, "a:1")
    exchange.settle()
    true_time = exchange.clock.now
    exchange.clock.advance(jump)
    move(exchange, "b:1")
    exchange.clock.now = true_time + timedelta(seconds=5)
    if jump > 0:
        for mirror in exchange.mirrors.values():
            with pytest.raises(SealAhead):
                mirror.sync()
            assert mirror.size == 4
        exchange.clock.advance(jump)
    exchange.settle()
    move(exchange, "c:1")
    exchange.settle()
    times = seal_times(exchange.log)
    assert times == sorted(times)
    assert exchange.log.final_size == exchange.log.size
    assert_one_root_a_size(exchange, *(mirror.store for mirror in exchange.mirrors.values()))


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_one_members_clock_jumps(exchange: Consortium, jump: int) -> None:
    """The others make checkpoints final, and their times are not moved by it."""
    move(exchange, "a:1")
    exchange.settle()
    move(exchange, "b:1")
    true_time = exchange.clock.now
    exchange.clock.advance(jump)
    analyst: Mirror = exchange.mirrors["analyst"]
    if jump < 0:
        with pytest.raises(SealAhead):
            analyst.sync()
    else:
        analyst.sync()
    exchange.clock.now = true_time
    for name in ("lender", "bureau", "regulator"):
        exchange.mirrors[name].sync()
    exchange.settle()
    lender = exchange.mirrors["lender"]
    found = final_checkpoint(lender.store, lender.final_size, electorate(lender.final_state))
    assert found.size == exchange.log.size
    assert found.time == int(true_time.timestamp())
    lines = exchange.hub_store.cosignatures(found.size)
    skewed = cosignature_time(NoteSignature.parse(lines[f"{NET}/analyst"]))
    assert skewed - found.time == max(jump, 0)
    assert_one_root_a_size(exchange, *(mirror.store for mirror in exchange.mirrors.values()))
