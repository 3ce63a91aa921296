"""A member's copy: what it takes, what it counts as final, what it answers."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import mirror as mirrors
from ledger.checkpoints import Checkpoint
from ledger.entries import Entry
from ledger.errors import MalformedNote, NotFinal, Refusal, SealAhead, StoreCorrupt, UnverifiedNote
from ledger.fsck import check
from ledger.keys import SigningKey
from ledger.log import Log
from ledger.membership import electorate
from ledger.mirror import Mirror
from ledger.notes import Note, NoteSignature
from ledger.search import Query
from ledger.store import StoredHead
from ledger.tables import State
from ledger.testing import (
    NET,
    Consortium,
    InMemorySource,
    consortium,
    make_genesis,
    make_hub,
    make_member,
)

NAMES = ("lender", "bureau", "analyst", "regulator")


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, *NAMES) as made:
        yield made


def update(exchange: Consortium, name: str = "lender", number: int = 0) -> str:
    return exchange.act(name, "member.update", {"endpoint": f"host{number}:1"}).txid


def test_members_recompute_the_state_and_make_it_final(exchange: Consortium) -> None:
    txid = update(exchange)
    lender = exchange.mirrors["lender"]
    assert lender.sync()
    assert (lender.size, lender.final_size) == (4, 0)
    assert lender.final_entry(txid) is None
    exchange.settle()
    for mirror in exchange.mirrors.values():
        assert (mirror.size, mirror.final_size) == (4, 4)
        assert mirror.state.root() == exchange.log.state.root()
    placed = lender.final_entry(txid)
    assert placed is not None
    assert (placed.index, placed.code) == (2, None)
    assert exchange.log.final_size == 4
    assert not lender.sync()


def test_three_of_four_are_enough_and_two_are_not(exchange: Consortium) -> None:
    for name in ("lender", "bureau"):
        exchange.mirrors[name].sync()
    exchange.mirrors["lender"].sync()
    assert exchange.mirrors["lender"].final_size == 0
    exchange.mirrors["analyst"].sync()
    exchange.mirrors["lender"].sync()
    assert exchange.mirrors["lender"].final_size == 2


def test_a_reader_without_a_members_key_does_not_cosign(exchange: Consortium) -> None:
    stranger = exchange.new_mirror("lender", cosigner=SigningKey.from_seed(bytes(32)))
    stranger.sync()
    silent = Mirror(
        exchange.new_store(),
        exchange.log,
        exchange.genesis,
        None,
        exchange.clock,
        evidence=exchange.evidence("x"),
    )
    silent.sync()
    assert len(Note.parse(exchange.log.checkpoint()).signatures) == 1
    assert silent.size == 2


def test_a_mirror_starts_again_where_it_was(exchange: Consortium) -> None:
    update(exchange)
    exchange.settle()
    old = exchange.mirrors["bureau"]
    again = exchange.new_mirror("bureau", store=old.store)
    assert (again.size, again.final_size) == (4, 4)
    assert again.state.root() == old.state.root()
    update(exchange, number=2)
    again.sync()
    assert again.size == 6


def test_a_long_log_is_followed_over_many_bundles(exchange: Consortium) -> None:
    entries = [
        Entry.parse(exchange.entry("lender", "member.update", {"endpoint": f"h{number}:1"}))
        for number in range(300)
    ]
    exchange.mirrors["bureau"].sync()
    for start in range(0, 300, 150):
        exchange.log._sequence(entries[start : start + 150])
    exchange.settle()
    for mirror in exchange.mirrors.values():
        assert mirror.final_size == 304
    assert len(exchange.mirrors["bureau"].store.records(0, 999)) == 304


def test_cosignatures_gather_although_the_log_moves_on(exchange: Consortium) -> None:
    for number in range(12):
        update(exchange, number=number)
        exchange.mirrors[NAMES[number % 4]].sync()
    assert exchange.log.final_size > 0
    assert max(mirror.final_size for mirror in exchange.mirrors.values()) > 0
    exchange.settle()
    assert {mirror.final_size for mirror in exchange.mirrors.values()} == {exchange.log.size}


def test_a_new_member_counts_only_after_its_acknowledgement(exchange: Consortium) -> None:
    newbank = make_member("newbank")
    proposal = "proposal-" + "0" * 26
    action = {"action": "member.add", "enrolment": newbank.enrolment}
    exchange.act("lender", "gov.propose", {"proposal": proposal, "actions": [action]})
    for name in ("bureau", "analyst"):
        exchange.act(name, "gov.vote", {"proposal": proposal, "approve": True})
    exchange.act("lender", "gov.execute", {"proposal": proposal})
    exchange.settle()
    exchange.members["newbank"] = newbank
    mirror = exchange.mirrors["newbank"] = exchange.new_mirror("newbank")
    exchange.settle()
    assert mirror.final_size == exchange.log.size
    assert f"{NET}/newbank" not in mirror.store.cosignatures(mirror.size)
    exchange.act("newbank", "member.ack", {})
    exchange.settle()
    assert f"{NET}/newbank" in mirror.store.cosignatures(mirror.size)
    assert mirror.final_size == exchange.log.size


def test_decisions_rest_on_the_final_state(exchange: Consortium) -> None:
    lender = exchange.mirrors["lender"]
    assert lender.final_state.root() == State().root()
    exchange.settle()
    first = lender.final_state.root()
    assert first == exchange.log.state.root()
    update(exchange)
    lender.sync()
    assert lender.final_state.root() == first != lender.state.root()
    assert exchange.new_mirror("lender", store=lender.store).final_state.root() == first
    exchange.settle()
    assert lender.final_state.root() == lender.state.root() != first


def test_waiting_for_finality(exchange: Consortium) -> None:
    txid = update(exchange)
    lender = exchange.mirrors["lender"]
    with pytest.raises(NotFinal):
        lender.wait_final(txid, 0.05, sync=True)
    waited: list[int] = []
    waiter = threading.Thread(target=lambda: waited.append(lender.wait_final(txid, 20).index))
    waiter.start()
    exchange.settle()
    waiter.join(timeout=10)
    assert waited == [2]


def test_search_answers_from_final_entries_only(exchange: Consortium) -> None:
    first = update(exchange)
    exchange.settle()
    second = update(exchange, "bureau")
    lender = exchange.mirrors["lender"]
    lender.sync()
    found = lender.search(Query(("member.update",)))
    assert [record.txid for record in found.records] == [first]
    exchange.settle()
    did = exchange.members["bureau"].did
    concerned = Query(concerning=(did,))
    assert [record.txid for record in lender.search(concerned, cursor=0).records] == [second]
    assert [record.txid for record in lender.found(concerned)][1:] == [second]
    assert [record.txid for record in lender.search(Query(actor=did)).records] == [second]
    assert lender.search(cursor=3, limit=1).records[0].txid == second


def test_comparing_an_honest_log_shows_nothing(exchange: Consortium) -> None:
    update(exchange)
    lender = exchange.mirrors["lender"]
    lender.sync()
    update(exchange)
    assert lender.compare(exchange.log) == []
    lender.sync()
    assert lender.compare(exchange.log) == []


def test_a_hub_whose_clock_is_ahead_is_waited_for(exchange: Consortium) -> None:
    lender = exchange.mirrors["lender"]
    lender.sync()
    exchange.clock.advance(3600)
    update(exchange)
    exchange.clock.advance(-3600)
    with pytest.raises(SealAhead):
        lender.sync()
    assert lender.size == 2
    assert not exchange.evidence("lender").exists()
    exchange.clock.advance(3500)
    lender.sync()
    assert lender.size == 4


class Forged(InMemorySource):
    """Answers with an altered checkpoint."""

    def __init__(self, log: Log, forge: str) -> None:
        super().__init__(log)
        self.forge = forge
        self.bureau = next(key for key in electorate(log.state).vkeys if key.name == f"{NET}/bureau")

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        raw = super().checkpoint(known=known, wait_s=wait_s)
        if self.forge == "signature":
            return raw.replace(b"\n2\n", b"\n3\n")
        if self.forge == "garbage":
            return b"garbage"
        line = NoteSignature(self.bureau.name, self.bureau.id, bytes(72))
        return Note.parse(raw).with_signature(line).encode()


@pytest.mark.parametrize(
    ("forge", "error"),
    [("signature", UnverifiedNote), ("garbage", MalformedNote), ("cosignature", UnverifiedNote)],
)
def test_what_was_not_signed_is_not_taken(exchange: Consortium, forge: str, error: type[Exception]) -> None:
    mirror = exchange.new_mirror("lender", source=Forged(exchange.log, forge))
    with pytest.raises(error):
        mirror.sync()
    assert mirror.final_size == 0


def test_a_short_bundle_is_not_taken(exchange: Consortium) -> None:
    class Short(InMemorySource):
        def entry_bundle(self, number: int, width: int) -> bytes:
            return b""

    mirror = exchange.new_mirror("lender", source=Short(exchange.log))
    with pytest.raises(MalformedNote, match="a bundle of 2 entries, got 0"):
        mirror.sync()
    assert mirror.size == 0


def test_a_store_of_another_network_is_refused(exchange: Consortium) -> None:
    lender = exchange.mirrors["lender"]
    lender.sync()
    other = make_genesis(make_hub(), [make_member("lender")])
    with pytest.raises(StoreCorrupt, match="another network"):
        Mirror(lender.store, exchange.log, other, None, evidence=exchange.evidence("x"))
    store, entry = exchange.new_store(), exchange.entry("lender", "member.ack", {})
    with pytest.raises(Refusal):
        Mirror(store, exchange.log, entry, None, evidence=exchange.evidence("x"))


def test_an_altered_store_is_refused_at_start(exchange: Consortium) -> None:
    lender = exchange.mirrors["lender"]
    lender.sync()
    with lender.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ledger_heads SET root = 'x'")
    with pytest.raises(StoreCorrupt, match="ledger_heads"):
        exchange.new_mirror("lender", store=lender.store)


def test_the_stored_head_is_the_cosigned_one(exchange: Consortium) -> None:
    lender = exchange.mirrors["lender"]
    lender.sync()
    checkpoint = Checkpoint.parse(Note.parse(exchange.log.checkpoint()).text)
    assert lender.store.head() == StoredHead(checkpoint.size, checkpoint.root.hex())


def test_a_member_that_was_away_catches_up_in_steps(
    exchange: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "_STEP", 4)
    for number in range(9):
        exchange.act("lender", "member.update", {"endpoint": f"h{number}:1"})
    store = exchange.new_store()
    late = exchange.new_mirror("bureau", store=store)
    late.sync()
    assert late.size == exchange.log.size
    assert late.state.root() == exchange.log.state.root()
    assert list(dict(store.checkpoints())) == [4, 8, 12, 16, 20]
    assert list(store.cosigned_sizes()) == [20]
    assert check(store, exchange.genesis) == []


def test_a_wrong_checkpoint_on_the_way_is_refused(
    exchange: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "_STEP", 4)

    class Liar(InMemorySource):
        def checkpoint_of(self, size: int) -> bytes:
            return super().checkpoint_of(size + 2)

    for number in range(9):
        exchange.act("lender", "member.update", {"endpoint": f"h{number}:1"})
    late = exchange.new_mirror("bureau", source=Liar(exchange.log))
    with pytest.raises(MalformedNote, match="checkpoint of size 4"):
        late.sync()
    assert late.size == 0


def test_a_log_that_grows_fast_is_looked_at_less_often(
    exchange: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(mirrors.time, "sleep", slept.append)
    raws = [exchange.entry("lender", "member.update", {"endpoint": f"h{number}:1"}) for number in range(200)]
    mirror = exchange.mirrors["lender"]
    mirror.sync()

    class Growing(InMemorySource):
        def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
            if raws and known[0] == exchange.log.size:
                exchange.log.submit_many([raws.pop() for _ in range(min(len(raws), 140))])
            return super().checkpoint(known=known, wait_s=wait_s)

    fast = exchange.new_mirror("bureau", source=Growing(exchange.log))
    fast.sync()
    assert not raws
    assert slept == [0.2]
