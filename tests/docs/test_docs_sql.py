"""The queries of the page on SQL run and equal DuckDB's; its errors are those that are raised."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from exchange.sql.binding import bind
from exchange.sql.errors import InvalidQuery
from exchange.sql.testing import answer, catalog_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sql.md").read_text("utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
ERRORS = re.findall(r"^\| `(SELECT .*?)` \| `(query, .*?)` \|$", PAGE, re.MULTILINE)
TABLES = {
    "lender/loans": pa.table(
        {
            "customer": [f"p{i}" for i in range(60)],
            "balance": [i * 37 % 400 for i in range(60)],
            "opened": [date(2023, 6, 1) + timedelta(days=12 * i) for i in range(60)],
            "kind": ["car" if i % 4 else "house" for i in range(60)],
        }
    ),
    "bureau/people": pa.table(
        {
            "person": [f"p{i}" for i in range(10, 70)],
            "band": [("low", "middle", "high")[i % 3] for i in range(10, 70)],
            "income": [None if i % 9 == 0 else i * 29 % 350 for i in range(10, 70)],
        }
    ),
    "tax/returns": pa.table(
        {
            "taxpayer": [f"p{i}" for i in range(0, 90, 2)],
            "paid": [i * 13 % 90 for i in range(0, 90, 2)],
            "kind": [("house", "boat")[i % 2] for i in range(45)],
        }
    ),
}


def plain(value: Any) -> Any:
    try:
        return round(float(value), 6)
    except (TypeError, ValueError):
        return value


@pytest.mark.parametrize("query", QUERIES, ids=[f"example-{number}" for number in range(1, len(QUERIES) + 1)])
def test_an_example_equals_duckdb_on_the_pooled_tables(query: str) -> None:
    given = {asset: table for asset, table in TABLES.items() if asset.replace("/", ".") in query}
    with duckdb.connect() as database:
        for asset, table in given.items():
            owner, name = asset.split("/")
            database.execute(f"CREATE SCHEMA {owner}")
            database.register("given", table)
            database.execute(f"CREATE TABLE {owner}.{name} AS SELECT * FROM given")  # noqa: S608 - of this test
            database.unregister("given")
        wanted = database.sql(query).fetchall()
    found = answer(query, given).rows
    pair = [[tuple(plain(value) for value in row) for row in rows] for rows in (found, wanted)]
    ordered = "ORDER BY" in query
    assert (pair[0] if ordered else sorted(pair[0], key=repr)) == (
        pair[1] if ordered else sorted(pair[1], key=repr)
    )


@pytest.mark.parametrize(("query", "error"), ERRORS, ids=[f"error-{n}" for n in range(1, len(ERRORS) + 1)])
def test_a_refused_query_is_refused_with_the_words_on_the_page(query: str, error: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        bind(query, catalog_of(TABLES))
    assert str(caught.value) == error


def test_examples_were_found_at_all() -> None:
    assert len(QUERIES) == 5
    assert len(ERRORS) == 4
