"""Federated averaging as a step of a job: the model of pooled rows, who is in it, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Outcome
from exchange.jobs.disclosure import Dominated, OutputRules, RoundTo
from exchange.jobs.fedavg.component import COMPONENT, settings_of
from exchange.jobs.fedavg.model import JointModel
from exchange.jobs.horizontal import Held
from exchange.jobs.joint_model import READER
from exchange.jobs.noise import NoiseUnavailable
from exchange.jobs.registry import built_in
from exchange.jobs.sampled_gaussian import steps_loss
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, OwnersRun
from exchange.node.budgets import loss_of
from federated.horizontal import SPEC, Family, Guard
from ledger.rules.budgets import epsilon
from mpc.errors import ModelRefused, TooFewParties, ValueOutOfRange
from policies import column_control
from policies.errors import ColumnControlExceeded
from policies.plans import Aggregate

ANALYST = "did:key:zAnalyst"
OWNERS = 4
COLUMNS = ("debt", "late", "income")
CHOSEN: dict[str, Any] = {
    "label": "late",
    "family": "logistic",
    "model": "recipients",
    "min_cohort": 20,
    "threshold": 3,
    "patience_s": 4,
    "rounds": 3,
    "rate_micro": 300_000,
}
GUARD = {"held_out_percent": 25, "worse_micro": 150_000}
PRIVACY: dict[str, Any] = {
    "epsilon_micro": 8_000_000,
    "delta_exponent": 5,
    "noise_micro": 1_500_000,
    "sample_micro": 200_000,
    "steps": 4,
    "clip_micro": 1_000_000,
    "bounds": {"debt": {"lower": "0", "upper": "8000"}, "income": {"lower": "0", "upper": "5000"}},
}


def spec_of(owners: int = OWNERS, recipients: list[str] | None = None, **params: Any) -> JobSpec:
    roles = [f"owner-{number}" for number in range(1, owners + 1)]
    step = {
        "id": "train",
        "component": "model/fedavg",
        "version": 1,
        "parties": {"aggregator": ANALYST} | {role: f"did:key:z{role}" for role in roles},
        "inputs": {
            role: {"asset": f"{role}/t", "columns": [{"name": one, "decimals": 2} for one in COLUMNS]}
            for role in roles
        },
        "after": [],
        "params": {name: value for name, value in (CHOSEN | params).items() if value is not None},
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
    debt, income = draw.normal(4000, 1500, rows).round(2), draw.normal(2500, 700, rows).round(2)
    fitted = (debt - 4000) / 1500 - (income - 2500) / 700
    late = (draw.random(rows) < 1 / (1 + np.exp(-fitted))).astype(np.int64)
    return pa.table({"debt": debt, "late": late, "income": income})


TABLES = {number: table_of(number) for number in range(1, OWNERS + 1)}


class Run(OwnersRun):
    """One run of all roles."""

    def __init__(self, step: Step, tables: Mapping[int, pa.Table] = TABLES, **more: Any) -> None:
        super().__init__(COMPONENT, step, tables, **more)


def pooled(numbers: tuple[int, ...]) -> tuple[list[float], NDArray[np.float64]]:
    """Means and Newton's coefficients of standardised columns, the intercept first."""
    table = pa.concat_tables([TABLES[number] for number in numbers])
    columns = [table[name].to_numpy() for name in ("debt", "income")]
    x = np.vstack([np.ones(len(table)), *((one - one.mean()) / one.std() for one in columns)])
    y, w = table["late"].to_numpy(), np.zeros(3)
    for _ in range(30):
        p = 1 / (1 + np.exp(-w @ x))
        w -= np.linalg.solve((x * (p * (1 - p))) @ x.T, x @ (p - y))
    return [float(one.mean()) for one in columns], w


