"""The attacks that the ledger is built against, one test each: what catches it, which evidence is left.

The entrance for readers; `docs/threat-model.md` maps attacks to tests, and other files here go deeper.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger import canonical, merkle, notes
from ledger.batches import Batch, Head, seal_batch
from ledger.bundle.earlier import earlier_file
from ledger.checkpoints import Checkpoint, cosign, cosigners, open_checkpoint
from ledger.container import pack
from ledger.entries import Draft, Entry
from ledger.equivocation import Keys, contradictions, read_statements
from ledger.errors import Divergence, InvalidPromise, Refusal, SealAhead, StoreCorrupt
from ledger.fsck import check
from ledger.log import Log
from ledger.membership import electorate
from ledger.mirror import Mirror
from ledger.notes import Note
from ledger.promises import Promise, make_promise, verify_overdue
from ledger.receipts import Receipts
from ledger.replay import load
from ledger.sequencer import Placed
from ledger.standing import final_checkpoint
from ledger.store import LedgerStore, open_engine
from ledger.testing import NET, ORIGIN, Consortium, InMemorySource, consortium, make_member
from ledger.tiles import decode_entries, encode_entries

NAMES = ("lender", "bureau", "analyst", "regulator")


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, *NAMES) as made:
        yield made


class Forked(InMemorySource):
    """A hub that shows a history of its own: entries under a checkpoint that the real log key signs."""

    def __init__(self, exchange: Consortium, raws: list[bytes]) -> None:
        super().__init__(exchange.log)
        self.raws, self.lines = raws, dict[str, notes.NoteSignature]()
        root = merkle.root_of([merkle.leaf_hash(raw) for raw in raws])
        text = Checkpoint(ORIGIN, len(raws), root).encode()
        self.note = Note(text, (notes.sign(text, ORIGIN, exchange.hub.cosign),))

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        return Note(self.note.text, (*self.note.signatures, *self.lines.values())).encode()

    def entry_bundle(self, number: int, width: int) -> bytes:
        return encode_entries(self.raws[number * 256 : number * 256 + width])

    def add_cosignature(self, size: int, line: str) -> None:
        signature = notes.NoteSignature.parse(line)
        self.lines[signature.name] = signature


def raws_of(log: Log) -> list[bytes]:
    return decode_entries(log.entry_bundle(0, log.size))


def moved(exchange: Consortium, name: str, endpoint: str) -> bytes:
    return exchange.entry(name, "member.update", {"endpoint": endpoint})


def head_of(exchange: Consortium) -> Head:
    return load(exchange.hub_store).head


def sealed(exchange: Consortium, head: Head, *entries: bytes) -> Batch:
    """A batch that the hub seals as its rules say, whatever it shows to whom."""
    return seal_batch(
        head,
        [Entry.parse(raw) for raw in entries],
        time=exchange.clock(),
        key=exchange.hub.tx,
        reference=str(head.height),
        seen=lambda _: frozenset(),
    )


def lying(exchange: Consortium, batch: Batch, **changes: Any) -> list[bytes]:
    """The same batch under a seal with other statements."""
    body = {**batch.seal.body, **changes}
    draft = Draft(NET, "seal", exchange.hub.did, body, exp=body["time"], seq=batch.seal.seq)
    return [*batch.raws[:-1], draft.sign(exchange.hub.kid, exchange.hub.tx).encode()]


def caught(mirror: Mirror, kind: str) -> dict[str, Any]:
    """Sync and expect a divergence: nothing is stored, and the evidence is a checkpoint the log signed."""
    before = (mirror.size, mirror.final_size)
    with pytest.raises(Divergence) as divergence:
        mirror.sync()
    assert divergence.value.kind == kind, str(divergence.value)
    assert (mirror.size, mirror.final_size) == before
    facts: dict[str, Any] = json.loads(Path(divergence.value.evidence).read_bytes())
    open_checkpoint(facts["checkpoint"].encode(), mirror.network.log)
    return facts


def is_final(exchange: Consortium, note: str) -> bool:
    """Whether a quorum cosigned a checkpoint in a file."""
    voters = electorate(exchange.log.state)
    return voters.is_final(cosigners(Note.parse(note.encode()), voters.vkeys))


def assert_sound(exchange: Consortium, *names: str) -> None:
    """The copies of honest members are as the signed entries make them, and no size was cosigned twice."""
    for name in names or NAMES:
        assert check(exchange.mirrors[name].store, exchange.genesis) == []


def hub_database(exchange: Consortium) -> sqlite3.Connection:
    return sqlite3.connect(str(exchange.hub_store.engine.url.database))


def test_a_database_administrator_edits_an_old_entry(exchange: Consortium) -> None:
    """Mirrors and the hub's own start find it; the old cosigned checkpoint stands against the new root."""
    exchange.act("lender", "member.update", {"endpoint": "old:1"})
    exchange.settle()
    final = exchange.mirrors["lender"].final_size
    exchange.log.close()
    with closing(hub_database(exchange)) as database, database:
        old = database.execute('SELECT raw FROM ledger_entries WHERE "index" = 2').fetchone()[0]
        new = old.replace(b"old:1", b"new:1")
        leaf = merkle.leaf_hash(new)
        database.execute('UPDATE ledger_entries SET raw = ?, leaf = ? WHERE "index" = 2', (new, leaf))
    with pytest.raises(StoreCorrupt):
        exchange.reopen()
    assert any("index 2" in problem.where for problem in check(exchange.hub_store, exchange.genesis))
    rewritten = [record.raw for record in exchange.hub_store.records(0, final)]
    forked = Forked(exchange, rewritten)
    lender = exchange.mirrors["lender"]
    facts = caught(exchange.new_mirror("lender", store=lender.store, source=forked), "split-view")
    assert is_final(exchange, facts["own_checkpoint"])
    assert not is_final(exchange, facts["checkpoint"])
    assert [one.where for one in lender.compare(forked)] == [f"checkpoint at size {final}", "entry 2"]
    assert_sound(exchange)


