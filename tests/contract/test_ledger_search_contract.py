"""What search promises, on both databases: the right entries, in order, by index look-ups alone."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, event, insert, select, update

from ledger import postings, search
from ledger.entries import Entry, subjects
from ledger.errors import SearchTooWide, StoreCorrupt
from ledger.postings import Postings
from ledger.schema import ENTRIES, INDEXED, POSTINGS
from ledger.search import Page, Query, Search, TypeCount
from ledger.store import LedgerStore, Record
from ledger.testing import draft_entry, make_member, throw_away_engine

LENDER, BUREAU = make_member("lender"), make_member("bureau")
TYPES = ("job.start", "job.submit", "jobs", "asset.publish")
START = 1_700_000_000
SIZE = 60


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with throw_away_engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(engine: Engine) -> LedgerStore:
    made = LedgerStore(engine)
    with made.transaction() as connection:
        made.append(connection, RECORDS)
    return made


def record(index: int) -> Record:
    """Batches of five, the last of them a seal; every seventh entry is refused."""
    author = (LENDER, BUREAU)[index // 3 % 2]
    kind = "seal" if index % 5 == 4 else TYPES[index % len(TYPES)]
    body: dict[str, Any] = {"n": index, "asset": f"lender/a{index % 3}", "job": f"job-{index // 10}"}
    if index % 11 == 0:
        body["provider"] = (BUREAU if author is LENDER else LENDER).did
    entry = Entry.parse(draft_entry(author, kind, body).sign(author.kid, author.tx).encode())
    code = ("entry.expired", "job.unknown")[index % 2] if index % 7 == 0 and kind != "seal" else None
    return Record.of(index, entry, code, START + 10 * (index // 5))


RECORDS = [record(index) for index in range(SIZE)]

CHOICES: dict[str, Sequence[Any]] = {
    "types": [(), ("job.start",), ("job.*",), ("job.*", "asset.publish", "job.start"), ("none",)],
    "actor": [None, LENDER.did, "did:key:nobody"],
    "concerning": [(), (BUREAU.did,), ("lender/a1",), ("lender/a1", "job-3"), ("lender/a0", BUREAU.did)],
    "refused": [
        {},
        {"is_refused": True},
        {"code": "entry.expired"},
        {"is_refused": True, "code": "job.unknown"},
    ],
    "times": [{}, {"since": START + 25}, {"until": START + 60}, {"since": START + 20, "until": START + 30}],
}
QUERIES = [
    Query(types=types, actor=actor, concerning=concerning, **refused, **times)
    for types, actor, concerning, refused, times in itertools.islice(
        itertools.product(*CHOICES.values()), 0, None, 7
    )
]


def meets(found: Record, query: Query) -> bool:
    """The same by looking at an entry alone."""
    kinds = [re.escape(kind).replace(r"\*", ".*") for kind in query.types] or [".*"]
    return (
        any(re.fullmatch(kind, found.type) for kind in kinds)
        and query.actor in (None, found.actor)
        and set(query.concerning) <= subjects(found.entry)
        and (not query.is_refused or found.code is not None)
        and query.code in (None, found.code)
        and (query.since is None or found.time >= query.since)
        and (query.until is None or found.time < query.until)
    )


def walk(index: Search, query: Query, below: int, *, newest_first: bool, limit: int) -> Iterator[Page]:
    cursor = None
    while True:
        page = index.page(query, below=below, cursor=cursor, newest_first=newest_first, limit=limit)
        yield page
        if (cursor := page.cursor) is None:
            return


def test_every_combination_finds_what_a_scan_finds(store: LedgerStore) -> None:
    index = Search(store)
    for number, query in enumerate(QUERIES):
        newest_first, below = number % 2 == 1, (SIZE, SIZE - 5)[number // 2 % 2]
        expected = [one for one in RECORDS[:below] if meets(one, query)]
        pages = list(walk(index, query, below, newest_first=newest_first, limit=4))
        found = [one for page in pages for one in page.records]
        assert found == (expected[::-1] if newest_first else expected), query
        assert all(len(page.records) == 4 for page in pages[:-1])
        assert len(pages) == max(1, -(-len(expected) // 4))


def test_counts_are_those_of_a_scan(store: LedgerStore) -> None:
    index = Search(store)
    for query in QUERIES:
        expected = Counter(one.type for one in RECORDS[:50] if meets(one, query))
        found = index.counts(query, below=50)
        assert found == [TypeCount(kind, expected[kind], True) for kind in sorted(expected)], query


def test_a_walk_through_everything_yields_each_entry_once(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_PAGE", 7)
    assert list(Search(store).every(Query(), below=SIZE)) == RECORDS
    query = Query(concerning=("lender/a1",))
    assert list(Search(store).every(query, below=SIZE)) == [one for one in RECORDS if meets(one, query)]


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_page_ends_after_a_bounded_number_of_look_ups(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch, newest_first: bool
) -> None:
    monkeypatch.setattr(search, "_MAX_LOOKUPS", 8)
    query = Query(actor=LENDER.did, concerning=("lender/a1",))
    pages = list(walk(Search(store), query, SIZE, newest_first=newest_first, limit=50))
    assert len(pages) > 2
    found = [one for page in pages for one in page.records]
    assert sorted(found, key=lambda one: one.index) == [one for one in RECORDS if meets(one, query)]
    assert any(not one.is_exact for one in Search(store).counts(query, below=SIZE))


def test_seals_are_found_by_entry_and_by_height(store: LedgerStore) -> None:
    index = Search(store)
    for number in range(SIZE):
        assert index.seal_of(number, below=SIZE) == RECORDS[number // 5 * 5 + 4]
    assert [index.seal_at(height, below=SIZE) for height in range(12)] == RECORDS[4::5]
    assert index.seal_at(12, below=SIZE) is None
    assert index.seal_at(-1, below=SIZE) is None
    assert index.seal_of(57, below=58) is None


def test_the_index_grows_in_steps_and_says_how_far_it_is(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postings, "_PAGE", 7)
    first, second = Postings(store), Postings(store)
    assert first.size() == 0
    first.extend(10)
    assert first.size() == second.size() == 10
    second.extend(30)
    first.extend(SIZE)
    rows = store.rows(select(POSTINGS))
    assert len({(row.term, row.type, row.index) for row in rows}) == len(rows)
    assert Counter(row.term for row in rows)[""] == SIZE
    for page in walk(Search(store), Query(("seal",)), SIZE, newest_first=False, limit=100):
        assert page.records == RECORDS[4::5]


def test_an_index_of_another_version_is_made_anew(store: LedgerStore) -> None:
    index = Search(store)
    before = index.page(Query(("job.start",)), below=SIZE)
    with store.transaction() as connection:
        connection.execute(update(INDEXED).values(version=0))
        connection.execute(insert(POSTINGS), {"term": "old", "type": "job.start", "index": 1, "ordinal": 0})
    assert index.postings.size() == 0
    assert index.page(Query(("job.start",)), below=SIZE) == before
    assert index.page(Query(concerning=("old",)), below=SIZE) == Page([], None)
    with store.transaction() as connection:
        connection.execute(delete(INDEXED))
    assert index.page(Query(("job.start",)), below=SIZE) == before


def test_another_process_that_extends_the_index_is_no_fault(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Postings(store), Postings(store)
    real = store.pick

    def pick(indexes: Sequence[int]) -> list[Record]:
        monkeypatch.setattr(store, "pick", real)
        theirs.extend(indexes[-1] + 1)
        return real(indexes)

    monkeypatch.setattr(store, "pick", pick)
    ours.extend(SIZE)
    assert Counter(row.term for row in store.rows(select(POSTINGS)))[""] == SIZE


def test_a_damaged_store_is_told_as_such(store: LedgerStore) -> None:
    index = Search(store)
    with store.transaction() as connection:
        connection.execute(update(ENTRIES).where(ENTRIES.c["index"] == 3).values(raw=b"[]"))
    with pytest.raises(StoreCorrupt, match="index 3: raw"):
        index.page(Query(), below=SIZE)
    with store.transaction() as connection:
        connection.execute(delete(ENTRIES).where(ENTRIES.c["index"] == 3))
    with pytest.raises(StoreCorrupt, match="index 3: expected an entry"):
        index.page(Query(), below=SIZE)


def test_a_flood_of_types_asks_for_a_type(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postings, "_MAX_TYPES", 2)
    postings._census.cache_clear()
    try:
        with pytest.raises(SearchTooWide):
            Search(store).page(Query(actor=LENDER.did), below=SIZE)
        assert Search(store).page(Query(("job.*",), actor=LENDER.did), below=SIZE).records
    finally:
        postings._census.cache_clear()


def plans(engine: Engine, queries: Sequence[Query]) -> list[str]:
    """Run searches, and return the plan of every statement that read entries or postings."""
    index, seen = Search(LedgerStore(engine)), dict[str, Any]()
    index.page(Query(), below=SIZE)

    @event.listens_for(engine, "before_cursor_execute")
    def keep(_c: Connection, _x: Any, statement: str, parameters: Any, *_: Any) -> None:
        if re.search("ledger_(entries|postings)", statement):
            seen.setdefault(statement, parameters)

    for query in queries:
        index.page(query, below=SIZE, newest_first=True)
        index.page(query, below=SIZE)
        index.counts(query, below=SIZE)
    index.seal_of(1, below=SIZE)
    index.seal_at(1, below=SIZE)
    event.remove(engine, "before_cursor_execute", keep)
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        if not is_sqlite:
            connection.exec_driver_sql("SET enable_seqscan = off")  # these tables fit on a page
        prefix = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        return [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(prefix + statement, parameters))
            for statement, parameters in seen.items()
        ]


def test_no_search_scans(engine: Engine, store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MAX_LOOKUPS", 8)
    found = plans(engine, QUERIES[::5])
    assert len(found) > 8
    for plan in found:
        assert not re.search(r"SCAN (ledger_|other|further)|Seq Scan on ledger|USE TEMP B-TREE", plan), plan
        assert re.search(r"SEARCH|Index (Only )?Scan|Bitmap Index Scan", plan), plan