def test_the_recipients_read_the_model_of_the_pooled_rows() -> None:
    run = Run(step_of(rounds=20, batch=16))
    found = run.result()
    means, weights = pooled((1, 2, 3, 4))
    assert found.columns == ("layer", "input", "unit", "weight", "mean", "deviation")
    assert [row[:3] for row in found.rows] == [(1, "(intercept)", 1), (1, "debt", 1), (1, "income", 1)]
    np.testing.assert_allclose([float(row[3]) for row in found.rows], weights, atol=0.15)
    np.testing.assert_allclose([float(row[4]) for row in found.rows[1:]], means, rtol=1e-9)
    assert (found.facts["rows"], found.facts["absent"], len(found.facts["losses"])) == (320, [], 21)
    owner = run.outcome("owner-1")
    assert (owner.cohort, owner.figures, owner.absent) == (80, 1, ())
    assert run.outcome("aggregator").cohort == 320
    assert {run.outcome(f"owner-{number}").local for number in range(1, 5)} == {
        run.outcome("aggregator").release
    }


def test_an_owner_that_is_gone_is_absent_and_everybody_says_so() -> None:
    run = Run(step_of(), gone=(3,))
    facts = run.result().facts
    assert (facts["rows"], facts["absent"]) == (240, ["did:key:zowner-3"])
    for role in ("owner-1", "owner-2", "owner-4", "aggregator"):
        assert run.outcome(role).absent == ("owner-3",)


def test_of_a_model_of_the_owners_the_recipients_read_how_training_went() -> None:
    run = Run(step_of(model="owners", hidden=[2], min_cohort=20), minimum=21)
    found = run.result()
    assert found.columns == ("round", "loss")
    assert len(found.rows) == 4
    release = JointModel.decode(run.outcome("aggregator").release or b"")
    assert release.parameters == release.means == release.deviations == ()
    context: Any = type("Context", (), {"earlier": {"train": run.outcome("owner-2").local}})
    context.step, context.before = replace(run.step, after=("train",)), {"train": run.step}
    files = READER.run(context).files
    assert files["table.csv"].decode().count("\n") == 1 + 2 * 3 + 3
    assert b'"unit 2"' in files["result.json"]


def test_fewer_than_the_threshold_have_no_result() -> None:
    run = Run(step_of(), gone=(2, 3))
    assert isinstance(run.ends["aggregator"], TooFewParties)
    assert not any(isinstance(end, Outcome) for end in run.ends.values())


def test_an_owner_below_its_own_minimum_leaves_and_the_others_go_on() -> None:
    run = Run(step_of(), {**TABLES, 2: table_of(2, 19)})
    assert isinstance(run.ends["owner-2"], JobFailed)
    assert run.result().facts["absent"] == ["did:key:zowner-2"]
    nobody = Run(step_of(), minimum=81)
    assert not any(isinstance(end, Outcome) for end in nobody.ends.values())


def test_fewer_rows_than_the_parameters_need_are_refused() -> None:
    run = Run(step_of(hidden=[10]))
    assert not any(isinstance(end, Outcome) for end in run.ends.values())
    assert "at least 410 rows" in str(run.ends["aggregator"])


def test_a_label_that_is_no_label_is_refused_at_its_owner() -> None:
    late = pa.array([2] * 80, pa.int64())
    run = Run(step_of(), {**TABLES, 2: TABLES[2].set_column(1, "late", late)})
    assert isinstance(run.ends["owner-2"], ValueOutOfRange)
    assert run.result().facts["absent"] == ["did:key:zowner-2"]


def test_the_rules_of_an_owner_hold() -> None:
    closed = Run(step_of(), rules=OutputRules(p_percent=99, dominance_percent=1))
    assert isinstance(closed.ends["owner-1"], Dominated)
    counted = Run(step_of(), rules=OutputRules(round_counts=10))
    assert isinstance(counted.ends["owner-1"], JobFailed)
    rounded = Run(step_of(), rules=OutputRules(round_to=(RoundTo("debt", "1000"),))).result()
    assert (float(rounded.rows[1][4]) * 320) % 1000 == pytest.approx(0, abs=1e-4)