def test_two_histories_are_shown_to_two_members(exchange: Consortium) -> None:
    """Neither side reaches a quorum; the two members' files show two checkpoints by one log key."""
    exchange.settle()
    head, shared = head_of(exchange), raws_of(exchange.log)
    sides = [
        Forked(exchange, [*shared, *sealed(exchange, head, moved(exchange, "analyst", f"{mark}:1")).raws])
        for mark in "ab"
    ]
    views = {
        name: exchange.new_mirror(name, store=exchange.mirrors[name].store, source=sides[number % 2])
        for number, name in enumerate(NAMES)
    }
    for view in views.values():
        view.sync()
    assert {view.final_size for view in views.values()} == {len(shared)}
    shown = []
    for name, side in (("lender", sides[1]), ("bureau", sides[0])):
        other = exchange.new_mirror(name, store=exchange.mirrors[name].store, source=side)
        shown += read_statements(canonical.encode(caught(other, "split-view")), keys(exchange))
    found = contradictions(shown, keys(exchange))
    assert [(one.size, one.both, one.finals) for one in found] == [(head.size + 2, (), (False, False))]
    assert sorted(sum(found[0].only, ())) == sorted(f"{NET}/{name}" for name in NAMES)
    assert_sound(exchange)


def keys(exchange: Consortium) -> Keys:
    return Keys.of(exchange.mirrors["lender"].state)


def test_history_is_rewritten_after_finality_with_all_of_the_operators_backups(exchange: Consortium) -> None:
    """The operator begins anew from the genesis; every member still holds what a quorum cosigned."""
    exchange.act("lender", "member.update", {"endpoint": "before:1"})
    exchange.settle()
    final = exchange.mirrors["lender"].final_size
    exchange.log.close()
    store = exchange.new_store()
    with Log.create(
        store, exchange.genesis, exchange.hub.cosign, exchange.hub.tx, clock=exchange.clock, linger_s=0.0
    ) as other:
        for number in range(3):
            other.submit(moved(exchange, "lender", f"after{number}:1"))
        for name in NAMES:
            mirror = exchange.mirrors[name]
            again = exchange.new_mirror(name, store=mirror.store, source=InMemorySource(other))
            facts = caught(again, "root")
            assert is_final(exchange, facts["own_checkpoint"])
            assert facts["own_size"] == final
        assert other.final_size == 0
        assert check(store, exchange.genesis) == []
    assert_sound(exchange)


