"""Queries as programs for an engine: in the clear they say what DuckDB says; the rest is refused."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest
from exchange.jobs.registry import built_in
from exchange.jobs.secret_columns import component, engine
from exchange.jobs.secret_columns.component import FORMAT
from exchange.jobs.secret_columns.figures import Minimum
from exchange.jobs.secret_columns.programs import lower
from exchange.jobs.secret_columns.query import Query
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB
from mpc import wire
from mpc.engines.shares import Sharing

ROWS = 90
RNG = np.random.default_rng(23)
FIRST = {
    "balance": RNG.integers(-500, 10_000, ROWS),
    "limit": RNG.integers(1, 500, ROWS),
    "late": (RNG.random(ROWS) < 0.4).astype(np.int64),
}
SECOND = {"income": RNG.integers(100, 5_000, ROWS), "region": RNG.integers(0, 3, ROWS)}
LABELS = np.array(["north", "south", "west"])
COLUMNS = {
    "owner1.balance": {"kind": "number", "lower": "-500", "upper": "10000"},
    "owner1.limit": {"kind": "number", "lower": "1", "upper": "500"},
    "owner1.late": {"kind": "truth"},
    "owner2.income": {"kind": "number", "lower": "0", "upper": "5000"},
    "owner2.region": {"kind": "category", "labels": LABELS.tolist()},
}


def spec_of(name: str, params: dict[str, Any], owners: int = 2, helper: bool = False) -> JobSpec:
    roles = [f"owner-{number}" for number in range(1, owners + 1)] + (["helper-1"] if helper else [])
    tables = [FIRST, SECOND, {}][:owners]
    step: dict[str, Any] = {
        "id": "query",
        "component": name,
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in roles},
        "inputs": {
            role: {
                "asset": f"{role}/t",
                "columns": [{"name": one, "decimals": 0} for one in table or ("score",)],
            }
            for role, table in zip(roles, tables, strict=False)
        },
        "after": ["match"],
        "params": {"columns": COLUMNS, "figures": [], "min_cohort": 3} | params,
        "recipients": [],
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": []}
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )


def answer(params: dict[str, Any], kind: Sharing, minimum: Minimum) -> list[tuple[Any, ...]]:
    """The rows of a query's answer, from its program in the clear."""
    step = spec_of("compute/expression-aby3", params, helper=True).step("query")
    query = Query.of(step)
    lowered = lower(query, {"owner-1": 0, "owner-2": 1, "helper-1": 2}, ROWS, minimum, kind)
    held = {rank: iter(lowered.own(rank, table)) for rank, table in enumerate((FIRST, SECOND))}
    table = lowered.program.in_the_clear([next(held[owner]) for owner in lowered.program.owners])
    parts = [table.view(np.uint64), np.zeros_like(table, np.uint64), np.zeros_like(table, np.uint64)]
    releases = {
        role: wire.encode_uint64(FORMAT) + wire.encode_array(part)
        for role, part in zip(step.parties, parts, strict=True)
    }
    assert component.COMPONENT.open_result is not None
    return list(component.COMPONENT.open_result(step, releases).rows)


def plaintext(sql: str) -> list[tuple[Any, ...]]:
    joined = {**FIRST, **SECOND, "region": LABELS[SECOND["region"]]}
    with duckdb.connect() as database:
        database.register("t", pa.table({name: pa.array(values) for name, values in joined.items()}))
        return database.sql(sql).fetchall()


