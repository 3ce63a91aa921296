"""Random queries over random tables of three owners give what DuckDB gives on the tables put together."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from exchange.sql.binding import bind
from exchange.sql.program import compile_query
from exchange.sql.query import render
from exchange.sql.steps import columns_of, parts_of
from exchange.sql.testing import answer, catalog_of

SEEDS = range(12)
MANY = range(12, 300)


def _load() -> Any:
    path = Path(__file__).with_name("sql_queries.py")
    spec = importlib.util.spec_from_file_location("sql_queries", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER: Callable[[int], Any] = _load().Maker


def pooled(query: str, tables: dict[str, pa.Table]) -> list[tuple[Any, ...]]:
    """What DuckDB answers on the plaintext tables, without groups of no rows, which are not shown."""
    with duckdb.connect() as database:
        for asset, table in tables.items():
            owner, name = asset.split("/")
            database.execute(f"CREATE SCHEMA {owner}")
            database.register("given", table)
            database.execute(f"CREATE TABLE {owner}.{name} AS SELECT * FROM given")  # noqa: S608 - of this test
            database.unregister("given")
        found = database.sql(query)
        counted = found.columns.index("c") if "c" in found.columns else None
        return [row for row in found.fetchall() if counted is None or row[counted]]


def plain(value: Any) -> Any:
    """One form for what both say; numbers to six places, because DuckDB calculates means in floats."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float | Decimal):
        return f"{float(value):.6f}".replace("-0.000000", "0.000000")
    try:
        return f"{float(Decimal(value)):.6f}".replace("-0.000000", "0.000000")
    except ArithmeticError:
        return value


def rows_of(rows: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(plain(value) for value in row) for row in rows), key=repr)


def compare(seed: int) -> None:
    maker = MAKER(seed)
    tables = maker.tables()
    query = maker.query()
    named = {asset: table for asset, table in tables.items() if asset.replace("/", ".") in query}
    wanted = pooled(query, named)
    assert rows_of(answer(query, named).rows) == rows_of(wanted), query
    catalog = catalog_of(named)
    bound = bind(query, catalog)
    assert bind(render(bound), catalog) == bound
    read = zip(parts_of(bound), columns_of(compile_query(bound, 1)), strict=True)
    as_read = bind(render(bound), {part.asset: dict(columns) for part, columns in read})
    assert render(as_read) == render(bound)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_query_gives_what_duckdb_gives(seed: int) -> None:
    compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_many_random_queries_give_what_duckdb_gives(seed: int) -> None:
    compare(seed)
