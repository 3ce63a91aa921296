"""k-means as a step of a job: the clusters of pooled rows, who is in them, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connectors.errors import MissingValues
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.cohorts import LEFT_OUT
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.horizontal import Held
from exchange.jobs.kmeans import COMPONENT, agreed_by
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, OwnersRun
from federated.checkpoints import Checkpoints
from ledger import canonical
from mpc.errors import InvalidInput, TooFewParties
from policies import column_control
from policies.errors import ColumnControlExceeded

ANALYST = "did:key:zAnalyst"
OWNERS = 4
COLUMNS = ("debt", "age")
MIDDLES = np.array([[1500.0, 30.0], [5000.0, 70.0], [8500.0, 45.0]])
CHOSEN: dict[str, Any] = {
    "clusters": 3,
    "bounds": {"debt": {"lower": "0", "upper": "10000"}, "age": {"lower": "0", "upper": "100.5"}},
    "seed": 3,
    "min_cohort": 20,
    "threshold": 3,
    "patience_s": 4,
}


def spec_of(owners: int = OWNERS, recipients: list[str] | None = None, **params: Any) -> JobSpec:
    roles = [f"owner-{number}" for number in range(1, owners + 1)]
    step = {
        "id": "group",
        "component": "model/kmeans",
        "version": 1,
        "parties": {"aggregator": ANALYST} | {role: f"did:key:z{role}" for role in roles},
        "inputs": {
            role: {"asset": f"{role}/t", "columns": [{"name": one, "decimals": 1} for one in COLUMNS]}
            for role in roles
        },
        "after": [],
        "params": CHOSEN | params,
        "recipients": [ANALYST] if recipients is None else recipients,
    }
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [step]}
    )


def step_of(owners: int = OWNERS, recipients: list[str] | None = None, **params: Any) -> Step:
    spec = spec_of(owners, recipients, **params)
    COMPONENT.check(spec, spec.steps[0])
    return spec.steps[0]


def table_of(number: int, rows: int = 80) -> pa.Table:
    draw = np.random.default_rng(number)
    found = MIDDLES[draw.permutation(np.arange(rows) % 3)] + draw.normal(size=(rows, 2)) * [400.0, 5.0]
    return pa.table({name: found[:, at] for at, name in enumerate(COLUMNS)})


TABLES = {number: table_of(number) for number in range(1, OWNERS + 1)}


def run_of(step: Step, tables: Mapping[int, pa.Table] = TABLES, **more: Any) -> OwnersRun:
    return OwnersRun(COMPONENT, step, tables, **more)


def test_the_recipients_read_the_clusters_of_the_pooled_rows() -> None:
    run = run_of(step_of(min_cohort=2))
    found = run.result()
    assert found.columns == ("cluster", "rows", "inertia", "column", "centre")
    centres = np.array([float(str(row[4])) for row in found.rows]).reshape(3, 2)
    rows = np.column_stack([pa.concat_tables(TABLES.values())[name].to_numpy() for name in COLUMNS])
    scale = np.array([10_000.0, 100.5])
    distances = (((rows[:, None] - centres[None]) / scale) ** 2).sum(axis=2)
    codes = distances.argmin(axis=1)
    # A fixed point of Lloyd's algorithm: centres are the means of the rows nearest to them.
    for number, (row, centre) in enumerate(zip(found.rows[::2], centres, strict=True)):
        np.testing.assert_allclose(centre, rows[codes == number].mean(axis=0), rtol=1e-3)
        assert row[1] == np.count_nonzero(codes == number)
        assert float(str(row[2])) == pytest.approx(distances[codes == number, number].sum(), rel=1e-6)
    np.testing.assert_allclose(centres[centres[:, 0].argsort()], MIDDLES, rtol=0.1)
    assert (found.facts["rows"], found.facts["suppressed"], found.facts["settled"]) == (320, 0, True)
    assert float(str(found.facts["inertia"])) == pytest.approx(distances.min(axis=1).sum(), rel=1e-6)
    owner = run.outcome("owner-1")
    assert owner.groups is not None
    assert owner.groups.tolist() == codes[:80].tolist()
    assert (owner.cohort, owner.figures) == (min(int(str(row[1])) for row in found.rows), 3)


def test_a_later_attempt_begins_at_the_round_that_all_have_kept() -> None:
    assert COMPONENT.resumes
    first = run_of(step_of())
    (kept,) = {tuple(sorted(one.held)) for one in first.checkpoints}
    steps = first.result().facts["steps"]
    assert kept[-1] == 2 * int(str(steps)) + 2 == kept[0] + 1
    for number in kept:
        held = [Checkpoints(2, number, one.held) for one in first.checkpoints]
        later = run_of(step_of(), checkpoints=held)
        assert later.result() == first.result()
        assert later.meshes[0].channels[1].stats.rounds < first.meshes[0].channels[1].stats.rounds


def test_an_owner_that_is_gone_is_absent_and_everybody_says_so() -> None:
    run = run_of(step_of(), gone=(3,))
    facts = run.result().facts
    assert (facts["rows"], facts["absent"]) == (240, ["did:key:zowner-3"])
    for role in ("owner-1", "owner-2", "owner-4", "aggregator"):
        assert run.outcome(role).absent == ("owner-3",)


def test_rows_of_a_small_cluster_are_in_no_released_figure() -> None:
    far = pa.table({"debt": [9900.0] * 3, "age": [1.0] * 3})
    tables = {**TABLES, 1: pa.concat_tables([far, TABLES[1]])}
    run = run_of(step_of(clusters=12, rounds=2), tables)
    found, owner = run.result(), run.outcome("owner-1")
    assert min(int(str(row[1])) for row in found.rows) >= 20
    assert int(str(found.facts["suppressed"])) == 12 - len(found.rows) // 2
    assert owner.groups is not None
    shown = {int(str(row[0])) - 1 for row in found.rows}
    assert set(owner.groups.tolist()) <= shown | {LEFT_OUT}


def test_fewer_than_the_threshold_have_no_result() -> None:
    run = run_of(step_of(), gone=(2, 3))
    assert isinstance(run.ends["aggregator"], TooFewParties)
    assert not run.released()


def test_more_clusters_than_the_rows_allow_are_refused() -> None:
    run = run_of(step_of(clusters=17))
    assert isinstance(run.ends["aggregator"], InvalidInput)
    assert "at least 340 rows of all owners together, got 320" in str(run.ends["aggregator"])
    assert not run.released()


def test_an_owner_with_a_larger_minimum_of_its_own_takes_no_part() -> None:
    run = run_of(step_of(), minimum=21)
    assert isinstance(run.ends["owner-1"], JobFailed)
    assert "min_cohort of at least this owner's minimum" in str(run.ends["owner-1"])
    assert not run.released()


@pytest.mark.parametrize(
    "rules", [OutputRules(round_counts=10), OutputRules(p_percent=5), OutputRules(dominance_percent=90)]
)
def test_rules_that_cannot_be_kept_end_it(rules: OutputRules) -> None:
    run = run_of(step_of(), rules=rules)
    assert isinstance(run.ends["owner-1"], JobFailed)
    assert not run.released()


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_value_that_is_missing_or_not_finite_is_refused_at_its_owner(bad: float | None) -> None:
    debt = pa.array([bad, *[1.0] * 79], pa.float64())
    run = run_of(step_of(), {**TABLES, 2: TABLES[2].set_column(0, "debt", debt)})
    assert isinstance(run.ends["owner-2"], MissingValues)
    assert run.result().facts["absent"] == ["did:key:zowner-2"]


def test_releases_that_do_not_fit_are_refused() -> None:
    run = run_of(step_of())
    released = run.released()
    assert COMPONENT.open_result is not None
    model = canonical.decode(released["aggregator"])
    for change in (
        {"aggregator": canonical.encode({**model, "rows": [9, *model["rows"][1:]]})},
        {"aggregator": canonical.encode({**model, "present": model["present"][1:]})},
        {"owner-2": Held("0" * 64).encode()},
    ):
        with pytest.raises(JobFailed, match="another model"):
            COMPONENT.open_result(run.step, released | change)
    for change in ({"columns": ["age", "debt"]}, {"centres": model["centres"][1:]}, {"rows": []}):
        other = canonical.encode({**model, **change})
        told = {role: Held.of(other).encode() for role in released}
        with pytest.raises(JobFailed, match="other figures"):
            COMPONENT.open_result(run.step, told | {"aggregator": other})


@pytest.mark.parametrize(
    ("at", "params"),
    [
        ("clusters", {"clusters": 1}),
        ("clusters", {"clusters": 65}),
        ("seed", {"seed": -1}),
        ("rounds", {"rounds": 0}),
        ("threshold", {"threshold": 2}),
        ("min_cohort", {"min_cohort": 1}),
        ("bounds", {"bounds": {}}),
        ("bounds", {"bounds": {"debt": {"lower": "0", "upper": "1"}}}),
        ("bounds.debt", {"bounds": CHOSEN["bounds"] | {"debt": {"lower": "1", "upper": "1"}}}),
        ("bounds.debt", {"bounds": CHOSEN["bounds"] | {"debt": {"lower": "nan", "upper": "1"}}}),
        ("bounds.age", {"bounds": CHOSEN["bounds"] | {"age": {"lower": "0", "upper": "1.25"}}}),
    ],
    ids=str,
)
def test_parameters_are_refused_by_name(at: str, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=rf"params\.{at}"):
        step_of(**params)


def test_parameters_become_settings() -> None:
    found = agreed_by(step_of(rounds=7))
    assert (found.names, found.lower, found.upper) == (COLUMNS, (0.0, 0.0), (10_000.0, 100.5))
    assert (found.count, found.seed, found.least, found.rounds) == (3, 3, 20, 7)
    assert agreed_by(step_of()) == replace(found, rounds=50)


def test_specifications_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="who receives the clusters"):
        step_of(recipients=[])
    stated = {"parties": [f"did:key:zowner-{number}" for number in range(1, 5)], "threshold": 3}
    assert built_in().summary(spec_of())[0]["absences"] == stated


def test_clusters_of_rows_are_what_the_owner_allows() -> None:
    uses = [use for use in COMPONENT.uses(step_of()) if use.asset == "owner-2/t"]
    allowed = {name: {"*": "AFTER_AGGREGATE"} for name in COLUMNS}
    column_control.check(uses, allowed)
    with pytest.raises(ColumnControlExceeded):
        column_control.check(uses, allowed | {"age": {"*": "ENCRYPTED_ONLY"}})
    assert {use.viewer for use in uses} == {ANALYST} | {f"did:key:zowner-{number}" for number in (1, 3, 4)}


def test_the_estimate_states_what_is_sent_in_so_many_steps() -> None:
    # Of one round at most, so that the steps are known.
    step = step_of(rounds=1)
    run = run_of(step)
    assert COMPONENT.estimate is not None
    estimates = COMPONENT.estimate(step, dict.fromkeys(step.inputs, 80))
    for rank, role in enumerate(run.ranks):
        run.outcome(role)
        stats = [channel.stats for channel in run.meshes[rank].channels.values()]
        found = estimates[role]
        assert found.sent_bytes == sum(one.bytes_sent for one in stats)
        assert found.received_bytes == sum(one.bytes_received for one in stats)
        assert found.rounds == sum(one.rounds for one in stats)
