"""Joint statistics of many owners' tables equal those of pooled rows; what does not fit is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import ConnectorError, MissingValues
from exchange.errors import ExchangeError, InvalidRequest, JobFailed
from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.disclosure import OutputRules, RoundTo
from exchange.jobs.registry import built_in
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.statistics import COMPONENT
from exchange.jobs.testing import JOB, nothing_lent
from ledger.errors import LedgerError
from mpc.channel import Channel
from mpc.errors import CohortTooSmall, MpcError, PeerAborted, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes
from policies import plans

BANDS = ("high", "low", "middle")


def table(rows: int, start: int = 0) -> pa.Table:
    numbers = range(start, start + rows)
    return pa.table(
        {
            "band": [("low", "high", "middle", "rare")[3 if i % 37 == 1 else i % 3] for i in numbers],
            "age": [18 + i * 7 % 60 for i in numbers],
            "balance": [Decimal(i * 7919 % 100_003 - 50_000) / 100 for i in numbers],
            "arrears": [i % 7 == 0 for i in numbers],
            "score": [(i * 31 % 101) / 8 for i in numbers],
        }
    )


TABLES = (table(200), table(150, 1000), table(90, 5000))
COLUMNS = {"band": 0, "age": 0, "balance": 2, "arrears": 0, "score": 3}


def spec_of(params: Mapping[str, Any], owners: int = 3, columns: Mapping[str, int] = COLUMNS) -> JobSpec:
    names = [f"owner-{number}" for number in range(1, owners + 1)]
    parties = {name: f"did:key:z{name}" for name in names}
    taken = [{"name": name, "decimals": decimals} for name, decimals in columns.items()]
    step = {
        "id": "figures",
        "component": "stats/joint",
        "version": 1,
        "parties": parties | ({"helper-1": "did:key:zHelper"} if owners == 2 else {}),
        "inputs": {name: {"asset": f"{name}/rows", "columns": taken} for name in names},
        "after": [],
        "params": {"min_cohort": 10, **params},
        "recipients": ["did:key:zAnalyst"],
    }
    return JobSpec.from_json(
        {
            "v": 1,
            "job": JOB,
            "title": "Figures",
            "purpose": "dpv:ResearchAndDevelopment",
            "agreements": {},
            "steps": [step],
        }
    )


def play(
    params: Mapping[str, Any],
    tables: Sequence[pa.Table] = TABLES,
    *,
    minimum: int = 2,
    rules: Mapping[int, OutputRules] | None = None,
    columns: Mapping[str, int] = COLUMNS,
) -> tuple[Step, list[Any]]:
    spec = spec_of(params, len(tables), columns)
    built_in().check(spec)
    step = spec.steps[0]
    roles = COMPONENT.ranks(step)

    def role(rank: int) -> Callable[[Mesh], Outcome]:
        def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
            yield from tables[rank].select(list(names)).to_batches(max_chunksize=64)

        def run(mesh: Mesh) -> Outcome:
            def channel(name: str) -> Channel:
                return mesh.channels[roles.index(name)]

            context = StepContext(
                step=step,
                role=roles[rank],
                ranks=roles,
                session=b"session of many",
                minimum_cohort=minimum if rank < len(tables) else 0,
                read=lambda name: batches([name]),
                channel=channel,
                before={},
                earlier={},
                released={},
                rng=SystemRandomness(),
                progress=lambda done, total: None,
                hand_over=replace(nothing_lent(), rows=batches),
                rules=(rules or {}).get(rank, OutputRules.NONE),
            )
            return COMPONENT.run(context)

        return run

    return step, mesh_outcomes([role(rank) for rank in range(len(roles))], mesh_of(len(roles), timeout_s=10))


def answer(step: Step, ended: Sequence[Any]) -> ResultTable:
    failures = [end for end in ended if isinstance(end, Exception)]
    for failure in failures:
        if not isinstance(failure, PeerAborted):
            raise failure
    assert not failures
    assert COMPONENT.open_result is not None
    releases = {
        role: end.release
        for role, end in zip(COMPONENT.ranks(step), ended, strict=True)
        if end.release is not None
    }
    assert set(releases) == set(step.inputs)
    return COMPONENT.open_result(step, releases)


def ask(params: Mapping[str, Any], tables: Sequence[pa.Table] = TABLES, **changes: Any) -> ResultTable:
    return answer(*play(params, tables, **changes))


def pooled(query: str, tables: Sequence[pa.Table] = TABLES) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        database.register("pooled", pa.concat_tables(tables))
        return database.sql(query).fetchall()


def close(got: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return len(got) == len(wanted) and all(
        one == other
        if isinstance(one, str | int | None) and isinstance(other, str | None)
        else math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=2e-6)
        for one, other in zip(got, wanted, strict=True)
    )


ALL = ["sum", "mean", "variance", "deviation", "minimum", "median", "maximum"]


@pytest.mark.parametrize("owners", [2, 3])
def test_every_statistic_by_group_equals_that_of_the_pooled_rows(owners: int) -> None:
    measure = {
        "column": "balance",
        "statistics": ALL,
        "quantiles": ["0.9"],
        "bounds": {"lower": "-1000", "upper": "1000"},
    }
    found = ask({"keys": [{"column": "band", "labels": list(BANDS)}], "measures": [measure]}, TABLES[:owners])
    wanted = pooled(
        """select case when band = 'rare' then '(other)' else band end b, count(*), sum(balance),
           avg(balance::double), var_samp(balance), stddev_samp(balance), min(balance),
           quantile_disc(balance, 0.5), max(balance), quantile_disc(balance, 0.9)
           from pooled group by b having count(*) >= 10 order by b = '(other)', b""",
        TABLES[:owners],
    )
    assert found.columns == (
        "band", "count", "sum balance", "mean balance", "variance balance", "deviation balance",
        "minimum balance", "median balance", "maximum balance", "quantile 0.9 balance",
    )  # fmt: skip
    assert len(found.rows) == len(wanted)
    for got, expected in zip(found.rows, wanted, strict=True):
        assert close(got, expected), (got, expected)
    assert found.facts["owners"] == owners
    json.loads(found.files()["result.json"])


def test_one_step_gives_a_contingency_table_with_figures_of_several_measures() -> None:
    found = ask(
        {
            "keys": [
                {"column": "band", "labels": list(BANDS)},
                {"column": "age", "edges": ["30", "45", "60"]},
            ],
            "measures": [
                {"column": "arrears", "statistics": ["sum", "mean"]},
                {"column": "score", "statistics": ["mean"]},
            ],
        }
    )
    wanted = pooled(
        """select band, case when age < 30 then '< 30' when age < 45 then '[30, 45)'
           when age < 60 then '[45, 60)' else '>= 60' end bin, count(*), sum(arrears::int),
           avg(arrears::int), avg(score) from pooled where band <> 'rare'
           group by all having count(*) >= 10 order by band, min(age)"""
    )
    assert len(found.rows) == len(wanted) > 8
    assert all(close(got, expected) for got, expected in zip(found.rows, wanted, strict=True))
    assert found.facts["closed_cells"] == 16 - len(wanted)


def test_a_histogram_and_a_bare_count_need_no_measure() -> None:
    bins = ask({"keys": [{"column": "age", "edges": ["40"]}]}, columns={"age": 0})
    assert bins.rows == tuple(
        pooled("select if(age < 40, '< 40', '>= 40'), count(*) from pooled group by all order by 1")
    )
    assert ask({}, columns={"age": 0}).rows == ((440,),)


def test_covariance_and_correlation_of_every_two_measures() -> None:
    measures = [{"column": name, "statistics": ["mean"]} for name in ("balance", "score", "age")]
    found = ask({"measures": measures, "together": True})
    (wanted,) = pooled(
        """select count(*), avg(balance::double), avg(score), avg(age),
           covar_samp(balance, score), corr(balance, score), covar_samp(balance, age), corr(balance, age),
           covar_samp(score, age), corr(score, age) from pooled"""
    )
    assert close(found.rows[0], wanted), (found.rows, wanted)


@pytest.mark.parametrize(
    ("where", "sql"),
    [
        ({"column": "age", "is": ">=", "value": 40}, "age >= 40"),
        ({"column": "balance", "is": "<", "value": "-12.5"}, "balance < -12.5"),
        ({"column": "band", "in": ["low", "rare"]}, "band in ('low', 'rare')"),
        (
            {
                "or": [
                    {"not": {"column": "arrears", "is": "=", "value": True}},
                    {"column": "age", "missing": True},
                ]
            },
            "not arrears or age is null",
        ),
        (
            {
                "and": [
                    {"column": "score", "is": ">", "value": "3.125"},
                    {"column": "age", "is": "!=", "value": 20},
                ]
            },
            "score > 3.125 and age <> 20",
        ),
    ],
    ids=["integer", "decimal", "in", "or-not", "and"],
)
def test_a_filter_keeps_the_rows_it_says(where: Mapping[str, Any], sql: str) -> None:
    found = ask({"measures": [{"column": "balance", "statistics": ["sum"]}], "where": where})
    (wanted,) = pooled(f"select count(*), sum(balance) from pooled where {sql}")  # noqa: S608 - of this test
    assert close(found.rows[0], wanted)


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_any_rows_give_the_figures_of_the_pooled_rows(data: st.DataObject) -> None:
    row = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(-(2**62), 2**62))
    held = data.draw(st.lists(st.lists(row, max_size=12), min_size=3, max_size=4))
    tables = [
        pa.table(
            {
                "g": pa.array([g for g, _ in rows], pa.string()),
                "x": pa.array([x for _, x in rows], pa.int64()),
            }
        )
        for rows in held
    ]
    every = [one for rows in held for one in rows]
    wanted = []
    for group in ("a", "b", "(other)"):
        inside = [x for g, x in every if g == group or (group == "(other)" and g == "c")]
        if len(inside) >= 3:
            mean = sum(inside) / len(inside)
            wanted.append((group, len(inside), str(sum(inside)), mean))
    step, ended = play(
        {
            "min_cohort": 3,
            "keys": [{"column": "g", "labels": ["a", "b"]}],
            "measures": [{"column": "x", "statistics": ["sum", "mean"]}],
        },
        tables,
        columns={"g": 0, "x": 0},
    )
    if not wanted:
        assert all(isinstance(end, JobFailed | MpcError) for end in ended)
        return
    found = answer(step, ended)
    assert [row[:3] for row in found.rows] == [row[:3] for row in wanted]
    assert all(
        math.isclose(float(a[3]), b[3], rel_tol=1e-9, abs_tol=1e-5)
        for a, b in zip(found.rows, wanted, strict=True)
    )  # type: ignore[arg-type]


# small cells, the owners' rules, noise


def test_a_cell_is_open_where_all_owners_have_enough_rows_together() -> None:
    small = [table(12, start) for start in (0, 100, 200)]
    found = ask({"keys": [{"column": "band", "labels": list(BANDS)}]}, small)
    counts = dict(pooled("select band, count(*) from pooled group by band", small))
    assert {row[0] for row in found.rows} == {band for band in BANDS if counts[band] >= 10}
    assert all(count < 10 for count in pooled("select count(*) from pooled group by band", small[:1])[0])


def test_the_largest_of_agreed_minima_counts_and_an_answer_without_cells_is_none() -> None:
    keys = {"keys": [{"column": "band", "labels": list(BANDS)}]}
    assert len(ask(keys, minimum=100).rows) == 3
    _, ended = play(keys, minimum=1000)
    assert all(isinstance(end, JobFailed) for end in ended)


def test_an_owners_dominance_rule_closes_the_cell_and_no_other() -> None:
    outlier = table(60).append_column("x", pa.array([10**9 if i == 0 else 1 for i in range(60)]))
    others = [table(60, start).append_column("x", pa.array([1] * 60)) for start in (300, 600)]
    params = {
        "keys": [{"column": "band", "labels": list(BANDS)}],
        "measures": [{"column": "x", "statistics": ["sum"]}],
    }
    columns = COLUMNS | {"x": 0}
    whole = ask(params, [outlier, *others], columns=columns)
    ruled = ask(params, [outlier, *others], columns=columns, rules={0: OutputRules(dominance_percent=80)})
    assert {row[0] for row in whole.rows} - {row[0] for row in ruled.rows} == {"low"}


def test_closed_cells_with_few_rows_end_a_step_whose_owner_suppresses_complements() -> None:
    params = {"keys": [{"column": "band", "labels": list(BANDS)}], "min_cohort": 13}
    small = [table(40, start) for start in (0, 400)]
    assert dict(pooled("select band, count(*) from pooled group by band", small))["rare"] == 3
    _, ended = play(params, small, rules={1: OutputRules(complementary=True)})
    assert all(isinstance(end, CohortTooSmall) for end in ended)


def test_values_are_rounded_by_the_owners_rule_and_the_answer_says_so() -> None:
    rules = {1: OutputRules(round_to=(RoundTo("balance", "100"),))}
    found = ask({"measures": [{"column": "balance", "statistics": ["sum"]}]}, rules=rules)
    assert found.facts["rounded_to"] == {"balance": "100.00"}


def test_an_owner_that_rounds_counts_takes_no_part() -> None:
    _, ended = play({}, rules={0: OutputRules(round_counts=5)})
    assert isinstance(ended[0], JobFailed)
    assert all(isinstance(end, Exception) for end in ended)


def test_noise_is_added_by_every_owner_and_stated() -> None:
    privacy = {
        "mechanism": "gaussian",
        "epsilon_micro": 5_000_000,
        "delta_exponent": 6,
        "bounds": {"arrears": {"lower": "0", "upper": "1"}},
    }
    params = {"measures": [{"column": "arrears", "statistics": ["sum"]}], "privacy": privacy}
    found = ask(params)
    (wanted,) = pooled("select count(*), sum(arrears::int) from pooled")
    noise: Any = found.facts["noise"]
    deviations = {name: float(text) for name, text in noise["deviations"].items()}
    assert abs(int(str(found.rows[0][0])) - wanted[0]) < 12 * deviations["count"]
    assert abs(int(str(found.rows[0][1])) - wanted[1]) < 12 * deviations["arrears"]
    one = float(COMPONENT.spends(play(params)[0])[0])  # type: ignore[index]
    assert one > 0


def test_an_outcome_says_whose_rows_are_behind_it() -> None:
    where = {"column": "age", "is": ">=", "value": 40}
    _, ended = play({"keys": [{"column": "band", "labels": list(BANDS)}], "where": where})
    ages, bands = TABLES[1]["age"].to_pylist(), TABLES[1]["band"].to_pylist()
    kept = [number for number, age in enumerate(ages) if age >= 40]
    assert ended[1].rows.tolist() == kept
    assert ended[1].groups.tolist() == [BANDS.index(bands[i]) if bands[i] in BANDS else -1 for i in kept]
    assert ended[1].cohort == 10


# what is refused


def refused(params: Mapping[str, Any], **changes: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        built_in().check(spec_of(params, **changes))
    return str(caught.value)


LABELS = {"column": "band", "labels": ["low"]}
MEAN = {"column": "balance", "statistics": ["mean"]}
BOUNDS = {"lower": "0", "upper": "1"}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"min_cohort": 1}, "min_cohort"),
        ({"keys": [{"column": "band"}]}, "labels or edges"),
        ({"keys": [LABELS | {"edges": ["1"]}]}, "labels or edges"),
        ({"keys": [{"column": "band", "labels": ["a", "a"]}]}, "each label once"),
        ({"keys": [{"column": "age", "edges": ["2", "1"]}]}, "ascending"),
        ({"keys": [{"column": "age", "edges": ["x"]}]}, "decimal"),
        ({"keys": [{"column": "nobody", "labels": ["a"]}]}, "nobody"),
        ({"keys": [{"column": "age", "edges": [str(i) for i in range(70)]}] * 2}, "4096 cells"),
        ({"measures": [{"column": "balance"}]}, "at least one statistic"),
        ({"measures": [{"column": "balance", "statistics": ["mode"]}]}, "mode"),
        ({"measures": [{"column": "balance", "statistics": ["median"]}]}, "bounds"),
        ({"measures": [{"column": "balance", "quantiles": ["1.5"], "bounds": BOUNDS}]}, "between 0 and 1"),
        ({"measures": [MEAN, MEAN]}, "each column once"),
        ({"measures": [MEAN], "together": True}, "two measures"),
        ({"measures": [MEAN], "together": "yes"}, "true or false"),
        ({"where": {"column": "age"}}, "where"),
        ({"where": {"column": "age", "is": "like", "value": "a"}}, "where"),
        ({"where": {"column": "age", "is": "=", "value": 1.5}}, "where"),
        ({"where": {"column": "nobody", "missing": True}}, "nobody"),
        ({"surprise": 1}, "surprise"),
        (
            {
                "measures": [{"column": "age", "statistics": ["variance"]}],
                "privacy": {
                    "mechanism": "laplace",
                    "epsilon_micro": 1,
                    "delta_exponent": 6,
                    "bounds": {"age": BOUNDS},
                },
            },
            "counts, sums and means",
        ),
    ],
)
def test_a_question_that_does_not_fit_is_refused_by_name(params: Mapping[str, Any], words: str) -> None:
    assert words in refused(params)


def test_owners_with_different_columns_and_a_wrong_number_of_helpers_are_refused() -> None:
    spec = spec_of({})
    step = spec.steps[0]
    other = replace(step.inputs["owner-2"], columns=step.inputs["owner-2"].columns[:2])
    uneven = replace(step, inputs=step.inputs | {"owner-2": other})
    with pytest.raises(InvalidRequest, match="same columns"):
        built_in().check(replace(spec, steps=(uneven,)))
    helped = replace(step, parties=step.parties | {"helper-1": "did:key:zHelper"})
    with pytest.raises(InvalidRequest, match="helper"):
        built_in().check(replace(spec, steps=(helped,)))


@pytest.mark.parametrize(
    ("column", "values", "error"),
    [
        ("balance", [None] + [1] * 19, MissingValues),
        ("balance", [float("inf")] + [1.0] * 19, MissingValues),
        ("balance", [2**62] * 20, ValueOutOfRange),
        ("band", [None] + ["low"] * 19, MissingValues),
        ("band", [1.5] * 20, ConnectorError),
        ("balance", ["text"] * 20, ConnectorError),
    ],
    ids=["null", "infinite", "too-large", "null-group", "float-group", "text-measure"],
)
def test_rows_that_do_not_fit_are_refused_and_nobody_has_output(
    column: str, values: list[Any], error: type[Exception]
) -> None:
    bad = table(20)
    bad = bad.set_column(bad.schema.get_field_index(column), column, pa.array(values))
    _, ended = play({"keys": [LABELS], "measures": [MEAN]}, [TABLES[0], bad, TABLES[2]])
    assert isinstance(ended[1], error)
    assert all(isinstance(end, Exception) for end in ended)


def test_values_outside_the_stated_bounds_are_refused() -> None:
    measure = {"column": "balance", "statistics": ["median"], "bounds": BOUNDS}
    _, ended = play({"measures": [measure]})
    assert all(isinstance(end, ValueOutOfRange | PeerAborted) for end in ended)


def test_the_plan_says_who_sees_what() -> None:
    step = spec_of(
        {
            "keys": [LABELS, {"column": "age", "edges": ["30"]}],
            "measures": [{"column": "balance", "statistics": ["mean", "median"], "bounds": BOUNDS}],
            "where": {"column": "arrears", "is": "=", "value": True},
        }
    ).steps[0]
    assert COMPONENT.plan is not None
    seen = [use for use in plans.uses(COMPONENT.plan(step)) if use.asset == "owner-1/rows"]

    def shown(column: str, viewer: str) -> list[set[str]]:
        found = [use for use in seen if (use.column, use.viewer) == (column, f"did:key:z{viewer}")]
        return [{level.value for level in use.after} for use in found]

    for viewer in ("Analyst", "owner-2"):
        assert all("AFTER_GROUP_BY" in levels for levels in shown("band", viewer))
        assert all({"AFTER_COMPARE", "AFTER_GROUP_BY"} <= levels for levels in shown("age", viewer))
        # A median is one row's value: an owner that allows aggregates alone refuses it.
        assert any("AFTER_AGGREGATE" not in levels for levels in shown("balance", viewer))
    assert all("AFTER_AGGREGATE" in levels for levels in shown("arrears", "Analyst"))


def test_a_release_of_another_form_is_refused() -> None:
    step, ended = play({})
    assert COMPONENT.open_result is not None
    good = {role: end.release for role, end in zip(COMPONENT.ranks(step), ended, strict=True)}
    for bad in (b"", b"\0\0\0\2{}", good["owner-1"][:-1]):
        with pytest.raises((ExchangeError, LedgerError, MpcError)):
            COMPONENT.open_result(step, good | {"owner-1": bad})


def test_the_estimate_states_what_the_protocol_sends() -> None:
    assert COMPONENT.estimate is not None
    step = spec_of({"keys": [LABELS]}, owners=2).steps[0]
    found = COMPONENT.estimate(step, {"owner-1": 1000, "owner-2": 10})
    assert set(found) == {"owner-1", "owner-2", "helper-1"}
    assert found["owner-1"].work_ns > found["owner-2"].work_ns
