"""SQL over the tables of two owners, who see neither each other's rows nor the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa

from exchange.examples.stage import ANALYST, MIN_COHORT, PURPOSE, Stage
from exchange.sql.steps import COMPONENTS

__all__ = ["joined_by", "kept_by"]

Ask = Callable[[Stage], tuple[object, object]]

_PERSON = ("identifier", "AFTER_JOIN")
_LOANS = {"customer": _PERSON, "balance": ("measure", "AFTER_AGGREGATE")}
_PEOPLE = {"person": _PERSON, "band": ("group", "AFTER_GROUP_BY")}
_QUERY = (
    "SELECT p.band AS band, COUNT(*) AS people, SUM(l.balance) AS owed "
    "FROM lender.{loans} l JOIN utility.{people} p ON l.customer = p.person "
    "GROUP BY p.band ORDER BY band"
)
_ROWS = (
    "SELECT d.balance AS balance, i.income AS income "
    "FROM lender.{debts} d JOIN utility.{incomes} i ON d.customer = i.person "
    "WHERE d.balance > 300 ORDER BY balance, income"
)


def joined_by(component: str) -> Ask:
    """What is owed by band, where the balance stands at one owner and the band at the other?"""

    def ask(stage: Stage) -> tuple[object, object]:
        names = {table: _named(table, component) for table in ("loans", "people")}
        terms = {"operations": [component], "output_types": ["aggregate"]}
        loans = {"customer": [f"p{i:03d}" for i in range(80)], "balance": [i * 31 % 900 for i in range(80)]}
        people = {
            "person": [f"p{i:03d}" for i in range(10, 90)],
            "band": ["high" if i % 3 else "low" for i in range(80)],
        }
        tables = {
            ("lender", names["loans"]): pa.table(loans),
            ("utility", names["people"]): pa.table(people),
        }
        for (owner, name), columns in zip(tables, (_LOANS, _PEOPLE), strict=True):
            stage.share(owner, name, tables[owner, name], columns, terms)
        query = _QUERY.format(**names)
        found, expected = _answers(stage, query, component, MIN_COHORT, tables)
        return (
            [[band, n, int(owed)] for band, n, owed in found],
            [[band, n, int(owed)] for band, n, owed in expected],
        )

    return ask


def kept_by(component: str) -> Ask:
    """Which balances stand beside which income? Both owners agreed that single rows leave them."""

    def ask(stage: Stage) -> tuple[object, object]:
        names = {table: _named(table, component) for table in ("debts", "incomes")}
        terms = {"operations": [component], "output_types": ["table/rows"], "min_cohort": 1}
        shown = ("measure", "PLAINTEXT")
        debts = {"customer": [f"p{i:03d}" for i in range(40)], "balance": [i * 31 % 900 for i in range(40)]}
        incomes = {
            "person": [f"p{i:03d}" for i in range(10, 50)],
            "income": [i * 57 % 700 for i in range(40)],
        }
        tables = {
            ("lender", names["debts"]): pa.table(debts),
            ("utility", names["incomes"]): pa.table(incomes),
        }
        for (owner, name), columns in zip(
            tables,
            ({"customer": _PERSON, "balance": shown}, {"person": _PERSON, "income": shown}),
            strict=True,
        ):
            stage.share(owner, name, tables[owner, name], columns, terms)
        query = _ROWS.format(**names)
        found, expected = _answers(stage, query, component, 1, tables)
        return [list(map(int, row)) for row in found], [list(map(int, row)) for row in expected]

    return ask


def _named(table: str, component: str) -> str:
    """A name of its own for each component, as examples share one consortium."""
    return table + component.rpartition("/")[2].partition("-")[2]


def _answers(
    stage: Stage, query: str, component: str, cohort: int, tables: dict[tuple[str, str], pa.Table]
) -> tuple[list[list[Any]], list[tuple[Any, ...]]]:
    """The rows of the joint answer, and those of DuckDB on the tables put together."""
    explained = stage.at(ANALYST).explain_sql(
        query, purpose=PURPOSE, min_cohort=cohort, matching=COMPONENTS[component][1].name
    )
    result = stage.answered(explained["spec"])
    with duckdb.connect() as database:
        for (schema, name), table in tables.items():
            database.register("given", table)
            database.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{name} AS FROM given")
        return result["rows"], database.sql(query).fetchall()