def test_releases_that_do_not_fit_are_refused() -> None:
    run = Run(step_of())
    released = run.released()
    assert COMPONENT.open_result is not None
    model = JointModel.decode(released["aggregator"])
    nudged = replace(model, parameters=("0.5", *model.parameters[1:]))
    fewer = replace(model, present=model.present[:-1])
    for change in (
        {"aggregator": nudged.encode()},
        {"aggregator": fewer.encode()},
        {"owner-2": Held("0" * 64).encode()},
    ):
        with pytest.raises(JobFailed, match="another model"):
            COMPONENT.open_result(run.step, released | change)
    with pytest.raises(JobFailed, match="another model"):
        COMPONENT.open_result(run.step, {role: one for role, one in released.items() if role != "owner-2"})
    for other in (model.without_parameters(), replace(model, columns=("a", "b", "late"))):
        told = dict.fromkeys(model.present, Held.of(other.encode()).encode())
        with pytest.raises(JobFailed, match="other figures"):
            COMPONENT.open_result(run.step, told | {"aggregator": other.encode()})
    short = replace(model, parameters=model.parameters[1:])
    told = dict.fromkeys(model.present, Held.of(short.encode()).encode())
    with pytest.raises(JobFailed, match="expected the numbers of 2 columns"):
        COMPONENT.open_result(run.step, told | {"aggregator": short.encode()})
    with pytest.raises(InvalidRequest):
        Held.decode(Held("short").encode())


def test_an_owner_whose_rows_go_against_the_model_is_absent() -> None:
    tables = {number: table_of(number, 400) for number in TABLES}
    late = pa.array(1 - tables[2]["late"].to_numpy())
    tables[2] = tables[2].set_column(1, "late", late)
    run = Run(step_of(rounds=10, batch=16, guard=GUARD), tables)
    assert isinstance(run.ends["owner-2"], ModelRefused)
    facts = run.result().facts
    assert (facts["rows"], facts["absent"]) == (1200, ["did:key:zowner-2"])
    assert settings_of(step_of(guard=GUARD)).guard == Guard(25, 0.15)


# private rows


def test_a_model_of_private_rows_states_what_it_spends_and_shows_no_joint_mean() -> None:
    pytest.importorskip("opendp")
    step = step_of(rounds=5, rate_micro=1_000_000, privacy=PRIVACY)
    run = Run(step)
    found = run.result()
    loss = COMPONENT.spends(step)
    assert loss is not None
    assert loss == steps_loss(1_500_000, 200_000, 20)
    spent = found.facts["privacy"]
    assert isinstance(spent, dict)
    assert spent["epsilon_micro"] == epsilon(loss, 5) <= 8_000_000
    assert (spent["delta_exponent"], spent["noise_micro"], spent["steps"]) == (5, 1_500_000, 20)
    # The scales are those of the bounds, whatever the rows are.
    assert [row[4:] for row in found.rows[1:]] == [("4000", "4000"), ("2500", "2500")]
    assert found.facts["losses"] == []
    assert not run.outcome("owner-1").is_exact
    assert COMPONENT.spends(step_of()) is None
    assert Run(step_of()).outcome("owner-1").is_exact


def test_private_rows_still_tell_which_columns_matter() -> None:
    """Little noise, many rows: the weights have the signs that pooled rows give."""
    pytest.importorskip("opendp")
    tables = {number: table_of(number, 2_000) for number in TABLES}
    step = step_of(rounds=10, rate_micro=2_000_000, privacy=PRIVACY)
    weights = [float(str(row[3])) for row in Run(step, tables).result().rows]
    assert weights[1] > 0.5
    assert weights[2] < -0.5