@pytest.mark.parametrize("lie", ["an invalid entry is accepted", "a valid entry is refused"])
def test_the_sequencer_judges_an_entry_wrongly(exchange: Consortium, lie: str) -> None:
    """Members execute themselves: no cosignature, and seal and entries stand in the evidence."""
    exchange.settle()
    good = moved(exchange, "lender", "a:1")
    member, entry = exchange.members["lender"], Entry.parse(good)
    forged = Draft(NET, entry.type, member.did, {"endpoint": "evil:1"}, exp=entry.exp, seq="1")
    bad = forged.sign(member.kid, exchange.hub.tx).encode()
    head = head_of(exchange)
    if lie == "an invalid entry is accepted":
        raws = lying(exchange, sealed(exchange, head, bad), refused=[])
    else:
        state = head.state.root().hex()
        refused = [[head.size, "entry.expired"]]
        raws = lying(exchange, sealed(exchange, head, good), refused=refused, state=state)
    forked = Forked(exchange, [*raws_of(exchange.log), *raws])
    for name in NAMES:
        mirror = exchange.new_mirror(name, store=exchange.mirrors[name].store, source=forked)
        facts = caught(mirror, "invalid-batch")
        assert facts["expected"].startswith("seal refused")
        assert len(facts["entries"]) == 2
    assert forked.lines == {}
    assert_sound(exchange)


class Censoring(InMemorySource):
    """A hub that promises and then never sequences one member's entries."""

    def __init__(self, exchange: Consortium, did: str) -> None:
        super().__init__(exchange.log)
        self.exchange, self.did = exchange, did

    def submit(self, raw: bytes) -> Placed:
        entry = Entry.parse(raw)
        if entry.actor == self.did:
            return Placed(self.log.size, entry.txid, None)  # type: ignore[attr-defined]
        return super().submit(raw)

    def promise(self, raw: bytes) -> bytes:
        network = self.exchange.mirrors["lender"].network
        return make_promise(network, Entry.parse(raw).txid, self.exchange.clock(), self.exchange.hub.tx).raw


def test_the_sequencer_censors_a_member(exchange: Consortium) -> None:
    """The overdue promise stays as evidence; any other member hands the same entry in."""
    lender = exchange.mirrors["lender"]
    hub = Censoring(exchange, exchange.members["lender"].did)
    raw = moved(exchange, "lender", "censored:1")
    hub.submit(raw)
    receipts = Receipts(lender)
    promise = receipts.keep(raw, hub.promise(raw))
    exchange.act("bureau", "member.update", {"endpoint": "others:1"})
    exchange.settle()
    assert receipts.check() == []  # the time is not over
    exchange.clock.now = promise.by + timedelta(seconds=1)
    exchange.act("bureau", "member.update", {"endpoint": "others:2"})
    exchange.settle()
    overdue = receipts.check()
    assert [one.txid for one in overdue] == [promise.txid]
    assert receipts.check() == []
    assert Receipts(lender).overdue() == overdue

    evidence = Path(overdue[0].evidence).read_bytes()
    voters, raws = electorate(lender.final_state), raws_of(exchange.log)
    assert verify_overdue(evidence, lender.network, lambda _: voters, raws).txid == promise.txid
    with pytest.raises(InvalidPromise, match="under that checkpoint"):
        verify_overdue(evidence, lender.network, lambda _: voters, raws[:-1])

    placed = exchange.log.submit(raw)  # as another member, over its own connection
    exchange.settle()
    assert lender.final_entry(promise.txid) == placed
    assert lender.state.rows("members")[exchange.members["lender"].did]["endpoint"] == "censored:1"
    assert_sound(exchange)


