"""What is not shown, what owners refuse of their own data, and what a run costs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connectors.errors import DuplicateIdentifiers, InvalidValues, WrongColumnType
from exchange.errors import JobFailed
from exchange.sql.binding import bind
from exchange.sql.costs import Sizes, secret_costs
from exchange.sql.explanation import explain
from exchange.sql.local import LocalRows
from exchange.sql.program import compile_query
from exchange.sql.testing import answer, catalog_of
from ledger import canonical
from mpc.psi import ecdh
from mpc.testing import mesh_of

JOIN = "FROM a.one JOIN b.two ON one.id = two.id"


def tables(rows: int = 40) -> dict[str, pa.Table]:
    return {
        "a/one": pa.table(
            {
                "id": [f"k{i}" for i in range(rows)],
                "x": list(range(rows)),
                "m": pa.array([Decimal(i) / 4 for i in range(rows)], pa.decimal128(10, 2)),
                "name": ["chosen" if i == 5 else "other" for i in range(rows)],
            }
        ),
        "b/two": pa.table(
            {
                "id": [f"k{i}" for i in range(rows)],
                "g": ["few" if i < 4 else "many" for i in range(rows)],
                "y": [None if i % 8 else i for i in range(rows)],
            }
        ),
    }


def test_a_group_below_the_minimum_is_not_shown() -> None:
    found = answer(f"SELECT two.g, COUNT(*) {JOIN} GROUP BY two.g", tables(), minimum=5)
    assert found.rows == (("many", 36),)
    assert found.facts == {"minimum": 5, "groups_not_shown": 1}


def test_a_figure_over_too_few_values_is_not_shown() -> None:
    query = f"SELECT COUNT(*), AVG(two.y), COUNT(two.y), SUM(one.x) {JOIN}"
    assert answer(query, tables(), minimum=6).rows == ((40, None, None, 780),)
    assert answer(query, tables(), minimum=5).rows == ((40, "16", 5, 780),)


@pytest.mark.parametrize("value", ["one.x", "one.x + two.y * 0", "two.y"])
def test_a_branch_that_few_rows_take_gives_no_figure(value: str) -> None:
    query = f"SELECT COUNT(*), SUM(CASE WHEN one.name = 'chosen' THEN {value} ELSE 0 END) {JOIN}"
    assert answer(query, tables(), minimum=5).rows == ((40, None),)
    nobody = query.replace("'chosen'", "'nobody'").replace(value, "one.x")
    assert answer(nobody, tables(), minimum=5).rows == ((40, 0),)


def test_nobody_is_counted_alone_in_a_condition_over_groups() -> None:
    counted = "COUNT(CASE WHEN one.name = 'chosen' AND one.x > 3 THEN 1 END)"
    for test in (f"{counted} = 1", f"{counted} <> 0", f"{counted} < 1", f"{counted} + 1 > 1"):
        assert answer(f"SELECT COUNT(*) {JOIN} HAVING {test}", tables(), minimum=5).rows == ()
    assert answer(f"SELECT COUNT(*) {JOIN} HAVING {counted} = 1", tables(), minimum=1).rows == ((40,),)
    nobody = counted.replace("chosen", "nobody")
    assert answer(f"SELECT {nobody} AS c {JOIN}", tables(), minimum=5).rows == ((0,),)


def test_too_few_joined_rows_end_the_run() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        answer(f"SELECT COUNT(*) {JOIN}", tables(4), minimum=5)
    assert caught.group_contains(JobFailed, match="at least 5 joined rows")


def changed(asset: str, **columns: Any) -> dict[str, pa.Table]:
    given = tables()
    for name, values in columns.items():
        at = given[asset].schema.get_field_index(name)
        given[asset] = given[asset].set_column(at, name, pa.array(values))
    return given


def test_keys_that_are_not_unique_are_refused_with_their_number() -> None:
    given = changed("b/two", id=[f"k{i // 2}" for i in range(40)])
    with pytest.raises(ExceptionGroup) as caught:
        run_short(f"SELECT COUNT(*) {JOIN}", given)
    assert caught.group_contains(DuplicateIdentifiers, match="20")
    assert "k3" not in str(caught.value.exceptions)


def test_numbers_that_could_wrap_are_refused_before_they_are_shared() -> None:
    given = changed("a/one", x=[2**61 + i for i in range(40)])
    with pytest.raises(ExceptionGroup) as caught:
        run_short(f"SELECT SUM(one.x) {JOIN}", given)
    assert caught.group_contains(
        InvalidValues, match=r"values below 2\^55 units of the last digit \(40 are not\)"
    )


def test_a_column_of_another_type_than_was_planned_is_refused() -> None:
    given = tables()
    rows = LocalRows(lambda name: given["a/one"].column("name").chunk(0), np.arange(40), 40)
    column = bind(f"SELECT SUM(one.x) {JOIN}", catalog_of(given)).items[0].value.part  # type: ignore[union-attr]
    with pytest.raises(WrongColumnType):
        rows.numbers(column)  # type: ignore[arg-type]


def test_more_groups_than_there_may_be_are_refused() -> None:
    given = {
        "a/one": pa.table({"id": [f"k{i}" for i in range(5_000)], "x": list(range(5_000))}),
        "b/two": pa.table({"id": [f"k{i}" for i in range(5_000)], "y": list(range(5_000))}),
    }
    union = "SELECT x, COUNT(*) FROM (SELECT x FROM a.one UNION ALL SELECT y FROM b.two) AS u GROUP BY 1"
    with pytest.raises(ExceptionGroup) as caught:
        run_short(union, given)
    assert caught.group_contains(JobFailed, match="at most 4096 groups, found 5000")


def run_short(query: str, given: dict[str, pa.Table]) -> object:
    return answer(query, given, meshes=mesh_of(3, timeout_s=1))


def sent(query: str, given: dict[str, pa.Table]) -> list[int]:
    """Payload bytes that each of three parties sends."""
    meshes = mesh_of(3)
    answer(query, given, meshes=meshes)
    return [sum(channel.stats.bytes_sent for channel in mesh.channels.values()) for mesh in meshes]


def secret(query: str, given: dict[str, pa.Table], sizes: Sizes) -> list[int]:
    program = compile_query(bind(query, catalog_of(given)), 1)
    costs = secret_costs(program, sizes, 3)
    return [sum(cost.sent[rank] for cost in costs.values()) for rank in range(3)]


CONFIRMED = 2 * 32


def test_united_rows_cost_what_the_formula_says() -> None:
    query = (
        "SELECT x, COUNT(*), SUM(x) FROM (SELECT x FROM a.one UNION ALL SELECT y FROM b.two) AS u GROUP BY x"
    )
    given = changed("a/one", x=[i % 3 for i in range(40)])
    (key,) = compile_query(bind(query, catalog_of(given)), 1).query.keys
    expected = secret(query, given, Sizes(80, (3, 6), {key: 2}, frozenset()))
    stated = [{"rows": 40}, {"groups": 3, "words": [2]}], [{"rows": 40}, {"groups": 6, "words": [2]}]
    announced = [sum(2 * len(canonical.encode(one)) for one in each) for each in stated] + [0]
    assert sent(query, given) == [
        one + more + CONFIRMED for one, more in zip(expected, announced, strict=True)
    ]


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT COUNT(*), SUM(one.x) {JOIN}",
        f"SELECT two.g, AVG(one.m), MAX(two.y) {JOIN} WHERE one.x > two.y GROUP BY two.g",
        f"SELECT two.g, COUNT(*) {JOIN} WHERE one.x < 30 GROUP BY 1 HAVING SUM(one.m) > 3 ORDER BY 2 LIMIT 1",
        f"SELECT one.x, two.g, one.m > two.y AS more {JOIN} WHERE two.g = 'many' OR one.x = 3",
    ],
    ids=["sum", "compared", "limited", "rows"],
)
def test_joined_rows_cost_what_the_formula_says(query: str) -> None:
    given = tables()
    program = compile_query(bind(query, catalog_of(given)), 1)
    missing = frozenset(one for one in program.reads("b/two") if one.name == "y")
    words = dict.fromkeys(program.query.keys, 2)
    if not program.query.is_grouped:
        words = {program.query.items[1].value: 2}
    expected = secret(query, given, Sizes(40, (2,) * len(program.local_keys), words, missing))
    shapes = []
    for table in ("a/one", "b/two"):
        shape: dict[str, Any] = {
            "missing": [column in missing for column in program.reads(table)],
            "texts": [],
        }
        if program.local_keys and table == "b/two":
            shape |= {"groups": 2, "words": [2]}
        if not program.query.is_grouped and table == "b/two":
            shape["texts"] = [2]
        shapes.append(2 * len(canonical.encode(shape)))
    psi = ecdh.bytes_sent(40, 40)
    # The one that is joined to says which rows go together, in 8 bytes a row and the length; then how many.
    aligned = [psi + 8 + 8 * 40 + 2 * 8 + shapes[0], psi + 8 + shapes[1], 0]
    assert sent(query, given) == [one + more + CONFIRMED for one, more in zip(expected, aligned, strict=True)]


def test_an_explanation_names_places_costs_and_what_is_learnt() -> None:
    query = f"SELECT two.g, AVG(one.m) {JOIN} WHERE one.x > 3 AND one.x > two.y GROUP BY two.g LIMIT 1"
    program = compile_query(bind(query, catalog_of(tables())), 5)
    found = explain(program, ["a", "b"], [40, 60], "c", "c")
    kinds = [
        "scan",
        "filter",
        "scan",
        "join",
        "align",
        "filter",
        "group",
        "cohorts",
        "limit",
        "answer",
        "open",
    ]
    assert [one.kind for one in found] == kinds
    by_kind = {one.kind: one for one in found}
    assert by_kind["join"].where == ("a", "b")
    assert by_kind["join"].sent_bytes == ecdh.bytes_sent(40, 60) + ecdh.bytes_sent(60, 40)
    assert by_kind["group"].where == ("a", "b", "c")
    assert by_kind["open"].where == ("c",)
    shown = {one.what for one in by_kind["open"].learns}
    assert 'AVG("a"."one"."m"), from SUM over "a"."one"."m", SUM over (NOT ("a"."one"."m" IS NULL))' in shown
    assert {one.who for one in by_kind["align"].learns} == {"a", "b", "c"}
    assert all(set(one.inputs) <= {earlier.id for earlier in found} for one in found)