def test_noise_that_is_too_little_is_refused_with_the_least_that_is_enough() -> None:
    with pytest.raises(InvalidRequest, match="noise_micro") as told:
        step_of(rounds=5, privacy=PRIVACY | {"noise_micro": 700_000, "epsilon_micro": 2_000_000})
    least = int(str(told.value).split("expected ")[1].split(" or more")[0])
    enough = PRIVACY | {"noise_micro": least, "epsilon_micro": 2_000_000}
    step_of(rounds=5, privacy=enough)
    with pytest.raises(InvalidRequest):
        step_of(rounds=5, privacy=enough | {"noise_micro": least - 1})


def test_a_delta_that_gives_away_a_row_is_refused_at_the_owner() -> None:
    step = step_of(rounds=1, privacy=PRIVACY | {"delta_exponent": 1})
    run = Run(step)
    assert "delta below one in the rows" in str(run.ends["owner-1"])
    assert not run.released()


def test_without_the_package_that_makes_noise_nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opendp.prelude", None)
    run = Run(step_of(privacy=PRIVACY))
    assert isinstance(run.ends["owner-1"], NoiseUnavailable)
    assert not run.released()


def test_a_step_without_recipients_is_held_against_a_budget() -> None:
    """Owners and aggregator learn the model all the same."""
    registry = built_in()
    exact = spec_of(model="owners", recipients=[])
    assert loss_of(exact, "owner-1/t", registry) is None
    private = spec_of(model="owners", recipients=[], privacy=PRIVACY)
    assert loss_of(private, "owner-1/t", registry) == list(steps_loss(1_500_000, 200_000, 12))


@pytest.mark.parametrize(
    ("at", "params"),
    [
        ("threshold", {"threshold": 2}),
        ("threshold", {"threshold": 5}),
        ("min_cohort", {"min_cohort": 1}),
        ("patience_s", {"patience_s": 0}),
        ("label", {"label": "age"}),
        ("family", {"family": "poisson"}),
        ("model", {"model": "everybody"}),
        ("rounds", {"rounds": 0}),
        ("epochs", {"epochs": 101}),
        ("batch", {"batch": True}),
        ("rate_micro", {"rate_micro": 99}),
        ("mu_micro", {"mu_micro": -1}),
        ("clip_micro", {"clip_micro": 17_000_000}),
        ("hidden", {"hidden": []}),
        ("hidden", {"hidden": [0]}),
        ("hidden", {"hidden": ["4"]}),
        ("hidden", {"hidden": [100, 100]}),
        ("guard", {"guard": {}}),
        ("guard.held_out_percent", {"guard": GUARD | {"held_out_percent": 0}}),
        ("guard.worse_micro", {"guard": GUARD | {"worse_micro": 999}}),
        ("guard", {"guard": GUARD, "privacy": {"steps": 2}}),
        ("privacy", {"privacy": {}}),
        ("privacy.noise_micro", {"privacy": {"noise_micro": 299_999}}),
        ("privacy.noise_micro", {"privacy": {"noise_micro": 300_000}}),
        ("privacy.epsilon_micro", {"privacy": {"epsilon_micro": 1_000}}),
        ("privacy.noise_micro", {"privacy": {"epsilon_micro": 20_000}}),
        ("privacy.epsilon_micro", {"privacy": {"epsilon_micro": 0}}),
        ("privacy.delta_exponent", {"privacy": {"delta_exponent": 0}}),
        ("privacy.clip_micro", {"privacy": {"clip_micro": 0}}),
        ("privacy.clip_micro", {"privacy": {"clip_micro": -1_000_000}}),
        ("privacy.sample_micro", {"privacy": {"sample_micro": 0}}),
        ("privacy.sample_micro", {"privacy": {"sample_micro": 1_000_001}}),
        ("privacy.steps", {"privacy": {"steps": 1_001}}),
        ("privacy.bounds", {"privacy": {"bounds": {}}}),
        ("privacy.bounds", {"privacy": {"bounds": PRIVACY["bounds"] | {"late": PRIVACY["bounds"]["debt"]}}}),
        ("privacy.bounds", {"family": "linear", "privacy": {"steps": 2}}),
        ("epochs", {"privacy": {"steps": 2}, "epochs": 2}),
        ("batch", {"privacy": {"steps": 2}, "batch": 2}),
    ],
    ids=str,
)
def test_parameters_are_refused_by_name(at: str, params: dict[str, Any]) -> None:
    if params.get("privacy"):
        params = params | {"privacy": PRIVACY | params["privacy"]}
    with pytest.raises(InvalidRequest, match=rf"params\.{at}"):
        step_of(**params)


