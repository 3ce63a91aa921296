"""Joins by either way of matching keys give what DuckDB gives; which one runs is chosen by name alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.engines import OWN, SPU
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import example_spec
from exchange.node.cards import job_card
from exchange.sql.alignment import Joining
from exchange.sql.binding import bind
from exchange.sql.explanation import explain
from exchange.sql.matching import ECDH, RR22, Matching, chosen
from exchange.sql.program import compile_query
from exchange.sql.steps import COMPONENTS, check_step, query_step
from exchange.sql.testing import answer, catalog_of, query_example
from ledger.state import State
from mpc.engines import rr22, spu
from mpc.psi import ecdh
from mpc.testing import mesh_of

NAMES = ["ann", "a", "", "李", "1:x", None, "b:", "cy"]
TABLES = {
    "a/one": pa.table(
        {
            "name": [f"{NAMES[i % 8]}" if NAMES[i % 8] is not None else None for i in range(40)],
            "born": [str(i // 8) for i in range(40)],
            "x": list(range(40)),
        }
    ),
    "b/two": pa.table(
        {
            "called": [NAMES[(3 * i) % 8] for i in range(36)],
            "year": [str(i // 8) for i in range(36)],
            "g": ["odd" if i % 2 else "even" for i in range(36)],
            "key": [f"k {i}" for i in range(36)],
        }
    ),
    "c/three": pa.table({"key": [f"k {i}" for i in range(10, 50)], "z": [i * i for i in range(10, 50)]}),
}
QUERY = (
    "SELECT two.g AS g, COUNT(*) AS n, SUM(one.x) AS x, SUM(three.z) AS z FROM a.one "
    "JOIN b.two ON one.name = two.called AND one.born = two.year "
    "LEFT JOIN c.three ON two.key = three.key GROUP BY two.g ORDER BY g"
)
UNION = "SELECT COUNT(*) AS n FROM (SELECT x FROM a.one UNION ALL SELECT z FROM c.three) AS u"
SILENT = Joining(RR22, None, lambda done, total: None)


def pooled(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        for asset, table in TABLES.items():
            owner, name = asset.split("/")
            database.register("given", table)
            database.execute(f"CREATE SCHEMA {owner}; CREATE TABLE {owner}.{name} AS FROM given")
            database.unregister("given")
        return database.sql(query).fetchall()


@pytest.mark.parametrize(
    "matching",
    [
        ECDH,
        pytest.param(RR22, marks=pytest.mark.skipif(spu.version() is None, reason="SPU is not installed")),
    ],
    ids=lambda matching: str(matching.name),
)
def test_keys_of_several_columns_missing_and_empty_ones_join_as_in_duckdb(
    matching: Matching, tmp_path: Path
) -> None:
    found = answer(QUERY, TABLES, joining=replace(SILENT, matching=matching, folder=tmp_path))
    expected = pooled(QUERY)
    assert [(g, n, int(x), int(z)) for g, n, x, z in found.rows] == [
        (g, n, int(x), int(z)) for g, n, x, z in expected
    ]
    assert sum(row[1] for row in expected) > 20
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("matching", [ECDH, RR22], ids=lambda matching: str(matching.name))
def test_more_keys_than_a_way_of_matching_takes_end_the_run(matching: Matching, tmp_path: Path) -> None:
    few = replace(SILENT, matching=replace(matching, most_keys=30), folder=tmp_path)
    with pytest.raises(ExceptionGroup) as caught:
        answer(QUERY, TABLES, joining=few, meshes=mesh_of(3, timeout_s=1))
    assert caught.group_contains(JobFailed, match=f"at most 30 keys for {matching.name}, got 35")


def test_tables_beyond_a_bucket_of_the_engine_are_matched_by_the_own_protocol_alone() -> None:
    assert chosen("psi/rr22", [5, rr22.BUCKET_ROWS]) is RR22
    assert chosen("psi/ecdh", [rr22.BUCKET_ROWS + 1]) is ECDH
    with pytest.raises(InvalidRequest, match="psi/ecdh for tables of more than 1,048,576 rows"):
        chosen("psi/rr22", [5, rr22.BUCKET_ROWS + 1])
    with pytest.raises(InvalidRequest, match="one of psi/ecdh, psi/rr22"):
        chosen("psi/any", [])


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_component_of_a_step_says_which_engine_matches(name: str) -> None:
    step = query_example(name)
    check_step(step)
    component = built_in().get(name)
    is_grouped, matching = COMPONENTS[name]
    assert component.engine is (SPU if matching is RR22 else OWN)
    other = next(
        one for one, (shows, way) in COMPONENTS.items() if (shows, way) == (not is_grouped, matching)
    )
    with pytest.raises(InvalidRequest, match=f"expected {name} for this query"):
        check_step(replace(step, component=other))


@pytest.mark.parametrize("name", [name for name, (_, matching) in COMPONENTS.items() if matching is RR22])
def test_both_ways_show_the_same_to_the_same(name: str) -> None:
    """Column control decides on the same uses, and the plan that owners approve is the same."""
    fast, own = query_example(name), query_example(name.removesuffix("-rr22"))
    components = built_in()
    assert components.get(name).uses(fast) == components.get(own.component).uses(own)
    assert fast.params == own.params
    first, second = (components.get(one).protocol for one in (name, own.component))
    assert first is not None
    assert second is not None
    assert first.leaks == second.leaks


def test_an_owner_who_is_asked_to_approve_reads_which_engine_matches() -> None:
    shown = {}
    for name in COMPONENTS:
        spec = replace(JobSpec.from_json(example_spec()), steps=(query_example(name),), agreements={})
        state = State()
        for asset in spec.assets():
            state = state.put("assets", asset, {"asset": asset, "rows": 9, "schema": []}, index=1)
        card = job_card(spec, {"submitter": "did:key:zS"}, state, built_in(), None, lambda spec, state: [])
        (shown[name],) = (step["engine"] for step in card["steps"])
    assert shown == {
        "sql/query": "parley",
        "sql/rows": "parley",
        "sql/query-rr22": "spu",
        "sql/rows-rr22": "spu",
    }


def test_a_job_is_expected_to_cost_what_its_way_of_matching_costs() -> None:
    rows = {"owner-1": 100_000, "owner-2": 100_000}
    own, fast = (
        built_in().get(name).expected(query_example(name), [], rows)["owner-1"]
        for name in ("sql/query", "sql/query-rr22")
    )
    assert 3 * fast.work_ns < own.work_ns
    more = ecdh.bytes_sent(100_000, 100_000) - rr22.bytes_sent(100_000, 100_000, encodes=True)
    assert own.sent_bytes - fast.sent_bytes == more


def test_united_rows_have_no_keys_for_an_engine() -> None:
    owners = {"a/one": "did:key:zA", "c/three": "did:key:zC"}
    with pytest.raises(InvalidRequest, match="matching: expected psi/ecdh for a query that joins nothing"):
        query_step(
            UNION,
            catalog_of(TABLES),
            owners,
            name="query",
            minimum=1,
            helper="did:key:zH",
            recipient="did:key:zH",
            matching=RR22,
        )


def test_an_explanation_names_the_protocol_of_each_join_and_its_own_cost() -> None:
    program = compile_query(bind(QUERY, catalog_of(TABLES)), 1)
    counts = [100_000, 100_000, 100_000]
    own, fast = (
        [one for one in explain(program, ["a", "b", "c"], counts, None, "r", matching) if one.kind == "join"]
        for matching in (ECDH, RR22)
    )
    assert [one.detail.rpartition(", by ")[2] for one in (*own, *fast)] == ["psi/ecdh"] * 2 + ["psi/rr22"] * 2
    assert [one.learns for one in own] == [one.learns for one in fast]
    assert [one.sent_bytes for one in fast] == [
        rr22.bytes_sent(100_000, 100_000, encodes=True) + rr22.bytes_sent(100_000, 100_000, encodes=False)
    ] * 2
    for slow, quick in zip(own, fast, strict=True):
        assert 4 * quick.milliseconds < slow.milliseconds