def test_the_order_engine_loses_batches_it_acknowledged(exchange: Consortium, tmp_path: Path) -> None:
    """Heights go backwards: members refuse, and the larger checkpoint they cosigned is the evidence."""
    exchange.act("lender", "member.update", {"endpoint": "kept:1"})
    exchange.settle()
    with closing(hub_database(exchange)) as database:
        database.execute("VACUUM INTO ?", (str(tmp_path / "before.sqlite"),))
    for number in range(3):
        exchange.act("lender", "member.update", {"endpoint": f"lost{number}:1"})
    exchange.settle()
    size = exchange.mirrors["lender"].final_size
    with lost(exchange, tmp_path / "before.sqlite") as backwards:
        for name in NAMES:
            mirror = exchange.new_mirror(
                name, store=exchange.mirrors[name].store, source=InMemorySource(backwards)
            )
            facts = caught(mirror, "rollback")
            assert facts["expected"] == f"at least size {size}"
            assert is_final(exchange, facts["own_checkpoint"])
        backwards.submit(moved(exchange, "bureau", "instead:1"))
        assert backwards.final_size < size
    assert_sound(exchange)


def lost(exchange: Consortium, path: Path) -> Log:
    """The hub on what its engine and its database are left with."""
    return Log.open(
        LedgerStore(open_engine(f"sqlite:///{path}")),
        exchange.hub.cosign,
        exchange.hub.tx,
        clock=exchange.clock,
        linger_s=0.0,
    )


def test_the_log_key_is_stolen(exchange: Consortium) -> None:
    """The thief signs any checkpoint; without the hub's entry key no member takes it, and none is final."""
    exchange.settle()
    thief = make_member("thief")
    head = head_of(exchange)
    batch = sealed(exchange, head, moved(exchange, "lender", "a:1"))
    seal = Draft(NET, "seal", exchange.hub.did, batch.seal.body, exp=batch.seal.exp, seq=batch.seal.seq)
    forged = [*batch.raws[:-1], seal.sign(exchange.hub.kid, thief.tx).encode()]
    forked = Forked(exchange, [*raws_of(exchange.log), *forged])
    mirror = exchange.new_mirror("bureau", store=exchange.mirrors["bureau"].store, source=forked)
    facts = caught(mirror, "invalid-batch")
    assert "seal signature" in facts["expected"]
    assert not is_final(exchange, facts["checkpoint"])
    assert cosigners(Note.parse(facts["checkpoint"].encode()), electorate(exchange.log.state).vkeys) == {}
    assert_sound(exchange)


def test_a_members_keys_are_stolen(exchange: Consortium) -> None:
    """The thief acts as that member and as no other, until the others take the member out at an index."""
    exchange.act("analyst", "member.update", {"endpoint": "thief:1"})
    members = exchange.log.state.rows("members")
    assert [row["endpoint"] for row in members.values() if row["endpoint"] == "thief:1"] == ["thief:1"]
    analyst, bureau = exchange.members["analyst"], exchange.members["bureau"]
    draft = Draft(
        NET, "member.update", bureau.did, {"endpoint": "thief:2"}, exp="2026-11-23T11:00:00Z", seq="1"
    )
    with pytest.raises(Refusal) as refusal:
        exchange.log.submit(draft.sign(analyst.kid, analyst.tx).encode())
    assert refusal.value.code == "entry.wrong-signers"

    exchange.mirrors.pop("analyst")
    executed = exchange.decide({"action": "member.remove", "member": analyst.did})
    assert executed.code is None
    exchange.settle()
    late = exchange.act("analyst", "member.update", {"endpoint": "thief:3"})
    assert late.code == "entry.actor-not-active"
    assert late.index > executed.index
    exchange.settle()
    final = exchange.mirrors["lender"].final_size
    assert final == exchange.log.size
    text = Note.parse(exchange.log.checkpoint((0, 0))).text
    line = cosign(text, f"{NET}/analyst", analyst.cosign, 1)
    with pytest.raises(Exception, match="active member"):
        exchange.log.add_cosignature(final, line.encode())
    assert_sound(exchange, "lender", "bureau", "regulator")