@pytest.mark.parametrize("kind", list(Sharing))
def test_a_program_in_the_clear_says_what_duckdb_says(kind: Sharing) -> None:
    rows = answer(
        {
            "where": "balance > 2 * income and region != 'south' or not late and income > 900",
            "by": [
                {"name": "place", "of": "region"},
                {"name": "size", "of": "case when balance > 3 * income then 'big' else 'small' end"},
            ],
            "figures": [
                {"name": "late", "figure": "sum", "of": "late"},
                {"name": "mean", "figure": "mean", "of": "balance * income"},
                {"name": "spread", "figure": "variance", "of": "balance"},
                {"name": "least", "figure": "minimum", "of": "balance - income"},
                {"name": "most", "figure": "maximum", "of": "max(abs(balance - 3 * income), 7)"},
                {"name": "link", "figure": "correlation", "of": ["balance", "income", "limit"]},
            ],
        },
        kind,
        Minimum(3, complementary=False),
    )
    expected = plaintext(
        """select region, case when balance > 3 * income then 'big' else 'small' end size, count(*),
             sum(late), avg(balance * income), var_samp(balance), min(balance - income),
             max(greatest(abs(balance - 3 * income), 7)),
             corr(balance, income), corr(balance, "limit"), corr(income, "limit")
           from t where balance > 2 * income and region != 'south' or late = 0 and income > 900
           group by 1, 2 having count(*) >= 3 order by 1, 2"""
    )
    shown = [row for row in rows if row[2] is not None]
    assert len(shown) == len(expected) > 2
    for got, want in zip(shown, expected, strict=True):
        assert got[:3] == want[:3]
        for one, other in zip(got[3:], want[3:], strict=True):
            assert float(str(one)) == pytest.approx(float(other), abs=2e-6, rel=1e-6)


def test_groups_of_one_owner_enter_ready_made_and_the_next_smallest_is_suppressed_too() -> None:
    sizes = np.bincount(SECOND["region"])
    params = {
        "where": "income > 0",
        "by": [{"name": "place", "of": "region"}],
        "figures": [{"name": "total", "figure": "sum", "of": "balance"}],
    }
    smallest = int(sizes.min())
    plain = answer(params, Sharing.ABY3, Minimum(smallest + 1, complementary=False))
    assert sorted(row[1] is None for row in plain) == [False, False, True]
    both = answer(params, Sharing.ABY3, Minimum(smallest + 1, complementary=True))
    assert sorted(row[1] is None for row in both) == [False, True, True]


def test_without_groups_and_conditions_all_rows_are_the_cell() -> None:
    figures = [{"name": "total", "figure": "sum", "of": "case when late then income else 0 end"}]
    ((rows, total),) = answer({"figures": figures}, Sharing.CHEETAH, Minimum(3, complementary=True))
    assert (rows, int(total)) == (ROWS, int((FIRST["late"] * SECOND["income"]).sum()))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (
            {"figures": [{"name": "r", "figure": "mean", "of": "balance / income"}], "where": "income > 0"},
            "/",
        ),
        (
            {"figures": [{"name": "half", "figure": "quantile", "part": "0.5", "of": "balance"}]},
            "quantile half",
        ),
    ],
    ids=["quotient", "quantile"],
)
def test_what_an_engine_does_not_compute_is_refused_by_name(params: dict[str, Any], words: str) -> None:
    columns = COLUMNS | {"owner2.income": {"kind": "number", "lower": "1", "upper": "5000"}}
    spec = spec_of("compute/expression-cheetah", {"columns": columns, **params})
    with pytest.raises(InvalidRequest) as caught:
        engine.CHEETAH.check(spec, spec.step("query"))
    assert words in str(caught.value)
    assert "compute/expression computes the rest" in str(caught.value)


def test_two_owners_are_for_cheetah_and_a_third_party_for_aby3() -> None:
    for name, owners, helper, fits in (
        ("compute/expression-cheetah", 2, False, True),
        ("compute/expression-cheetah", 2, True, False),
        ("compute/expression-aby3", 2, True, True),
        ("compute/expression-aby3", 2, False, False),
    ):
        spec = spec_of(name, {}, owners, helper)
        chosen = built_in().get(name)
        if fits:
            chosen.check(spec, spec.step("query"))
        else:
            with pytest.raises(InvalidRequest):
                chosen.check(spec, spec.step("query"))


def test_no_component_runs_on_semi2k() -> None:
    names = [one.name for one in built_in()] + [one.protocol.name for one in built_in() if one.protocol]
    assert not any("semi2k" in name for name in names)
