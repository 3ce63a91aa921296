"""Boosted trees as steps of a job: each owner keeps its part, bad input is refused, costs are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.boosting import part
from exchange.jobs.boosting.component import COMPONENT, settings_of
from exchange.jobs.boosting.part import TreesPart
from exchange.jobs.component import StepContext
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, nothing_lent
from federated.boosting import Objective, Settings, auc
from ledger import canonical
from mpc.channel import Channel
from mpc.errors import CohortTooSmall, InputsDisagree, InvalidInput, MalformedMessage, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

pytest.importorskip("tenseal", reason="TenSEAL is an extra")

Table = Mapping[str, Any]
RNG = np.random.default_rng(7)
ROWS = 400
INCOME, AGE, DEBT = RNG.normal(3000, 900, ROWS), RNG.integers(18, 80, ROWS), RNG.normal(0, 1e6, ROWS)
FITTED = (INCOME - 3000) / 900 - (AGE - 49) / 18 + DEBT / 2e6
FIRST: Table = {
    "default": (RNG.random(ROWS) < 1 / (1 + np.exp(-FITTED))).astype(np.int64),
    "income": INCOME,
}
SECOND: Table = {"age": AGE, "debt": DEBT}
RECIPIENT = "did:key:zAnalyst"
FAST = {"trees": 2, "depth": 2, "bins": 8}


def spec_of(params: dict[str, Any], columns: Mapping[str, Sequence[str]] | None = None) -> JobSpec:
    inputs = columns or {"owner-1": list(FIRST), "owner-2": list(SECOND)}
    step: dict[str, Any] = {
        "id": "train",
        "component": "model/boosting",
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in inputs},
        "inputs": {
            role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
            for role, names in inputs.items()
        },
        "after": ["match"],
        "params": {"label": "default", "min_cohort": 20, **FAST, **params},
        "recipients": [RECIPIENT],
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": [], "recipients": []}
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )


def checked(params: dict[str, Any], **more: Any) -> Step:
    spec = spec_of(params, **more)
    step = spec.step("train")
    COMPONENT.check(spec, step)
    COMPONENT.uses(step)
    return step


def context_of(step: Step, role: str, ranks: tuple[str, ...], **more: Any) -> StepContext:
    given: dict[str, Any] = {
        "session": b"s",
        "read": lambda name: iter(()),
        "channel": lambda other: pytest.fail(other),
        "before": {},
        "earlier": {},
        "progress": lambda done, total: None,
        **more,
    }
    return StepContext(
        step=step,
        role=role,
        ranks=ranks,
        minimum_cohort=2,
        released={},
        rng=SystemRandomness(),
        hand_over=nothing_lent(),
        **given,
    )


def play(
    step: Step, tables: Sequence[Table] = (FIRST, SECOND), rows: Mapping[str, Any] | None = None
) -> list[Any]:
    """The roles of the step, each to be called with its mesh."""
    ranks = COMPONENT.ranks(step)

    def role(mesh: Mesh) -> Any:
        own, table = ranks[mesh.rank], tables[mesh.rank]
        aligned = np.asarray((rows or {}).get(own, np.arange(ROWS)))

        def read(name: str) -> Any:
            return iter([pa.record_batch([pa.array(table[name])], names=[name])])

        def channel(other: str) -> Channel:
            return mesh.channels[ranks.index(other)]

        context = context_of(
            step,
            own,
            ranks,
            session=mesh.session,
            read=read,
            channel=channel,
            earlier={"match": aligned.astype("<i8").tobytes()},
        )
        stats = [one.stats for one in mesh.channels.values()]
        outcome = COMPONENT.run(context)
        return outcome, sum(one.bytes_sent for one in stats), sum(one.rounds for one in stats)

    return [role] * len(ranks)


def opened(step: Step, outcomes: Sequence[Any]) -> Any:
    assert COMPONENT.open_result is not None
    releases = {role: one[0].release for role, one in zip(COMPONENT.ranks(step), outcomes, strict=True)}
    return COMPONENT.open_result(step, releases)


def read_part(local: bytes, trained: Step) -> tuple[Any, Mapping[str, bytes]]:
    reader = Step("read", "model/trees", 1, {"reader": "did:key:zMe"}, {}, ("train",), {}, ())
    context = context_of(reader, "reader", ("reader",), before={"train": trained}, earlier={"train": local})
    outcome = part.COMPONENT.run(context)
    assert outcome.release is None
    return canonical.decode(outcome.files["result.json"]), outcome.files


def test_each_owner_keeps_its_part_and_recipients_learn_how_the_loss_fell() -> None:
    step = checked({"loss": "recipients", "trees": 4, "depth": 3})
    outcomes = run_mesh(play(step))
    (first, _, _), (second, _, _) = outcomes
    table = opened(step, outcomes)
    assert (table.facts["rows"], table.facts["trees"]) == (ROWS, 4)
    assert [row[0] for row in table.rows] == [1, 2, 3, 4]
    losses = [float(row[1]) for row in table.rows]
    assert losses == sorted(losses, reverse=True)
    assert (first.cohort, second.cohort) == (ROWS, ROWS)

    holder, files = read_part(first.local, step)
    assert holder["columns"][:4] == ["tree", "node", "owner", "record"]
    other, no_scores = read_part(second.local, step)
    assert other["columns"] == ["record", "column", "threshold"]
    assert {row[1] for row in other["rows"]} == {"age", "debt"}
    assert sum(other["facts"]["splits_by_column"].values()) == len(other["rows"])
    told = [row for row in holder["rows"] if row[2] == "owner-2"]
    assert sorted(row[3] for row in told) == list(range(len(other["rows"])))
    assert all(row[4] is None and row[5] is None for row in told)
    assert "scores.csv" not in no_scores
    lines = files["scores.csv"].decode().splitlines()[1:]
    scores = np.array([float(line.split(",")[1]) for line in lines])
    assert auc(scores, FIRST["default"]) == pytest.approx(float(table.facts["auc"]), abs=1e-9)
    assert auc(scores, FIRST["default"]) > 0.75


def test_losses_stay_at_the_label_holder_unless_asked_for() -> None:
    step = checked({})
    outcomes = run_mesh(play(step))
    assert outcomes[0][0].release == outcomes[1][0].release
    assert opened(step, outcomes).facts == {"rows": ROWS, "trees": 2}
    assert len(read_part(outcomes[0][0].local, step)[0]["facts"]["losses"]) == 2


def test_a_part_of_another_form_is_refused() -> None:
    (first, *_), _ = run_mesh(play(checked({"trees": 1, "depth": 1})))
    for bad in (first.local[:-1], first.local + b"\0", b"\2" + bytes(7)):
        with pytest.raises((MalformedMessage, JobFailed)):
            TreesPart.decode(bad)
    assert repr(TreesPart.decode(first.local)) == "<TreesPart: not shown>"


def test_releases_of_different_runs_or_of_some_owners_are_refused() -> None:
    step = checked({})
    assert COMPONENT.open_result is not None
    one, other = (canonical.encode({"rows": rows, "trees": 2}) for rows in (5, 6))
    with pytest.raises(JobFailed, match="different runs"):
        COMPONENT.open_result(step, {"owner-1": one, "owner-2": other})
    with pytest.raises(JobFailed, match="2 owners"):
        COMPONENT.open_result(step, {"owner-1": one})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"default": np.arange(ROWS) % 3}, ValueOutOfRange, "label default: 133 of 400 values are neither"),
        ({"default": np.zeros(ROWS, np.int64)}, InvalidInput, "label default: all 400 values are equal"),
        ({"income": np.where(np.arange(ROWS) == 3, np.inf, INCOME)}, Exception, "income"),
        ({"income": np.where(np.arange(ROWS) == 3, np.nan, INCOME)}, Exception, "income"),
    ],
)
def test_bad_rows_end_the_step_for_all_before_anything_is_released(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    ended = mesh_outcomes(play(checked({}), ({**FIRST, **change}, SECOND)), mesh_of(2, timeout_s=5))
    assert isinstance(ended[0], error)
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


def test_misaligned_and_too_few_rows_and_constant_columns_end_the_step() -> None:
    constant = {name: np.ones(ROWS) for name in SECOND}
    for roles, error in (
        (play(checked({}), rows={"owner-2": np.arange(50)}), InputsDisagree),
        (play(checked({"min_cohort": ROWS + 1})), CohortTooSmall),
        (play(checked({}), (FIRST, constant)), InvalidInput),
    ):
        ended = mesh_outcomes(roles, mesh_of(2, timeout_s=5))
        assert any(isinstance(end, error) for end in ended), ended
        assert all(isinstance(end, Exception) for end in ended)


@pytest.mark.parametrize(
    ("params", "columns", "at"),
    [
        ({"label": "age"}, None, "params.label"),
        ({}, {"owner-1": ["default"], "owner-2": ["age"]}, "inputs.owner-1.columns"),
        ({}, {"owner-1": list(FIRST)}, "parties"),
        ({"trees": 0}, None, "params.trees"),
        ({"objective": "ranking"}, None, "params.objective"),
        ({"rate_micro": 10}, None, "params.rate_micro"),
        ({"loss": "owners"}, None, "params.loss"),
        ({"batch": 4}, None, "params.batch"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_by_name(params: Any, columns: Any, at: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(params, columns=columns)
    assert caught.value.field == f"steps.train.{at}"


def test_parameters_have_the_meaning_of_the_settings() -> None:
    step = checked(
        {
            "objective": "squared",
            "rate_micro": 50_000,
            "l2_micro": 2_500_000,
            "gamma_micro": 100,
            "min_child_weight_micro": 0,
        }
    )
    expected = Settings(
        Objective.SQUARED, trees=2, depth=2, rate=0.05, l2=2.5, gamma=1e-4, min_child_weight=0.0, bins=8
    )
    assert settings_of(step) == expected


def test_the_plan_shows_sides_to_the_label_holder_and_the_label_to_nobody_but_in_figures() -> None:
    step = checked({})
    uses = COMPONENT.uses(step)
    holder, other = "did:key:zowner-1", "did:key:zowner-2"
    sides = [use for use in uses if use.viewer == holder and use.column in SECOND]
    assert {use.column for use in sides} == set(SECOND)
    assert all(Level.AFTER_COMPARE in use.after for use in sides)
    assert any(Level.AFTER_AGGREGATE not in use.after for use in sides)
    label = [use for use in uses if use.column == "default"]
    assert {use.viewer for use in label} == {other, RECIPIENT}
    assert all(Level.AFTER_AGGREGATE in use.after for use in label)


def test_the_estimate_bounds_what_is_sent_and_received() -> None:
    step = checked({})
    assert COMPONENT.estimate is not None
    expected = COMPONENT.estimate(step, {"owner-1": ROWS, "owner-2": ROWS})
    for role, (_, sent, rounds) in zip(COMPONENT.ranks(step), run_mesh(play(step)), strict=True):
        assert sent <= expected[role].sent_bytes <= 1.5 * sent
        assert rounds <= expected[role].rounds <= rounds + 4
        assert expected[role].work_ns > 0
        assert expected[role].memory_bytes > 0
