"""The hub's log: placing entries, serving them, gathering cosignatures, starting again."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest
from nacl import bindings
from sqlalchemy import text

from ledger import checkpoints, merkle, tiles
from ledger.entries import Draft, Entry, Signature
from ledger.errors import (
    InvalidBatch,
    LogClosed,
    MalformedEntry,
    MalformedKey,
    NotPublished,
    Refusal,
    StaleHead,
    StoreCorrupt,
    UnverifiedNote,
)
from ledger.keys import SigningKey
from ledger.log import Log
from ledger.membership import Network
from ledger.merkle import leaf_hash
from ledger.notes import Note
from ledger.store import LedgerStore
from ledger.testing import (
    NET,
    START,
    ManualClock,
    Member,
    draft_entry,
    make_genesis,
    make_hub,
    make_member,
    throw_away_engine,
)

HUB = make_hub()
MEMBERS = [make_member(name) for name in ("lender", "bureau", "analyst", "regulator")]
GENESIS = make_genesis(HUB, MEMBERS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LedgerStore]:
    with throw_away_engine("sqlite", tmp_path) as engine:
        yield LedgerStore(engine)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(store: LedgerStore, clock: ManualClock) -> Iterator[Log]:
    with Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=clock, linger_s=0) as created:
        yield created


def reopen(store: LedgerStore, clock: ManualClock) -> Log:
    return Log.open(store, HUB.cosign, HUB.tx, clock=clock, linger_s=0)


def update(number: int = 0, member: Member = MEMBERS[0], lifetime_s: float = 3600) -> Draft:
    return draft_entry(member, "member.update", {"endpoint": f"host{number}:1"}, lifetime_s=lifetime_s)


def signed(number: int = 0, member: Member = MEMBERS[0], lifetime_s: float = 3600) -> bytes:
    return update(number, member, lifetime_s).sign(member.kid, member.tx).encode()


def network(log: Log) -> Network:
    found = Network.of(log.state)
    assert found is not None
    return found


def opened(log: Log, known: tuple[int, int] = (0, 0)) -> tuple[checkpoints.Checkpoint, Note]:
    return checkpoints.open_checkpoint(log.checkpoint(known), network(log).log)


def cosign(log: Log, member: Member, size: int | None = None) -> None:
    raw = log.checkpoint() if size is None else log.checkpoint_of(size)
    note = Note.parse(raw)
    line = checkpoints.cosign(note.text, f"{NET}/{member.name}", member.cosign, 1)
    log.add_cosignature(checkpoints.Checkpoint.parse(note.text).size, line.encode())


def cosigned_by(log: Log, known: tuple[int, int]) -> tuple[int, int]:
    checkpoint, note = opened(log, known)
    return checkpoint.size, len(note.signatures) - 1


def test_an_entry_is_placed_under_a_signed_checkpoint(log: Log) -> None:
    placed = log.submit(signed())
    assert (placed.index, placed.code) == (2, None)
    checkpoint, _ = opened(log)
    assert checkpoint.size == log.size == 4
    entries = tiles.decode_entries(log.entry_bundle(0, 4))
    assert entries[0] == GENESIS == log.genesis
    assert Entry.parse(entries[2]).txid == placed.txid
    assert merkle.root_of([leaf_hash(entry) for entry in entries]) == checkpoint.root
    assert log.tile(0, 0, 4) == b"".join(leaf_hash(entry) for entry in entries)


def test_an_invalid_entry_stays_in_the_log_with_its_code(log: Log) -> None:
    raw = signed(lifetime_s=-1)
    assert log.submit(raw).code == "entry.expired"
    assert tiles.decode_entries(log.entry_bundle(0, 4))[2] == raw


def test_the_same_bytes_have_one_place(log: Log) -> None:
    raw = signed()
    assert log.submit(raw) == log.submit(raw)
    assert log.size == 4


def other_signature(key: SigningKey, message: bytes) -> bytes:
    """A second valid Ed25519 signature by the key's owner: RFC 8032 with a nonce of its own choice."""
    half = bytearray(hashlib.sha512(key.seed).digest()[:32])
    half[0] &= 248
    half[31] = half[31] & 63 | 64
    nonce = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"another nonce").digest())
    point = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
    challenge = hashlib.sha512(point + key.public + message).digest()
    product = bindings.crypto_core_ed25519_scalar_mul(
        bindings.crypto_core_ed25519_scalar_reduce(challenge),
        bindings.crypto_core_ed25519_scalar_reduce(bytes(half) + bytes(32)),
    )
    return bytes(point + bindings.crypto_core_ed25519_scalar_add(nonce, product))


def test_the_same_act_under_another_signature_is_a_replay(log: Log) -> None:
    member, draft = MEMBERS[0], update()
    log.submit(draft.sign(member.kid, member.tx).encode())
    second = draft.with_signature(Signature(member.kid, other_signature(member.tx, draft.signed_bytes())))
    with pytest.raises(Refusal) as caught:
        log.submit(second.encode())
    assert caught.value.code == "entry.replayed"
    assert log.size == 4


