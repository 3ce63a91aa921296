"""Private content behind commitments: kept encrypted, disclosed, erased."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, update

from ledger.commitments import Opening, check, commit
from ledger.entries import Entry
from ledger.errors import CommitmentMismatch, NotKept, StaleHead, StoreCorrupt
from ledger.payloads import PayloadStore
from ledger.schema import PAYLOADS
from ledger.store import LedgerStore
from ledger.testing import DatabaseKind, draft_entry, make_member, throw_away_engine

KEY = hashlib.sha256(b"a storage key").digest()
PAYLOAD = b"what only the two of us know"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    kind: DatabaseKind = request.param
    with throw_away_engine(kind, tmp_path) as made:
        yield made


def entry_with(payload: bytes, port: int = 7444) -> tuple[Entry, Opening]:
    member = make_member("lender")
    commitment, salt = commit(payload)
    draft = draft_entry(member, "member.update", {"endpoint": f"lender.example:{port}"})
    entry = Entry.parse(replace(draft, commit=commitment).sign(member.kid, member.tx).encode())
    return entry, Opening(payload, salt)


def test_what_is_kept_opens_the_commitment(engine: Engine) -> None:
    store = PayloadStore(LedgerStore(engine), KEY)
    entry, opening = entry_with(PAYLOAD)
    store.keep(entry, opening)
    found = store.opening(entry.txid)
    assert found == opening
    assert entry.commit is not None
    check(entry.commit, found.payload, found.salt)
    assert store.txids() == [entry.txid]
    with pytest.raises(StaleHead):
        store.keep(entry, opening)
    assert PAYLOAD.decode() not in repr(found)


def test_only_what_the_entry_commits_to_is_kept(engine: Engine) -> None:
    store = PayloadStore(LedgerStore(engine), KEY)
    entry, opening = entry_with(PAYLOAD)
    with pytest.raises(CommitmentMismatch):
        store.keep(entry, Opening(b"something else", opening.salt))
    member = make_member("lender")
    plain = Entry.parse(draft_entry(member, "member.ack", {}).sign(member.kid, member.tx).encode())
    with pytest.raises(CommitmentMismatch):
        store.keep(plain, opening)
    assert store.txids() == []


def test_the_database_shows_nothing(engine: Engine) -> None:
    store = PayloadStore(LedgerStore(engine), KEY)
    entry, opening = entry_with(PAYLOAD)
    store.keep(entry, opening)
    ((salt, payload),) = LedgerStore(engine).rows(select(PAYLOADS.c.salt, PAYLOADS.c.payload))
    assert PAYLOAD not in payload
    assert opening.salt not in salt
    with pytest.raises(StoreCorrupt, match="payload"):
        PayloadStore(LedgerStore(engine), hashlib.sha256(b"another key").digest()).opening(entry.txid)


def test_rows_cannot_be_swapped_or_altered(engine: Engine) -> None:
    store = PayloadStore(LedgerStore(engine), KEY)
    (one, opening), (two, _) = entry_with(PAYLOAD), entry_with(b"other", 7445)
    store.keep(one, opening)
    row = LedgerStore(engine).rows(select(PAYLOADS))[0]._mapping
    with engine.begin() as connection:
        connection.execute(insert(PAYLOADS), {**row, "txid": two.txid})
        connection.execute(update(PAYLOADS).where(PAYLOADS.c.txid == one.txid).values(salt=row["payload"]))
    with pytest.raises(StoreCorrupt, match="payload"):
        store.opening(two.txid)
    with pytest.raises(StoreCorrupt, match="salt"):
        store.opening(one.txid)


def test_what_is_erased_is_gone(engine: Engine) -> None:
    store = PayloadStore(LedgerStore(engine), KEY)
    (one, opening), (two, other) = entry_with(PAYLOAD), entry_with(b"other", 7445)
    store.keep(one, opening)
    store.keep(two, other)
    store.erase(one.txid)
    with pytest.raises(NotKept, match="erased, or never was"):
        store.opening(one.txid)
    with pytest.raises(NotKept):
        store.erase(one.txid)
    assert store.opening(two.txid) == other


def test_no_trace_is_left_in_the_file(tmp_path: Path) -> None:
    with throw_away_engine("sqlite", tmp_path) as engine:
        store = PayloadStore(LedgerStore(engine), KEY)
        entry, opening = entry_with(bytes(3000))
        store.keep(entry, opening)
        ((sealed,),) = LedgerStore(engine).rows(select(PAYLOADS.c.payload))
        files = [path for path in tmp_path.iterdir() if path.is_file()]
        assert any(sealed[:64] in path.read_bytes() for path in files)
        store.erase(entry.txid)
        assert not any(sealed[:64] in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
