"""The search index: what it finds, in which order, and that it is always what the state says."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.catalog import CatalogIndex, CatalogQuery, Found, Sort
from exchange.catalog.offers import price, stated_purposes
from exchange.catalog.words import asked, words
from ledger.tables import Table

LENDER, BUREAU = "did:key:zLender", "did:key:zBureau"


def offer(*purposes: str, points: int | None = None) -> dict[str, Any]:
    named = [{"leftOperand": "purpose", "operator": "isA", "rightOperand": one} for one in purposes]
    constraints: list[object] = [{"or": named} if len(named) > 1 else named[0]] if named else []
    if points is not None:
        constraints.append({"leftOperand": "payAmount", "operator": "eq", "rightOperand": points})
    return {"@type": "Offer", "permission": [{"action": "use", "constraint": constraints}]}


def row(asset: str, index: int, **changes: Any) -> dict[str, Any]:
    return {
        "asset": asset,
        "version": 1,
        "kind": "table",
        "title": "Consumer loans",
        "description": "One row per borrower.",
        "keywords": ["credit", "default"],
        "schema": [
            {"name": "id", "sensitivity": "confidential"},
            {"name": "income_band", "sensitivity": "internal", "description": "tenths of the households"},
        ],
        "rows": 24_000,
        "offer": offer("dpv:FraudPreventionAndDetection"),
        "owner": LENDER,
        "status": "published",
        "index": index,
        **changes,
    }


ROWS = (
    row("lender/loans", 1),
    row(
        "bureau/tax",
        2,
        title="Tax returns",
        keywords=["income"],
        description="",
        owner=BUREAU,
        rows=90_000,
        schema=[
            {"name": "income_band", "sensitivity": "secret"},
            {"name": "数据来源", "sensitivity": "public"},
        ],
        offer=offer("dpv:LegalCompliance", points=50),
    ),
    row(
        "lender/个人",
        3,
        title="个人信用数据",
        description="来自银行的信贷记录",
        keywords=["信用"],
        kind="api",
    ),
    row("lender/gone", 4, status="withdrawn"),
)


def table(*rows: dict[str, Any]) -> Table:
    return Table.of({str(one["asset"]): one for one in rows})


def index_of(*rows: dict[str, Any]) -> CatalogIndex:
    index = CatalogIndex()
    index.follow(table(*rows))
    return index


def ids(found: Found) -> list[str]:
    return list(found.assets)


def find(words: str = "", **conditions: Any) -> list[str]:
    return sorted(ids(index_of(*ROWS).search(CatalogQuery(words=words, **conditions))))


@pytest.mark.parametrize(
    ("asked_for", "expected"),
    [
        ("", ["bureau/tax", "lender/loans", "lender/个人"]),
        ("CREDIT borrower", ["lender/loans"]),
        ("income", ["bureau/tax", "lender/loans", "lender/个人"]),
        ("income_band", ["bureau/tax", "lender/loans", "lender/个人"]),
        ("households", ["lender/loans", "lender/个人"]),
        ("bureau/", ["bureau/tax"]),
        ("retur", ["bureau/tax"]),
        ("eturns", []),
        ("credit nothing", []),
        ("信用", ["lender/个人"]),
        ("用数", ["lender/个人"]),
        ("信", ["lender/个人"]),
        ("个人信用数据", ["lender/个人"]),
        ("信用 银行", ["lender/个人"]),
        ("数据", ["bureau/tax", "lender/个人"]),
        ("保险", []),
        ("ＣＲＥＤＩＴ", ["lender/loans"]),
        ("gone", []),
    ],
)
def test_words(asked_for: str, expected: list[str]) -> None:
    assert find(asked_for) == expected


def test_conditions_narrow_what_is_found() -> None:
    assert find(tags=["Income"]) == ["bureau/tax"]
    assert find(tags=["credit", "default"]) == ["lender/loans"]
    assert find(tags=["inc"]) == []
    assert find(columns=["数据来源"]) == ["bureau/tax"]
    assert find(owners=[BUREAU]) == ["bureau/tax"]
    assert find(owners=[BUREAU, LENDER]) == ["bureau/tax", "lender/loans", "lender/个人"]
    assert find(owners=["did:key:zNobody"]) == []
    assert find(kind="api") == ["lender/个人"]
    assert find(grade="secret") == ["bureau/tax"]
    assert find(grade="confidential") == ["lender/loans", "lender/个人"]
    assert find(max_price=49) == ["lender/loans", "lender/个人"]
    assert find(min_rows=24_001) == ["bureau/tax"]
    assert find("income", kind="table", max_price=0) == ["lender/loans"]


def test_a_purpose_finds_what_is_offered_for_it_or_for_a_broader_one() -> None:
    assert find(purpose="dpv:CounterMoneyLaundering") == ["lender/loans", "lender/个人"]
    assert find(purpose="dpv:FraudPreventionAndDetection") == ["lender/loans", "lender/个人"]
    assert find(purpose="dpv:EnforceSecurity") == []
    assert find(purpose="https://w3id.org/dpv#LegalCompliance") == ["bureau/tax"]
    assert find(purpose="dpv:Nonsense") == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["lender/个人", "bureau/tax", "lender/loans"]),
        ("asset", ["bureau/tax", "lender/loans", "lender/个人"]),
        ("price", ["lender/个人", "lender/loans", "bureau/tax"]),
        ("rows", ["bureau/tax", "lender/个人", "lender/loans"]),
    ],
)
def test_order_and_pages(sort: Sort, expected: list[str]) -> None:
    index = index_of(*ROWS)
    for limit in (1, 2, 3, 10):
        pages = [
            ids(index.search(CatalogQuery(), sort=sort, offset=offset, limit=limit))
            for offset in range(0, 4, limit)
        ]
        assert [asset for page in pages for asset in page] == expected
    assert index.search(CatalogQuery(), sort=sort, offset=2, limit=1).total == 3


def test_what_has_the_words_in_its_heading_comes_first() -> None:
    index = index_of(row("lender/a", 1, title="Income by household"), row("lender/b", 2))
    assert ids(index.search(CatalogQuery(words="income"))) == ["lender/a", "lender/b"]
    assert ids(index.search(CatalogQuery(words="credit"))) == ["lender/b", "lender/a"]


def test_facets_count_all_that_was_found_and_not_only_the_page() -> None:
    found = index_of(*ROWS).search(CatalogQuery(), limit=1, facets=True)
    assert found.facets == {
        "kind": (("table", 2), ("api", 1)),
        "owner": ((LENDER, 2), (BUREAU, 1)),
        "grade": (("confidential", 2), ("secret", 1)),
        "tag": (("credit", 1), ("default", 1), ("income", 1), ("信用", 1)),
        "purpose": (("dpv:FraudPreventionAndDetection", 2), ("dpv:LegalCompliance", 1)),
    }
    assert index_of().search(CatalogQuery(words="x"), facets=True).facets["kind"] == ()


def test_a_new_version_takes_the_place_of_the_old_and_a_withdrawn_asset_is_gone() -> None:
    first = table(*ROWS)
    index = CatalogIndex()
    index.follow(first)
    second = first.put("lender/loans", row("lender/loans", 5, version=2, title="Mortgages", keywords=[]))
    index.follow(second)
    assert ids(index.search(CatalogQuery(words="mortgages"))) == ["lender/loans"]
    assert ids(index.search(CatalogQuery(words="consumer"))) == []
    assert ids(index.search(CatalogQuery(), sort="newest"))[0] == "lender/loans"
    index.follow(second.put("lender/loans", row("lender/loans", 6, status="withdrawn")))
    assert ids(index.search(CatalogQuery(words="mortgages"))) == []
    assert index.search(CatalogQuery(), facets=True).total == 2


def test_an_older_state_changes_nothing() -> None:
    older = table(*ROWS)
    newer = older.put("lender/loans", row("lender/loans", 5, title="Mortgages")).put(
        "lender/new", row("lender/new", 6)
    )
    index = CatalogIndex()
    for state in (older, newer, older, newer):
        index.follow(state)
        if state is newer:
            assert ids(index.search(CatalogQuery(words="mortgages"))) == ["lender/loans"]
            assert ids(index.search(CatalogQuery(), sort="newest"))[0] == "lender/new"
    index.follow(older)
    assert ids(index.search(CatalogQuery(words="mortgages"))) == ["lender/loans"]
    assert index.search(CatalogQuery()).total == 4


def test_readers_see_whole_states_while_the_index_follows() -> None:
    index, state = index_of(*ROWS), table(*ROWS)
    failures: list[object] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            found = index.search(CatalogQuery(words="consumer", kind="table"), facets=True, limit=100)
            if found.total != dict(found.facets["kind"]).get("table", 0) or len(found.assets) != found.total:
                failures.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for place in range(10, 60):
        state = state.put(f"lender/a{place % 7}", row(f"lender/a{place % 7}", place))
        index.follow(state)
    ended.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert index.search(CatalogQuery(words="consumer", kind="table")).total == 8


def test_an_offer_of_any_form_is_read_without_failing() -> None:
    deep: Any = {"leftOperand": "purpose", "rightOperand": "dpv:LegalCompliance"}
    for _ in range(50):
        deep = {"and": [deep]}
    for odd in (deep, [], "x", None, {"permission": 5}, {"leftOperand": "payAmount", "rightOperand": "x"}):
        assert (stated_purposes(odd), price(odd)) == ((), 0)
    assert price(offer(points=7)) == 7


def test_words_of_a_text() -> None:
    assert words("Größe_2 数据库") == {"grösse", "2", "数", "据", "库", "数据", "据库"}
    assert asked("a 数据库 Loan x1 loan") == (("a", "数据", "据库"), ("loan", "x1"))


_WORDS = st.sampled_from(["credit", "cred", "income", "tax", "信用", "数据", "x"])
_ROWS = st.builds(
    lambda name, title, tag, status: row(
        f"lender/{name}", 0, title=title, description="", schema=[], keywords=[tag], status=status
    ),
    st.sampled_from("abcdefgh"),
    st.lists(_WORDS, max_size=3).map(" ".join),
    _WORDS,
    st.sampled_from(["published", "published", "withdrawn"]),
)


@settings(max_examples=60)
@given(st.lists(_ROWS, min_size=1, max_size=30), st.lists(_WORDS, max_size=2).map(" ".join))
def test_following_step_by_step_finds_what_a_scan_of_the_last_state_finds(
    changed: list[dict[str, Any]], text: str
) -> None:
    index, state = CatalogIndex(), Table()
    for place, one in enumerate(changed):
        state = state.put(str(one["asset"]), {**one, "index": place})
        if place % 3:
            index.follow(state)
    index.follow(state)
    whole, beginnings = asked(text)
    expected = [
        asset
        for asset, kept in state.items()
        if kept["status"] == "published"
        and set(whole) <= (have := words(f"{asset} {kept['title']} {kept['keywords'][0]}"))
        and all(any(word.startswith(start) for word in have) for start in beginnings)
    ]
    query = CatalogQuery(words=text)
    assert ids(index.search(query, sort="asset", limit=100)) == expected
    assert index.rebuild(state) == sum(one["status"] == "published" for one in state.values())
    assert ids(index.search(query, sort="asset", limit=100)) == expected
