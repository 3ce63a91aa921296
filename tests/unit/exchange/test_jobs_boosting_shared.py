"""Boosted trees on shares as steps of a job: trees for recipients alone, bad input refused, costs known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.boosting import part
from exchange.jobs.boosting.cuts import OwnCuts
from exchange.jobs.boosting.shared import COMPONENT, settings_of
from exchange.jobs.component import StepContext
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, aligned_roles, nothing_lent
from federated.boosting import bin_columns
from federated.checkpoints import Checkpoints
from federated.shared_boosting import Settings
from ledger import canonical
from mpc.errors import (
    ChannelBroken,
    CohortTooSmall,
    InputsDisagree,
    InvalidInput,
    MalformedMessage,
    MpcError,
    ValueOutOfRange,
)
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
RNG = np.random.default_rng(7)
ROWS = 300
INCOME, AGE, DEBT = RNG.normal(3000, 900, ROWS), RNG.integers(18, 80, ROWS), RNG.normal(0, 1e6, ROWS)
FITTED = 2 * (INCOME > 3300) - 3 * (AGE > 50) + 0.5
FIRST: Table = {
    "default": (RNG.random(ROWS) < 1 / (1 + np.exp(-FITTED))).astype(np.int64),
    "income": INCOME,
}
SECOND: Table = {"age": AGE, "debt": DEBT}
RECIPIENT = "did:key:zAnalyst"
MANY = {"owner-1": ["default"]} | {f"owner-{i}": [f"c{j}" for j in range(60)] for i in range(2, 7)}
FAST = {"trees": 2, "depth": 2, "bins": 4}


def step_of(
    params: dict[str, Any],
    columns: Mapping[str, Sequence[str]] | None = None,
    recipients: Sequence[str] = (RECIPIENT,),
    helpers: Sequence[str] = ("helper-1",),
) -> Step:
    inputs = columns or {"owner-1": list(FIRST), "owner-2": list(SECOND)}
    step: dict[str, Any] = {
        "id": "train",
        "component": COMPONENT.name,
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in [*inputs, *helpers]},
        "inputs": {
            role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
            for role, names in inputs.items()
        },
        "after": ["match"],
        "params": {"label": "default", "min_cohort": 20, **FAST, **params},
        "recipients": list(recipients),
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": [], "recipients": []}
    spec = JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )
    COMPONENT.check(spec, spec.step("train"))
    return spec.step("train")


def play(
    step: Step,
    tables: Sequence[Table] = (FIRST, SECOND),
    rows: Mapping[str, Any] | None = None,
    *,
    minimum: int = 2,
    held: Sequence[Checkpoints] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Any]:
    """The roles of the step, each to be called with its mesh."""

    def earlier(rank: int, role: str) -> dict[str, bytes]:
        aligned = np.asarray((rows or {}).get(role, np.arange(ROWS)))
        return {"match": aligned.astype("<i8").tobytes()}

    return aligned_roles(
        COMPONENT, step, tables, earlier, held=held, minimum_cohort=minimum, progress=progress
    )


def released(step: Step, outcomes: Sequence[Any]) -> dict[str, bytes]:
    return {role: one.release for role, (one, _) in zip(COMPONENT.ranks(step), outcomes, strict=True)}


def opened(step: Step, releases: Mapping[str, bytes]) -> Any:
    assert COMPONENT.open_result is not None
    return COMPONENT.open_result(step, releases)


def test_recipients_read_the_trees_and_owners_where_their_own_columns_are_cut() -> None:
    step = step_of({"thresholds": "recipients"})
    outcomes = run_mesh(play(step))
    table = opened(step, released(step, outcomes))
    assert table.columns == ("tree", "node", "party", "column", "cut", "threshold", "weight")
    assert table.facts["rows"] == ROWS
    positive = FIRST["default"].mean()
    assert float(table.facts["base"]) == pytest.approx(np.log(positive / (1 - positive)), abs=1e-5)
    first_error, second_error = map(float, table.facts["errors"])
    assert 0.05 < second_error < first_error < positive * (1 - positive)
    assert [row[:2] for row in table.rows] == [(tree, node) for tree in (0, 1) for node in range(1, 8)]
    root = table.rows[0]
    assert root[2:4] == ("owner-2", "age")
    binned = bin_columns([np.asarray(AGE, dtype=float)], ["age"], 4)
    assert float(root[5]) == binned.cuts[0][root[4] - 1]
    splits = [row for row in table.rows if row[1] < 4 and row[3] is not None]
    leaves = [row for row in table.rows if row[1] >= 4]
    assert all(row[6] is None for row in splits)
    assert len({float(row[6]) for row in leaves}) == len(leaves)

    (first, _), (second, _), (helper, _) = outcomes
    assert helper.local == b""
    assert (first.cohort, second.cohort, helper.rows) == (ROWS, ROWS, None)
    assert OwnCuts.decode(first.local) == OwnCuts.of(bin_columns([INCOME], ["income"], 4))
    shown = read_cuts(second.local, step)
    assert shown["columns"] == ["column", "cut", "threshold"]
    assert ["age", root[4], root[5]] in shown["rows"]
    assert {row[0] for row in shown["rows"]} == {"age", "debt"}


def read_cuts(local: bytes, trained: Step) -> Any:
    reader = Step("read", "model/trees", 1, {"reader": "did:key:zMe"}, {}, ("train",), {}, ())
    context = StepContext(
        step=reader,
        role="reader",
        ranks=("reader",),
        session=b"s",
        minimum_cohort=2,
        read=lambda name: iter(()),
        channel=lambda other: pytest.fail(other),
        before={"train": trained},
        earlier={"train": local},
        released={},
        rng=SystemRandomness(),
        progress=lambda done, total: None,
        hand_over=nothing_lent(),
    )
    return canonical.decode(part.COMPONENT.run(context).files["result.json"])


def test_thresholds_stay_with_the_owners_unless_asked_for() -> None:
    step = step_of({})
    table = opened(step, released(step, run_mesh(play(step))))
    assert any(row[4] for row in table.rows)
    assert all(row[5] is None for row in table.rows)


def test_only_an_owner_reads_its_cuts() -> None:
    step = step_of({})
    assert part.COMPONENT.check_follows is not None
    for role, is_owner in (("owner-2", True), ("helper-1", False)):
        reader = Step("read", "model/trees", 1, {"reader": step.parties[role]}, {}, ("train",), {}, ())
        if is_owner:
            part.COMPONENT.check_follows(reader, step)
            continue
        with pytest.raises(InvalidRequest, match="an owner in step train"):
            part.COMPONENT.check_follows(reader, step)


def test_releases_of_different_runs_or_of_some_parties_are_refused() -> None:
    step = step_of({})
    one, other = (released(step, run_mesh(play(step))) for _ in range(2))
    with pytest.raises(JobFailed, match="not of one run"):
        opened(step, one | {"owner-1": other["owner-1"]})
    with pytest.raises(JobFailed, match="shares of 3 parties"):
        opened(step, {"owner-1": one["owner-1"]})
    with pytest.raises(JobFailed, match="expected format 1, got 2"):
        opened(step, one | {"owner-1": b"\2" + one["owner-1"][1:]})
    with pytest.raises(MalformedMessage):
        opened(step, one | {"owner-1": one["owner-1"] + b"\0"})
    with pytest.raises(JobFailed, match="not of one run"):
        opened(step, one | {"helper-1": one["helper-1"][:8] + b"\1" + one["helper-1"][9:]})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"default": np.arange(ROWS) % 3}, ValueOutOfRange, "label default: 100 of 300 values are neither"),
        ({"default": np.zeros(ROWS, np.int64)}, InvalidInput, "label default: all 300 values are equal"),
        ({"default": np.arange(ROWS) // 290}, CohortTooSmall, "at least 20 rows, 1 cohorts"),
        ({"income": np.where(np.arange(ROWS) == 3, np.inf, INCOME)}, Exception, "income"),
        ({"income": np.where(np.arange(ROWS) == 3, np.nan, INCOME)}, Exception, "income"),
    ],
)
def test_bad_rows_end_the_step_for_all_before_anything_is_released(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    ended = mesh_outcomes(play(step_of({}), ({**FIRST, **change}, SECOND)), mesh_of(3, timeout_s=5))
    assert isinstance(ended[0], error)
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


def test_misaligned_and_too_few_rows_and_a_larger_minimum_of_an_owner_end_the_step() -> None:
    for roles, error, words in (
        (play(step_of({}), rows={"owner-2": np.arange(50)}), InputsDisagree, "aligned rows"),
        (play(step_of({"min_cohort": ROWS + 1})), CohortTooSmall, str(ROWS + 1)),
        (play(step_of({}), minimum=21), JobFailed, "minimum of 21 rows in every leaf, got 20"),
    ):
        ended = mesh_outcomes(roles, mesh_of(3, timeout_s=5))
        assert any(isinstance(end, error) and words in str(end) for end in ended), ended
        assert all(isinstance(end, Exception) for end in ended)


@pytest.mark.parametrize(
    ("params", "more", "at"),
    [
        ({"label": "age"}, {}, "params.label"),
        ({}, {"recipients": []}, "recipients"),
        ({}, {"helpers": []}, "parties"),
        ({}, {"columns": MANY, "helpers": []}, "inputs"),
        ({"trees": 0}, {}, "params.trees"),
        ({"depth": 6}, {}, "params.depth"),
        ({"bins": 33}, {}, "params.bins"),
        ({"l2_micro": 99_999}, {}, "params.l2_micro"),
        ({"thresholds": "all"}, {}, "params.thresholds"),
        ({"objective": "squared"}, {}, "params.objective"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_by_name(params: Any, more: Any, at: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        step_of(params, **more)
    assert caught.value.field == f"steps.train.{at}"


def test_parameters_have_the_meaning_of_the_settings() -> None:
    step = step_of(
        {"rate_micro": 50_000, "l2_micro": 2_500_000, "gamma_micro": 100, "thresholds": "recipients"}
    )
    assert settings_of(step) == Settings(
        trees=2, depth=2, bins=4, rate=0.05, l2=2.5, gamma=1e-4, least_rows=20, tells_thresholds=True
    )


def test_the_plan_shows_figures_to_the_recipients_alone_and_thresholds_where_they_are_told() -> None:
    uses = COMPONENT.uses(step_of({}))
    assert {use.viewer for use in uses} == {RECIPIENT}
    assert all(Level.AFTER_AGGREGATE in use.after for use in uses)
    told = COMPONENT.uses(step_of({"thresholds": "recipients"}))
    open_columns = {use.column for use in told if Level.AFTER_AGGREGATE not in use.after}
    assert open_columns == {"income", "age", "debt"}


@pytest.mark.parametrize("owners", [2, 4])
def test_the_estimate_is_what_is_sent(owners: int) -> None:
    columns = {f"owner-{number}": list(SECOND) for number in range(2, owners + 1)}
    step = step_of(
        {"trees": 1, "depth": 1},
        columns={"owner-1": list(FIRST), **columns},
        helpers=("helper-1",) if owners == 2 else (),
    )
    assert COMPONENT.estimate is not None
    expected = COMPONENT.estimate(step, dict.fromkeys(columns, ROWS) | {"owner-1": ROWS})
    outcomes = run_mesh(play(step, (FIRST, *[SECOND] * (owners - 1))))
    for role, (_, sent) in zip(COMPONENT.ranks(step), outcomes, strict=True):
        assert expected[role].sent_bytes == sent
        assert expected[role].work_ns > 0


def test_cuts_of_another_form_are_refused() -> None:
    good = OwnCuts.of(bin_columns([INCOME], ["income"], 4))
    assert OwnCuts.decode(good.encode()) == good
    with pytest.raises(InvalidRequest):
        OwnCuts.decode(canonical.encode({"columns": [{"name": "income"}]}))
    assert replace(good, columns=()) != good


def test_growth_that_was_cut_off_goes_on_at_the_tree_that_all_had_reached() -> None:
    assert COMPONENT.resumes
    step, held, grown = step_of({"thresholds": "recipients"}), [Checkpoints() for _ in range(3)], list[int]()

    def killed(done: int, total: int) -> None:
        if done == 2:
            raise ChannelBroken("the process was killed")

    ended = mesh_outcomes(play(step, held=held, progress=killed))
    assert all(isinstance(end, MpcError) for end in ended)
    later = [Checkpoints(2, 2, one.held) for one in held]
    outcomes = run_mesh(play(step, held=later, progress=lambda done, total: grown.append(done)))
    assert grown == [2] * 3
    found, whole = (opened(step, released(step, one)) for one in (outcomes, run_mesh(play(step))))
    assert [row[:6] for row in found.rows] == [row[:6] for row in whole.rows]
    np.testing.assert_allclose(
        *([float(row[6] or 0) for row in one.rows] for one in (found, whole)), atol=1e-3
    )