def test_parameters_become_settings() -> None:
    found = settings_of(step_of(hidden=[3, 2], mu_micro=250_000, clip_micro=500_000, epochs=2, batch=16))
    assert found == replace(settings_of(step_of()), hidden=(3, 2), mu=0.25, clip=0.5, epochs=2, batch=16)
    assert (found.family, found.rate, found.rounds) == (Family.LOGISTIC, 0.3, 3)


def test_specifications_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="who receives the model"):
        step_of(recipients=[])
    assert step_of(model="owners", recipients=[]).recipients == ()
    for owners in (2, 31):
        with pytest.raises(InvalidRequest, match="3 to 30"):
            step_of(owners, threshold=16)
    spec = spec_of()
    step = spec.steps[0]
    other = replace(step.inputs["owner-2"], columns=step.inputs["owner-2"].columns[:2])
    changed = replace(step, inputs={**step.inputs, "owner-2": other})
    with pytest.raises(InvalidRequest, match=r"inputs\.owner-2\.columns"):
        COMPONENT.check(spec, changed)
    twice = replace(step.inputs["owner-1"], columns=step.inputs["owner-1"].columns[:1] * 2)
    with pytest.raises(InvalidRequest, match="each column once"):
        COMPONENT.check(spec, replace(step, inputs={**step.inputs, "owner-1": twice}))


def test_a_submission_states_who_may_be_absent() -> None:
    stated = {"parties": [f"did:key:zowner-{number}" for number in range(1, 5)], "threshold": 3}
    assert built_in().summary(spec_of())[0]["absences"] == stated


@pytest.mark.parametrize("model", ["owners", "recipients"])
def test_a_fit_over_rows_is_what_the_owner_allows(model: str) -> None:
    uses = [use for use in COMPONENT.uses(step_of(model=model)) if use.asset == "owner-2/t"]
    allowed = {name: {"*": "AFTER_AGGREGATE"} for name in COLUMNS}
    column_control.check(uses, allowed)
    with pytest.raises(ColumnControlExceeded):
        column_control.check(uses, allowed | {"income": {"*": "ENCRYPTED_ONLY"}})
    assert {use.viewer for use in uses} == {ANALYST} | {f"did:key:zowner-{number}" for number in (1, 3, 4)}


def test_private_rows_have_a_plan_without_means_and_losses() -> None:
    def figures(**params: Any) -> set[str]:
        assert COMPONENT.plan is not None
        made = [one for one in COMPONENT.plan(step_of(**params)) if isinstance(one, Aggregate)]
        return {name for one in made for name, _, _ in one.figures}

    assert figures(privacy=PRIVACY) == {"rows", "model"}
    assert figures() >= {"rows", "model", "losses", "mean debt", "variance late"}


def test_the_claim_names_what_the_aggregator_learns() -> None:
    assert COMPONENT.protocol is SPEC
    assert any("the model after every round" in one for one in SPEC.leaks["aggregator"])


def test_the_estimate_states_what_is_sent() -> None:
    step = step_of()
    run = Run(step)
    assert COMPONENT.estimate is not None
    estimates = COMPONENT.estimate(step, dict.fromkeys(step.inputs, 80))
    for rank, role in enumerate(run.ranks):
        assert isinstance(run.ends[role], Outcome)
        stats = [channel.stats for channel in run.meshes[rank].channels.values()]
        found = estimates[role]
        assert found.sent_bytes == sum(one.bytes_sent for one in stats)
        assert found.received_bytes == sum(one.bytes_received for one in stats)
        assert found.rounds == sum(one.rounds for one in stats)
