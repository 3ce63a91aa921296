"""What the ledger's store promises, on both databases."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect, text

from ledger.driver import known_among
from ledger.entries import Entry
from ledger.errors import StaleHead, StoreUnavailable
from ledger.schema import LEDGER_METADATA, VERSION_TABLE
from ledger.store import LedgerStore, Record, StoredHead, open_engine, upgrade
from ledger.testing import draft_entry, make_member, throw_away_engine

LENDER, BUREAU = make_member("lender"), make_member("bureau")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with throw_away_engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(engine: Engine) -> LedgerStore:
    return LedgerStore(engine)


def entry(index: int, kind: str = "asset.withdraw", member: str = "lender") -> Entry:
    author = {"lender": LENDER, "bureau": BUREAU}[member]
    body = {"asset": f"{member}/a{index % 2}", "n": index}
    return Entry.parse(draft_entry(author, kind, body).sign(author.kid, author.tx).encode())


def write(store: LedgerStore, records: list[Record]) -> None:
    with store.transaction() as connection:
        store.append(connection, records)


def test_entries_come_back_as_they_were(store: LedgerStore) -> None:
    records = [
        Record.of(index, entry(index), "entry.expired" if index == 3 else None, 0) for index in range(5)
    ]
    write(store, records)
    assert store.records(0, 9) == records
    assert store.records(2, 4) == records[2:4]
    assert [record for page in store.pages() for record in page] == records
    assert [record for page in store.pages(stop=2) for record in page] == records[:2]
    assert store.find(records[3].txid) == records[3]
    assert store.find("00" * 32) is None
    assert records[1].entry.raw == records[1].raw


def test_pages_are_complete_beyond_their_size(store: LedgerStore) -> None:
    write(store, [Record.of(index, entry(index), None, 0) for index in range(1203)])
    assert [record.index for page in store.pages() for record in page] == list(range(1203))
    known = frozenset(record.txid for record in store.records(0, 1203))
    assert store.known(known | {"00" * 32}) == known


def test_a_txid_and_an_index_are_given_once(store: LedgerStore) -> None:
    first = Record.of(0, entry(0), None, 0)
    write(store, [first])
    with pytest.raises(StaleHead):
        write(store, [replace(first, index=1)])
    with pytest.raises(StaleHead):
        write(store, [Record.of(0, entry(1), None, 0)])
    assert store.records(0, 9) == [first]


def test_the_head_moves_by_compare_and_swap(store: LedgerStore) -> None:
    first, second, other = StoredHead(3, "aa" * 32), StoredHead(5, "bb" * 32), StoredHead(5, "cc" * 32)
    assert store.head() is None
    with store.transaction() as connection:
        store.move_head(connection, None, first)
    for wrong in (None, StoredHead(2, first.root), StoredHead(3, other.root)):
        with pytest.raises(StaleHead), store.transaction() as connection:
            store.move_head(connection, wrong, other)
    with store.transaction() as connection:
        store.move_head(connection, first, second)
    with pytest.raises(StaleHead), store.transaction() as connection:
        store.move_head(connection, first, other)
    assert store.head() == second


def test_a_size_has_one_checkpoint(store: LedgerStore) -> None:
    with store.transaction() as connection:
        store.put_checkpoint(connection, 3, b"note")
    with pytest.raises(StaleHead), store.transaction() as connection:
        store.put_checkpoint(connection, 3, b"another")
    assert store.checkpoint(3) == b"note"
    assert store.checkpoint(4) is None
    assert dict(store.checkpoints()) == {3: b"note"}


def test_the_first_cosignature_of_a_name_stays(store: LedgerStore) -> None:
    store.add_cosignatures(3, [("net/a", "line a")])
    store.add_cosignatures(3, [("net/a", "another"), ("net/b", "line b")])
    store.add_cosignatures(7, [("net/a", "line c")])
    assert store.cosignatures(3) == {"net/a": "line a", "net/b": "line b"}
    assert store.cosignatures(4) == {}
    assert store.cosigned_sizes() == [7, 3]


def test_a_transaction_is_all_or_nothing(store: LedgerStore) -> None:
    def fail(connection: Connection) -> None:
        store.append(connection, [Record.of(0, entry(0), None, 0)])
        store.put_checkpoint(connection, 1, b"note")
        raise RuntimeError

    with pytest.raises(RuntimeError), store.transaction() as connection:
        fail(connection)
    assert store.records(0, 9) == []
    assert dict(store.checkpoints()) == {}


def test_the_migrations_make_the_declared_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, LEDGER_METADATA) == []
    assert VERSION_TABLE in inspect(engine).get_table_names()
    upgrade(engine)


def test_an_unreachable_database_is_told_as_such(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/nowhere/ledger.sqlite")
    with pytest.raises(StoreUnavailable):
        LedgerStore(engine).head()
    with pytest.raises(StoreUnavailable):
        upgrade(engine)
    engine.dispose()


def test_sqlite_is_written_through_to_disk(tmp_path: Path) -> None:
    with throw_away_engine("sqlite", tmp_path) as engine, engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_known_txids_are_looked_up_and_the_log_is_not_walked(tmp_path: Path) -> None:
    """PostgreSQL knows by its statistics; SQLite has to be told."""
    with throw_away_engine("sqlite", tmp_path) as engine:
        query, values = known_among("sqlite", {"00" * 32, "11" * 32}, 500)
        rows = LedgerStore(engine).rows(text(f"EXPLAIN QUERY PLAN {query.text}"), values)
        plan = "\n".join(str(row) for row in rows)
    assert "sqlite_autoindex_ledger_entries" in plan
