"""Every component states a plan; the plan of a job is checked whole, before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exchange.errors import InvalidRequest
from exchange.jobs.component import Component
from exchange.jobs.plans import column_uses, compile_job, steps_on
from exchange.jobs.registry import Registry, built_in
from exchange.jobs.spec import ColumnInput, JobSpec, Step, StepInput
from exchange.jobs.testing import ANALYST, BUREAU, LENDER, example_spec
from exchange.sql.testing import query_example
from policies import plans
from policies.column_control import Level
from policies.plans import Reveal, Source

SPEC = JobSpec.from_json(example_spec())
A, G, J, P = Level.AFTER_AGGREGATE, Level.AFTER_GROUP_BY, Level.AFTER_JOIN, Level.AS_JOIN_PAYLOAD


def with_plan(name: str, **change: Any) -> Registry:
    """The built-in components, with another plan for one of them."""
    return Registry(replace(c, **change) if c.name == name else c for c in built_in())


EXPRESSIONS = ("compute/expression", "compute/expression-aby3", "compute/expression-cheetah")
NUMBER = {"kind": "number", "lower": "0", "upper": "9"}
ASKED: dict[str, Any] = {
    "min_cohort": 10,
    "columns": {"owner1.owner0": NUMBER, "owner2.owner0": NUMBER},
    "figures": [{"name": "product", "figure": "sum", "of": "owner1.owner0 * owner2.owner0"}],
}
SINGLE = {*EXPRESSIONS, "psi/over-threshold", "stats/joint"}
PARAMS: dict[str, dict[str, Any]] = {
    "bridge/flower": {"app": "0" * 64, "arrays": [{"name": "a", "shape": [1]}], "model": "recipients"},
    "model/boosting": {"label": "owner0", "min_cohort": 10},
    "model/boosting-shared": {"label": "owner0", "min_cohort": 10},
    "model/evaluate": {
        "label": "owner0",
        "min_cohort": 10,
        "by": {"owner": "owner-2", "column": "owner1", "labels": ["a", "b"]},
    },
    "model/fedavg": {"label": "owner0", "family": "logistic", "model": "recipients"},
    "model/fedboost": {
        "label": "owner0",
        "model": "recipients",
        "bounds": {"owner1": {"lower": "0", "upper": "9"}},
        "min_cohort": 10,
    },
    "model/kmeans": {"bounds": {f"owner{i}": {"lower": "0", "upper": "9"} for i in range(2)}},
    "model/kmeans-columns": {
        "bounds": {
            f"owner-{n}": {f"owner{i}": {"lower": "0", "upper": "9"} for i in range(2)} for n in (1, 2)
        }
    },
    "model/linear": {"label": "owner0", "coefficients": "recipients", "min_cohort": 10},
    "model/poisson": {"label": "owner0", "coefficients": "recipients", "min_cohort": 10},
    "model/logistic": {"label": "owner0", "coefficients": "recipients", "min_cohort": 10},
    "model/network": {
        "label": "owner0",
        "family": "logistic",
        "coefficients": "recipients",
        "min_cohort": 10,
    },
    "model/score": {"scores": "owner-1", "min_cohort": 10},
    "model/score-network": {"min_cohort": 10},
    "model/score-trees": {"min_cohort": 10},
    "model/scorecard": {"label": "owner0", "coefficients": "recipients", "min_cohort": 10},
    "model/woe": {"label": "owner0", "iv": "recipients", "min_cohort": 10},
    "model/stability": {
        "expected": {"column": "owner0", "is": "<", "value": 1},
        "actual": {"column": "owner0", "is": ">", "value": 1},
        "min_cohort": 10,
    },
    "psi/many": {"receivers": "all"},
    "psi/sum": {"figures": "sum"},
    "stats/joint": {"min_cohort": 10, "measures": [{"column": "owner0", "statistics": ["sum"]}]},
    **dict.fromkeys(EXPRESSIONS, ASKED),
}
"""Of components whose plan depends on what is asked."""


def step_of(component: Component) -> Step:
    """A step in which each role reads as many columns as it must, and repeated roles are as few as may be."""
    if component.name.startswith("sql/"):
        return query_example(component.name)
    roles = [
        role if role not in component.repeated else f"{role}-{number + 1}"
        for role in component.roles
        for number in range(component.repeated.get(role, (1, 1))[0])
    ]
    given = [role for role in roles if component.roles[component.declared(role)] is not None]
    owners = dict(zip(given, (LENDER, BUREAU, "did:key:zThird"), strict=False))
    parties = owners | {role: ANALYST for role in roles if role not in owners}
    inputs = {}
    for role in given:
        declared = component.declared(role)
        taken = component.roles[declared]
        assert taken is not None
        count = max(taken.minimum, 2) if taken.maximum > 1 and component.name not in SINGLE else 1
        columns = tuple(ColumnInput(f"{declared}{i}", 0) for i in range(count))
        inputs[role] = StepInput(f"a/{role.replace('_', '-')}", columns)
    after = ("before",) if component.needs else ()
    params = PARAMS.get(component.name, {})
    return Step("step", component.name, component.version, parties, inputs, after, params, (ANALYST,))


@pytest.mark.parametrize("component", list(built_in()), ids=lambda component: str(component.name))
def test_every_registered_component_states_a_plan_that_reads_what_it_is_given(component: Component) -> None:
    assert component.plan is not None
    step = step_of(component)
    read = {
        (operator.asset, column)
        for operator in component.plan(step)
        if isinstance(operator, Source)
        for column in operator.columns
    }
    given = {(one.asset, column.name) for one in step.inputs.values() for column in one.columns}
    assert read == given
    assert {(use.asset, use.column) for use in component.uses(step)} == given


@pytest.mark.parametrize("component", list(built_in()), ids=lambda component: str(component.name))
def test_what_a_component_releases_of_a_column_is_in_its_plan(component: Component) -> None:
    """Whoever receives sees something of every column that the step reads and does not only match by."""
    step = step_of(component)
    seen = {use.column for use in component.uses(step) if use.viewer == ANALYST}
    shown = {
        column.name
        for role, one in step.inputs.items()
        for column in one.columns
        if getattr(component.roles[component.declared(role)], "level", None) is not Level.ENCRYPTED_ONLY
    }
    if component.name == "psi/shared":
        # What its columns hold stays in shares: recipients see how many rows match by the identifiers.
        shown = {"left0", "right0"}
    assert seen == shown


def test_the_plan_needs_no_more_than_the_declared_level_of_each_role() -> None:
    for step in SPEC.steps:
        component = built_in().get(step.component)
        levels = {
            given.asset: taken.level
            for role, given in step.inputs.items()
            if (taken := component.roles[role]) is not None
        }
        for use in component.uses(step):
            assert not use.viewer or levels[use.asset] in use.after, use


def test_who_sees_what_of_the_demo_job() -> None:
    found = {
        (use.column, use.viewer, frozenset(use.after)) for use in column_uses(SPEC, built_in()) if use.viewer
    }
    assert found == {
        ("customer_id", BUREAU, frozenset({J})),
        ("person_id", LENDER, frozenset({J})),
        ("person_id", LENDER, frozenset({J, A})),
        ("band", LENDER, frozenset({P, G, A})),
        ("customer_id", ANALYST, frozenset({J, A})),
        ("person_id", ANALYST, frozenset({J, A})),
        ("band", ANALYST, frozenset({P, G})),
        ("band", ANALYST, frozenset({P, G, A})),
        ("default", ANALYST, frozenset({P, A})),
    }


def test_a_step_that_only_selects_rows_by_an_asset_counts_as_a_step_on_it() -> None:
    assert [step.id for step in steps_on("bureau/people", SPEC, built_in())] == ["match", "stats"]
    assert steps_on("nobody/none", SPEC, built_in()) == ()


def test_a_component_without_a_plan_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"steps\.match\.component: expected a component that states"):
        compile_job(SPEC, with_plan("psi/ecdh", plan=None))
    assert replace(built_in().get("psi/ecdh"), plan=None).uses(SPEC.step("match")) == ()


def test_a_plan_that_leaves_an_input_out_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="expected columns that the plan reads, got customer_id"):
        compile_job(SPEC, with_plan("psi/ecdh", plan=lambda step: ()))


def test_a_plan_that_does_not_fit_together_is_refused() -> None:
    psi = built_in().get("psi/ecdh")
    assert psi.plan is not None
    plan = psi.plan
    broken = with_plan("psi/ecdh", plan=lambda step: (*plan(step), Reveal("elsewhere", (), (LENDER,))))
    for check in (column_uses, lambda spec, registry: steps_on("lender/loans", spec, registry)):
        with pytest.raises(InvalidRequest, match=r"plan\.elsewhere: expected a relation made before"):
            check(SPEC, broken)


def test_a_job_may_show_a_column_to_nobody() -> None:
    spec = example_spec()
    spec["steps"] = spec["steps"][:1]
    only = JobSpec.from_json(spec)
    psi = built_in().get("psi/ecdh")
    quiet = with_plan(
        "psi/ecdh",
        plan=lambda step: tuple(o for o in psi.plan(step) if not isinstance(o, Reveal)),  # type: ignore[misc]
    )
    assert {use.viewer for use in column_uses(only, quiet)} == {""}
    assert plans.uses(()) == ()


def many_and_query(**params: Any) -> JobSpec:
    """Three owners align rows, then compute over them."""
    spec = example_spec()
    owners = (LENDER, BUREAU, "did:key:zThird")
    match, query = spec["steps"][0], spec["steps"][1]
    inputs = [
        {"asset": f"a/owner{number}", "columns": [{"name": "person", "decimals": 0}]} for number in (1, 2, 3)
    ]
    roles = ("leader", "party-1", "party-2")
    match |= {
        "component": "psi/many",
        "parties": dict(zip(roles, owners, strict=True)),
        "inputs": dict(zip(roles, inputs, strict=True)),
        "params": {"normalise": {role: [] for role in roles}, "minimum_matches": 10, **params},
    }
    roles = ("owner-1", "owner-2", "owner-3")
    query |= {
        "component": "compute/expression",
        "parties": dict(zip(roles, owners, strict=True)),
        "inputs": dict(zip(roles, inputs, strict=True)),
        "params": {"columns": {f"owner{n}.person": NUMBER for n in (1, 2, 3)}, "min_cohort": 10},
    }
    return JobSpec.from_json(spec | {"steps": [match, query]})


def statistics_after(**match: Any) -> JobSpec:
    """Grouped sums after an intersection of two, of which fields are changed."""
    spec = example_spec()
    spec["steps"] = spec["steps"][:2]
    params = spec["steps"][0]["params"] | match.pop("params", {})
    spec["steps"][0] |= {**match, "params": params}
    return JobSpec.from_json(spec)


def test_a_step_after_rows_that_every_owner_has_aligned_passes() -> None:
    for spec in (
        many_and_query(receivers="all"),
        statistics_after(),
        statistics_after(params={"join": "inner", "receivers": "both"}),
        statistics_after(component="psi/rr22"),
    ):
        built_in().check(spec)


def test_a_step_after_rows_that_the_leader_alone_knows_is_refused_by_name() -> None:
    expected = (
        r"steps\.match\.params\.receivers: "
        "expected all, as step stats reads aligned rows of party-1, got leader"
    )
    with pytest.raises(InvalidRequest, match=expected):
        built_in().check(many_and_query(receivers="leader"))


@pytest.mark.parametrize("join", ["left", "right", "full"])
def test_a_step_after_a_join_that_keeps_unmatched_rows_is_refused_by_name(join: str) -> None:
    expected = (
        rf"steps\.match\.params\.join: expected inner, as step stats reads aligned rows of left, got {join}"
    )
    with pytest.raises(InvalidRequest, match=expected):
        built_in().check(statistics_after(params={"join": join}))


def test_a_step_after_an_intersection_that_one_owner_alone_learns_is_refused_by_name() -> None:
    alone = statistics_after(params={"receivers": "left"}, recipients=[LENDER])
    with pytest.raises(InvalidRequest, match=r"receivers: expected both, .* rows of right, got left"):
        built_in().check(alone)


def test_a_step_of_an_owner_who_took_no_part_before_is_refused_by_name() -> None:
    spec = example_spec()
    spec["steps"] = spec["steps"][:2]
    spec["steps"][1]["parties"]["group_holder"] = "did:key:zThird"
    expected = (
        r"steps\.stats\.parties\.group_holder: expected an owner whose rows step match aligns, "
        "got did:key:zThird"
    )
    with pytest.raises(InvalidRequest, match=expected):
        built_in().check(JobSpec.from_json(spec))


def test_a_step_that_reads_another_asset_than_the_rows_are_of_is_refused_by_name() -> None:
    spec = example_spec()
    spec["steps"] = spec["steps"][:2]
    asset = spec["steps"][1]["inputs"]["group_holder"]["asset"]
    spec["steps"][1]["inputs"]["group_holder"]["asset"] = f"{asset}-2"
    expected = rf"group_holder\.asset: expected {asset}, whose rows step match aligns, got {asset}-2"
    with pytest.raises(InvalidRequest, match=expected):
        built_in().check(JobSpec.from_json(spec))


def test_a_join_that_keeps_unmatched_rows_may_stand_alone() -> None:
    spec = statistics_after(params={"join": "left"})
    built_in().check(replace(spec, steps=spec.steps[:1]))