def test_a_member_lies_about_the_time_of_its_cosignature(exchange: Consortium) -> None:
    """The time of a checkpoint is the median: it lies between the times of two honest members."""
    analyst, start = exchange.members["analyst"], exchange.clock.now
    exchange.mirrors.pop("analyst")
    for lie in (0, int(start.timestamp()) + 365 * 86_400, 1 << 62):
        placed = exchange.act("lender", "member.update", {"endpoint": f"a:{lie % 60_000 + 1}"})
        text = Note.parse(exchange.log.checkpoint_of(placed.index + 2)).text
        line = cosign(text, f"{NET}/analyst", analyst.cosign, lie)
        exchange.log.add_cosignature(placed.index + 2, line.encode())
        for seconds, mirror in enumerate(exchange.mirrors.values()):
            exchange.clock.now = start + timedelta(seconds=seconds)
            mirror.sync()
        exchange.settle()
        for mirror in exchange.mirrors.values():
            found = final_checkpoint(mirror.store, mirror.final_size, electorate(mirror.final_state))
            assert found.size == placed.index + 2
            assert [one.is_on_final for one in found.cosigners] == [True] * 4
            assert 0 <= found.time - start.timestamp() <= 2
    assert_sound(exchange, "lender", "bureau", "regulator")


def test_the_hub_moves_its_clock_ahead(exchange: Consortium) -> None:
    """A seal ahead of a member's clock by more than the tolerance is refused, nothing of it is stored."""
    exchange.settle()
    before = exchange.clock.now
    exchange.clock.advance(3600)
    exchange.act("lender", "member.update", {"endpoint": "a:1"})
    exchange.clock.now = before
    for name in NAMES:
        with pytest.raises(SealAhead):
            exchange.mirrors[name].sync()
        assert exchange.mirrors[name].size == 2
    exchange.clock.advance(3600)
    exchange.settle()
    assert exchange.mirrors["lender"].final_size == exchange.log.size
    assert_sound(exchange)


def test_more_than_a_third_of_the_members_collude(exchange: Consortium) -> None:
    """It is not prevented: both histories become final. It is attributable: the signers of both are named."""
    exchange.settle()
    head, shared = head_of(exchange), raws_of(exchange.log)
    entries = [moved(exchange, "lender", f"{mark}:1") for mark in "ab"]
    first, second = ([*shared, *sealed(exchange, head, raw).raws] for raw in entries)
    notes_of = []
    for raws, names in (
        (first, ("lender", "bureau", "analyst")),
        (second, ("bureau", "analyst", "regulator")),
    ):
        side = Forked(exchange, raws)
        for name in names:  # bureau and analyst forget what they signed; the others are honest
            mirror = exchange.new_mirror(name, source=side)
            mirror.sync()
        notes_of.append(side.checkpoint())
    known = keys(exchange)
    found = contradictions([one for raw in notes_of for one in read_statements(raw, known)], known)
    assert [(one.both, one.finals) for one in found] == [((f"{NET}/analyst", f"{NET}/bureau"), (True, True))]
    assert 3 * len(found[0].both) > found[0].members

    third = sealed(exchange, sealed(exchange, head, entries[1]).head, moved(exchange, "lender", "c:1")).raws
    longer = Forked(exchange, [*second, *third])
    for name in ("bureau", "analyst", "regulator"):
        exchange.new_mirror(name, source=longer).sync()
    tree = merkle.Tree(merkle.leaf_hash(raw) for raw in longer.raws)
    bundle = pack({"checkpoint": longer.checkpoint(), **earlier_file(tree, len(first), len(tree))})
    shown = [*read_statements(notes_of[0], known), *read_statements(bundle, known)]
    assert [one.both for one in contradictions(shown, known)] == [(f"{NET}/analyst", f"{NET}/bureau")]
    assert_sound(exchange)


def test_promises_of_an_honest_hub_are_kept(exchange: Consortium) -> None:
    """So that the evidence against a censor means something."""
    raw = moved(exchange, "lender", "promised:1")
    promise = Promise.read(exchange.log.promise(raw), exchange.mirrors["lender"].network)
    receipts = Receipts(exchange.mirrors["lender"])
    receipts.keep(raw, promise.raw)
    exchange.log.submit(raw)
    exchange.clock.now = promise.by + timedelta(hours=1)
    exchange.act("bureau", "member.update", {"endpoint": "later:1"})
    exchange.settle()
    assert receipts.check() == []
    assert receipts.overdue() == []
    assert_sound(exchange)