@pytest.mark.parametrize("case", ["net", "stranger", "signature", "seal", "genesis"])
def test_what_no_member_can_be_held_to_is_refused_at_the_door(log: Log, case: str) -> None:
    member, stranger = MEMBERS[0], make_member("stranger")
    raw, code = {
        "net": (replace(update(), net="x/y").sign(member.kid, member.tx).encode(), "entry.wrong-net"),
        "stranger": (signed(member=stranger), "entry.unknown-actor"),
        "signature": (update().sign(member.kid, stranger.tx).encode(), "entry.bad-signature"),
        "seal": (replace(update(), type="seal").sign(member.kid, member.tx).encode(), "entry.not-permitted"),
        "genesis": (GENESIS, "entry.not-permitted"),
    }[case]
    with pytest.raises(Refusal) as caught:
        log.submit(raw)
    assert caught.value.code == code
    assert log.size == 2
    with pytest.raises(MalformedEntry):
        log.submit(b"{}")


def test_many_threads_share_batches(store: LedgerStore, clock: ManualClock) -> None:
    with Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=clock, linger_s=0.05) as log:
        raws = [signed(number, MEMBERS[number % 4]) for number in range(60)]
        with ThreadPoolExecutor(30) as pool:
            placed = list(pool.map(log.submit, [*raws, *raws[:20]]))
        assert len({place.index for place in placed}) == 60
        assert placed[60:] == placed[:20]
        assert log.size < 2 + 60 + 30
        assert log.state.root() == reopen(store, clock).state.root()


def test_a_thousand_entries_are_executed_and_appended_in_time(store: LedgerStore, clock: ManualClock) -> None:
    raws = [Entry.parse(signed(number, MEMBERS[number % 4])) for number in range(1000)]
    with Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=clock) as log:
        start = perf_counter()
        for position in range(0, 1000, 200):
            log._sequence(raws[position : position + 200])
        assert perf_counter() - start < 5  # about 0.5 s on an idle machine


def test_a_log_starts_again_where_it_was(store: LedgerStore, clock: ManualClock) -> None:
    with Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=clock, linger_s=0) as log:
        for number in range(5):
            log.submit(signed(number))
        for member in MEMBERS[:3]:
            cosign(log, member)
        before = (log.size, log.state.root(), log.checkpoint(), log.final_size)
        assert log.final_size == 12
    with reopen(store, clock) as log:
        assert (log.size, log.state.root(), log.checkpoint(), log.final_size) == before
        assert log.submit(signed(9)).index == 12


def test_a_log_needs_the_keys_of_its_genesis(store: LedgerStore, clock: ManualClock) -> None:
    other = SigningKey.from_seed(bytes(32))
    for log_key, hub_key in ((other, HUB.tx), (HUB.cosign, other)):
        with pytest.raises(MalformedKey):
            Log.create(store, GENESIS, log_key, hub_key, clock=clock)
    assert store.head() is None
    Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=clock).close()
    for log_key, hub_key in ((other, HUB.tx), (HUB.cosign, other)):
        with pytest.raises(MalformedKey):
            Log.open(store, log_key, hub_key, clock=clock)


def test_a_log_begins_once_and_with_a_genesis(store: LedgerStore, clock: ManualClock) -> None:
    with pytest.raises(StoreCorrupt, match="empty store"):
        reopen(store, clock)
    with pytest.raises(InvalidBatch):
        Log.create(store, signed(), HUB.cosign, HUB.tx, clock=clock)
    Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=clock).close()
    with pytest.raises(StaleHead):
        Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=clock)


def test_batch_times_never_go_back(log: Log, clock: ManualClock) -> None:
    clock.advance(100)
    log.submit(signed(1))
    clock.advance(-50)
    log.submit(signed(2))
    seals = [Entry.parse(raw).body["time"] for raw in tiles.decode_entries(log.entry_bundle(0, 6))[1::2]]
    assert seals == sorted(seals)


def test_what_is_not_published_is_not_served(log: Log) -> None:
    for number, width in ((0, 3), (1, 1), (-1, 1), (0, 0), (0, 257)):
        with pytest.raises(NotPublished):
            log.entry_bundle(number, width)
    for level, number, width in ((0, 0, 3), (1, 0, 1), (8, 0, 1), (-1, 0, 1)):
        with pytest.raises(NotPublished):
            log.tile(level, number, width)
    with pytest.raises(NotPublished):
        log.add_cosignature(3, checkpoints.cosign("x", "x", HUB.tx, 1).encode())


def test_a_quorum_of_cosignatures_makes_a_checkpoint_final(log: Log) -> None:
    log.submit(signed())
    for member in MEMBERS[:2]:
        cosign(log, member)
    assert log.final_size == 0
    cosign(log, MEMBERS[2])
    assert log.final_size == 4
    _, note = opened(log)
    assert len(note.signatures) == 4


