"""Boosted trees over owners' rows as a step of a job: of pooled rows, who is in them, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from connectors.errors import MissingValues
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Outcome
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.fedboost.component import COMPONENT, agreed_by
from exchange.jobs.fedboost.model import JointTrees
from exchange.jobs.horizontal import Held
from exchange.jobs.joint_model import READER
from exchange.jobs.registry import built_in
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, OwnersRun
from federated.boosting import Objective, Settings
from federated.horizontal.boosting import SPEC
from mpc.errors import InvalidInput, TooFewParties, ValueOutOfRange
from policies import column_control
from policies.errors import ColumnControlExceeded

ANALYST = "did:key:zAnalyst"
OWNERS = 4
COLUMNS = ("debt", "late", "income")
BOUNDS = {"debt": {"lower": "0", "upper": "8000"}, "income": {"lower": "0", "upper": "5000.5"}}
CHOSEN: dict[str, Any] = {
    "label": "late",
    "bounds": BOUNDS,
    "model": "recipients",
    "min_cohort": 20,
    "threshold": 3,
    "patience_s": 4,
    "trees": 2,
    "depth": 2,
    "bins": 8,
}


def spec_of(owners: int = OWNERS, recipients: list[str] | None = None, **params: Any) -> JobSpec:
    roles = [f"owner-{number}" for number in range(1, owners + 1)]
    step = {
        "id": "train",
        "component": "model/fedboost",
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
    debt, income = draw.normal(4000, 1500, rows).round(1), draw.normal(2500, 700, rows).round(1)
    fitted = np.where(debt > 4200, 2.0, -1.5) + np.where(income > 2600, -1.0, 1.0)
    late = (draw.random(rows) < 1 / (1 + np.exp(-fitted))).astype(np.int64)
    return pa.table({"debt": debt, "late": late, "income": income})


TABLES = {number: table_of(number) for number in range(1, OWNERS + 1)}


def run_of(step: Step, tables: Mapping[int, pa.Table] = TABLES, **more: Any) -> OwnersRun:
    return OwnersRun(COMPONENT, step, tables, **more)


def replayed(found: ResultTable, table: pa.Table, trees: int) -> NDArray[np.float64]:
    """Go down the trees as a reader has them, and check the rows of every node: the margins."""
    nodes = {(row[0], row[1]): row[2:] for row in found.rows}
    margins = np.full(len(table), float(str(found.facts["base"])))
    for tree in range(1, trees + 1):
        for node in sorted(node for number, node in nodes if number == tree):
            at = np.ones(len(table), dtype=bool)
            for ancestor in (node >> up for up in range(node.bit_length() - 1, 0, -1)):
                name, threshold = nodes[tree, ancestor][:2]
                goes_right = table[name].to_numpy() >= float(threshold)
                at &= goes_right == bool(node >> (node.bit_length() - ancestor.bit_length() - 1) & 1)
            column, _, _, weight, rows = nodes[tree, node]
            assert rows == np.count_nonzero(at)
            if column is None:
                margins[at] += float(weight)
    return margins


def test_the_recipients_read_trees_that_explain_the_pooled_rows() -> None:
    run = run_of(step_of())
    found = run.result()
    assert found.columns == ("tree", "node", "column", "threshold", "gain", "weight", "rows")
    pooled = pa.concat_tables(TABLES.values())
    label = pooled["late"].to_numpy()
    margins = replayed(found, pooled, 2)
    loss = np.mean(np.logaddexp(0, margins) - label * margins)
    losses = [float(one) for one in found.facts["losses"]]
    assert losses[-1] == pytest.approx(loss, abs=1e-9)
    mean = label.mean()
    assert losses[0] == pytest.approx(-mean * np.log(mean) - (1 - mean) * np.log(1 - mean), abs=1e-9)
    assert losses[2] < losses[1] < losses[0]
    assert {row[2] for row in found.rows} == {"debt", "income", None}
    assert min(row[6] for row in found.rows) >= 20
    assert (found.facts["rows"], found.facts["absent"], found.facts["objective"]) == (320, [], "logistic")
    owner = run.outcome("owner-1")
    assert (owner.cohort, owner.figures, owner.absent) == (min(row[6] for row in found.rows), 1, ())
    assert {run.outcome(f"owner-{number}").local for number in range(1, 5)} == {
        run.outcome("aggregator").release
    }


def test_a_number_is_explained_in_its_own_units() -> None:
    bounds = BOUNDS | {"late": {"lower": "-1000", "upper": "3000"}}
    tables = {}
    for number, table in TABLES.items():
        amount = np.where(table["debt"].to_numpy() > 4200, 1000.0, -500.0) + 3.0 * number
        tables[number] = table.set_column(1, "late", pa.array(amount))
    found = run_of(
        step_of(objective="squared", bounds=bounds, rate_micro=1_000_000, l2_micro=0), tables
    ).result()
    pooled = pa.concat_tables(tables.values())
    label = pooled["late"].to_numpy()
    assert float(found.facts["base"]) == pytest.approx(label.mean(), abs=1e-3)
    margins = replayed(found, pooled, 2)
    assert np.mean((margins - label) ** 2) < 0.2 * label.var()
    # Losses are those of the label scaled by its bounds.
    assert float(found.facts["losses"][-1]) == pytest.approx(
        np.mean((margins - label) ** 2) / 2 / 4000**2, rel=1e-4
    )


def test_an_owner_that_is_gone_is_absent_and_everybody_says_so() -> None:
    run = run_of(step_of(), gone=(3,))
    facts = run.result().facts
    assert (facts["rows"], facts["absent"]) == (240, ["did:key:zowner-3"])
    for role in ("owner-1", "owner-2", "owner-4", "aggregator"):
        assert run.outcome(role).absent == ("owner-3",)


def test_of_trees_of_the_owners_the_recipients_read_how_training_went() -> None:
    run = run_of(step_of(model="owners"))
    found = run.result()
    assert (found.columns, len(found.rows)) == (("tree", "loss"), 3)
    assert JointTrees.decode(run.released()["aggregator"]).nodes == ()
    context: Any = type("Context", (), {"earlier": {"train": run.outcome("owner-2").local}})
    context.step, context.before = replace(run.step, after=("train",)), {"train": run.step}
    files = READER.run(context).files
    assert files["table.csv"].startswith(b"tree,node,column,threshold,gain,weight,rows")
    assert b"income" in files["table.csv"]


def test_fewer_than_the_threshold_have_no_result() -> None:
    run = run_of(step_of(), gone=(2, 3))
    assert isinstance(run.ends["aggregator"], TooFewParties)
    assert not any(isinstance(end, Outcome) for end in run.ends.values())


def test_fewer_rows_than_a_split_needs_are_refused() -> None:
    run = run_of(step_of(min_cohort=50), {number: table_of(number, 80) for number in TABLES})
    assert run.result().facts["rows"] == 320
    few = run_of(
        step_of(min_cohort=50), {number: table_of(number, 50 if number < 2 else 49) for number in TABLES}
    )
    assert isinstance(few.ends["owner-2"], JobFailed)
    assert not few.released()


def test_one_class_at_all_owners_is_refused() -> None:
    tables = {number: table.set_column(1, "late", pa.array([1] * 80)) for number, table in TABLES.items()}
    run = run_of(step_of(), tables)
    assert isinstance(run.ends["aggregator"], InvalidInput)
    assert "of one class" in str(run.ends["aggregator"])
    assert not run.released()


def test_a_label_that_is_no_label_is_refused_at_its_owner() -> None:
    run = run_of(step_of(), {**TABLES, 2: TABLES[2].set_column(1, "late", pa.array([2] * 80))})
    assert isinstance(run.ends["owner-2"], ValueOutOfRange)
    assert run.result().facts["absent"] == ["did:key:zowner-2"]


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_value_that_is_missing_or_not_finite_is_refused_at_its_owner(bad: float | None) -> None:
    debt = pa.array([bad, *[1.0] * 79], pa.float64())
    run = run_of(step_of(), {**TABLES, 2: TABLES[2].set_column(0, "debt", debt)})
    assert isinstance(run.ends["owner-2"], MissingValues)
    assert run.result().facts["absent"] == ["did:key:zowner-2"]


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


def test_releases_that_do_not_fit_are_refused() -> None:
    run = run_of(step_of())
    released = run.released()
    assert COMPONENT.open_result is not None
    trees = JointTrees.decode(released["aggregator"])
    for change in (
        {"aggregator": replace(trees, base="0.5").encode()},
        {"aggregator": replace(trees, present=trees.present[1:]).encode()},
        {"owner-2": Held("0" * 64).encode()},
    ):
        with pytest.raises(JobFailed, match="another model"):
            COMPONENT.open_result(run.step, released | change)

    def opened(other: JointTrees) -> None:
        told = dict.fromkeys(trees.present, Held.of(other.encode()).encode())
        assert COMPONENT.open_result is not None
        COMPONENT.open_result(run.step, told | {"aggregator": other.encode()})

    for other in (trees.without_trees(), replace(trees, columns=("income", "debt", "late"))):
        with pytest.raises(JobFailed, match="other figures"):
            opened(other)
    for other in (
        replace(trees, weights=trees.weights[1:]),
        replace(trees, thresholds=(*trees.thresholds, "1")),
        replace(trees, split=(3, *trees.split[1:])),
        replace(trees, split=(-1, *trees.split[1:])),
    ):
        with pytest.raises(JobFailed, match="expected the numbers of"):
            opened(other)


@pytest.mark.parametrize(
    ("at", "params"),
    [
        ("threshold", {"threshold": 2}),
        ("min_cohort", {"min_cohort": 1}),
        ("label", {"label": "age"}),
        ("model", {"model": "everybody"}),
        ("objective", {"objective": "poisson"}),
        ("objective", {"objective": "softmax"}),
        ("trees", {"trees": 0}),
        ("trees", {"trees": 400, "depth": 6}),
        ("depth", {"depth": 9}),
        ("bins", {"bins": 65}),
        ("rate_micro", {"rate_micro": 999}),
        ("l2_micro", {"l2_micro": -1}),
        ("columns_percent", {"columns_percent": 0}),
        ("gamma_micro", {"gamma_micro": True}),
        ("bounds", {"bounds": {}}),
        ("bounds", {"bounds": BOUNDS | {"late": BOUNDS["debt"]}}),
        ("bounds", {"objective": "squared"}),
        ("bounds.debt", {"bounds": BOUNDS | {"debt": {"lower": "1", "upper": "1"}}}),
        ("bounds.income", {"bounds": BOUNDS | {"income": {"lower": "0", "upper": "1.25"}}}),
    ],
    ids=str,
)
def test_parameters_are_refused_by_name(at: str, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=rf"params\.{at}"):
        step_of(**params)


def test_more_sums_than_a_round_can_have_are_refused() -> None:
    spec = spec_of(depth=8, bins=64, trees=1)
    columns = tuple(replace(spec.steps[0].inputs["owner-1"].columns[0], name=f"c{i}") for i in range(44))
    bounds = {f"c{i}": {"lower": "0", "upper": "1"} for i in range(1, 44)}
    step = replace(
        spec.steps[0],
        inputs={role: replace(one, columns=columns) for role, one in spec.steps[0].inputs.items()},
        params={**spec.steps[0].params, "label": "c0", "bounds": bounds},
    )
    with pytest.raises(InvalidRequest, match=r"params\.bins: expected at most 1048576 sums of a level"):
        COMPONENT.check(spec, step)


def test_parameters_become_settings() -> None:
    found = agreed_by(step_of(rate_micro=250_000, l2_micro=0, gamma_micro=500_000))
    assert found.names == ("debt", "income", "late")
    assert (found.lower, found.upper) == ((0.0, 0.0, 0.0), (8000.0, 5000.5, 1.0))
    assert found.settings == Settings(
        Objective.LOGISTIC, trees=2, depth=2, rate=0.25, l2=0.0, gamma=0.5, bins=8
    )
    assert (found.least, found.percent) == (20, 100)
    assert agreed_by(step_of(columns_percent=50)) == replace(agreed_by(step_of()), percent=50)


def test_specifications_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="who receives the trees"):
        step_of(recipients=[])
    assert step_of(model="owners", recipients=[]).recipients == ()
    stated = {"parties": [f"did:key:zowner-{number}" for number in range(1, 5)], "threshold": 3}
    assert built_in().summary(spec_of())[0]["absences"] == stated


@pytest.mark.parametrize("model", ["owners", "recipients"])
def test_trees_over_rows_are_what_the_owner_allows(model: str) -> None:
    uses = [use for use in COMPONENT.uses(step_of(model=model)) if use.asset == "owner-2/t"]
    allowed = {name: {"*": "AFTER_AGGREGATE"} for name in COLUMNS}
    column_control.check(uses, allowed)
    with pytest.raises(ColumnControlExceeded):
        column_control.check(uses, allowed | {"income": {"*": "ENCRYPTED_ONLY"}})
    assert {use.viewer for use in uses} == {ANALYST} | {f"did:key:zowner-{number}" for number in (1, 3, 4)}


def test_the_claim_names_what_the_aggregator_learns() -> None:
    assert COMPONENT.protocol is SPEC
    assert any("in each bin of each column" in one for one in SPEC.leaks["aggregator"])
    assert not any("in each bin" in one for one in SPEC.leaks["owner"])


@pytest.mark.parametrize("percent", [100, 50])
def test_the_estimate_states_what_is_sent_where_trees_grow_to_their_depth(percent: int) -> None:
    # One split of two bins, so that bins and nodes are known.
    step = step_of(depth=1, bins=2, columns_percent=percent)
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
