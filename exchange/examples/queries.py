"""SQL over the tables of two owners, who see neither each other's rows nor the answer."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from exchange.examples.stage import ANALYST, MIN_COHORT, PURPOSE, Stage

__all__ = ["joined", "kept"]

_LOANS = {"customer": ("identifier", "AFTER_JOIN"), "balance": ("measure", "AFTER_AGGREGATE")}
_PEOPLE = {"person": ("identifier", "AFTER_JOIN"), "band": ("group", "AFTER_GROUP_BY")}
_QUERY = (
    "SELECT p.band AS band, COUNT(*) AS people, SUM(l.balance) AS owed "
    "FROM lender.loans l JOIN utility.people p ON l.customer = p.person "
    "GROUP BY p.band ORDER BY band"
)
_ROWS = (
    "SELECT d.balance AS balance, i.income AS income "
    "FROM lender.debts d JOIN utility.incomes i ON d.customer = i.person "
    "WHERE d.balance > 300 ORDER BY balance, income"
)


def joined(stage: Stage) -> tuple[object, object]:
    """What is owed by band, where the balance stands at one owner and the band at the other?"""
    terms = {"operations": ["sql/query"], "output_types": ["aggregate"]}
    loans = {"customer": [f"p{i:03d}" for i in range(80)], "balance": [i * 31 % 900 for i in range(80)]}
    people = {
        "person": [f"p{i:03d}" for i in range(10, 90)],
        "band": ["high" if i % 3 else "low" for i in range(80)],
    }
    stage.share("lender", "loans", pa.table(loans), _LOANS, terms)
    stage.share("utility", "people", pa.table(people), _PEOPLE, terms)
    explained = stage.at(ANALYST).explain_sql(_QUERY, purpose=PURPOSE, min_cohort=MIN_COHORT)
    result = stage.answered(explained["spec"])
    with duckdb.connect() as database:
        for schema, name, table in (("lender", "loans", loans), ("utility", "people", people)):
            database.register("given", pa.table(table))
            database.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{name} AS FROM given")
        expected = [[band, n, int(owed)] for band, n, owed in database.sql(_QUERY).fetchall()]
    return [[band, n, int(owed)] for band, n, owed in result["rows"]], expected


def kept(stage: Stage) -> tuple[object, object]:
    """Which balances stand beside which income? Both owners agreed that single rows leave them."""
    terms = {"operations": ["sql/rows"], "output_types": ["table/rows"], "min_cohort": 1}
    shown = ("measure", "PLAINTEXT")
    person = ("identifier", "AFTER_JOIN")
    debts = {"customer": [f"p{i:03d}" for i in range(40)], "balance": [i * 31 % 900 for i in range(40)]}
    incomes = {"person": [f"p{i:03d}" for i in range(10, 50)], "income": [i * 57 % 700 for i in range(40)]}
    stage.share("lender", "debts", pa.table(debts), {"customer": person, "balance": shown}, terms)
    stage.share("utility", "incomes", pa.table(incomes), {"person": person, "income": shown}, terms)
    explained = stage.at(ANALYST).explain_sql(_ROWS, purpose=PURPOSE, min_cohort=1)
    result = stage.answered(explained["spec"])
    with duckdb.connect() as database:
        for schema, name, table in (("lender", "debts", debts), ("utility", "incomes", incomes)):
            database.register("given", pa.table(table))
            database.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{name} AS FROM given")
        expected = [list(map(int, row)) for row in database.sql(_ROWS).fetchall()]
    return [list(map(int, row)) for row in result["rows"]], expected
