"""Expressions over columns of several owners: read strictly, typed first, equal to DuckDB's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import StepContext
from exchange.jobs.disclosure import OutputRules, RoundTo
from exchange.jobs.results import ResultTable
from exchange.jobs.secret_columns import figures
from exchange.jobs.secret_columns.component import COMPONENT
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB, nothing_lent
from mpc.channel import Channel
from mpc.errors import InputsDisagree, MalformedMessage
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
RNG = np.random.default_rng(23)
ROWS = 90
FIRST: Table = {
    "balance": RNG.integers(-500, 10_000, ROWS),
    "limit": RNG.integers(1, 500, ROWS),
    "late": RNG.random(ROWS) < 0.4,
}
SECOND: Table = {
    "income": [Decimal(int(one)).scaleb(-2) for one in RNG.integers(10_000, 500_000, ROWS)],
    "region": RNG.choice(["north", "south", "west"], ROWS),
}
THIRD: Table = {"score": RNG.integers(300, 850, ROWS)}
COLUMNS = {
    "owner1.balance": {"kind": "number", "lower": "-500", "upper": "10000"},
    "owner1.limit": {"kind": "number", "lower": "1", "upper": "500"},
    "owner1.late": {"kind": "truth"},
    "owner2.income": {"kind": "number", "lower": "0", "upper": "5000"},
    "owner2.region": {"kind": "category", "labels": ["north", "south", "west"]},
}
DECIMALS = {"income": 2}
RECIPIENT = "did:key:zAnalyst"


def spec_of(params: dict[str, Any], tables: Sequence[Table], helper: bool | None = None) -> JobSpec:
    has_helper = len(tables) == 2 if helper is None else helper
    owners = {f"owner-{number}": table for number, table in enumerate(tables, 1)}
    roles = [*owners, *(["helper-1"] if has_helper else [])]
    step: dict[str, Any] = {
        "id": "query",
        "component": "compute/expression",
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in roles},
        "inputs": {
            role: {
                "asset": f"{role}/table",
                "columns": [{"name": name, "decimals": DECIMALS.get(name, 0)} for name in table],
            }
            for role, table in owners.items()
        },
        "after": ["match"],
        "params": {"columns": COLUMNS, "figures": [], "min_cohort": 3} | params,
        "recipients": [RECIPIENT],
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": []}
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )


def checked(params: dict[str, Any], tables: Sequence[Table] = (FIRST, SECOND)) -> JobSpec:
    spec = spec_of(params, tables)
    COMPONENT.check(spec, spec.step("query"))
    COMPONENT.uses(spec.step("query"))
    return spec


def parties(
    spec: JobSpec,
    tables: Sequence[Table],
    rules: Mapping[str, OutputRules] | None = None,
    rows: Mapping[str, Any] | None = None,
) -> list[Any]:
    """The roles of the step, each to be called with its mesh."""
    step = spec.step("query")
    ranks = COMPONENT.ranks(step)

    def role(mesh: Mesh) -> Any:
        own = ranks[mesh.rank]
        table = tables[mesh.rank] if mesh.rank < len(tables) else {}
        aligned = (rows or {}).get(own, np.arange(ROWS))

        def read(name: str) -> Any:
            return iter([pa.record_batch([pa.array(table[name])], names=[name])])

        def channel(other: str) -> Channel:
            return mesh.channels[ranks.index(other)]

        context = StepContext(
            step=step,
            role=own,
            ranks=ranks,
            session=mesh.session,
            minimum_cohort=2,
            read=read,
            channel=channel,
            before={},
            earlier={"match": aligned.astype("<i8").tobytes()} if table else {},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=nothing_lent(),
            rules=(rules or {}).get(own, OutputRules.NONE),
        )
        return COMPONENT.run(context)

    return [role] * len(ranks)


def ask(
    params: dict[str, Any],
    tables: Sequence[Table] = (FIRST, SECOND),
    rules: Mapping[str, OutputRules] | None = None,
) -> ResultTable:
    spec = checked(params, tables)
    step = spec.step("query")
    outcomes = run_mesh(parties(spec, tables, rules))
    releases = {role: outcome.release for role, outcome in zip(COMPONENT.ranks(step), outcomes, strict=True)}
    assert COMPONENT.open_result is not None
    return COMPONENT.open_result(step, releases)


def plaintext(sql: str, *tables: Table) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        joined = {name: pa.array(values) for table in tables for name, values in table.items()}
        database.register("t", pa.table(joined))
        return database.sql(sql).fetchall()


def refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(params)
    assert words in str(caught.value), str(caught.value)


def test_groups_with_every_figure_equal_duckdb() -> None:
    table = ask(
        {
            "where": "balance > 2 * income and region != 'south'",
            "by": [
                {"name": "place", "of": "region"},
                {"name": "size", "of": "case when balance > 3 * income then 'big' else 'small' end"},
            ],
            "figures": [
                {"name": "late", "figure": "sum", "of": "late"},
                {"name": "mean", "figure": "mean", "of": "balance - income"},
                {"name": "spread", "figure": "variance", "of": "balance"},
                {"name": "least", "figure": "minimum", "of": "balance - income"},
                {"name": "most", "figure": "maximum", "of": "abs(balance - 3 * income)"},
                {"name": "half", "figure": "quantile", "part": "0.5", "of": "balance"},
                {"name": "link", "figure": "correlation", "of": ["balance", "income", "limit"]},
            ],
        }
    )
    expected = plaintext(
        """select region, case when balance > 3 * income then 'big' else 'small' end size, count(*),
             sum(late::int), avg(balance - income), var_samp(balance), min(balance - income),
             max(abs(balance - 3 * income)), quantile_disc(balance, 0.5),
             corr(balance, income), corr(balance, "limit"), corr(income, "limit")
           from t where balance > 2 * income and region != 'south' group by 1, 2 having count(*) >= 3
           order by 1, 2""",
        FIRST,
        SECOND,
    )
    assert table.columns[:4] == ("place", "size", "rows", "late")
    assert table.columns[-3:] == ("link.1.2", "link.1.3", "link.2.3")
    shown = [row for row in table.rows if row[2] is not None]
    assert len(shown) == len(expected) > 1
    for got, want in zip(shown, expected, strict=True):
        assert got[:3] == want[:3]
        for one, other in zip(got[3:], want[3:], strict=True):
            assert float(str(one)) == pytest.approx(float(other), abs=2e-6, rel=1e-6)
    assert table.facts == {"cells": 6, "suppressed": 6 - len(expected)}


def test_three_owners_compute_without_a_helper_and_four_with_one_that_only_enters() -> None:
    columns = COLUMNS | {"owner3.score": {"kind": "number", "lower": "300", "upper": "850"}}
    params = {
        "columns": columns,
        "where": "score > 500",
        "figures": [{"name": "total", "figure": "sum", "of": "balance + score"}],
    }
    tables = [FIRST, SECOND, THIRD]
    (row,) = ask(params, tables).rows
    where = THIRD["score"] > 500
    total = int((FIRST["balance"] + THIRD["score"])[where].sum())
    assert row == (int(where.sum()), str(total))
    fourth = {"weight": RNG.integers(0, 9, ROWS)}
    params["columns"] = columns | {"owner4.weight": {"kind": "number", "lower": "0", "upper": "9"}}
    params["figures"] = [{"name": "total", "figure": "sum", "of": "balance * weight"}]
    (row,) = ask(params, [*tables, fourth]).rows
    assert row == (int(where.sum()), str(int((FIRST["balance"] * fourth["weight"])[where].sum())))


OF_ALL_KINDS: dict[str, Any] = {
    "where": "balance > 2 * income and region != 'south'",
    "by": [{"name": "size", "of": "case when balance > 3 * income then 'big' else 'small' end"}],
    "figures": [
        {"name": "late", "figure": "sum", "of": "late"},
        {"name": "part", "figure": "mean", "of": "balance / (income + 1)"},
        {"name": "spread", "figure": "variance", "of": "round(balance * 1.5, 0)"},
        {"name": "least", "figure": "minimum", "of": "balance - income"},
        {"name": "half", "figure": "quantile", "part": "0.5", "of": "balance"},
        {"name": "link", "figure": "correlation", "of": ["balance", "income"]},
    ],
}


@pytest.mark.parametrize("owners", [2, 3, 4])
def test_the_estimate_is_what_a_run_sends(owners: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "BLOCK_VALUES", 2 * ROWS // 3)
    tables = [FIRST, SECOND, THIRD, {"weight": RNG.integers(0, 9, ROWS)}][:owners]
    more = {
        "owner3.score": {"kind": "number", "lower": "300", "upper": "850"},
        "owner4.weight": {"kind": "number", "lower": "0", "upper": "9"},
    }
    columns = COLUMNS | dict(list(more.items())[: owners - 2])
    spec = checked(OF_ALL_KINDS | {"columns": columns}, tables)
    step = spec.step("query")
    assert COMPONENT.estimate is not None
    estimate = COMPONENT.estimate(step, dict.fromkeys(step.inputs, ROWS))

    def counted(role: Any) -> Any:
        def run(mesh: Mesh) -> tuple[int, int]:
            role(mesh)
            stats = [channel.stats for channel in mesh.channels.values()]
            return sum(one.bytes_sent for one in stats), sum(one.bytes_received for one in stats)

        return run

    found = run_mesh([counted(role) for role in parties(spec, tables)])
    expected = [estimate[role] for role in COMPONENT.ranks(step)]
    assert [sent for sent, _ in found] == [one.sent_bytes for one in expected]
    assert [got for _, got in found] == pytest.approx([one.received_bytes for one in expected], rel=0.001)


def test_blocks_of_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "BLOCK_VALUES", 64)
    params: dict[str, Any] = {
        "by": [{"name": "place", "of": "region"}],
        "figures": [
            {"name": "total", "figure": "sum", "of": "balance"},
            {"name": "half", "figure": "quantile", "part": "0.5", "of": "balance"},
            {"name": "most", "figure": "maximum", "of": "balance"},
        ],
    }
    expected = plaintext(
        "select region, count(*), sum(balance)::text, quantile_disc(balance, 0.5)::text, max(balance)::text "
        "from t group by 1 order by 1",
        FIRST,
        SECOND,
    )
    assert list(ask(params).rows) == expected


def test_without_groups_and_conditions_all_rows_are_the_cell() -> None:
    figures_ = [
        {"name": "total", "figure": "sum", "of": "income"},
        {"name": "link", "figure": "correlation", "of": ["balance", "income"]},
    ]
    (row,) = ask({"figures": figures_}).rows
    assert row[:2] == (ROWS, str(sum(SECOND["income"])))
    ((link,),) = plaintext("select corr(balance, income) from t", FIRST, SECOND)
    assert float(str(row[2])) == pytest.approx(link, abs=1e-6)


def test_small_cells_are_suppressed_and_with_a_total_known_the_next_smallest_too() -> None:
    rare = {**SECOND, "region": np.array(["north"] * 2 + ["south"] * 10 + ["west"] * (ROWS - 12))}
    params = {"by": [{"name": "place", "of": "region"}], "where": "balance >= -500 or income > 0"}
    params["figures"] = [{"name": "total", "figure": "sum", "of": "balance"}]
    plain = ask(params, (FIRST, rare))
    assert [row[1] for row in plain.rows] == [None, 10, ROWS - 12]
    assert plain.rows[0] == ("north", None, None)
    strict = ask(params, (FIRST, rare), {"owner-2": OutputRules(complementary=True)})
    assert [row[1] for row in strict.rows] == [None, None, ROWS - 12]


def test_the_owners_rounding_applies_and_rules_that_nobody_can_check_refuse() -> None:
    rules = {"owner-1": OutputRules(round_to=(RoundTo("balance", "100"),))}
    (row,) = ask({"figures": [{"name": "total", "figure": "sum", "of": "balance"}]}, rules=rules).rows
    assert int(str(row[1])) % 100 == 0
    spec = checked({})
    for other in (OutputRules(dominance_percent=80), OutputRules(p_percent=10), OutputRules(round_counts=5)):
        ended = mesh_outcomes(parties(spec, (FIRST, SECOND), {"owner-1": other}))
        assert isinstance(ended[0], JobFailed)


def test_values_outside_the_declaration_are_counted_and_nothing_is_computed() -> None:
    for name, change, words in (
        ("balance", {"kind": "number", "lower": "0", "upper": "10000"}, "declared bounds"),
        ("region", {"kind": "category", "labels": ["north"]}, "declared labels"),
    ):
        owner = "owner1" if name == "balance" else "owner2"
        spec = checked({"columns": COLUMNS | {f"{owner}.{name}": change}})
        ended = mesh_outcomes(parties(spec, (FIRST, SECOND)))
        failed = ended[0 if owner == "owner1" else 1]
        assert isinstance(failed, JobFailed)
        assert words in str(failed)
        assert all(isinstance(end, Exception) for end in ended)


def test_owners_with_different_numbers_of_aligned_rows_stop() -> None:
    ended = mesh_outcomes(parties(checked({}), (FIRST, SECOND), rows={"owner-2": np.arange(5)}))
    assert any(isinstance(end, InputsDisagree) for end in ended)
    assert all(isinstance(end, Exception) for end in ended)


def test_shares_of_one_party_alone_are_noise_and_all_are_needed() -> None:
    spec = checked({"figures": [{"name": "total", "figure": "sum", "of": "balance"}]})
    step = spec.step("query")
    first, second = (
        dict(zip(COMPONENT.ranks(step), run_mesh(parties(spec, (FIRST, SECOND))), strict=True))
        for _ in range(2)
    )
    assert COMPONENT.open_result is not None
    releases = {role: outcome.release for role, outcome in first.items()}
    for role, outcome in second.items():
        assert outcome.release != releases[role]
        mixed = releases | {role: outcome.release}
        with pytest.raises(JobFailed, match="one run"):
            COMPONENT.open_result(step, mixed)
        with pytest.raises(JobFailed, match="one run"):
            COMPONENT.open_result(step, {name: one for name, one in releases.items() if name != role})
        for bad in (outcome.release[:-1], outcome.release + b"\0"):
            with pytest.raises(MalformedMessage):
                COMPONENT.open_result(step, releases | {role: bad})


def test_column_control_sees_comparisons_groups_and_figures() -> None:
    params = {
        "where": "balance > income",
        "by": [{"name": "place", "of": "region"}],
        "figures": [
            {"name": "total", "figure": "sum", "of": "limit"},
            {"name": "most", "figure": "maximum", "of": "late"},
        ],
    }
    uses = {use.column: use.after for use in COMPONENT.uses(checked(params).step("query")) if use.viewer}
    assert Level.AFTER_COMPARE in uses["balance"]
    assert Level.AFTER_COMPARE in uses["income"]
    assert Level.AFTER_GROUP_BY in uses["region"]
    assert Level.AFTER_AGGREGATE in uses["limit"]
    assert Level.AFTER_AGGREGATE not in uses["late"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("balance >", "a value, got 'the end' at character 10"),
        ("balance > 1 2", "the end or an operator, got '2' at character 13"),
        ("balance § 2", "a number, text, name or operator, got '§' at character 9"),
        ("balance > 'x'", "a number for '>', got a category at character 11"),
        ("balance", "a truth value"),
        ("true", "a truth value that depends on a column"),
        ("nobody > 1", "an unknown column, nobody,"),
        ("owner2.balance > 1", "an unknown column, owner2.balance,"),
        ("region = 'nroth'", "one of the labels north, south, west, got 'nroth'"),
        ("region > 'north'", "a number for '>'"),
        ("not balance", "a truth value for 'not'"),
        ("balance = region", "a number on both sides"),
        ("case when balance then true else false end", "a truth value as condition"),
        ("case when late then 1 else region end = 1", "values of one kind"),
        ("case when late then true end", "'else'"),
        ("balance / (income - 1) > 1", "a divisor whose bounds leave out zero"),
        ("min(balance) > 1", "2 to 16 arguments of min, got 1"),
        ("round(balance, income) > 1", "a constant of 0 to 9 places"),
        ("balance * balance * balance * balance * balance * income > 1", "values below 2^61"),
        ("balance not 1", "'between' or 'in' after 'not'"),
        ("(" * 50 + "late" + ")" * 50, "at most 40 levels"),
        ("'open", 'got "\'" at character 1'),
        ("balance > 0.12345678901", "at most 9 decimals"),
        ("__import__('os') = 1", "the end or an operator, got '(' at character 11"),
    ],
    ids=str,
)
def test_a_wrong_expression_is_refused_with_its_place(text: str, words: str) -> None:
    refused({"where": text}, words)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"columns": {}}, "a declaration of each of owner1.balance"),
        ({"columns": COLUMNS | {"owner1.limit": {"kind": "text"}}}, "number, category or truth"),
        ({"columns": COLUMNS | {"owner1.limit": {"kind": "truth", "lower": "1"}}}, "the fields kind"),
        (
            {"columns": COLUMNS | {"owner1.limit": {"kind": "number", "lower": "2", "upper": "1"}}},
            "bounds in",
        ),
        ({"columns": COLUMNS | {"owner1.limit": {"kind": "number", "lower": 0, "upper": "1"}}}, "as text"),
        (
            {"columns": COLUMNS | {"owner1.limit": {"kind": "number", "lower": "nan", "upper": "1"}}},
            "as text",
        ),
        (
            {"columns": COLUMNS | {"owner2.region": {"kind": "category", "labels": ["a", "a"]}}},
            "a label twice",
        ),
        ({"by": [{"name": "x", "of": "balance"}]}, "a category or truth value"),
        ({"by": [{"name": "x"}]}, "the fields name, of"),
        ({"by": [{"name": "x", "of": "late"}] * 3}, "a list of 0 to 2"),
        ({"figures": [{"name": "x", "figure": "median", "of": "balance"}]}, "one of correlation"),
        ({"figures": [{"name": "x", "figure": "sum", "of": "region"}]}, "numbers or truth values"),
        ({"figures": [{"name": "x", "figure": "sum", "of": "1"}]}, "that depend on a column"),
        ({"figures": [{"name": "rows", "figure": "sum", "of": "balance"}]}, "names that differ"),
        ({"figures": [{"name": "x", "figure": "quantile", "of": "balance", "part": "1.5"}]}, "at most 1"),
        (
            {"figures": [{"name": "x", "figure": "quantile", "of": "limit", "part": "0.12345678"}]},
            "6 decimals",
        ),
        ({"figures": [{"name": "x", "figure": "correlation", "of": ["balance"]}]}, "a list of 2 to 8"),
        (
            {"figures": [{"name": "x", "figure": "variance", "of": "balance * balance * income"}]},
            "squares stay below 2^61",
        ),
        ({"figures": "x"}, "a list of 0 to 16"),
        ({"other": 1}, "an unknown parameter"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_wrong_parameter_is_refused_by_name(params: dict[str, Any], words: str) -> None:
    refused(params, words)


def test_a_helper_computes_with_two_owners_only() -> None:
    columns = COLUMNS | {"owner3.score": {"kind": "number", "lower": "300", "upper": "850"}}
    for tables, helper in (((FIRST, SECOND), False), ((FIRST, SECOND, THIRD), True)):
        declared = COLUMNS if len(tables) == 2 else columns
        spec = spec_of({"columns": declared}, tables, helper)
        with pytest.raises(InvalidRequest, match="a helper with two owners"):
            COMPONENT.check(spec, spec.step("query"))


def test_sums_that_might_not_fit_and_too_many_rows_for_extremes_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = COLUMNS | {"owner1.balance": {"kind": "number", "lower": "-500", "upper": "1000000000000000000"}}
    spec = checked({"columns": wide, "figures": [{"name": "x", "figure": "sum", "of": "balance"}]})
    ended = mesh_outcomes(parties(spec, (FIRST, SECOND)))
    assert all(isinstance(end, JobFailed) and "might not fit" in str(end) for end in ended)
    monkeypatch.setattr(figures, "MAX_PICKED", ROWS - 1)
    spec = checked({"figures": [{"name": "x", "figure": "maximum", "of": "balance"}]})
    ended = mesh_outcomes(parties(spec, (FIRST, SECOND)))
    assert all(isinstance(end, JobFailed) and "cells times rows" in str(end) for end in ended)


NUMBERS = st.recursive(
    st.sampled_from(["balance", "owner1.limit", "income", "3", "0.5", "-2"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"abs({text})"),
        st.tuples(inner, inner).map(lambda t: f"min({t[0]}, {t[1]})"),
        st.tuples(inner, inner, inner).map(
            lambda t: f"case when {t[0]} < {t[1]} then {t[2]} else {t[0]} end"
        ),
    ),
    max_leaves=5,
)
TRUTHS = st.recursive(
    st.one_of(
        st.tuples(NUMBERS, st.sampled_from(["<", "<=", "=", "<>", ">=", ">"]), NUMBERS).map(" ".join),
        st.sampled_from(["late", "region in ('north', 'west')", "balance between income and 3 * income"]),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=3,
)


@settings(max_examples=25, deadline=None)
@given(number=NUMBERS, where=TRUTHS)
def test_random_expressions_equal_duckdb(number: str, where: str) -> None:
    params = {
        "where": f"({where}) or limit < 250 + 0 * balance",
        "figures": [{"name": "total", "figure": "sum", "of": f"{number} + 0 * limit + 0 * income"}],
    }
    try:
        (row,) = ask(params).rows
    except InvalidRequest as error:
        assert "2^61" in str(error)  # noqa: PT017  # products may be too large, by their bounds
        return
    sql = f'select count(*), sum({number})::decimal(38, 6) from t where ({where}) or "limit" < 250'  # noqa: S608
    sql = sql.replace("owner1.limit", '"limit"').replace("min(", "least(")
    ((rows, total),) = plaintext(sql, FIRST, SECOND)
    assert row[0] == rows
    assert Decimal(str(row[1])) == total
