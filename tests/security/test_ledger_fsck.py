"""A change of any column of any ledger table is named."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Table, select, text, update

from ledger.entries import Entry
from ledger.fsck import check
from ledger.schema import BATCHES, COSIGNATURES, ENTRIES, LEDGER_METADATA
from ledger.search import Query, Search
from ledger.store import LedgerStore, Record, open_engine
from ledger.testing import Consortium, consortium, make_genesis, make_hub, make_member

NAMES = ("lender", "bureau", "analyst", "regulator")
NOT_OF_A_LOG = {
    *(
        "ledger_witnessed",
        "ledger_witness_lines",
        "ledger_pending",
        "ledger_mirrored",
        "ledger_mirrored_tiles",
    ),
    *("ledger_timestamps", "ledger_payloads", "ledger_promises", "ledger_carried"),
}
"""Filled by other duties of a process than keeping a log."""
SNAPSHOT = {"ledger_snapshots", "ledger_state"}
COLUMNS = [
    (table, column)
    for table in LEDGER_METADATA.sorted_tables
    if table.name not in NOT_OF_A_LOG | SNAPSHOT
    for column in table.columns
]


def fill(exchange: Consortium) -> Consortium:
    for number in range(3):
        exchange.act("lender", "member.update", {"endpoint": f"host{number}:1"})
    exchange.act("lender", "asset.withdraw", {"asset": "lender/loans", "reason": "refused, and recorded"})
    exchange.settle()
    exchange.act("bureau", "member.update", {"endpoint": "last:1"})
    Search(exchange.hub_store).page(Query(), below=exchange.log.size)
    return exchange


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    with consortium(tmp_path_factory.mktemp("fsck"), *NAMES) as made:
        yield fill(made)


@pytest.fixture
def store(exchange: Consortium, tmp_path: Path) -> Iterator[LedgerStore]:
    """A copy of the hub's database, to be altered."""
    copy = tmp_path / "copy.sqlite"
    with exchange.hub_store.engine.connect() as connection:
        connection.exec_driver_sql(f"VACUUM INTO '{copy}'")
    engine = open_engine(f"sqlite:///{copy}")
    yield LedgerStore(engine)
    engine.dispose()


def test_honest_databases_are_in_order(exchange: Consortium, store: LedgerStore) -> None:
    assert check(store, exchange.genesis) == []
    for mirror in exchange.mirrors.values():
        assert check(mirror.store, exchange.genesis) == []
        assert check(mirror.store) == []


def altered(value: Any) -> Any:
    match value:
        case bytes():
            return bytes([*value[:-1], value[-1] ^ 1])
        case int():
            return value + 1000
        case str():
            return value[:-1] + ("a" if value[-1:] != "a" else "b")
        case _:
            return "entry.expired"


def middle_row(store: LedgerStore, table: Table) -> dict[str, Any]:
    rows = store.rows(select(table).order_by(*table.primary_key.columns))
    return dict(rows[len(rows) // 2]._mapping)


def change(store: LedgerStore, table: Table, column: Column[Any], row: dict[str, Any], value: Any) -> None:
    keys = [key == row[key.name] for key in table.primary_key.columns]
    with store.engine.begin() as connection:
        assert connection.execute(update(table).where(*keys).values({column.name: value})).rowcount == 1


def assert_named(store: LedgerStore, genesis: bytes, table: Table, column: Column[Any]) -> None:
    row = middle_row(store, table)
    change(store, table, column, row, altered(row[column.name]))
    where = [problem.where for problem in check(store, genesis)]
    assert any(place.startswith(table.name) and column.name in place for place in where), where
    change(store, table, column, {**row, column.name: altered(row[column.name])}, row[column.name])
    assert check(store, genesis) == []


@pytest.mark.parametrize(
    ("table", "column"), COLUMNS, ids=[f"{table.name}.{column.name}" for table, column in COLUMNS]
)
def test_each_changed_column_is_named(
    exchange: Consortium, store: LedgerStore, table: Table, column: Column[Any]
) -> None:
    assert_named(store, exchange.genesis, table, column)


@pytest.mark.postgresql
def test_each_changed_column_is_named_on_postgresql(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "bureau", kind="postgresql") as exchange:
        fill(exchange)
        for table, column in COLUMNS:
            assert_named(exchange.hub_store, exchange.genesis, table, column)


def test_every_entry_is_watched_and_named_alone(exchange: Consortium, store: LedgerStore) -> None:
    for index in range(exchange.log.size):
        row = dict(store.rows(select(ENTRIES).where(ENTRIES.c["index"] == index))[0]._mapping)
        change(store, ENTRIES, ENTRIES.c.raw, row, altered(row["raw"]))
        problems = check(store, exchange.genesis)
        named = {problem.where for problem in problems if problem.where.endswith(": raw")}
        assert named == {f"ledger_entries index {index}: raw"}
        change(store, ENTRIES, ENTRIES.c.raw, row, row["raw"])


def test_a_consistent_rewrite_of_an_entry_is_named(exchange: Consortium, store: LedgerStore) -> None:
    forged = Entry.parse(exchange.entry("lender", "member.update", {"endpoint": "evil:1"}))
    record = Record.of(4, forged, None, 0)
    values = {
        column.name: getattr(record, column.name) for column in ENTRIES.columns if column.name != "index"
    }
    with store.engine.begin() as connection:
        connection.execute(update(ENTRIES).where(ENTRIES.c["index"] == 4).values(values))
    where = [problem.where for problem in check(store, exchange.genesis)]
    assert "ledger_entries below 12" in where
    assert any(place.startswith("ledger_checkpoints size") for place in where)


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ('DELETE FROM ledger_entries WHERE "index" = 4', "ledger_entries index 4: index"),
        ("DELETE FROM ledger_entries", "ledger_entries"),
        ("DELETE FROM ledger_heads", "ledger_heads"),
        ("DELETE FROM ledger_checkpoints WHERE size = 12", "ledger_checkpoints size 12"),
        (
            "DELETE FROM ledger_postings WHERE \"index\" = 4 AND term = ''",
            "ledger_postings term '' type member.update index 4",
        ),
        (
            "DELETE FROM ledger_postings WHERE \"index\" = 4 AND term = ''",
            "ledger_postings term '' type member.update index 6: ordinal",
        ),
        ("UPDATE ledger_indexed SET size = 13", "ledger_indexed: size"),
        ("DELETE FROM ledger_batches WHERE height = 3", "ledger_batches height 0: height"),
        ("UPDATE ledger_heads SET size = 10", "ledger_heads: size"),
    ],
)
def test_missing_rows_are_named(exchange: Consortium, store: LedgerStore, statement: str, where: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(statement))
    assert where in [problem.where for problem in check(store, exchange.genesis)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (ENTRIES.c.raw, "text"),
        (ENTRIES.c.leaf, "text"),
        (BATCHES.c.data, "text"),
        (COSIGNATURES.c.line, b"bytes"),
    ],
    ids=str,
)
def test_values_of_another_type_are_named(
    exchange: Consortium, store: LedgerStore, column: Column[Any], value: Any
) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f'UPDATE {column.table.name} SET "{column.name}" = ?', (value,))  # noqa: S608
    where = [problem.where for problem in check(store, exchange.genesis)]
    assert any(column.table.name in place and column.name in place for place in where), where


def test_a_whole_other_log_is_found_by_its_genesis(store: LedgerStore) -> None:
    other = make_genesis(make_hub(), [make_member("lender")])
    first = check(store, other)[0]
    assert first.where == "ledger_entries index 0: raw"
    assert "expected" in str(first)
