"""Promises of the hub: their form, that an honest hub keeps them, and what evidence has to show."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from ledger import base64url, canonical
from ledger.entries import Entry
from ledger.errors import InvalidPromise, MalformedEntry, Refusal, StoreCorrupt, StoreUnavailable
from ledger.fsck import check
from ledger.membership import Electorate, electorate
from ledger.notes import Note
from ledger.promise_store import PromiseStore
from ledger.promises import BOUND_S, Promise, make_promise, overdue_facts, verify_overdue
from ledger.receipts import Receipts
from ledger.store import Record
from ledger.testing import Consortium, consortium
from ledger.tiles import decode_entries


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def exchange(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, "lender", "bureau", kind=request.param) as made:
        yield made


def moved(exchange: Consortium, name: str = "lender", endpoint: str = "a:1") -> bytes:
    return exchange.entry(name, "member.update", {"endpoint": endpoint})


def test_a_promise_names_entry_and_time(exchange: Consortium) -> None:
    network, raw = exchange.mirrors["lender"].network, moved(exchange)
    promise = Promise.read(exchange.log.promise(raw), network)
    assert promise.net == network.name
    assert promise.by == exchange.clock() + timedelta(seconds=1 + network.max_clock_skew_s + BOUND_S)
    assert exchange.log.submit(raw).txid == promise.txid


def test_what_the_door_refuses_is_not_promised(exchange: Consortium) -> None:
    with pytest.raises(MalformedEntry):
        exchange.log.promise(b"{}")
    forged = moved(exchange).replace(b'"endpoint":"a:1"', b'"endpoint":"b:1"')
    with pytest.raises(Refusal):
        exchange.log.promise(forged)
    assert PromiseStore(exchange.hub_store).all() == []


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"net": "other"},
        {"txid": "00" * 32},
        {"by": "2027-01-01T00:00:00Z"},
        {"kid": "x"},
        {"by": 1},
    ],
    ids=lambda change: next(iter(change)) + str(next(iter(change.values())))[:2],
)
def test_a_changed_promise_is_refused(exchange: Consortium, change: dict[str, Any]) -> None:
    network = exchange.mirrors["lender"].network
    raw = exchange.log.promise(moved(exchange))
    with pytest.raises(InvalidPromise):
        Promise.read(canonical.encode({**json.loads(raw), **change}), network)
    other = make_promise(network, "00" * 32, exchange.clock(), exchange.members["lender"].tx)
    for bad in (b"", b"[]", raw + b" ", raw[:-1], other.raw):
        with pytest.raises(InvalidPromise):
            Promise.read(bad, network)


def test_a_promise_is_kept_across_a_commit_that_fails(
    exchange: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, failures = exchange.hub_store.append, [StoreUnavailable("the disk is full")]

    def failing(connection: Connection, records: list[Record]) -> None:
        if failures:
            raise failures.pop()
        append(connection, records)

    monkeypatch.setattr(exchange.hub_store, "append", failing)
    promised = moved(exchange)
    promise = exchange.log.promise(promised)
    other = moved(exchange, "bureau", "b:1")
    with suppress(StoreUnavailable):  # it may share the batch that fails
        exchange.log.submit(other)
    placed = exchange.log.submit(other)
    found = exchange.log.submit(promised)
    assert found.index < placed.index
    assert PromiseStore(exchange.hub_store).all() == []
    assert Promise.read(promise, exchange.mirrors["lender"].network).txid == found.txid
    exchange.settle()
    assert check(exchange.hub_store, exchange.genesis) == []


def test_a_promise_is_kept_by_a_hub_that_starts_again(exchange: Consortium) -> None:
    raw = moved(exchange)
    network = exchange.mirrors["lender"].network
    txid = Promise.read(exchange.log.promise(raw), network).txid
    exchange.log.close()
    size = exchange.log.size
    kept = make_promise(network, "11" * 32, exchange.clock(), exchange.hub.tx)
    lost = moved(exchange, "bureau", "lost:1")  # promised, and the process ended before it was sequenced
    PromiseStore(exchange.hub_store).put(Entry.parse(lost).txid, lost, kept.raw)
    PromiseStore(exchange.hub_store).put("44" * 32, lost, kept.raw)
    with pytest.raises(StoreCorrupt, match="another"):
        exchange.reopen()
    PromiseStore(exchange.hub_store).drop("44" * 32)
    exchange.reopen()
    exchange.act("bureau", "member.update", {"endpoint": "next:1"})
    raws = decode_entries(exchange.log.entry_bundle(0, exchange.log.size))
    assert lost in raws[size:]
    assert exchange.hub_store.find(txid) is not None


def test_asking_again_gives_the_same_promise(exchange: Consortium) -> None:
    raw = moved(exchange)
    store = PromiseStore(exchange.hub_store)
    first = store.put("22" * 32, raw, b"first")
    assert store.put("22" * 32, raw, b"second") == first


def test_receipts_take_the_hubs_promise_about_that_entry_only(exchange: Consortium) -> None:
    receipts = Receipts(exchange.mirrors["lender"])
    promise = exchange.log.promise(moved(exchange))
    with pytest.raises(InvalidPromise, match="another"):
        receipts.keep(moved(exchange, endpoint="b:1"), promise)
    assert receipts.check() == []


def test_evidence_that_shows_nothing_is_refused(exchange: Consortium) -> None:
    mirror = exchange.mirrors["lender"]
    network, raw = mirror.network, moved(exchange)
    promise = make_promise(network, "33" * 32, exchange.clock(), exchange.hub.tx)
    exchange.clock.now = promise.by + timedelta(seconds=1)
    exchange.act("bureau", "member.update", {"endpoint": "b:1"})
    cosigned_by_none = exchange.log.checkpoint((0, 0)).decode()
    exchange.settle()
    size, raws = mirror.final_size, [record.raw for record in mirror.store.records(0, mirror.size)]
    note = exchange.log.checkpoint((0, 0)).decode()
    path = mirror.tree.inclusion_proof(size - 1, size)
    facts = dict(overdue_facts(promise, raw, note, raws[-1], path))
    voters = electorate(mirror.state)

    def judged(changed: dict[str, Any], entries: list[bytes] = raws, by: Electorate = voters) -> Promise:
        return verify_overdue(canonical.encode({**facts, **changed}), network, lambda _: by, entries)

    assert judged({}) == promise
    text = Note.parse(note.encode()).text
    in_the_log = make_promise(network, mirror.store.records(2, 3)[0].txid, exchange.clock(), exchange.hub.tx)
    late = make_promise(network, "33" * 32, exchange.clock() + timedelta(days=1), exchange.hub.tx)
    for changed, reason in (
        ({"checkpoint": cosigned_by_none}, "quorum"),
        ({"checkpoint": text}, "evidence"),
        ({"seal": base64url.encode(raws[1])}, "evidence"),
        ({"seal_proof": []}, "evidence"),
        ({"promise": "{}"}, "hub's promise"),
        ({"promise": late.raw.decode()}, "seal after"),
        ({"promise": 7}, "evidence"),
    ):
        with pytest.raises(InvalidPromise, match=reason):
            judged(changed)
    with pytest.raises(InvalidPromise, match="entries under"):
        judged({}, raws[:-1])
    early = {"promise": in_the_log.raw.decode()}
    with pytest.raises(InvalidPromise, match="seal after"):
        judged(early)
    for data in (b"", b"[]", b"{}"):
        with pytest.raises(InvalidPromise):
            verify_overdue(data, network, lambda _: voters, raws)
