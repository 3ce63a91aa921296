"""Scoring and evaluation as steps of a job: the measures of pooled rows, for those who may have them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.evaluation import report
from exchange.jobs.evaluation.component import COMPONENT as EVALUATE
from exchange.jobs.registry import built_in
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.scoring.component import COMPONENT as SCORE
from exchange.jobs.scoring.part import ScorePart
from exchange.jobs.spec import JobSpec
from exchange.jobs.stability import stability_index
from exchange.jobs.testing import JOB, nothing_lent
from federated import metrics
from ledger import canonical
from mpc import wire
from mpc.channel import Channel
from mpc.errors import CohortTooSmall, InputsDisagree, InvalidInput, MalformedMessage, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

RNG = np.random.default_rng(17)
ROWS = 240
INCOME, AGE, DEBT = RNG.normal(3000, 900, ROWS), RNG.integers(18, 80, ROWS), RNG.normal(size=ROWS)
FITTED = -0.2 + 1.0 * (INCOME - 3000) / 900 - 0.8 * (AGE - 49) / 18 + 0.5 * DEBT
LATE = (RNG.random(ROWS) < 1 / (1 + np.exp(-FITTED))).astype(np.int64)
SPENT = 20 + 50 * (FITTED + 0.3 * RNG.normal(size=ROWS))
CLAIMS = np.random.default_rng(3).poisson(2 * np.exp(FITTED))
TABLES: dict[str, dict[str, Any]] = {
    "owner-1": {"late": LATE, "spent": SPENT, "claims": CLAIMS, "income": INCOME},
    "owner-2": {"age": AGE, "debt": DEBT},
}
REGION = np.random.default_rng(6).permutation(
    np.repeat(["north", "south", "east", "west"], [100, 80, 45, 15])
)
MONTH = np.repeat(["2026-01", "2026-02", "2026-03"], ROWS // 3)
GROUPED = {
    "owner-1": TABLES["owner-1"] | {"month": MONTH},
    "owner-2": TABLES["owner-2"] | {"region": REGION},
}
BY_REGION = {
    "owner": "owner-2",
    "column": "region",
    "labels": ["north", "south", "east", "west"],
    "cutoffs": ["0.3", "0.5"],
}
BY_MONTH = {
    "owner": "owner-1",
    "column": "month",
    "labels": ["2026-01", "2026-02", "2026-03"],
    "order": "time",
}
HELD = HeldOut("ab12", 25)
ANALYST = "did:key:zAnalyst"
SCORED = {"owner-1": ("income",), "owner-2": ("age", "debt")}


def models(family: str = "logistic") -> dict[str, ModelPart]:
    """Parts of the model that made the fitted values.

    A linear one has a label of mean 20, deviation 50; one of counts a label of mean 2.
    """
    mean, scale = {"logistic": ("0", 1.0), "linear": ("20", 50.0), "poisson": ("0", 2.0)}[family]
    unit = {"family": family, "epochs": 9, "losses": (), "held_out": HELD}
    first = ModelPart(
        columns=("income",),
        coefficients=("1",),
        means=("3000",),
        deviations=("900",),
        intercept="-0.2",
        label_mean=mean,
        label_deviation=f"{scale:g}",
        **unit,  # type: ignore[arg-type]
    )
    second = ModelPart(
        columns=("age", "debt"),
        coefficients=("-0.8", "0.5"),
        means=("49", "0"),
        deviations=("18", "1"),
        intercept="0",
        label_mean="0",
        label_deviation="1",
        **unit,  # type: ignore[arg-type]
    )
    return {"owner-1": first, "owner-2": second}


def _inputs(columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
        for role, names in columns.items()
    }


def spec_of(
    score: Mapping[str, Any] | None = None,
    evaluate: Mapping[str, Any] | None = None,
    family: str = "logistic",
    change: Mapping[str, Mapping[str, Any]] | None = None,
) -> JobSpec:
    """Match, train, score, evaluate, report; ``change`` replaces fields of steps by id."""
    label = {"logistic": "late", "linear": "spent", "poisson": "claims"}[family]
    with_label = {**SCORED, "owner-1": (label, *SCORED["owner-1"])}
    owners = {role: f"did:key:z{role}" for role in TABLES}
    helped = owners | {"helper-1": "did:key:zHelper"}
    scores = {"scores": "shared", "min_cohort": 20, **(score or {})}
    told = [owners["owner-1"]] if scores["scores"] == "owner-1" else []
    steps: list[dict[str, Any]] = [
        {
            "id": "match",
            "component": "psi/ecdh",
            "parties": {"left": owners["owner-1"], "right": owners["owner-2"]},
            "inputs": {
                side: {"asset": f"{role}/table", "columns": [{"name": "person", "decimals": 0}]}
                for side, role in (("left", "owner-1"), ("right", "owner-2"))
            },
            "params": {"normalise": {"left": [], "right": []}, "minimum_matches": 10},
        },
        {
            "id": "train",
            "component": f"model/{family}",
            "parties": helped,
            "inputs": _inputs(with_label),
            "after": ["match"],
            "params": {"label": label, "coefficients": "split", "min_cohort": 20, "test_percent": 25},
        },
        {
            "id": "score",
            "component": "model/score",
            "parties": owners,
            "inputs": _inputs(SCORED),
            "after": ["match", "train"],
            "params": scores,
            "recipients": told,
        },
        {
            "id": "evaluate",
            "component": "model/evaluate",
            "parties": helped,
            "inputs": _inputs(with_label),
            "after": ["score"],
            "params": {"label": label, "min_cohort": 20, **(evaluate or {})},
            "recipients": [ANALYST],
        },
        {
            "id": "read",
            "component": "report/evaluation",
            "parties": {"reader": ANALYST},
            "after": ["evaluate"],
        },
    ]
    empty: dict[str, Any] = {"version": 1, "inputs": {}, "after": [], "params": {}, "recipients": []}
    whole = [empty | step | dict((change or {}).get(step["id"], {})) for step in steps]
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": whole}
    )


def context_of(
    spec: JobSpec, step_id: str, role: str, mesh: Mesh, component: Component, **given: Any
) -> StepContext:
    step, ranks = spec.step(step_id), component.ranks(spec.step(step_id))
    table = given.pop("tables", TABLES).get(role, {})

    def channel(other: str) -> Channel:
        return mesh.channels[ranks.index(other)]

    usual: dict[str, Any] = {"before": {}, "earlier": {}, "released": {}}
    return StepContext(
        step=step,
        role=role,
        ranks=ranks,
        session=mesh.session,
        minimum_cohort=2,
        read=lambda name: iter([pa.record_batch([pa.array(table[name])], names=[name])]),
        channel=channel,
        rng=SystemRandomness(),
        progress=lambda done, total: None,
        hand_over=nothing_lent(),
        **usual | given,
    )


Play = Callable[[Mesh], tuple[Outcome, int]]


def scoring(
    spec: JobSpec, family: str = "logistic", rows: Mapping[str, Any] | None = None, **given: Any
) -> list[Play]:
    parts = models(family)

    def role(mesh: Mesh) -> tuple[Outcome, int]:
        own = SCORE.ranks(spec.step("score"))[mesh.rank]
        aligned = np.asarray((rows or {}).get(own, np.arange(ROWS))).astype("<i8").tobytes()
        earlier = {"match": aligned, "train": parts[own].encode()}
        context = context_of(spec, "score", own, mesh, SCORE, earlier=earlier, **given)
        return SCORE.run(context), sum(one.stats.bytes_sent for one in mesh.channels.values())

    return [role] * 2


def evaluating(spec: JobSpec, scored: Sequence[Outcome], **given: Any) -> list[Play]:
    ranks = EVALUATE.ranks(spec.step("evaluate"))

    def role(mesh: Mesh) -> tuple[Outcome, int]:
        earlier = {"score": scored[mesh.rank].local} if mesh.rank < len(scored) else {}
        context = context_of(spec, "evaluate", ranks[mesh.rank], mesh, EVALUATE, earlier=earlier, **given)
        return EVALUATE.run(context), sum(one.stats.bytes_sent for one in mesh.channels.values())

    return [role] * len(ranks)


def scored_by(spec: JobSpec, family: str = "logistic", **given: Any) -> list[Outcome]:
    return [outcome for outcome, _ in run_mesh(scoring(spec, family, **given))]


def by_groups(by: Mapping[str, Any], family: str = "logistic", **change: Any) -> JobSpec:
    """The whole job with an evaluation by group; ``change`` replaces fields of it."""
    label = {"logistic": "late", "linear": "spent", "poisson": "claims"}[family]
    read = {"owner-1": (label, "income"), "owner-2": ("age", "debt")}
    read |= {by["owner"]: (*read.get(by["owner"], ()), by["column"])} if by["owner"] in read else {}
    return spec_of(
        evaluate={"by": dict(by)}, family=family, change={"evaluate": {"inputs": _inputs(read)} | change}
    )


def releases_of(spec: JobSpec, family: str = "logistic", **given: Any) -> dict[str, bytes]:
    ended = run_mesh(evaluating(spec, scored_by(spec, family), **given))
    releases = {
        role: outcome.release
        for role, (outcome, _) in zip(EVALUATE.ranks(spec.step("evaluate")), ended, strict=True)
    }
    assert all(one is not None for one in releases.values())
    return releases  # type: ignore[return-value]


def files_of(spec: JobSpec, releases: Mapping[str, bytes]) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    before = {"evaluate": spec.step("evaluate")}
    context = context_of(
        spec,
        "read",
        "reader",
        Mesh(0, b"s", {}),
        report.COMPONENT,
        before=before,
        released={"evaluate": releases},
    )
    files = report.COMPONENT.run(context).files
    answer: Any = canonical.decode(files["result.json"])
    return answer, files


def test_the_whole_job_is_accepted() -> None:
    for score in ({"scores": "shared"}, {"scores": "owner-1", "part": "train"}):
        built_in().check(spec_of(score))


def test_shared_scores_stay_in_parts_that_add_up_and_nothing_is_sent() -> None:
    spec = spec_of()
    ended = run_mesh(scoring(spec))
    assert [sent for _, sent in ended] == [0, 0]
    assert all(outcome.release is None and not outcome.files for outcome, _ in ended)
    first, second = (ScorePart.decode(outcome.local) for outcome, _ in ended)
    np.testing.assert_allclose((first.parts + second.parts) / 2**12, FITTED, atol=2**-12)
    assert first.rows.tolist() == list(range(ROWS))


def test_an_owner_of_the_label_alone_adds_the_intercept() -> None:
    columns = {"owner-1": ("late",), "owner-2": ("age", "debt")}
    change = {name: {"inputs": _inputs(columns)} for name in ("train", "score", "evaluate")}
    spec = spec_of(change=change)
    built_in().check(spec)
    model = replace(models()["owner-1"], columns=(), coefficients=(), means=(), deviations=())
    earlier = {"match": np.arange(9).astype("<i8").tobytes() * 3, "train": model.encode()}
    outcome = SCORE.run(context_of(spec, "score", "owner-1", Mesh(0, b"s", {}), SCORE, earlier=earlier))
    assert ScorePart.decode(outcome.local).parts.tolist() == [round(-0.2 * 2**12)] * 27


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("logistic", 1 / (1 + np.exp(-FITTED))),
        ("linear", 20 + 50 * FITTED),
        ("poisson", 2 * np.exp(FITTED)),
    ],
)
def test_the_label_holder_may_learn_the_scores_of_its_rows(family: str, expected: Any) -> None:
    spec = spec_of({"scores": "owner-1"}, family=family)
    swapped = RNG.permutation(ROWS)
    tables = TABLES | {"owner-1": {name: column[swapped] for name, column in TABLES["owner-1"].items()}}
    back = np.argsort(swapped)
    ended = run_mesh(scoring(spec, family, rows={"owner-1": back}, tables=tables))
    (first, _), (second, _) = ended
    assert not second.files
    answer: Any = canonical.decode(first.files["result.json"])
    assert [row for row, _ in answer["rows"]] == list(range(ROWS))
    listed = first.files["scores.csv"].decode().split()
    assert listed == ["row,score", *(f"{row},{score}" for row, score in answer["rows"])]
    got = [float(score) for _, score in answer["rows"]]
    atol, rtol = (0.05 if family == "linear" else 1e-4), (1e-3 if family == "poisson" else 1e-7)
    np.testing.assert_allclose(got, expected[swapped], atol=atol, rtol=rtol)
    estimate = SCORE.estimate(spec.step("score"), {"owner-1": ROWS, "owner-2": ROWS + 5})  # type: ignore[misc]
    assert [sent for _, sent in ended] == [estimate[role].sent_bytes for role in SCORED]


def test_rows_held_out_of_training_are_scored_alone() -> None:
    held = {part: scored_by(spec_of({"part": part})) for part in ("train", "test")}
    rows = {part: ScorePart.decode(outcomes[0].local).rows.tolist() for part, outcomes in held.items()}
    assert (len(rows["train"]), len(rows["test"])) == (180, 60)
    assert sorted(rows["train"] + rows["test"]) == list(range(ROWS))
    assert rows["test"] == HELD.test(ROWS).tolist()


def test_recipients_read_the_measures_of_pooled_rows() -> None:
    spec = spec_of(evaluate={"bins": 6})
    answer, files = files_of(spec, releases_of(spec))
    scores, label = np.round(FITTED, 3), LATE.astype(np.float64)
    chances = 1 / (1 + np.exp(-FITTED))
    facts = answer["facts"]
    assert (facts["rows"], facts["positives"]) == (ROWS, int(LATE.sum()))
    assert float(facts["auc"]) == pytest.approx(metrics.auc(scores, label), abs=1e-3)
    assert float(facts["ks"]) == pytest.approx(metrics.ks(scores, label), abs=0.01)
    assert float(facts["brier"]) == pytest.approx(metrics.brier(chances, label), abs=0.0032)
    bins = metrics.Binned.of(chances, label, 6)
    lines = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    assert [line["rows"] for line in lines] == [40] * 6
    assert [line["positives"] for line in lines] == bins.labels.tolist()
    assert [float(line["gain"]) for line in lines] == pytest.approx(bins.gain(), abs=1e-5)
    assert [float(line["lift"]) for line in lines] == pytest.approx(bins.lift(), abs=1e-5)
    counts = bins.confusion(2)
    assert lines[1]["true positives"] == counts.true_positives
    assert lines[1]["false negatives"] == counts.false_negatives
    assert float(lines[1]["precision"]) == pytest.approx(counts.precision, abs=1e-5)
    assert {"roc.png", "ks.png", "gain.png", "lift.png", "calibration.png", "table.csv"} <= set(files)


def test_plots_show_points_and_their_words() -> None:
    from matplotlib import image

    spec = spec_of()
    _, files = files_of(spec, releases_of(spec))
    for name in ("roc", "ks", "gain", "lift", "calibration"):
        pixels = image.imread(io.BytesIO(files[f"{name}.png"]))
        assert pixels.shape[:2] == (378, 405)
        inked = pixels[..., :3].sum(axis=2) < 2.5
        assert inked[60:-60, 80:-20].sum() > 300, name
        assert inked[:30].any(), name
        assert inked[-25:].any(), name
    assert len({content for name, content in files.items() if name.endswith(".png")}) == 5


def test_errors_of_a_linear_model_are_in_the_unit_of_the_label() -> None:
    spec = spec_of(family="linear")
    answer, files = files_of(spec, releases_of(spec, "linear"))
    expected = metrics.regression(20 + 50 * FITTED, SPENT)
    found = [float(answer["facts"][name]) for name in ("mean_squared_error", "mean_absolute_error", "r2")]
    np.testing.assert_allclose(found, [expected.mse, expected.mae, expected.r2], rtol=2e-3)
    bins = metrics.Binned.of(20 + 50 * FITTED, SPENT, 10).calibration()
    np.testing.assert_allclose([float(row[3]) for row in answer["rows"]], bins.observed, rtol=0.02, atol=0.5)
    assert "roc.png" not in files


def test_errors_of_a_model_of_counts_are_counts() -> None:
    spec = spec_of(family="poisson")
    answer, files = files_of(spec, releases_of(spec, "poisson"))
    expected = metrics.regression(2 * np.exp(FITTED), CLAIMS.astype(np.float64))
    assert answer["facts"]["family"] == "poisson"
    found = [float(answer["facts"][name]) for name in ("mean_squared_error", "mean_absolute_error", "r2")]
    np.testing.assert_allclose(found, [expected.mse, expected.mae, expected.r2], rtol=2e-3)
    bins = metrics.Binned.of(2 * np.exp(FITTED), CLAIMS.astype(np.float64), 10).calibration()
    np.testing.assert_allclose([float(row[2]) for row in answer["rows"]], bins.predicted, rtol=5e-3)
    np.testing.assert_allclose([float(row[3]) for row in answer["rows"]], bins.observed, rtol=0.02, atol=0.1)
    assert "roc.png" not in files


def test_a_bin_has_at_least_the_minimum_of_rows_and_so_has_each_class() -> None:
    spec = spec_of(evaluate={"min_cohort": 70})
    scored = scored_by(spec)
    outcomes = [outcome for outcome, _ in run_mesh(evaluating(spec, scored))]
    assert [(outcome.cohort, outcome.figures) for outcome in outcomes] == [(80, 3)] * 3
    assert outcomes[0].rows is not None
    assert outcomes[2].rows is None
    for minimum in (ROWS + 1, int(min(LATE.sum(), ROWS - LATE.sum())) + 1):
        refused = spec_of(evaluate={"min_cohort": minimum})
        ended = mesh_outcomes(evaluating(refused, scored), mesh_of(3, timeout_s=5))
        assert isinstance(ended[0], CohortTooSmall)
        assert all(isinstance(end, Exception) for end in ended)


def test_shares_of_other_runs_do_not_fit_and_all_are_needed() -> None:
    spec = spec_of()
    first, second = releases_of(spec), releases_of(spec)
    step = spec.step("evaluate")
    assert EVALUATE.open_result is not None
    for role in first:
        assert first[role] != second[role]
        with pytest.raises(JobFailed, match="one run"):
            EVALUATE.open_result(step, first | {role: second[role]})
        with pytest.raises(JobFailed, match="3 parties"):
            EVALUATE.open_result(step, {name: one for name, one in first.items() if name != role})
        for bad in (first[role][:-1], first[role] + b"\0"):
            with pytest.raises(MalformedMessage):
                EVALUATE.open_result(step, first | {role: bad})


def test_labels_and_rows_that_do_not_fit_end_the_step() -> None:
    spec = spec_of()
    scored = scored_by(spec)
    bad = TABLES | {"owner-1": TABLES["owner-1"] | {"late": LATE * 2}}
    ended = mesh_outcomes(evaluating(spec, scored, tables=bad), mesh_of(3, timeout_s=3))
    assert isinstance(ended[0], ValueOutOfRange)
    assert all(isinstance(end, Exception) for end in ended)
    other = scored_by(spec_of({"part": "test"}))
    ended = mesh_outcomes(evaluating(spec, [scored[0], other[1]]))
    assert any(isinstance(end, InputsDisagree) for end in ended)
    assert all(isinstance(end, Exception) for end in ended)
    few = mesh_outcomes(scoring(spec_of({"min_cohort": 500})))
    assert all(isinstance(end, JobFailed) for end in few)
    holed = TABLES | {"owner-2": TABLES["owner-2"] | {"debt": np.where(np.arange(ROWS) < 3, np.inf, DEBT)}}
    ended = mesh_outcomes(scoring(spec, tables=holed))
    assert "column debt: expected a value in every row, found 3" in str(ended[1])


def test_the_estimate_is_what_an_evaluation_sends() -> None:
    spec = spec_of()
    ended = run_mesh(evaluating(spec, scored_by(spec)))
    step = spec.step("evaluate")
    assert EVALUATE.estimate is not None
    estimate = EVALUATE.estimate(step, {"owner-1": ROWS, "owner-2": ROWS + 7})
    for role, (_, sent) in zip(EVALUATE.ranks(step), ended, strict=True):
        assert sent == estimate[role].sent_bytes


@pytest.mark.parametrize(
    ("step", "change", "words"),
    [
        ("score", {"after": ["train", "match"]}, r"after\[0\]: expected a step of psi/ecdh"),
        ("score", {"after": ["match"]}, "the one that trained, got 1"),
        ("score", {"recipients": [ANALYST]}, "nobody, where scores stay shared"),
        (
            "score",
            {"inputs": _inputs(SCORED | {"owner-2": ("age",)})},
            "columns of step train: age, debt, got age",
        ),
        (
            "train",
            {"params": {"label": "late", "coefficients": "recipients", "min_cohort": 20}},
            "split, for",
        ),
        ("evaluate", {"recipients": []}, "who receives the evaluation"),
        ("evaluate", {"inputs": _inputs(SCORED)}, "one of owner-1's income"),
        (
            "evaluate",
            {"inputs": _inputs({"owner-1": ("late",), "owner-2": ("age", "debt")})},
            "columns of step score: income, got late",
        ),
        ("evaluate", {"params": {"label": "late", "min_cohort": 20, "bins": 0}}, "1 to 100"),
    ],
)
def test_steps_that_do_not_fit_together_are_refused_by_field(
    step: str, change: dict[str, Any], words: str
) -> None:
    recipients = {"recipients": [ANALYST]} if step == "train" else {}
    with pytest.raises(InvalidRequest, match=words):
        built_in().check(spec_of(change={step: change | recipients}))


def test_held_out_rows_need_a_model_that_held_some_out() -> None:
    params = {"label": "late", "coefficients": "split", "min_cohort": 20}
    with pytest.raises(InvalidRequest, match="all, as step train held no rows out"):
        built_in().check(spec_of({"part": "test"}, change={"train": {"params": params}}))


def test_column_control_sees_rows_where_scores_are_told_and_figures_of_an_evaluation() -> None:
    told = spec_of({"scores": "owner-1"})
    shown = [use for use in SCORE.uses(told.step("score")) if use.viewer]
    assert {use.column for use in shown} == {"age", "debt"}
    assert {use.viewer for use in shown} == {"did:key:zowner-1"}
    assert all(use.after == {Level.AS_JOIN_PAYLOAD} for use in shown)
    assert not [use for use in SCORE.uses(spec_of().step("score")) if use.viewer]
    shown = [use for use in EVALUATE.uses(told.step("evaluate")) if use.viewer]
    assert {use.column for use in shown} == {"late", "income", "age", "debt"}
    assert all(Level.AFTER_AGGREGATE in use.after for use in shown)


def _stood(counts: Any, base: Any) -> float:
    return stability_index(np.asarray(counts), np.asarray(base))


def _binned(places: Sequence[np.ndarray[Any, Any]], bins: int) -> list[Any]:
    """Rows of each group by bin of fitted values."""
    ranks = np.argsort(np.argsort(-np.round(FITTED * 2**12), kind="stable"))
    return [np.bincount(ranks[one] * bins // ROWS, minlength=bins) for one in places]


def test_recipients_read_how_fair_a_model_is_to_groups() -> None:
    spec = by_groups(BY_REGION)
    built_in().check(spec)
    answer, files = files_of(spec, releases_of(spec, tables=GROUPED))
    told = answer["facts"]["by"]
    chances = 1 / (1 + np.exp(-FITTED))
    inside = [name == REGION for name in ("north", "south")]
    # Fifteen rows of west are too few, and with them go those of east, or the rest would tell of west.
    assert told["suppressed"] == 2
    lines = [dict(zip(told["columns"], row, strict=True)) for row in told["groups"]]
    assert [(line["group"], line["rows"]) for line in lines] == [("north", 100), ("south", 80)]
    counts = _binned(inside, 10)
    flagged = {cutoff: chances >= cutoff for cutoff in (0.3, 0.5)}
    for line, rows, own in zip(lines, inside, counts, strict=True):
        assert float(line["positive rate"]) == pytest.approx(LATE[rows].mean(), abs=1e-5)
        assert float(line["mean score"]) == pytest.approx(chances[rows].mean(), abs=0.0032)
        assert float(line["auc"]) == pytest.approx(
            metrics.auc(FITTED[rows], LATE[rows].astype(float)), abs=1e-3
        )
        assert float(line["stability index"]) == pytest.approx(_stood(own, [24] * 10), abs=1e-4)
        for cutoff, chosen in flagged.items():
            for name, among in (
                ("selected", rows),
                ("true positive rate", rows & (LATE == 1)),
                ("false positive rate", rows & (LATE == 0)),
            ):
                assert float(line[f"{name} at {cutoff}"]) == pytest.approx(chosen[among].mean(), abs=1e-5)
            precision = LATE[rows & chosen].mean()
            assert float(line[f"precision at {cutoff}"]) == pytest.approx(precision, abs=1e-5)
    for found, (cutoff, chosen) in zip(told["fairness"], flagged.items(), strict=True):
        parts, true, false, right = (
            [float(values[rows & among].mean()) for rows in inside]
            for values, among in (
                (chosen, LATE >= 0),
                (chosen, LATE == 1),
                (chosen, LATE == 0),
                (LATE, chosen),
            )
        )
        assert found["cutoff"] == f"{cutoff:g}"
        for name, value in (
            ("demographic_parity_difference", np.ptp(parts)),
            ("demographic_parity_ratio", min(parts) / max(parts)),
            ("equal_opportunity_difference", np.ptp(true)),
            ("equalised_odds_difference", max(np.ptp(true), np.ptp(false))),
            ("predictive_parity_difference", np.ptp(right)),
        ):
            assert float(found[name]) == pytest.approx(value, abs=1e-5), name
    assert files["groups.csv"].decode().splitlines()[1].startswith("north,100,")
    drawn = {name for name in files if name.startswith("group-")}
    assert drawn == {f"group-{name}.png" for name in ("means", "stability", "auc", "rates-1", "rates-2")}
    assert len({files[name] for name in drawn}) == 5


def test_recipients_read_how_a_model_does_over_time() -> None:
    spec = by_groups(BY_MONTH)
    built_in().check(spec)
    answer, files = files_of(spec, releases_of(spec, tables=GROUPED))
    told = answer["facts"]["by"]
    assert (told["order"], told["suppressed"], "fairness" in told) == ("time", 0, False)
    lines = [dict(zip(told["columns"], row, strict=True)) for row in told["groups"]]
    inside = [month == MONTH for month in BY_MONTH["labels"]]
    counts = _binned(inside, 10)
    assert [line["group"] for line in lines] == BY_MONTH["labels"]
    for line, rows, own in zip(lines, inside, counts, strict=True):
        assert float(line["positive rate"]) == pytest.approx(LATE[rows].mean(), abs=1e-5)
        assert float(line["stability index"]) == pytest.approx(_stood(own, counts[0]), abs=1e-4)
        assert float(line["auc"]) == pytest.approx(
            metrics.auc(FITTED[rows], LATE[rows].astype(float)), abs=1e-3
        )
    drawn = {name for name in files if name.startswith("group-")}
    assert drawn == {"group-means.png", "group-stability.png", "group-auc.png"}


@pytest.mark.parametrize(
    ("family", "expected", "label"),
    [("linear", 20 + 50 * FITTED, SPENT), ("poisson", 2 * np.exp(FITTED), CLAIMS)],
)
def test_models_of_numbers_have_errors_by_group(family: str, expected: Any, label: Any) -> None:
    spec = by_groups({**BY_REGION, "cutoffs": []}, family)
    answer, files = files_of(spec, releases_of(spec, family, tables=GROUPED))
    told = answer["facts"]["by"]
    assert "fairness" not in told
    for line, name in zip(told["groups"], ("north", "south"), strict=True):
        rows = name == REGION
        got = dict(zip(told["columns"], line, strict=True))
        assert float(got["mean label"]) == pytest.approx(label[rows].mean(), rel=2e-3, abs=0.02)
        assert float(got["mean score"]) == pytest.approx(expected[rows].mean(), rel=2e-3, abs=0.02)
        squares = np.mean((expected[rows] - label[rows]) ** 2)
        assert float(got["mean squared error"]) == pytest.approx(squares, rel=5e-3)
    assert {"group-means.png", "group-stability.png", "group-errors.png"} <= set(files)


def test_labels_that_plots_have_no_signs_for_are_drawn_by_number() -> None:
    spec = by_groups({**BY_REGION, "labels": ["北", "south", "东", "west"]})
    named = {"north": "北", "east": "东"}
    tables = GROUPED | {
        "owner-2": GROUPED["owner-2"] | {"region": [named.get(name, name) for name in REGION.tolist()]}
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer, files = files_of(spec, releases_of(spec, tables=tables))
    assert [row[0] for row in answer["facts"]["by"]["groups"]] == ["北", "south"]
    assert files["groups.csv"].decode().splitlines()[1].startswith("北,100,")
    assert files["group-means.png"].startswith(b"\x89PNG")


def test_the_estimate_is_what_an_evaluation_by_group_sends_and_whose_figures_it_has() -> None:
    spec = by_groups(BY_REGION)
    ended = run_mesh(evaluating(spec, scored_by(spec), tables=GROUPED))
    step = spec.step("evaluate")
    assert EVALUATE.estimate is not None
    estimate = EVALUATE.estimate(step, {"owner-1": ROWS, "owner-2": ROWS + 7})
    assert [sent for _, sent in ended] == [estimate[role].sent_bytes for role in EVALUATE.ranks(step)]
    outcomes = [outcome for outcome, _ in ended]
    assert [(one.cohort, one.figures) for one in outcomes] == [(20, 14)] * 3
    # The holder's node compares cohorts of groups with those of other releases; what is not told is one more.
    assert outcomes[1].groups is not None
    expected = np.select([REGION == "north", REGION == "south"], [0, 1], 4)
    assert outcomes[1].groups.tolist() == expected.tolist()
    assert outcomes[0].groups is not None
    assert not outcomes[0].groups.any()


def test_a_step_without_groups_releases_what_it_did_before_there_were_groups() -> None:
    (first, *_), answer = (
        list(releases_of(spec_of()).values()),
        files_of(spec_of(), releases_of(spec_of()))[0],
    )
    reader = wire.Reader("release", first)
    head: Any = canonical.decode(reader.array("head", "u1", (None,)).tobytes())
    assert set(head) == {"family", "rows", "owners", "bins", "label_mean", "label_deviation"}
    assert reader.array("shares", "<u8", (2 * head["bins"] + 3,)).size == 23
    reader.finish()
    assert "by" not in answer["facts"]


@pytest.mark.parametrize(
    ("values", "by", "error", "words"),
    [
        (np.where(np.arange(ROWS) < 3, "far", REGION), {}, JobFailed, "region: 3 of 240 values are none of"),
        ([None] * 2 + REGION.tolist()[2:], {}, JobFailed, "region: 2 of 240 values are missing"),
        (
            np.resize([f"r{number}" for number in range(16)], ROWS),
            {"labels": [f"r{number}" for number in range(16)]},
            CohortTooSmall,
            "at least 20 rows, 16 cohorts",
        ),
        (REGION, {"family": "linear"}, InvalidInput, "none of a linear model, got 2"),
    ],
)
def test_groups_that_cannot_be_told_end_the_step(
    values: Any, by: dict[str, Any], error: type[Exception], words: str
) -> None:
    family = by.get("family", "logistic")
    changed = {name: value for name, value in by.items() if name != "family"}
    spec = by_groups({**BY_REGION, **changed}, family)
    tables = GROUPED | {"owner-2": GROUPED["owner-2"] | {"region": values}}
    ended = mesh_outcomes(evaluating(spec, scored_by(spec, family), tables=tables), mesh_of(3, timeout_s=5))
    assert isinstance(ended[1], error)
    assert words in str(ended[1])
    assert all(isinstance(end, Exception) for end in ended)


def test_owners_rules_that_nobody_can_check_end_an_evaluation_by_group() -> None:
    spec, rules = by_groups(BY_REGION), OutputRules(round_counts=10)
    scored = scored_by(spec)
    ended = mesh_outcomes(evaluating(spec, scored, tables=GROUPED, rules=rules), mesh_of(3, timeout_s=5))
    assert all("round_counts of this owner cannot be checked" in str(end) for end in ended)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ({"owner": "owner-3"}, "by.owner: expected one of owner-1, owner-2, got owner-3"),
        ({"owner": "helper-1"}, "by.owner: expected an owner such as owner-2"),
        ({"column": "county"}, "by.column: expected one of owner-2's age, debt, region, got another"),
        ({"column": "age"}, "by.column: expected one that no score is made from, got age"),
        ({"owner": "owner-1", "column": "late"}, "by.column: expected one of owner-1's income, got another"),
        ({"labels": ["north"]}, "by.labels"),
        ({"labels": [str(number) for number in range(37)]}, "by.labels"),
        ({"labels": ["north", "north"]}, "by.labels: expected each label once"),
        ({"cutoffs": ["1.5"]}, "a probability between 0 and 1"),
        ({"cutoffs": ["0.0"]}, "by.cutoffs: expected ascending probabilities above 0"),
        ({"cutoffs": ["0.5", "0.3"]}, "by.cutoffs: expected ascending probabilities above 0"),
        ({"cutoffs": [f"0.{number}" for number in range(1, 7)]}, "by.cutoffs"),
        ({"order": "size"}, "by.order"),
        ({"unit": "month"}, "by"),
    ],
)
def test_groups_that_do_not_fit_the_step_are_refused_by_field(by: dict[str, Any], words: str) -> None:
    read = {"owner-1": ("late", "income"), "owner-2": ("age", "debt", "region")}
    change = {"inputs": _inputs(read)}
    with pytest.raises(InvalidRequest, match=words):
        built_in().check(by_groups({**BY_REGION, **by}, **change))


def test_column_control_sees_that_rows_are_grouped() -> None:
    uses = [use for use in EVALUATE.uses(by_groups(BY_REGION).step("evaluate")) if use.viewer]
    assert {use.viewer for use in uses} == {ANALYST}
    of_group = [use.after for use in uses if use.column == "region"]
    assert of_group
    assert all(Level.AFTER_GROUP_BY in after for after in of_group)
    assert any(Level.AFTER_AGGREGATE in after for after in of_group)
    others = [use.after for use in uses if use.column != "region"]
    assert all(Level.AFTER_AGGREGATE in after for after in others)
    assert not [use for use in EVALUATE.uses(spec_of().step("evaluate")) if Level.AFTER_GROUP_BY in use.after]