def test_cosignatures_that_do_not_count_are_refused(log: Log) -> None:
    text_of = Note.parse(log.checkpoint()).text
    name = f"{NET}/lender"
    good = checkpoints.cosign(text_of, name, MEMBERS[0].cosign, 1).encode()
    stranger = checkpoints.cosign(text_of, f"{NET}/stranger", HUB.tx, 1).encode()
    other_text = checkpoints.cosign(text_of.replace("2", "3"), name, MEMBERS[0].cosign, 1).encode()
    for line in (stranger, other_text):
        with pytest.raises(UnverifiedNote):
            log.add_cosignature(2, line)
    log.add_cosignature(2, good.rstrip("\n"))
    log.add_cosignature(2, good)
    later = checkpoints.cosign(text_of, name, MEMBERS[0].cosign, 2).encode()
    with pytest.raises(UnverifiedNote, match="first cosignature"):
        log.add_cosignature(2, later)
    assert cosigned_by(log, (0, 0)) == (2, 1)


def test_readers_behind_are_led_over_the_same_checkpoints(log: Log) -> None:
    log.submit(signed(1))
    for member in MEMBERS[:3]:
        cosign(log, member, 4)
    log.submit(signed(2))
    cosign(log, MEMBERS[0], 6)
    log.submit(signed(3))
    assert cosigned_by(log, (0, 0)) == (4, 3)
    assert cosigned_by(log, (4, 1)) == (4, 3)
    assert cosigned_by(log, (4, 3)) == (6, 1)
    assert cosigned_by(log, (6, 1)) == (8, 0)
    assert cosigned_by(log, (8, 0)) == (8, 0)
    cosign(log, MEMBERS[1], 6)
    cosign(log, MEMBERS[2], 6)
    assert log.final_size == 6
    assert cosigned_by(log, (8, 0)) == (8, 0)
    assert cosigned_by(log, (4, 3)) == (6, 3)


def test_a_reader_waits_for_news(log: Log) -> None:
    start = perf_counter()
    assert cosigned_by(log, (2, 0)) == (2, 0)
    log.checkpoint((2, 0), wait_s=0.05)
    assert perf_counter() - start >= 0.05
    seen: list[bytes] = []
    waiter = threading.Thread(target=lambda: seen.append(log.checkpoint((2, 0), wait_s=20)))
    waiter.start()
    log.submit(signed())
    waiter.join(timeout=10)
    assert b"\n4\n" in seen[0]


def test_closing_wakes_readers_and_refuses_entries(log: Log) -> None:
    waiter = threading.Thread(target=lambda: log.checkpoint((2, 0), wait_s=60))
    waiter.start()
    log.close()
    waiter.join(timeout=10)
    assert not waiter.is_alive()
    with pytest.raises(LogClosed):
        log.submit(signed())
    log.close()


TAMPERINGS = {
    "ledger_entries index 2: raw and leaf": "UPDATE ledger_entries SET raw = x'7b7d' WHERE \"index\" = 2",
    "ledger_entries index 2: raw: expected bytes": "UPDATE ledger_entries SET raw = '{}' WHERE \"index\" = 2",
    "ledger_entries index 2: txid": "UPDATE ledger_entries SET txid = 'x' WHERE \"index\" = 2",
    "ledger_entries index 2: type": "UPDATE ledger_entries SET type = 'x' WHERE \"index\" = 2",
    "ledger_entries index 2: actor": "UPDATE ledger_entries SET actor = 'x' WHERE \"index\" = 2",
    "ledger_entries index 2: code": "UPDATE ledger_entries SET code = 'x' WHERE \"index\" = 2",
    "ledger_entries index 2: expected this entry": 'DELETE FROM ledger_entries WHERE "index" = 2',
    "expected a seal after it": 'DELETE FROM ledger_entries WHERE "index" = 3',
    "ledger_heads": "UPDATE ledger_heads SET size = 2",
    "ledger_checkpoints size 4: note": "UPDATE ledger_checkpoints SET note = note || ' ' WHERE size = 4",
    "ledger_checkpoints size 9": "UPDATE ledger_checkpoints SET size = 9 WHERE size = 4",
    "ledger_cosignatures at size 4": "UPDATE ledger_cosignatures SET line = line || 'x'",
    "expected a member's name": "UPDATE ledger_cosignatures SET name = 'x'",
    "expected a checkpoint of this size": "UPDATE ledger_cosignatures SET size = 3",
}


@pytest.mark.parametrize("named", TAMPERINGS)
def test_starting_on_an_altered_database_is_refused(
    store: LedgerStore, clock: ManualClock, named: str
) -> None:
    with Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=clock, linger_s=0) as log:
        log.submit(signed())
        cosign(log, MEMBERS[0])
    with store.engine.begin() as connection:
        connection.execute(text(TAMPERINGS[named]))
    with pytest.raises(StoreCorrupt, match=named):
        reopen(store, clock)


def test_the_clock_of_the_fixtures_stands() -> None:
    assert ManualClock()() == START
