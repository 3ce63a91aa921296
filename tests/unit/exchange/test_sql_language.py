"""The subset of SQL: what is read, its one canonical text, and errors that say where and what."""

# ruff: noqa: S608 - queries are what is tested here

from __future__ import annotations

import pytest

from exchange.sql.binding import bind
from exchange.sql.errors import InvalidQuery
from exchange.sql.expressions import BOOLEAN, DATE, FLOAT, TEXT, SqlType, number
from exchange.sql.program import compile_query
from exchange.sql.query import render
from exchange.sql.steps import columns_of, parts_of
from exchange.sql.syntax import MAX_LENGTH, assets_named

CATALOG = {
    "lender/loans": {
        "id": TEXT,
        "balance": number(2),
        "arrears": number(),
        "opened": DATE,
        "score": FLOAT,
        "active": BOOLEAN,
        "k": number(),
    },
    "bureau/people": {"pid": TEXT, "band": TEXT, "income": number(2), "k": number()},
    "tax/returns": {"tid": TEXT, "paid": number(), "k": number()},
}
JOIN = "FROM lender.loans AS l JOIN bureau.people AS b ON l.id = b.pid"

READ = {
    "join": f"SELECT COUNT(*) {JOIN}",
    "two-keys": "SELECT COUNT(*) FROM lender.loans l "
    "JOIN bureau.people b ON UPPER(TRIM(l.id)) = b.pid AND l.k = b.k",
    "left": "SELECT b.band, SUM(l.balance) FROM lender.loans l "
    "LEFT JOIN bureau.people b ON l.id = b.pid GROUP BY 1",
    "chain": "SELECT COUNT(*) FROM lender.loans l JOIN bureau.people b ON l.id = b.pid "
    "JOIN tax.returns t ON b.pid = t.tid",
    "where": f"SELECT COUNT(*) {JOIN} WHERE l.arrears BETWEEN 1 AND 3 AND NOT b.band IN ('a', 'b') "
    "OR l.opened >= DATE '2026-01-01' AND l.score > 0.5 AND l.active IS TRUE",
    "case": f"SELECT CASE WHEN l.balance > b.income THEN 'more' ELSE 'less' END c {JOIN} GROUP BY c",
    "having": f"SELECT b.band, AVG(l.balance) m {JOIN} GROUP BY b.band HAVING AVG(l.balance) > AVG(b.income) "
    "AND COUNT(*) >= 10 ORDER BY m DESC NULLS FIRST LIMIT 3",
    "figures": f"SELECT MIN(l.opened), MAX(l.balance), VARIANCE(l.arrears), STDDEV_POP(b.income), "
    f"SUM(l.balance) / COUNT(*) {JOIN}",
    "cast": f"SELECT SUM(CAST(l.score AS DECIMAL(18, 4)) * b.income) {JOIN}",
    "union": "SELECT g, AVG(x) FROM (SELECT k AS g, balance AS x FROM lender.loans "
    "UNION ALL SELECT k, income FROM bureau.people) AS t GROUP BY g",
    "union-listed": "SELECT COUNT(b), SUM(a) FROM (SELECT id AS z, balance AS a, k AS b FROM lender.loans "
    "UNION ALL SELECT pid, income, k FROM bureau.people) AS t",
    "union-counted": "SELECT COUNT(*) FROM (SELECT id AS z, k FROM lender.loans "
    "UNION ALL SELECT pid, k FROM bureau.people) AS t",
    "rows": f"SELECT l.balance - b.income AS gap, b.band {JOIN} WHERE l.balance > 3 ORDER BY gap LIMIT 5",
    "coalesce": f"SELECT SUM(COALESCE(l.balance, b.income, 0)) {JOIN}",
    "texts": f"SELECT COUNT(*) {JOIN} WHERE b.band = 'x'' OR 1=1 --' AND l.id <> b.band",
}


@pytest.mark.parametrize("name", READ)
def test_the_canonical_text_of_a_query_reads_as_the_query(name: str) -> None:
    bound = bind(READ[name], CATALOG)
    text = render(bound)
    assert bind(text, CATALOG) == bound
    assert render(bind(text, CATALOG)) == text
    program = compile_query(bound, 10)
    read = zip(parts_of(bound), columns_of(program), strict=True)
    assert render(bind(text, {part.asset: dict(columns) for part, columns in read})) == text


