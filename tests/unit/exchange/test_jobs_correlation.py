"""Correlation as a step of a job: what recipients read, what is refused, what a run sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import StepContext
from exchange.jobs.correlation import COMPONENT
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB, nothing_lent
from mpc.channel import Channel
from mpc.errors import CohortTooSmall, InputsDisagree, MalformedMessage
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
RNG = np.random.default_rng(17)
ROWS = 300
INCOME = RNG.normal(3000, 900, ROWS)
TABLES: tuple[Table, ...] = (
    {"income": INCOME, "late": (RNG.random(ROWS) < 0.3).astype(np.int64)},
    {"age": RNG.integers(18, 80, ROWS) + INCOME / 100, "debt": RNG.normal(0, 1e6, ROWS)},
    {"calls": RNG.poisson(4, ROWS)},
)
RECIPIENT = "did:key:zAnalyst"


def spec_of(
    params: Mapping[str, Any], tables: Sequence[Table] = TABLES[:2], recipients: Sequence[str] = (RECIPIENT,)
) -> JobSpec:
    inputs = {f"owner-{number}": list(table) for number, table in enumerate(tables, 1)}
    helper = ["helper-1"] if len(inputs) == 2 else []
    step: dict[str, Any] = {
        "id": "related",
        "component": "model/correlation",
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in [*inputs, *helper]},
        "inputs": {
            role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
            for role, names in inputs.items()
        },
        "after": ["match"],
        "params": {"min_cohort": 20, **params},
        "recipients": list(recipients),
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": [], "recipients": []}
    spec = JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )
    COMPONENT.check(spec, spec.step("related"))
    return spec


def play(
    spec: JobSpec,
    tables: Sequence[Table] = TABLES[:2],
    rows: Mapping[str, Any] | None = None,
    rules: OutputRules = OutputRules.NONE,
) -> Any:
    """The roles of the step, each to be called with its mesh."""
    step = spec.step("related")
    ranks = COMPONENT.ranks(step)

    def role(mesh: Mesh) -> Any:
        own = ranks[mesh.rank]
        table = tables[mesh.rank] if mesh.rank < len(tables) else {}
        aligned = np.asarray((rows or {}).get(own, np.arange(ROWS)))

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
            before={"match": spec.step("match")},
            earlier={"match": aligned.astype("<i8").tobytes()} if table else {},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=nothing_lent(),
            rules=rules,
        )
        outcome = COMPONENT.run(context)
        return outcome, sum(one.stats.bytes_sent for one in mesh.channels.values())

    return [role] * len(ranks)


def opened(spec: JobSpec, outcomes: Sequence[Any]) -> Any:
    step = spec.step("related")
    assert COMPONENT.open_result is not None
    releases = {role: one.release for role, (one, _) in zip(COMPONENT.ranks(step), outcomes, strict=True)}
    return COMPONENT.open_result(step, releases)


def pooled(tables: Sequence[Table]) -> Any:
    return np.corrcoef([np.asarray(column, dtype=float) for table in tables for column in table.values()])


@pytest.mark.parametrize("owners", [2, 3])
def test_recipients_read_the_correlations_of_pooled_rows_and_the_inflation(owners: int) -> None:
    tables = TABLES[:owners]
    spec = spec_of({}, tables)
    outcomes = run_mesh(play(spec, tables))
    table = opened(spec, outcomes)
    labels = ["owner-1.income", "owner-1.late", "owner-2.age", "owner-2.debt", "owner-3.calls"]
    assert list(table.columns) == ["party", "column", "inflation", *labels[: 3 + owners - 1]]
    expected = pooled(tables)
    np.testing.assert_allclose([[float(cell) for cell in row[3:]] for row in table.rows], expected, atol=1e-5)
    inverse = np.diag(np.linalg.inv(expected))
    np.testing.assert_allclose([float(row[2]) for row in table.rows], inverse, rtol=1e-4)
    assert table.facts == {"rows": ROWS, "collinear": []}
    assert all(outcome.local == b"" and outcome.cohort == ROWS for outcome, _ in outcomes)


def test_with_a_threshold_what_is_below_stays_closed_and_there_is_no_inflation() -> None:
    spec = spec_of({"threshold_micro": 300_000})
    table = opened(spec, run_mesh(play(spec)))
    expected = pooled(TABLES[:2])
    shown = [[cell is not None for cell in row[3:]] for row in table.rows]
    assert shown == (np.abs(expected) >= 0.3).tolist()
    assert {row[2] for row in table.rows} == {None}
    assert table.facts == {"rows": ROWS}


def test_columns_that_make_each_other_up_are_named_and_have_no_inflation() -> None:
    other = {"age": TABLES[1]["age"], "twice": 7 - 2 * INCOME}
    tables = (TABLES[0], other)
    spec = spec_of({"most_inflation": 5}, tables)
    table = opened(spec, run_mesh(play(spec, tables)))
    assert table.facts["collinear"] == ["owner-1.income", "owner-2.twice"]
    assert [row[2] is None for row in table.rows] == [True, False, False, True]
    assert table.facts["left_out"] == ["owner-1.income"]


def test_shares_of_one_party_alone_are_noise_and_all_are_needed() -> None:
    spec = spec_of({})
    step = spec.step("related")
    first, second = (
        {
            role: one.release
            for role, (one, _) in zip(COMPONENT.ranks(step), run_mesh(play(spec)), strict=True)
        }
        for _ in range(2)
    )
    assert COMPONENT.open_result is not None
    for role in first:
        assert first[role] != second[role]
        with pytest.raises(JobFailed, match="one run"):
            COMPONENT.open_result(step, first | {role: second[role]})
        with pytest.raises(JobFailed, match="3 parties"):
            COMPONENT.open_result(step, {name: one for name, one in first.items() if name != role})
        for bad in (first[role][:-1], first[role] + b"\0"):
            with pytest.raises(MalformedMessage):
                COMPONENT.open_result(step, first | {role: bad})


@pytest.mark.parametrize(
    ("change", "rules", "words"),
    [
        ({"income": np.full(ROWS, 5.0)}, OutputRules.NONE, "column income: all 300 values are equal"),
        (
            {"income": np.arange(ROWS) == 7},
            OutputRules.NONE,
            "column income: expected at least 20 rows beside",
        ),
        ({"income": np.where(np.arange(ROWS) == 3, np.nan, INCOME)}, OutputRules.NONE, "income"),
        ({}, OutputRules(dominance_percent=50), "the rule dominance"),
    ],
)
def test_bad_rows_end_the_step_for_all_before_anything_is_released(
    change: dict[str, Any], rules: OutputRules, words: str
) -> None:
    tables = ({**TABLES[0], **change}, TABLES[1])
    ended = mesh_outcomes(play(spec_of({}), tables, rules=rules), mesh_of(3, timeout_s=5))
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


def test_misaligned_and_too_few_rows_end_the_step() -> None:
    ended = mesh_outcomes(play(spec_of({}), rows={"owner-2": np.arange(50)}))
    assert any(isinstance(end, InputsDisagree) for end in ended)
    few = {"owner-1": np.arange(39), "owner-2": np.arange(39)}
    assert all(isinstance(end, CohortTooSmall) for end in mesh_outcomes(play(spec_of({}), rows=few)))
    wanted = mesh_outcomes(play(spec_of({"min_cohort": 500})))
    assert all(isinstance(end, CohortTooSmall) for end in wanted)


@pytest.mark.parametrize(
    ("params", "recipients", "words"),
    [
        ({"threshold_micro": 0}, [RECIPIENT], "threshold_micro: expected an integer from 1 to 1000000"),
        (
            {"threshold_micro": 9, "most_inflation": 5},
            [RECIPIENT],
            "most_inflation: expected no threshold",
        ),
        ({"min_cohort": 0}, [RECIPIENT], "min_cohort: expected an integer"),
        ({}, [], "recipients: expected who receives the correlations"),
    ],
)
def test_steps_that_make_no_sense_are_refused_by_field(
    params: dict[str, Any], recipients: list[str], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        spec_of(params, recipients=recipients)


@pytest.mark.parametrize("threshold", [{}, {"threshold_micro": 300_000}])
@pytest.mark.parametrize("owners", [2, 3])
def test_the_estimate_is_what_a_run_sends(owners: int, threshold: dict[str, Any]) -> None:
    tables = TABLES[:owners]
    spec = spec_of(threshold, tables)
    step = spec.step("related")
    assert COMPONENT.estimate is not None
    estimate = COMPONENT.estimate(step, dict.fromkeys(step.inputs, ROWS))
    for role, (_, sent) in zip(COMPONENT.ranks(step), run_mesh(play(spec, tables)), strict=True):
        assert sent == estimate[role].sent_bytes


def test_column_control_sees_figures_over_many_rows_of_every_column() -> None:
    shown = [use for use in COMPONENT.uses(spec_of({}).step("related")) if use.viewer]
    assert {(use.column, use.viewer) for use in shown} == {
        (name, RECIPIENT) for table in TABLES[:2] for name in table
    }
    assert all(Level.AFTER_AGGREGATE in use.after for use in shown)
