"""Boosted trees as steps of a job: each owner keeps its part, bad input is refused, costs are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.boosting import part
from exchange.jobs.boosting.component import COMPONENT, settings_of
from exchange.jobs.boosting.fit import shown_cells
from exchange.jobs.boosting.part import TreesPart
from exchange.jobs.component import StepContext
from exchange.jobs.scoring import trees
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


def spec_of(
    params: dict[str, Any],
    columns: Mapping[str, Sequence[str]] | None = None,
    later: Sequence[dict[str, Any]] = (),
) -> JobSpec:
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
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step, *later]}
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


def read_part(local: bytes) -> tuple[Any, Mapping[str, bytes]]:
    reader = Step("read", "model/trees", 1, {"reader": "did:key:zMe"}, {}, ("train",), {}, ())
    before = {"train": spec_of({}).step("train")}
    context = context_of(reader, "reader", ("reader",), before=before, earlier={"train": local})
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

    holder, files = read_part(first.local)
    assert holder["columns"][:4] == ["tree", "node", "owner", "record"]
    other, no_scores = read_part(second.local)
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
    assert opened(step, outcomes).facts == {"rows": ROWS, "held_out": 0, "trees": 2}
    assert len(read_part(outcomes[0][0].local)[0]["facts"]["losses"]) == 2


def test_growth_ends_early_on_the_rows_held_out_and_all_owners_keep_the_same_trees() -> None:
    step = checked(
        {
            "loss": "recipients",
            "trees": 30,
            "rate_micro": 10**6,
            "test_percent": 25,
            "patience": 1,
            "min_cohort": 5,
        }
    )
    outcomes = run_mesh(play(step))
    (first, _, _), (second, _, _) = outcomes
    table = opened(step, outcomes)
    facts = table.facts
    assert (facts["rows"], facts["held_out"]) == (300, 100)
    assert (first.cohort, first.figures, first.groups.sum()) == (100, 2, 100)
    held_out = [float(row[2]) for row in table.rows]
    assert facts["trees"] == 1 + int(np.argmin(held_out)) == len(held_out) - 1 < 29
    assert {"auc", "held_out_auc"} <= facts.keys()

    holder, files = read_part(first.local)
    assert {row[0] for row in holder["rows"]} == set(range(facts["trees"]))
    told = [row[3] for row in holder["rows"] if row[2] == "owner-2"]
    assert sorted(told) == list(range(len(read_part(second.local)[0]["rows"])))
    lines = [line.split(",") for line in files["scores.csv"].decode().splitlines()[1:]]
    scores, is_test = (
        np.array([float(line[1]) for line in lines]),
        np.array([line[2] == "test" for line in lines]),
    )
    assert is_test.sum() == 100
    assert np.array_equal(np.sort(first.rows[300:]), np.nonzero(is_test)[0])
    assert auc(scores[is_test], FIRST["default"][is_test]) == pytest.approx(
        float(facts["held_out_auc"]), abs=1e-9
    )


def test_trees_of_classes_give_every_class_a_score_and_recipients_a_confusion_table() -> None:
    kind = np.digitize(FITTED, [-0.5, 0.5])
    step = checked({"loss": "recipients", "objective": "softmax", "classes": 3, "test_percent": 25})
    outcomes = run_mesh(play(step, ({**FIRST, "default": kind}, SECOND)))
    facts = opened(step, outcomes).facts
    assert facts["trees"] == 2
    holder, files = read_part(outcomes[0][0].local)
    assert {row[0] for row in holder["rows"]} == set(range(6))
    lines = [line.split(",") for line in files["scores.csv"].decode().splitlines()]
    assert lines[0] == ["row", "score_0", "score_1", "score_2", "part"]
    scores = np.array([[float(cell) for cell in line[1:4]] for line in lines[1:]])
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-9)
    right, is_test = scores.argmax(axis=1) == kind, np.array([line[4] == "test" for line in lines[1:]])
    assert float(facts["accuracy"]) == pytest.approx(right[~is_test].mean())
    assert float(facts["held_out_accuracy"]) == pytest.approx(right[is_test].mean())
    assert right[~is_test].mean() > 0.6
    for name, rows in (("confusion", ~is_test), ("held_out_confusion", is_test)):
        for actual, line in enumerate(facts[name]):
            for taken, cell in enumerate(line):
                count = int(np.sum(rows & (kind == actual) & (scores.argmax(axis=1) == taken)))
                assert cell == count or (cell is None)
                assert count >= 20 or cell is None


def score_spec(**change: Any) -> JobSpec:
    trained = change.pop("trained", {})
    is_held_out, owners = change.pop("held_out", True), {"owner-1": list(FIRST), "owner-2": list(SECOND)}
    parties = {role: f"did:key:z{role}" for role in owners}
    step: dict[str, Any] = {
        "id": "score",
        "component": "model/score-trees",
        "version": 1,
        "parties": parties,
        "inputs": {
            role: {
                "asset": f"{role}/table",
                "columns": [{"name": name, "decimals": 0} for name in names if name != "default"],
            }
            for role, names in owners.items()
        },
        "after": ["match", "train"],
        "params": {"min_cohort": 20},
        "recipients": [parties["owner-1"]],
        **change,
    }
    return spec_of(trained | ({"test_percent": 25} if is_held_out else {}), later=[step])


def score_play(step: Step, parts: Sequence[bytes], rows: NDArray[np.int64]) -> list[Any]:
    """The roles of a step of scores, each with its part of the trees and the numbers of its rows."""
    ranks = trees.COMPONENT.ranks(step)

    def role(mesh: Mesh) -> Any:
        own, table = ranks[mesh.rank], (FIRST, SECOND)[mesh.rank]
        context = context_of(
            step,
            own,
            ranks,
            session=mesh.session,
            read=lambda name: iter([pa.record_batch([pa.array(table[name])], names=[name])]),
            channel=lambda other: mesh.channels[ranks.index(other)],
            earlier={"match": rows.astype("<i8").tobytes(), "train": parts[mesh.rank]},
        )
        stats = [one.stats for one in mesh.channels.values()]
        outcome = trees.COMPONENT.run(context)
        return outcome, sum(one.bytes_sent for one in stats), sum(one.rounds for one in stats)

    return [role] * len(ranks)


@pytest.mark.parametrize("part", ["all", "train", "test"])
def test_scores_of_the_rows_trained_on_and_held_out_are_those_of_training(part: str) -> None:
    spec = score_spec(params={"min_cohort": 20, "part": part})
    outcomes = run_mesh(play(spec.step("train")))
    step, parts = spec.step("score"), [one[0].local for one in outcomes]
    expected = [line.split(",") for line in read_part(parts[0])[1]["scores.csv"].decode().splitlines()[1:]]
    (first, *_), (second, *_) = run_mesh(score_play(step, parts, np.arange(ROWS)))
    assert (second.files, first.release) == ({}, None)
    lines = [line.split(",") for line in first.files["scores.csv"].decode().splitlines()]
    assert lines[0] == ["row", "score"]
    wanted = [line for line in expected if part in ("all", line[2])]
    assert len(wanted) == {"all": 400, "train": 300, "test": 100}[part]
    assert [line[0] for line in lines[1:]] == [line[0] for line in wanted]
    assert [float(line[1]) for line in lines[1:]] == pytest.approx([float(line[1]) for line in wanted])


def test_scores_of_other_rows_come_by_their_numbers_and_cost_what_is_estimated() -> None:
    spec = score_spec(held_out=False)
    parts = [one[0].local for one in run_mesh(play(spec.step("train")))]
    scores = TreesPart.decode(parts[0]).structure
    assert scores is not None
    rows, step = RNG.permutation(ROWS)[:50], spec.step("score")
    ended = run_mesh(score_play(step, parts, rows))
    lines = [line.split(",") for line in ended[0][0].files["scores.csv"].decode().splitlines()[1:]]
    assert [int(line[0]) for line in lines] == sorted(rows.tolist())
    assert [float(line[1]) for line in lines] == pytest.approx(scores.scores[0][np.sort(rows)].tolist())
    assert trees.COMPONENT.estimate is not None
    estimate = trees.COMPONENT.estimate(step, {"owner-1": 50, "owner-2": 50})
    for role, (_, sent, rounds) in zip(trees.COMPONENT.ranks(step), ended, strict=True):
        assert sent <= estimate[role].sent_bytes
        assert rounds <= estimate[role].rounds


def test_scores_of_classes_have_a_column_each() -> None:
    spec = score_spec(trained={"objective": "softmax", "classes": 3})
    labelled = {**FIRST, "default": np.digitize(FITTED, [-0.5, 0.5])}
    parts = [one[0].local for one in run_mesh(play(spec.step("train"), (labelled, SECOND)))]
    expected = [line.split(",") for line in read_part(parts[0])[1]["scores.csv"].decode().splitlines()]
    (first, *_), _ = run_mesh(score_play(spec.step("score"), parts, np.arange(ROWS)))
    lines = [line.split(",") for line in first.files["scores.csv"].decode().splitlines()]
    assert lines[0] == ["row", "score_0", "score_1", "score_2"] == expected[0][:4]
    for line, wanted in zip(lines[1:], expected[1:], strict=True):
        assert list(map(float, line)) == pytest.approx(list(map(float, wanted[:4])))


def test_scores_are_refused_to_too_few_rows_and_parts_at_the_wrong_owner() -> None:
    spec = score_spec(held_out=False)
    parts = [one[0].local for one in run_mesh(play(spec.step("train")))]
    step = spec.step("score")
    for given, rows, words in (
        (parts, np.arange(19), "expected at least 20 rows to score"),
        (parts[::-1], np.arange(ROWS), "expected the structure of the trees at owner-1 alone"),
    ):
        ended = mesh_outcomes(score_play(step, given, rows), mesh_of(2, timeout_s=4))
        assert all(isinstance(end, JobFailed) and words in str(end) for end in ended), ended


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"recipients": [RECIPIENT]}, "recipients"),
        ({"recipients": []}, "recipients"),
        ({"after": ["match"]}, "after"),
        ({"after": ["train", "match"]}, "after[0]"),
        ({"params": {"min_cohort": 20, "part": "test"}, "held_out": False}, "params.part"),
        ({"params": {"min_cohort": 20, "part": "most"}}, "params.part"),
    ],
)
def test_a_step_of_scores_that_does_not_fit_is_refused_by_name(change: dict[str, Any], at: str) -> None:
    spec = score_spec(**change)
    step = spec.step("score")
    with pytest.raises(InvalidRequest) as caught:
        check_score(spec, step)
    assert caught.value.field == f"steps.score.{at}"


def check_score(spec: JobSpec, step: Step) -> None:
    trees.COMPONENT.check(spec, step)
    assert trees.COMPONENT.check_follows is not None
    for before in step.after:
        trees.COMPONENT.check_follows(step, spec.step(before))


def test_the_plan_of_scores_shows_sides_of_others_columns_to_the_label_holder_alone() -> None:
    spec = score_spec()
    check_score(spec, spec.step("score"))
    uses = [use for use in trees.COMPONENT.uses(spec.step("score")) if use.viewer]
    assert {(use.column, use.viewer) for use in uses} == {(name, "did:key:zowner-1") for name in SECOND}
    assert all(Level.AFTER_COMPARE in use.after and Level.AFTER_AGGREGATE not in use.after for use in uses)


def test_no_small_cell_of_a_confusion_table_can_be_told_from_the_others() -> None:
    table = np.array([[90, 3, 30], [12, 80, 0], [25, 40, 70]])
    assert shown_cells(table, 3) == [[90, None, 30], [12, 80, None], [25, 40, 70]]
    assert shown_cells(table, 10) == [[90, None, 30], [None, 80, None], [25, 40, 70]]
    assert shown_cells(np.diag([9, 9, 50]), 10) == [[None, None, None], [None, None, None], [None, None, 50]]
    assert shown_cells(np.diag([4, 50, 60]) + 10, 20) == [
        [None, None, None],
        [None, None, None],
        [None, None, 70],
    ]
    assert shown_cells(table + 10, 10) == (table + 10).tolist()


def test_the_area_under_the_curve_stays_hidden_where_a_label_has_few_rows() -> None:
    step = checked({"loss": "recipients", "test_percent": 25, "min_cohort": 99})
    facts = opened(step, run_mesh(play(step))).facts
    assert "auc" in facts
    assert "held_out_auc" not in facts


def test_a_part_of_another_form_is_refused() -> None:
    (first, *_), _ = run_mesh(play(checked({"trees": 1, "depth": 1})))
    for bad in (first.local[:-1], first.local + b"\0", b"\1" + bytes(7)):
        with pytest.raises((MalformedMessage, JobFailed)):
            TreesPart.decode(bad)
    assert repr(TreesPart.decode(first.local)) == "<TreesPart: not shown>"


def test_releases_of_different_runs_or_of_some_owners_are_refused() -> None:
    step = checked({})
    assert COMPONENT.open_result is not None
    one, other = (canonical.encode({"rows": rows, "held_out": 0, "trees": 2}) for rows in (5, 6))
    with pytest.raises(JobFailed, match="different runs"):
        COMPONENT.open_result(step, {"owner-1": one, "owner-2": other})
    with pytest.raises(JobFailed, match="2 owners"):
        COMPONENT.open_result(step, {"owner-1": one})


@pytest.mark.parametrize(
    ("label", "error", "words"),
    [
        (np.arange(ROWS) % 4, ValueOutOfRange, "label default: 100 of 400 values are no class from 0 to 2"),
        (np.arange(ROWS) % 2 * 2, InvalidInput, "label default: expected rows of 3 classes, got rows of 2"),
    ],
)
def test_a_label_of_other_classes_ends_the_step_before_anything_is_released(
    label: Any, error: type[Exception], words: str
) -> None:
    step = checked({"objective": "softmax", "classes": 3})
    ended = mesh_outcomes(play(step, ({**FIRST, "default": label}, SECOND)), mesh_of(2, timeout_s=5))
    assert isinstance(ended[0], error)
    assert words in str(ended[0])
    assert isinstance(ended[1], Exception)


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
        ({"patience": 3}, None, "params.patience"),
        ({"monotone": {}}, None, "params.monotone"),
        ({"monotone": {"owner-2": {}}}, None, "params.monotone"),
        ({"monotone": {"owner-2": {"debt": 2}}}, None, "params.monotone"),
        ({"monotone": {"owner-2": {"debt": True}}}, None, "params.monotone"),
        ({"monotone": {"owner-1": {"default": 1}}}, None, "params.monotone"),
        ({"monotone": {"owner-3": {"debt": 1}}}, None, "params.monotone"),
        ({"objective": "softmax", "classes": 3, "monotone": {"owner-2": {"debt": 1}}}, None, "params"),
        ({"objective": "softmax"}, None, "params"),
        ({"objective": "softmax", "classes": 17}, None, "params.classes"),
        ({"classes": 3}, None, "params"),
        ({"top_rate_micro": 200_000}, None, "params"),
        ({"top_rate_micro": 700_000, "other_rate_micro": 400_000}, None, "params"),
        ({"other_rate_micro": 100_000}, None, "params"),
        ({"top_rate_micro": 0}, None, "params.top_rate_micro"),
        ({"l1_micro": -1}, None, "params.l1_micro"),
        ({"patience": -1, "test_percent": 20}, None, "params.patience"),
        ({"test_percent": 60}, None, "params.test_percent"),
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
            "l1_micro": 500_000,
            "top_rate_micro": 200_000,
            "other_rate_micro": 100_000,
            "monotone": {"owner-2": {"debt": 1}},
        }
    )
    expected = Settings(
        Objective.SQUARED,
        trees=2,
        depth=2,
        rate=0.05,
        l1=0.5,
        l2=2.5,
        gamma=1e-4,
        min_child_weight=0.0,
        bins=8,
        top_rate=0.2,
        other_rate=0.1,
        monotone=((0,), (0, 1)),
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
    step = checked({"test_percent": 20, "patience": 2})
    assert COMPONENT.estimate is not None
    expected = COMPONENT.estimate(step, {"owner-1": ROWS, "owner-2": ROWS})
    for role, (_, sent, rounds) in zip(COMPONENT.ranks(step), run_mesh(play(step)), strict=True):
        assert sent <= expected[role].sent_bytes <= 1.5 * sent
        assert rounds <= expected[role].rounds <= rounds + 4
        assert expected[role].work_ns > 0
        assert expected[role].memory_bytes > 0