REFUSED = {
    "distinct": ("SELECT DISTINCT band FROM bureau.people", 1, 8, "supported subset", "'DISTINCT'"),
    "window": (f"SELECT SUM(balance) OVER () {JOIN}", 1, 21, "supported subset", "'OVER'"),
    "with": ("WITH a AS (SELECT 1) SELECT 1", 1, 1, "supported subset", "'WITH'"),
    "statements": ("SELECT k FROM tax.returns; DROP TABLE x", 1, 26, "supported subset", "';'"),
    "write": ("DELETE FROM tax.returns", 1, 1, "supported subset", "'DELETE'"),
    "unclosed": ("SELECT 'abc", 1, 12, "the end of a text", "the end of the query"),
    "line": ("SELECT COUNT(*)\nFROM lender.loans AS l x y", 2, 24, "SELECT statement", "'x'"),
    "column": (
        f"SELECT SUM(l.ballance) {JOIN}",
        1,
        12,
        "a column of l: active, arrears, balance",
        "'ballance'",
    ),
    "table": (f"SELECT SUM(q.balance) {JOIN}", 1, 12, "one of the tables l, b", "'q'"),
    "asset": (
        "SELECT COUNT(*) FROM lender.nothing",
        1,
        22,
        "a published asset: bureau/people",
        "lender/nothing",
    ),
    "name": ("SELECT COUNT(*) FROM loans", 1, 22, "a table named owner.asset", "'loans'"),
    "ambiguous": (f"SELECT SUM(k) {JOIN}", 1, 12, "a table before it: l or b", "'k'"),
    "sum-of-text": (f"SELECT SUM(b.band) {JOIN}", 1, 8, "SUM of a number", "text"),
    "sum-of-float": (f"SELECT SUM(l.score) {JOIN}", 1, 8, "CAST(… AS DECIMAL(18, digits))", "float"),
    "types": (f"SELECT COUNT(*) {JOIN} WHERE l.id = 3", 1, 86, "sides of one type, text", "number"),
    "condition": (f"SELECT COUNT(*) {JOIN} WHERE l.balance", 1, 86, "a condition", "number(2)"),
    "function": (f"SELECT LENGTH(b.band) {JOIN}", 1, 8, "supported subset", "LENGTH"),
    "unknown-function": (f"SELECT foo(b.band) {JOIN}", 1, 8, "a function of the supported subset", "'foo'"),
    "loose": (f"SELECT b.band, COUNT(*) {JOIN}", 1, 8, "a key of GROUP BY or an aggregate", "column band"),
    "nested": (f"SELECT SUM(SUM(l.balance)) {JOIN}", 1, 12, "a value of one row", "the aggregate SUM"),
    "aggregate-in-where": (
        f"SELECT COUNT(*) {JOIN} WHERE COUNT(*) > 3",
        1,
        86,
        "a value of one row",
        "COUNT",
    ),
    "cross": ("SELECT COUNT(*) FROM lender.loans l, bureau.people b", 1, 38, "ON and keys", "without keys"),
    "right": (
        "SELECT COUNT(*) FROM tax.returns RIGHT JOIN bureau.people ON tid = pid",
        1,
        34,
        "subset",
        "'RIGHT'",
    ),
    "inequality": (
        "SELECT COUNT(*) FROM lender.loans l JOIN bureau.people b ON l.id < b.pid",
        1,
        61,
        "an equality of two keys in ON",
        "LT",
    ),
    "key-types": (
        "SELECT COUNT(*) FROM lender.loans l JOIN bureau.people b ON l.id = b.k",
        1,
        61,
        "keys of one type, text",
        "number",
    ),
    "self-join": (
        "SELECT COUNT(*) FROM lender.loans l JOIN lender.loans m ON l.id = m.id",
        1,
        42,
        "tables of different owners",
        "two of lender",
    ),
    "one-owner": ("SELECT COUNT(*) FROM lender.loans", 1, 8, "tables of at least two owners", "one table"),
    "divide-rows": (f"SELECT SUM(l.balance / b.income) {JOIN}", 1, 12, "/ over aggregates", "one over rows"),
    "limit": (f"SELECT COUNT(*) {JOIN} LIMIT 0", 1, 86, "LIMIT with a number from 1", "'0'"),
    "offset": (f"SELECT COUNT(*) {JOIN} LIMIT 1 OFFSET 2", 1, 88, "supported subset", "'OFFSET'"),
    "big-number": (f"SELECT COUNT(*) {JOIN} WHERE l.k = 9999999999999999999999", 1, 92, "below 2^62", "9999"),
    "exponent": (f"SELECT COUNT(*) {JOIN} WHERE l.k = 1e400", 1, 92, "below 2^62", "'1e400'"),
    "subquery": (
        f"SELECT COUNT(*) {JOIN} WHERE l.k IN (SELECT k FROM tax.returns)",
        1,
        86,
        "IN and a list",
        "form",
    ),
    "key-of-two": (
        f"SELECT l.k + b.k, COUNT(*) {JOIN} GROUP BY 1",
        1,
        8,
        "columns of one owner, or CASE",
        "2 tables",
    ),
    "text-order": (f"SELECT COUNT(*) {JOIN} WHERE l.id < b.band", 1, 86, "= or <> between texts", "<"),
    "having-text": (
        f"SELECT b.band, COUNT(*) {JOIN} GROUP BY 1 HAVING b.band = 'a'",
        1,
        106,
        "use WHERE",
        "",
    ),
    "having-spread": (
        f"SELECT COUNT(*) {JOIN} HAVING VARIANCE(l.k) > 2",
        1,
        87,
        "AVG or an exact figure",
        "",
    ),
    "products": (
        f"SELECT SUM({' * '.join(['l.k'] * 9)}) {JOIN}",
        1,
        8,
        "products that 62 bits hold",
        "larger",
    ),
    "union-rows": (
        "SELECT x FROM (SELECT k AS x FROM lender.loans UNION ALL SELECT k FROM tax.returns) AS t",
        1,
        8,
        "aggregates over UNION ALL",
        "rows of it",
    ),
    "union-types": (
        "SELECT COUNT(x) FROM (SELECT k AS x FROM lender.loans UNION ALL SELECT tid FROM tax.returns) AS t",
        1,
        72,
        "columns of types number as before",
        "text",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_says_where_what_was_expected_and_what_stands_there(name: str) -> None:
    query, line, column, expected, actual = REFUSED[name]
    with pytest.raises(InvalidQuery) as caught:
        compile_query(bind(query, CATALOG), 10)
    found = caught.value
    assert (found.line, found.column) == (line, column), found
    assert expected in f"{found.expected} {found.actual}"
    assert actual in found.actual


HOSTILE = {
    "parentheses": "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "not": "SELECT " + "NOT " * 2_000 + "TRUE FROM tax.returns",
    "minus": "SELECT " + "- " * 2_000 + "k FROM tax.returns",
    "case": "SELECT " + "CASE WHEN TRUE THEN " * 200 + "1" + " END" * 200 + " FROM tax.returns",
    "chain": "SELECT " + "+".join(["k"] * 900) + " FROM tax.returns",
    "long": "SELECT '" + "x" * MAX_LENGTH + "' FROM tax.returns",
    "words": "SELECT " + ",".join(["k"] * 1_400) + " FROM tax.returns",
    "coalesce": "SELECT " + "COALESCE(" * 23 + "k" + ", 1)" * 23 + " FROM tax.returns",
    "between": "SELECT COUNT(*) FROM tax.returns WHERE " + "(" * 20 + "k" + " BETWEEN 1 AND 2) IS NULL" * 20,
    "branches": "SELECT CASE k "
    + "".join(f"WHEN {i} THEN {i} " for i in range(500))
    + "END FROM tax.returns",
    "nothing": "",
    "space": " \n\t ",
    "comment": "/* SELECT 1",
    "nul": "SELECT '\0' FROM tax.returns",
    "surrogate": "SELECT '\ud800' FROM tax.returns",
    "unicode": "SELECT \u202e k FROM tax.returns",
    "parameter": "SELECT ? FROM tax.returns",
    "escape": "SELECT E'\\x00' FROM tax.returns",
    "function": "SELECT read_csv('/etc/passwd') FROM tax.returns",
    "catalog": "SELECT k FROM other.tax.returns",
    "pragma": "PRAGMA database_list",
    "copy": "COPY tax.returns TO 'x'",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_cleanly_and_at_once(name: str) -> None:
    with pytest.raises(InvalidQuery):
        compile_query(bind(HOSTILE[name], CATALOG), 10)


def test_an_injection_in_a_text_stays_a_text() -> None:
    query = f"SELECT COUNT(*) {JOIN} WHERE b.band = '''; DROP TABLE people; --'"
    assert "'''; DROP TABLE people; --'" in render(bind(query, CATALOG))


def test_the_assets_of_a_query_are_known_before_their_columns() -> None:
    assert assets_named(READ["union"]) == ("lender/loans", "bureau/people")
    assert assets_named(READ["chain"]) == ("lender/loans", "bureau/people", "tax/returns")


@pytest.mark.parametrize("kind", [TEXT, DATE, BOOLEAN, FLOAT, number(), number(9)])
def test_a_type_reads_as_it_is_written(kind: SqlType) -> None:
    assert SqlType.parse(str(kind)) == kind


def test_an_unknown_type_is_refused() -> None:
    for text in ("money", "number(0)", "number(19)", ""):
        with pytest.raises(ValueError, match=r".+"):
            SqlType.parse(text)
