"""Whatever text comes in, it is a query that reads as its canonical text, or is refused by one error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.sql.binding import bind
from exchange.sql.errors import InvalidQuery
from exchange.sql.expressions import BOOLEAN, DATE, FLOAT, TEXT, number
from exchange.sql.program import compile_query
from exchange.sql.query import render
from exchange.sql.syntax import assets_named

CATALOG = {
    "a/one": {"id": TEXT, "n": number(), "m": number(2), "d": DATE, "f": BOOLEAN, "s": FLOAT},
    "b/two": {"id": TEXT, "n": number(), "t": TEXT},
}
WORDS = (
    "SELECT FROM WHERE GROUP BY HAVING ORDER BY LIMIT JOIN LEFT INNER ON AS UNION ALL AND OR NOT IN BETWEEN "
    "IS NULL TRUE CASE WHEN THEN ELSE END DATE CAST DECIMAL COUNT SUM AVG MIN MAX VARIANCE COALESCE UPPER "
    "DESC NULLS LAST DISTINCT OVER WITH OFFSET , . ( ) * + - / = <> < <= > >= ; ' \" -- /* a.one b.two x y "
    "x.n y.n x.m x.id y.id x.t n m id one two 0 1 2.5 1e9 99999999999999999999 'a' '2020-01-01' (18, 2) :p ?"
).split(" ")
BASES = (
    "SELECT y.t, COUNT(*) AS c, AVG(x.m) FROM a.one AS x JOIN b.two AS y ON x.id = y.id WHERE x.n > y.n "
    "OR x.f GROUP BY y.t HAVING COUNT(*) > 1 ORDER BY c DESC LIMIT 3",
    "SELECT CASE WHEN x.m > y.n THEN 'a' ELSE 'b' END k, SUM(x.n * y.n) FROM a.one x LEFT JOIN b.two y "
    "ON UPPER(x.id) = y.id WHERE x.d BETWEEN DATE '2020-01-01' AND DATE '2021-01-01' GROUP BY 1",
    "SELECT t, SUM(n) / COUNT(*) FROM (SELECT id AS t, n FROM a.one UNION ALL SELECT t, n FROM b.two) AS u "
    "GROUP BY t",
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Words in any order, or a query with some of its words changed, left out or repeated."""
    if draw(st.booleans()):
        return " ".join(draw(st.lists(st.sampled_from(WORDS), max_size=40)))
    words = draw(st.sampled_from(BASES)).split(" ")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(words) - 1))
        change = draw(st.sampled_from(("replace", "remove", "repeat", "text")))
        if change == "remove" and len(words) > 1:
            del words[at]
        elif change == "repeat":
            words.insert(at, words[at])
        else:
            words[at] = draw(st.sampled_from(WORDS) if change == "replace" else st.text(max_size=6))
    return " ".join(words)


def check(text: str) -> None:
    refused = None
    try:
        assets_named(text)
        query = bind(text, CATALOG)
        compile_query(query, 10)
    except InvalidQuery as error:
        refused = error
    if refused is None:
        assert bind(render(query), CATALOG) == query
    else:
        assert min(refused.line, refused.column) >= 1


@settings(max_examples=150, deadline=None)
@given(texts())
def test_any_text_is_a_query_or_is_refused_with_its_place(text: str) -> None:
    check(text)


@pytest.mark.slow
@settings(max_examples=5_000, deadline=None)
@given(texts())
def test_many_texts_are_queries_or_are_refused(text: str) -> None:
    check(text)
