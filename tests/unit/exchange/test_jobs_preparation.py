"""Preparation as a step of a job: what recipes make, what is refused, and models on what was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.correlation import COMPONENT as CORRELATION
from exchange.jobs.preparation.component import COMPONENT
from exchange.jobs.preparation.prepared import Prepared
from exchange.jobs.registry import built_in
from exchange.jobs.regression.component import LINEAR
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, nothing_lent
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_outcomes, run_mesh

Table = Mapping[str, Any]
RNG = np.random.default_rng(23)
ROWS = 400
INCOME = RNG.normal(3000, 900, ROWS)
HOLED = np.where(RNG.random(ROWS) < 0.1, np.nan, INCOME)
REGION = RNG.choice(["north", "south", "west"], ROWS)
AGE = RNG.integers(18, 80, ROWS)
LOSS = INCOME / 100 + AGE + 10 * (REGION == "south") + RNG.normal(size=ROWS)
FIRST: Table = {"loss": LOSS, "income": HOLED}
SECOND: Table = {"region": REGION, "age": AGE}
SESSION = b"s" * 32
ANALYST = "did:key:zAnalyst"
LABELS = ["north", "south", "west"]
RECIPES: dict[str, Any] = {
    "owner-1": {"income": {"kind": "number", "missing": "median", "indicator": True, "scale": "standard"}},
    "owner-2": {"region": {"kind": "category", "labels": LABELS, "baseline": "west"}},
}


def inputs(first: Sequence[str], second: Sequence[str]) -> dict[str, Any]:
    return {
        role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
        for role, names in {"owner-1": first, "owner-2": second}.items()
    }


def spec_of(
    recipes: Mapping[str, Any] = RECIPES, *, last: Mapping[str, Any] | None = None, **params: Any
) -> JobSpec:
    """An intersection, a preparation, and a step after it where one is given."""
    parties = {"owner-1": "did:key:zOne", "owner-2": "did:key:zTwo"}
    match = {
        "id": "match",
        "component": "psi/ecdh",
        "version": 1,
        "parties": {"left": "did:key:zOne", "right": "did:key:zTwo"},
        "inputs": {
            side: {"asset": f"{role}/table", "columns": [{"name": "person", "decimals": 0}]}
            for side, role in (("left", "owner-1"), ("right", "owner-2"))
        },
        "after": [],
        "params": {"normalise": {"left": [], "right": []}, "minimum_matches": 10},
        "recipients": [],
    }
    prepare = {
        "id": "prepare",
        "component": "model/prepare",
        "version": 1,
        "parties": parties,
        "inputs": inputs(["income"], ["region", "age"]),
        "after": ["match"],
        "params": {"columns": recipes, "min_cohort": 20, "test_micro": 250_000, **params},
        "recipients": [ANALYST],
    }
    steps = [match, prepare]
    if last is not None:
        helped = parties | {"helper-1": "did:key:zHelper"}
        steps.append({"id": "last", "version": 1, "parties": helped, "after": ["prepare"], **last})
    spec = JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": steps}
    )
    built_in().check(spec)
    return spec


def context_of(
    step: Step, component: Component, role: str, table: Table, mesh: Mesh | None = None, **more: Any
) -> StepContext:
    ranks = component.ranks(step)
    return StepContext(
        step=step,
        role=role,
        ranks=ranks,
        session=SESSION if mesh is None else mesh.session,
        minimum_cohort=2,
        read=lambda name: iter([pa.record_batch([pa.array(table[name])], names=[name])]),
        channel=lambda other: pytest.fail(other) if mesh is None else mesh.channels[ranks.index(other)],
        released={},
        rng=SystemRandomness(),
        progress=lambda done, total: None,
        hand_over=nothing_lent(),
        **more,
    )


def prepare(spec: JobSpec, role: str, table: Table, rows: Any = None) -> Outcome:
    aligned = np.arange(ROWS) if rows is None else np.asarray(rows)
    earlier = {"match": aligned.astype("<i8").tobytes()}
    step = spec.step("prepare")
    return COMPONENT.run(context_of(step, COMPONENT, role, table, before={}, earlier=earlier))


def played(spec: JobSpec, component: Component, locals_: Sequence[bytes], tables: Sequence[Table]) -> Any:
    """The roles of the last step, each to be called with its mesh; the releases by role come of it."""
    step, before = spec.step("last"), {"prepare": spec.step("prepare")}

    def role(mesh: Mesh) -> bytes | None:
        own = component.ranks(step)[mesh.rank]
        kept = {"prepare": locals_[mesh.rank]} if mesh.rank < 2 else {}
        table = tables[mesh.rank] if mesh.rank < 2 else {}
        return component.run(
            context_of(step, component, own, table, mesh, before=before, earlier=kept)
        ).release

    return [role] * 3


def kept(spec: JobSpec, tables: Sequence[Table] = (FIRST, SECOND)) -> list[bytes]:
    return [prepare(spec, f"owner-{number}", table).local for number, table in enumerate(tables, 1)]


def trained_on(spec: JobSpec) -> tuple[Any, Any]:
    """The rows that train, and what is to be made of the columns, by numpy alone."""
    train = Prepared.decode(kept(spec)[0]).train
    known = np.nanmedian(HOLED[train])
    filled = np.where(np.isnan(HOLED[train]), known, HOLED[train])
    income = (filled - filled.mean()) / filled.std()
    region = [(REGION[train] == label).astype(float) for label in ("north", "south")]
    return train, [income, np.isnan(HOLED[train]).astype(float), *region, AGE[train].astype(float)]


NAMES = [
    ("owner-1", "income"),
    ("owner-1", "income=(missing)"),
    ("owner-2", "region=north"),
    ("owner-2", "region=south"),
    ("owner-2", "age"),
]


def test_a_linear_model_trains_on_the_prepared_columns_of_the_rows_that_train() -> None:
    params = {"label": "loss", "coefficients": "recipients", "min_cohort": 20, "epochs": 150, "batch": 400}
    last = {
        "component": "model/linear",
        "inputs": inputs(["loss", "income"], ["region", "age"]),
        "params": params | {"rate_micro": 200_000},
        "recipients": [ANALYST],
    }
    spec = spec_of(last=last)
    releases = run_mesh(played(spec, LINEAR, kept(spec), (FIRST, SECOND)))
    assert LINEAR.open_result is not None
    step = spec.step("last")
    table = LINEAR.open_result(step, dict(zip(LINEAR.ranks(step), releases, strict=True)))
    assert [row[:2] for row in table.rows] == [("owner-1", "(intercept)"), *NAMES]
    train, columns = trained_on(spec)
    assert len(train) == 300
    design = np.vstack([np.ones(300), *((one - one.mean()) / one.std() for one in columns)])
    label = (LOSS[train] - LOSS[train].mean()) / LOSS[train].std()
    expected = np.linalg.lstsq(design.T, label, rcond=None)[0]
    np.testing.assert_allclose([float(str(row[2])) for row in table.rows], expected, atol=5e-3)


def test_correlations_are_those_of_the_prepared_columns_of_the_rows_that_train() -> None:
    last = {
        "component": "model/correlation",
        "inputs": inputs(["income"], ["region", "age"]),
        "params": {"min_cohort": 20},
        "recipients": [ANALYST],
    }
    spec = spec_of(last=last)
    releases = run_mesh(played(spec, CORRELATION, kept(spec), (FIRST, SECOND)))
    assert CORRELATION.open_result is not None
    step = spec.step("last")
    table = CORRELATION.open_result(step, dict(zip(CORRELATION.ranks(step), releases, strict=True)))
    assert [row[:2] for row in table.rows] == NAMES
    _, columns = trained_on(spec)
    got = [[float(str(cell)) for cell in row[3:]] for row in table.rows]
    np.testing.assert_allclose(got, np.corrcoef(columns), atol=1e-5)


def test_recipients_read_how_many_rows_train_and_test_and_which_columns_are_made() -> None:
    spec = spec_of(sample_micro=500_000)
    step = spec.step("prepare")
    outcomes = {role: prepare(spec, role, table) for role, table in (("owner-1", FIRST), ("owner-2", SECOND))}
    releases = {role: outcome.release or b"" for role, outcome in outcomes.items()}
    assert COMPONENT.open_result is not None
    table = COMPONENT.open_result(step, releases)
    assert table.facts == {"train": 150, "test": 50}
    assert [row[:2] for row in table.rows] == NAMES
    assert all(outcome.cohort == 50 and outcome.figures == 2 for outcome in outcomes.values())
    first, second = (Prepared.decode(outcome.local) for outcome in outcomes.values())
    assert first.train.tolist() == second.train.tolist()
    other = prepare(spec, "owner-2", SECOND, np.arange(300)).release or b""
    with pytest.raises(JobFailed, match="different parts"):
        COMPONENT.open_result(step, releases | {"owner-2": other})


def test_rows_are_those_that_the_intersection_aligned() -> None:
    back = RNG.permutation(ROWS)
    spec = spec_of()
    plain, moved = (Prepared.decode(prepare(spec, "owner-2", SECOND, one).local) for one in (None, back))
    assert moved.train.tolist() == back[plain.train].tolist()
    assert moved.test.tolist() == back[plain.test].tolist()


REGIONS = [*REGION[:-2], "east", None]


@pytest.mark.parametrize(
    ("column", "recipe", "values", "words"),
    [
        ("income", {}, HOLED, "values are missing"),
        (
            "income",
            {"missing": "mean"},
            np.full(ROWS, np.nan),
            "all 300 values of the training",
        ),
        ("income", {"scale": "range"}, np.full(ROWS, 5.0), "training rows with different values"),
        ("income", {}, np.full(ROWS, 5.0), "column income: all 300 values of the training rows are equal"),
        ("income", {"indicator": True}, INCOME, r"income=\(missing\): all 300 values of the training rows"),
        ("income", {"scale": "standard"}, np.where(np.arange(ROWS) % 2, 1e300, -1e300), "range of floats"),
        ("income", {}, REGION, "expected numbers, found string"),
        ("region", {"kind": "category", "labels": LABELS, "missing": "zero"}, REGIONS, "1 of .* none of the"),
        ("region", {"kind": "category", "labels": LABELS, "unseen": "zero"}, REGIONS, "1 of .* are missing"),
        ("region", {"kind": "category", "labels": [*LABELS, "x"]}, REGION, "region=x: all 300 values"),
        ("region", {"kind": "category", "labels": LABELS}, AGE / 2, "expected texts, integers"),
    ],
)
def test_columns_that_a_recipe_cannot_take_are_refused_by_name_and_count(
    column: str, recipe: dict[str, Any], values: Any, words: str
) -> None:
    role = "owner-1" if column == "income" else "owner-2"
    spec = spec_of({role: {column: recipe}})
    with pytest.raises(Exception, match=words) as caught:
        prepare(spec, role, {"age": AGE, column: values})
    assert "east" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (["1", "2"], [1, 2, 3, None]),
        (["true", "false"], [True, False, True, None]),
        (["2024-01-01", "2024-01-02"], pa.array([19723, 19724, 19725, None], pa.date32())),
        (["a", "b"], pa.array(["a", "b", "c", None]).dictionary_encode()),
    ],
)
def test_categories_are_texts_integers_truth_values_or_dates(labels: list[str], values: Any) -> None:
    recipe = {"kind": "category", "labels": labels, "unseen": "zero", "missing": "zero"}
    spec = spec_of({"owner-2": {"region": recipe}}, min_cohort=2, test_micro=0)
    column = pa.concat_arrays([values if isinstance(values, pa.Array) else pa.array(values)] * 10)
    outcome = prepare(spec, "owner-2", {"age": AGE[:40], "region": column}, np.arange(40))
    assert len(Prepared.decode(outcome.local).train) == 40


def test_too_few_rows_that_train_or_test_end_the_step() -> None:
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"min_cohort": 200}, "at least 200 rows that test, found"),
        ({"min_cohort": 350}, "at least 350 rows that train, found"),
        ({"sample_micro": 1}, "rows that train, found fewer"),
    )
    for change, words in changes:
        with pytest.raises(JobFailed, match=words):
            prepare(spec_of(**change), "owner-1", FIRST)


@pytest.mark.parametrize(
    ("recipes", "words"),
    [
        ({"owner-3": {}}, "columns.owner-3: expected one of owner-1, owner-2, got another role"),
        ({"owner-1": {"age": {}}}, "columns.owner-1.age: expected one of income"),
        ({"owner-1": {"income": 3}}, "columns.owner-1.income: expected an object"),
        ({"owner-1": {"income": {"kind": "text"}}}, "income.kind: expected one of number"),
        ({"owner-1": {"income": {"missing": "zero"}}}, "income.missing: expected one of refuse, mean"),
        ({"owner-1": {"income": {"constant": "1e9"}}}, "income.constant: expected a decimal number"),
        (
            {"owner-1": {"income": {"clip": {"lower": "5", "upper": "5"}}}},
            "upper: expected a number above 5",
        ),
        ({"owner-1": {"income": {"clip": {"lower": "5"}}}}, "clip.upper: expected a decimal number"),
        (
            {"owner-1": {"income": {"winsorise": {"lower_permille": 500, "upper_permille": 900}}}},
            "at most 499",
        ),
        ({"owner-2": {"region": {"kind": "category"}}}, "region.labels: expected a list"),
        ({"owner-2": {"region": {"kind": "category", "labels": ["a", "a"]}}}, "labels: expected labels that"),
        ({"owner-2": {"region": {"kind": "category", "labels": ["a"], "baseline": "b"}}}, "region.baseline"),
        (
            {"owner-2": {"region": {"kind": "category", "labels": ["a"], "baseline": "a"}}},
            "a label besides",
        ),
        (
            {"owner-2": {"region": {"kind": "category", "labels": ["(other)"], "unseen": "other"}}},
            r"columns of different names, got region=\(other\) twice",
        ),
    ],
)
def test_recipes_that_make_no_sense_are_refused_by_field(recipes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        spec_of(recipes)


def test_clip_and_winsorise_are_not_both() -> None:
    both = {"clip": {"lower": "0", "upper": "9"}, "winsorise": {"lower_permille": 1, "upper_permille": 999}}
    with pytest.raises(InvalidRequest, match="winsorise: expected one of clip and winsorise, got both"):
        spec_of({"owner-1": {"income": both}})


def test_a_model_of_an_altered_label_is_refused_by_field() -> None:
    read = inputs(["loss", "income"], ["region", "age"])
    params = {"label": "income", "coefficients": "recipients", "min_cohort": 20}
    last = {"component": "model/linear", "inputs": read, "params": params, "recipients": [ANALYST]}
    words = "prepare.params.columns.owner-1.income: expected no recipe for the label"
    with pytest.raises(InvalidRequest, match=words):
        spec_of(last=last)


def test_rows_that_owners_prepared_differently_end_the_model() -> None:
    last = {
        "component": "model/correlation",
        "inputs": inputs(["income"], ["region", "age"]),
        "params": {"min_cohort": 20},
        "recipients": [ANALYST],
    }
    spec = spec_of(last=last)
    locals_ = [kept(spec)[0], prepare(spec, "owner-2", SECOND, np.arange(300)).local]
    ended = mesh_outcomes(played(spec, CORRELATION, locals_, (FIRST, SECOND)))
    assert all(isinstance(end, Exception) for end in ended)


def test_nobody_sees_anything_of_a_column_and_nothing_is_sent() -> None:
    step = spec_of().step("prepare")
    assert {use.column for use in COMPONENT.uses(step)} == {"income", "region", "age"}
    assert all(not use.viewer for use in COMPONENT.uses(step))
    assert COMPONENT.estimate is not None
    estimates = COMPONENT.estimate(step, {"owner-1": ROWS, "owner-2": ROWS})
    assert {one.sent_bytes + one.received_bytes + one.rounds for one in estimates.values()} == {0}
