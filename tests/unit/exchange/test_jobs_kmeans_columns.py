"""k-means over columns as a step of a job: clusters for recipients alone or split, bad input, known costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connectors.errors import MissingValues
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import StepContext
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.kmeans_columns import COMPONENT, agreed_by
from exchange.jobs.own_clusters import OwnClusters
from exchange.jobs.regression import part
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, aligned_roles, nothing_lent
from federated.checkpoints import Checkpoints
from ledger import canonical
from mpc.errors import ChannelBroken, CohortTooSmall, InputsDisagree, InvalidInput, MalformedMessage, MpcError
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
RNG = np.random.default_rng(7)
ROWS = 240
KIND = RNG.permutation(np.arange(ROWS) % 3)
SPREAD = RNG.uniform(-1, 1, (3, ROWS))
DEBT = np.array([1500.0, 5000.0, 8500.0])[KIND] + 900 * SPREAD[0]
AGE = np.array([30, 70, 45])[KIND] + np.rint(6 * SPREAD[1]).astype(np.int64)
INCOME = np.array([900.0, 2500.0, 800.0])[KIND] + 300 * SPREAD[2]
FIRST: Table = {"debt": DEBT}
SECOND: Table = {"age": AGE, "income": INCOME}
RECIPIENT = "did:key:zAnalyst"
BOUNDS: dict[str, dict[str, dict[str, str]]] = {
    "owner-1": {"debt": {"lower": "0", "upper": "10000"}},
    "owner-2": {"age": {"lower": "0", "upper": "100"}, "income": {"lower": "0", "upper": "4000.5"}},
}
CHOSEN: dict[str, Any] = {"clusters": 3, "bounds": BOUNDS, "seed": 1, "min_cohort": 20, "rounds": 8}


def spec_of(
    params: dict[str, Any] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    recipients: Sequence[str] = (RECIPIENT,),
    helpers: Sequence[str] = ("helper-1",),
) -> JobSpec:
    inputs = columns or {"owner-1": list(FIRST), "owner-2": list(SECOND)}
    step: dict[str, Any] = {
        "id": "group",
        "component": COMPONENT.name,
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in [*inputs, *helpers]},
        "inputs": {
            role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 1} for name in names]}
            for role, names in inputs.items()
        },
        "after": ["match"],
        "params": {**CHOSEN, **(params or {})},
        "recipients": list(recipients),
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": [], "recipients": []}
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )


def step_of(params: dict[str, Any] | None = None, **more: Any) -> Step:
    spec = spec_of(params, **more)
    COMPONENT.check(spec, spec.step("group"))
    return spec.step("group")


def play(
    step: Step,
    tables: Sequence[Table] = (FIRST, SECOND),
    rows: Mapping[str, Any] | None = None,
    *,
    minimum: int = 2,
    rules: OutputRules = OutputRules.NONE,
    held: Sequence[Checkpoints] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Any]:
    """The roles of the step, each to be called with its mesh."""

    def earlier(rank: int, role: str) -> dict[str, bytes]:
        aligned = np.asarray((rows or {}).get(role, np.arange(ROWS)))
        return {"match": aligned.astype("<i8").tobytes()}

    return aligned_roles(
        COMPONENT, step, tables, earlier, held=held, minimum_cohort=minimum, rules=rules, progress=progress
    )


def released(step: Step, outcomes: Sequence[Any]) -> dict[str, bytes]:
    return {role: one.release for role, (one, _) in zip(COMPONENT.ranks(step), outcomes, strict=True)}


def opened(step: Step, releases: Mapping[str, bytes]) -> Any:
    assert COMPONENT.open_result is not None
    return COMPONENT.open_result(step, releases)


def means() -> dict[int, tuple[int, list[float]]]:
    """By their debt, how many rows there are of each kind and their means."""
    values = np.column_stack([DEBT, AGE, INCOME])
    return {
        kind: (int((KIND == kind).sum()), values[KIND == kind].mean(axis=0).tolist()) for kind in range(3)
    }


def assert_kinds(rows: Sequence[Any], names: Sequence[tuple[str, ...]], places: Sequence[int]) -> None:
    """Lines of clusters, number and rows first and the centre last, are the kinds of rows."""
    width = len(names)
    clusters = [rows[at : at + width] for at in range(0, len(rows), width)]
    assert [tuple(line[3:-1]) for cluster in clusters for line in cluster] == list(names) * 3
    found = sorted(([line[1] for line in one], [float(line[-1]) for line in one]) for one in clusters)
    expected = sorted(
        ([count] * width, [centre[place] for place in places]) for count, centre in means().values()
    )
    for (got_rows, got), (want_rows, want) in zip(
        sorted(found, key=lambda one: one[1]), sorted(expected, key=lambda one: one[1]), strict=True
    ):
        assert got_rows == want_rows
        assert got == pytest.approx(want, abs=0.01)


def whole(rows: Sequence[Any], columns: int) -> dict[str, Any]:
    """The facts over all clusters, of which each has a line a column."""
    scaled = np.column_stack([DEBT / 10_000, AGE / 100, INCOME / 4000.5])
    inertia = sum(
        ((own - own.mean(axis=0)) ** 2).sum() for own in (scaled[KIND == kind] for kind in range(3))
    )
    told = sum(float(row[2]) for row in rows[::columns])
    assert told == pytest.approx(inertia, abs=0.001)
    return {"rows": ROWS, "inertia": f"{told:.12g}"}


def assert_facts(facts: Mapping[str, Any], summed: Mapping[str, Any]) -> None:
    # The total is rounded once, its three parts each by themselves: to half of a unit of the last digit.
    assert float(facts["inertia"]) == pytest.approx(float(summed["inertia"]), abs=2.1e-11)
    told = {**summed, "suppressed": 0, "steps": 8, "settled": False}
    assert {**facts, "inertia": summed["inertia"]} == told


def test_recipients_read_the_clusters_of_the_joined_rows() -> None:
    step = step_of()
    outcomes = run_mesh(play(step))
    table = opened(step, released(step, outcomes))
    assert table.columns == ("cluster", "rows", "inertia", "party", "column", "centre")
    assert_kinds(table.rows, [("owner-1", "debt"), ("owner-2", "age"), ("owner-2", "income")], (0, 1, 2))
    assert_facts(table.facts, whole(table.rows, 3))
    (first, _), (second, _), (helper, _) = outcomes
    assert {one.local for one in (first, second, helper)} == {b""}
    assert (first.cohort, first.figures, helper.rows) == (20, 3, None)
    assert second.rows.tolist() == list(range(ROWS))
    assert set(second.groups.tolist()) == {0}


def test_a_run_ends_with_the_step_that_settles() -> None:
    step = step_of({"end": "settled", "rounds": 50})
    facts = opened(step, released(step, run_mesh(play(step)))).facts
    assert facts["settled"] is True
    assert 1 < facts["steps"] < 50


def test_split_centres_stay_with_the_owners_of_their_columns() -> None:
    step = step_of({"centres": "split"})
    outcomes = run_mesh(play(step))
    table = opened(step, released(step, outcomes))
    assert (table.rows, table.facts) == ((), {"steps": 8, "settled": False})
    (first, _), (second, _), (helper, _) = outcomes
    assert helper.local == b""
    assert_kinds(OwnClusters.decode(first.local).table().rows, [("debt",)], (0,))
    shown = read_part(second.local, step)
    assert shown["columns"] == ["cluster", "rows", "inertia", "column", "centre"]
    assert_kinds(shown["rows"], [("age",), ("income",)], (1, 2))
    assert_facts(shown["facts"], whole(shown["rows"], 2))


def read_part(local: bytes, before: Step) -> Any:
    reader = Step("read", "model/part", 1, {"reader": "did:key:zMe"}, {}, (before.id,), {}, ())
    context = StepContext(
        step=reader,
        role="reader",
        ranks=("reader",),
        session=b"s",
        minimum_cohort=2,
        read=lambda name: iter(()),
        channel=lambda other: pytest.fail(other),
        before={before.id: before},
        earlier={before.id: local},
        released={},
        rng=SystemRandomness(),
        progress=lambda done, total: None,
        hand_over=nothing_lent(),
    )
    return canonical.decode(part.COMPONENT.run(context).files["result.json"])


def test_only_an_owner_reads_its_part_and_only_of_split_centres() -> None:
    split, whole = step_of({"centres": "split"}, recipients=()), step_of()
    assert part.COMPONENT.check_follows is not None
    for role, before, refused in (
        ("owner-2", split, None),
        ("helper-1", split, "an owner in step group"),
        ("owner-2", whole, "params.centres: expected split"),
    ):
        reader = Step("read", "model/part", 1, {"reader": before.parties[role]}, {}, ("group",), {}, ())
        if refused is None:
            part.COMPONENT.check_follows(reader, before)
            continue
        with pytest.raises(InvalidRequest, match=refused):
            part.COMPONENT.check_follows(reader, before)


def test_parts_of_another_form_are_refused() -> None:
    good = OwnClusters(("age",), (1, 3), (20, 30), ("0.5", "0.7"), ("1", "2"), 1, 4, settled=True)
    assert OwnClusters.decode(good.encode()) == good
    with pytest.raises(InvalidRequest):
        OwnClusters.decode(canonical.encode({"columns": ["age"]}))


def test_releases_of_different_runs_or_of_some_parties_are_refused() -> None:
    step = step_of({"rounds": 1})
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
        opened(step, one | {"helper-1": one["helper-1"][:8] + b"\2" + one["helper-1"][9:]})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"debt": np.full(ROWS, 7.0)}, InvalidInput, "column owner-1.debt: all 240 values are equal"),
        ({"debt": DEBT + 20_000}, InvalidInput, "column owner-1.debt: all 240 values are equal within"),
        ({"debt": np.where(np.arange(ROWS) == 3, np.nan, DEBT)}, MissingValues, "debt"),
        ({"debt": np.where(np.arange(ROWS) == 3, np.inf, DEBT)}, MissingValues, "debt"),
        ({"debt": pa.array([None, *DEBT[1:]])}, MissingValues, "debt"),
    ],
    ids=["constant", "beyond the bounds", "not a number", "infinite", "missing"],
)
def test_bad_rows_end_the_step_for_all_before_anything_is_released(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    ended = mesh_outcomes(play(step_of(), ({**FIRST, **change}, SECOND)), mesh_of(3, timeout_s=5))
    assert isinstance(ended[0], error)
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


@pytest.mark.parametrize(
    ("params", "more", "error", "words"),
    [
        ({}, {"rows": {"owner-2": np.arange(ROWS - 1)}}, InputsDisagree, "aligned rows"),
        ({"clusters": 13}, {}, CohortTooSmall, "260"),
        ({}, {"minimum": 21}, JobFailed, "minimum of 21 rows in every cluster, got 20"),
        ({}, {"rules": OutputRules(dominance_percent=90)}, JobFailed, "dominance"),
    ],
    ids=["misaligned", "more clusters than rows allow", "larger minimum", "rule"],
)
def test_steps_that_no_owner_may_take_part_in_end_for_all(
    params: dict[str, Any], more: dict[str, Any], error: type[Exception], words: str
) -> None:
    ended = mesh_outcomes(play(step_of(params), **more), mesh_of(3, timeout_s=5))
    assert any(isinstance(end, error) and words in str(end) for end in ended), ended
    assert all(isinstance(end, Exception) for end in ended)


WIDE = {f"owner-{i}": [f"c{j}" for j in range(60)] for i in range(1, 6)}
WIDE_BOUNDS = {role: {name: {"lower": "0", "upper": "1"} for name in names} for role, names in WIDE.items()}


@pytest.mark.parametrize(
    ("params", "more", "at"),
    [
        ({}, {"recipients": []}, "recipients"),
        ({}, {"helpers": []}, "parties"),
        ({"bounds": WIDE_BOUNDS}, {"columns": WIDE, "helpers": []}, "inputs"),
        ({"bounds": {"owner-1": BOUNDS["owner-1"]}}, {}, "params.bounds"),
        ({"bounds": {**BOUNDS, "owner-2": {"age": BOUNDS["owner-2"]["age"]}}}, {}, "params.bounds.owner-2"),
        ({"bounds": {**BOUNDS, "owner-3": {}}}, {}, "params.bounds"),
        (
            {"bounds": {**BOUNDS, "owner-1": {"debt": {"lower": "1", "upper": "1"}}}},
            {},
            "params.bounds.owner-1.debt",
        ),
        ({"bounds": {"debt": {"lower": "0", "upper": "1"}}}, {}, "params.bounds.debt.lower"),
        ({"clusters": 1}, {}, "params.clusters"),
        ({"clusters": 65}, {}, "params.clusters"),
        ({"seed": -1}, {}, "params.seed"),
        ({"min_cohort": 1}, {}, "params.min_cohort"),
        ({"rounds": 101}, {}, "params.rounds"),
        ({"end": "never"}, {}, "params.end"),
        ({"centres": "owners"}, {}, "params.centres"),
        ({"label": "age"}, {}, "params.label"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_by_name(params: Any, more: Any, at: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        step_of(params, **more)
    assert caught.value.field == f"steps.group.{at}"


def test_a_step_without_bounds_is_refused() -> None:
    spec = spec_of()
    step = spec.step("group")
    params = {name: value for name, value in step.params.items() if name != "bounds"}
    bare = Step(step.id, step.component, 1, step.parties, step.inputs, step.after, params, step.recipients)
    with pytest.raises(InvalidRequest) as caught:
        COMPONENT.check(spec, bare)
    assert caught.value.field == "steps.group.params.bounds"


def test_parameters_have_the_meaning_of_the_settings() -> None:
    agreed = agreed_by(step_of())
    assert agreed.names == ("owner-1.debt", "owner-2.age", "owner-2.income")
    assert (agreed.lower, agreed.upper) == ((0.0, 0.0, 0.0), (10_000.0, 100.0, 4000.5))
    assert (agreed.count, agreed.seed, agreed.least, agreed.rounds) == (3, 1, 20, 8)


def test_the_plan_shows_figures_to_the_recipients_or_to_the_owners() -> None:
    uses = COMPONENT.uses(step_of())
    assert {use.viewer for use in uses} == {RECIPIENT}
    assert all(Level.AFTER_AGGREGATE in use.after for use in uses)
    split = COMPONENT.uses(step_of({"centres": "split"}, recipients=()))
    assert {use.viewer for use in split} == {"did:key:zowner-1", "did:key:zowner-2"}
    assert all(Level.AFTER_AGGREGATE in use.after for use in split)


@pytest.mark.parametrize(
    ("owners", "centres"), [(2, "recipients"), (2, "split"), (4, "recipients"), (4, "split")]
)
def test_the_estimate_is_what_is_sent(owners: int, centres: str) -> None:
    others = [f"owner-{number}" for number in range(2, owners + 1)]
    bounds = {"owner-1": BOUNDS["owner-1"], **dict.fromkeys(others, BOUNDS["owner-2"])}
    step = step_of(
        {"rounds": 2, "centres": centres, "bounds": bounds},
        columns={"owner-1": list(FIRST), **{role: list(SECOND) for role in others}},
        helpers=("helper-1",) if owners == 2 else (),
    )
    assert COMPONENT.estimate is not None
    expected = COMPONENT.estimate(step, dict.fromkeys(("owner-1", *others), ROWS))
    outcomes = run_mesh(play(step, (FIRST, *[SECOND] * (owners - 1))))
    for role, (_, sent) in zip(COMPONENT.ranks(step), outcomes, strict=True):
        assert expected[role].sent_bytes == sent
        assert expected[role].work_ns > 0


def test_the_estimate_of_an_early_end_says_what_it_assumes() -> None:
    step = step_of({"end": "settled", "rounds": 50})
    assert COMPONENT.estimate is not None
    found = COMPONENT.estimate(step, {"owner-1": ROWS, "owner-2": 10})
    assert "that centres move 10 times" in found["owner-1"].assumes
    assert found["owner-1"].sent_bytes > 0


def test_a_run_that_was_cut_off_goes_on_at_the_step_that_all_had_reached() -> None:
    assert COMPONENT.resumes
    step, held, played = step_of({"rounds": 3}), [Checkpoints() for _ in range(3)], list[int]()

    def killed(done: int, total: int) -> None:
        if done == 2:
            raise ChannelBroken("the process was killed")

    ended = mesh_outcomes(play(step, held=held, progress=killed))
    assert all(isinstance(end, MpcError) for end in ended)
    later = [Checkpoints(2, 2, one.held) for one in held]
    outcomes = run_mesh(play(step, held=later, progress=lambda done, total: played.append(done)))
    assert sorted(played) == [2, 2, 2, 3, 3, 3]
    found, whole = (opened(step, released(step, one)) for one in (outcomes, run_mesh(play(step))))
    assert [row[:2] for row in found.rows] == [row[:2] for row in whole.rows]
    centres = [[float(row[5]) for row in one.rows] for one in (found, whole)]
    np.testing.assert_allclose(*centres, rtol=1e-3)
