from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger import fsck, stored_rows
from ledger.fsck import check
from ledger.search import Query, Search
from ledger.stored_rows import StoredEntries, StoredRows
from ledger.testing import Consortium, consortium


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consortium]:
    monkeypatch.setattr(stored_rows, "_PAGE", 3)
    monkeypatch.setattr(fsck, "_STEP", 4)
    with consortium(tmp_path, "lender", "bureau") as made:
        for number in range(4):
            made.act("lender", "member.update", {"endpoint": f"host{number}:1"})
        made.settle()
        Search(made.hub_store).page(Query(), below=made.log.size)
        yield made


def alter(exchange: Consortium, *statements: str) -> None:
    with exchange.hub_store.engine.begin() as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount > 0


def test_rows_are_read_in_pages_of_which_few_are_kept(exchange: Consortium) -> None:
    rows = StoredRows(exchange.hub_store)
    assert [row.index for row in rows] == list(range(exchange.log.size)) == list(range(len(rows)))
    assert [row.index for row in rows.part(2, 99)] == list(range(2, len(rows)))
    assert len(rows._pages) == 2
    with pytest.raises(IndexError):
        rows[len(rows)]
    assert rows.beyond is None


def test_rows_end_at_the_first_gap(exchange: Consortium) -> None:
    alter(exchange, 'DELETE FROM ledger_entries WHERE "index" IN (4, 5)')
    rows = StoredRows(exchange.hub_store)
    assert (len(rows), rows.beyond) == (4, 6)


def test_entries_are_parsed_apart_from_those_left_out(exchange: Consortium) -> None:
    entries = StoredEntries(StoredRows(exchange.hub_store))
    assert entries[0].type == "gov.genesis"
    entries.unread.add(0)
    assert entries.get(0) is None
    assert 1 in entries
    assert -1 not in entries
    with pytest.raises(KeyError):
        entries[exchange.log.size]


def test_rows_of_the_search_index_are_named_wherever_they_are(exchange: Consortium) -> None:
    assert check(exchange.hub_store, exchange.genesis) == []
    alter(
        exchange,
        "DELETE FROM ledger_postings WHERE term = '' AND \"index\" = 8",
        "INSERT INTO ledger_postings VALUES ('forged', 'seal', 1, 0)",
        "INSERT INTO ledger_postings VALUES ('forged', 'seal', 99, 1)",
    )
    assert [problem.where for problem in check(exchange.hub_store, exchange.genesis)] == [
        "ledger_postings term 'forged' type seal index 99: term, type, index",
        "ledger_postings term 'forged' type seal index 1: term, type, index",
        "ledger_postings term '' type member.update index 8",
    ]
