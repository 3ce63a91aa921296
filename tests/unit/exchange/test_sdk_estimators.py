from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.sdk import (
    GradientBoosting,
    KMeans,
    LinearRegression,
    LogisticRegression,
    NeuralNetwork,
    NodeClient,
    PoissonRegression,
    RemoteTable,
    Scorecard,
)
from exchange.simulated.parties import SimulatedParties
from ledger import canonical

LENDER = RemoteTable("did:x:lender", "lender/loans", "person", ("debt",))
BUREAU = RemoteTable("did:x:bureau", "bureau/people", "id", ("income", "age"), "agr-1")
BANK = RemoteTable("did:x:bank", "bank/cards", "id", ("limit",), "agr-2")
HELPER = "did:x:regulator"
PURPOSE = "dpv:CustomerManagement"
REGRESSIONS = [LogisticRegression, LinearRegression, PoissonRegression]
ON_SHARES = [*REGRESSIONS, Scorecard, NeuralNetwork]
TWO, THREE = [LENDER, BUREAU], [LENDER, BUREAU, BANK]
BOUNDS = {
    "lender/loans": {"debt": (0, 10_000)},
    "bureau/people": {"income": ("0", "4000.50"), "age": (18, 80.5)},
}
BANKS = {"bank/cards": {"limit": (-5.25, 1e3)}}


class Node:
    """What an estimator asks the caller's node before it submits."""

    def node(self) -> dict[str, Any]:
        return {"did": "did:x:lender"}


NODE = cast("NodeClient", Node())


@dataclass
class Playing(Node):
    """A node whose jobs are played by simulated parties, over such tables.

    Attributes:
        tables: by asset.
        answers: of the jobs that were submitted.
    """

    tables: Mapping[str, pa.Table]
    answers: dict[str, Any] = field(default_factory=dict)

    def submit(self, spec: Mapping[str, Any]) -> dict[str, str]:
        job = JobSpec.parse(canonical.encode(dict(spec)))
        built_in().check(job)
        with tempfile.TemporaryDirectory() as folder:
            parties = SimulatedParties(job, built_in(), self.tables, Path(folder))
            for step in job.steps:
                played = parties.play(step, lambda done, total: None)
                if played.failure is not None:
                    raise played.failure
        self.answers[job.job] = dict(played.outcomes["reader"].files)
        return {"job": job.job}

    def wait_job(self, job: str, *, timeout_s: float) -> None:
        assert job in self.answers

    def result(self, job: str) -> Any:
        files = self.answers[job]
        return canonical.decode(files["result.json"]), files


def played(kind: np.ndarray[Any, Any], pay: np.ndarray[Any, Any], debt: np.ndarray[Any, Any]) -> NodeClient:
    """A node over tables of two owners that know the same people."""
    people = [f"p{number:03d}" for number in range(len(kind))]
    tables = {
        "lender/loans": pa.table({"person": people, "late": kind, "due": debt + pay, "debt": debt}),
        "bureau/people": pa.table({"id": people[::-1], "income": pay[::-1]}),
    }
    return cast("NodeClient", Playing(tables))


RNG = np.random.Generator(np.random.PCG64(3))
KIND = RNG.permutation(np.arange(160) % 2)
PAY = np.array([900.0, 3100.0])[KIND] + RNG.uniform(-300, 300, len(KIND))
DEBT = RNG.uniform(2_000, 7_000, len(KIND))
BOTH = [LENDER, replace(BUREAU, features=("income",))]


def taken(spec: Mapping[str, Any]) -> JobSpec:
    """The job as nodes read and check it."""
    read = JobSpec.parse(canonical.encode(dict(spec)))
    built_in().check(read)
    return read


@pytest.mark.parametrize("made", REGRESSIONS)
@pytest.mark.parametrize(("tables", "helper"), [(TWO, HELPER), (THREE, None)], ids=["two", "three"])
@pytest.mark.parametrize("held_out", [0, 20])
def test_the_job_is_one_that_nodes_take(made: Any, tables: Any, helper: Any, held_out: int) -> None:
    spec = made(NODE, PURPOSE, helper, test_percent=held_out, patience=held_out).spec(tables, "late")
    read = taken(spec)
    assert [step.id for step in read.steps] == ["match", "train", "score", "evaluate", "report"]
    assert read.step("train").component == f"model/{made.family}"
    assert read.step("train").params["patience"] == held_out
    assert read.step("score").params["part"] == ("test" if held_out else "all")
    assert read.agreements == {one.asset: one.agreement for one in tables if one.agreement}
    assert {step.recipients for step in read.steps} == {(), ("did:x:lender",)}


@pytest.mark.parametrize(("tables", "helper"), [(TWO, HELPER), (THREE, None)], ids=["two", "three"])
def test_the_caller_reads_what_a_scorecard_or_a_network_tells(tables: Any, helper: Any) -> None:
    card = taken(Scorecard(NODE, PURPOSE, helper, pdo=30, bins=7, epochs=3, l2=0.5).spec(tables, "late"))
    assert [step.component for step in card.steps[1:]] == ["model/woe", "model/scorecard", "report/result"]
    assert card.step("train").params.items() >= {"pdo": 30, "epochs": 3, "l2_micro": 500_000}.items()
    assert card.step("weigh").params["bins"] == 7
    assert card.step("report").after == ("train",)
    network = NeuralNetwork(NODE, PURPOSE, helper, hidden_layer_sizes=3, max_iter=7, alpha=0.25)
    read = taken(network.spec(tables, "late"))
    expected = {"units": 3, "epochs": 7, "l2_micro": 250_000, "coefficients": "split", "loss": "owners"}
    assert read.step("train").params.items() >= expected.items()
    assert read.step("train").recipients == ("did:x:lender",)


@pytest.mark.parametrize("tables", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("objective", ["logistic", "squared"])
def test_trees_grow_among_the_owners_alone(tables: Any, objective: str) -> None:
    trees = GradientBoosting(
        NODE,
        PURPOSE,
        objective=objective,
        n_estimators=7,
        max_depth=2,
        max_bin=9,
        learning_rate=0.25,
        reg_lambda=2,
        reg_alpha=0.5,
        early_stopping_rounds=2,
        monotone_constraints={"bureau/people": {"age": -1}},
    )
    train = taken(trees.spec(tables, "late")).step("train")
    assert train.parties == {f"owner-{number}": one.owner for number, one in enumerate(tables, start=1)}
    expected = {"objective": objective, "trees": 7, "depth": 2, "bins": 9, "patience": 2, "test_percent": 20}
    expected |= {"rate_micro": 250_000, "l2_micro": 2_000_000, "l1_micro": 500_000, "loss": "recipients"}
    assert train.params.items() >= expected.items()
    assert train.params["monotone"] == {"owner-2": {"age": -1}}


@pytest.mark.parametrize(("tables", "helper"), [(TWO, HELPER), (THREE, None)], ids=["two", "three"])
def test_bounds_of_clusters_keep_their_digits(tables: Any, helper: Any) -> None:
    bounds = BOUNDS | (BANKS if BANK in tables else {})
    read = taken(KMeans(NODE, PURPOSE, helper, bounds=bounds, n_clusters=3).spec(tables))
    train = read.step("train")
    assert train.params.items() >= {"clusters": 3, "seed": 0, "rounds": 20}.items()
    stated = cast("dict[str, Any]", train.params["bounds"])
    assert stated["owner-2"]["income"] == {"lower": "0", "upper": "4000.5"}
    assert stated["owner-2"]["age"] == {"lower": "18", "upper": "80.5"}
    assert [one.decimals for one in train.inputs["owner-2"].columns] == [1, 1]
    assert [one.decimals for one in train.inputs["owner-1"].columns] == [0]
    if BANK in tables:
        assert stated["owner-3"] == {"limit": {"lower": "-5.25", "upper": "1000"}}


@pytest.mark.parametrize("made", ON_SHARES)
@pytest.mark.parametrize(
    ("tables", "helper", "named"),
    [
        ([LENDER], HELPER, "tables"),
        ([LENDER, replace(BUREAU, asset=LENDER.asset)], HELPER, "tables"),
        ([replace(LENDER, features=("debt", "late")), BUREAU], HELPER, "tables"),
        ([LENDER, replace(BUREAU, features=("age", "age"))], HELPER, "tables"),
        (TWO, None, "helper"),
        (THREE, HELPER, "helper"),
    ],
)
def test_tables_that_make_no_job_are_refused(made: Any, tables: Any, helper: Any, named: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        made(NODE, PURPOSE, helper).spec(tables, "late")
    assert refused.value.field == named


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (lambda: GradientBoosting(NODE, PURPOSE).spec([LENDER], "late"), "tables"),
        (lambda: GradientBoosting(NODE, PURPOSE, objective="softmax").spec(TWO, "late"), "objective"),
        (
            lambda: GradientBoosting(NODE, PURPOSE, monotone_constraints={"bank/cards": {"limit": 1}}).spec(
                TWO, "late"
            ),
            "monotone_constraints",
        ),
        (lambda: KMeans(NODE, PURPOSE, HELPER, bounds=BOUNDS).spec([LENDER]), "tables"),
        (lambda: KMeans(NODE, PURPOSE, bounds=BOUNDS).spec(TWO), "helper"),
        (lambda: KMeans(NODE, PURPOSE, bounds=BOUNDS).spec(THREE), "bounds"),
        (lambda: KMeans(NODE, PURPOSE, HELPER, bounds=BOUNDS | BANKS).spec(TWO), "bounds"),
    ],
)
def test_parameters_that_do_not_fit_the_tables_are_refused(write: Callable[[], Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        write()
    assert refused.value.field == named


@pytest.mark.parametrize("ends", [("0", "many"), (0, float("nan")), (0, 1, 2)])
def test_bounds_that_are_no_two_numbers_are_refused(ends: Any) -> None:
    bounds = BOUNDS | {"lender/loans": {"debt": ends}}
    with pytest.raises(InvalidRequest, match="two numbers"):
        KMeans(NODE, PURPOSE, HELPER, bounds=bounds).spec(TWO)


@pytest.mark.parametrize(
    "model",
    [
        *(one(NODE, PURPOSE, HELPER) for one in ON_SHARES),
        GradientBoosting(NODE, PURPOSE),
        GradientBoosting(NODE, PURPOSE, objective="squared"),
        KMeans(NODE, PURPOSE, HELPER, bounds=BOUNDS),
    ],
    ids=lambda model: type(model).__name__,
)
def test_an_estimator_that_was_not_fitted_tells_nothing(model: Any) -> None:
    told = [model.score]
    told += [lambda: model.publish("lender/late", {"key": "person"})] if hasattr(model, "publish") else []
    names = (
        "loss_curve_",
        "n_estimators_",
        "cluster_centers_",
        "cluster_sizes_",
        "feature_names_",
        "n_iter_",
    )
    told += [lambda name=name: getattr(model, name) for name in names if hasattr(type(model), name)]
    for ask in told:
        with pytest.raises(InvalidRequest, match="fit"):
            ask()


def test_clusters_are_those_of_the_matched_rows() -> None:
    bounds = {"lender/loans": {"debt": (0, 10_000)}, "bureau/people": {"income": (0, 4_000)}}
    found = KMeans(
        played(KIND, PAY, DEBT),
        PURPOSE,
        HELPER,
        bounds=bounds,
        n_clusters=2,
        max_iter=5,
        min_cohort=20,
        rules=(),
    ).fit(BOTH)
    assert found.feature_names_ == [("owner-1", "debt"), ("owner-2", "income")]
    assert sorted(found.cluster_sizes_) == [80, 80]
    order = np.argsort([income for _, income in found.cluster_centers_])
    means = [[one[KIND == kind].mean() for one in (DEBT, PAY)] for kind in (0, 1)]
    np.testing.assert_allclose(np.array(found.cluster_centers_)[order], means, atol=0.1)
    scaled = np.stack([DEBT / 10_000, PAY / 4_000])
    inertia = sum(scaled[:, KIND == kind].var(axis=1).sum() * 80 for kind in (0, 1))
    assert found.inertia_ == pytest.approx(inertia, abs=0.01)
    assert found.score() == -found.inertia_
    assert found.n_iter_ == 5


def test_a_network_tells_the_error_of_every_epoch_and_its_weights_if_asked() -> None:
    network = NeuralNetwork(
        played(KIND, PAY, DEBT),
        PURPOSE,
        HELPER,
        hidden_layer_sizes=2,
        max_iter=6,
        batch_size=64,
        coefficients="recipients",
        min_cohort=20,
        rules=(),
    ).fit(BOTH, "late")
    assert len(network.loss_curve_) == 6
    assert network.score() == -network.loss_curve_[-1]
    # The first weights are drawn anew in every job, so how far it gets in six epochs is, too.
    assert all(0 < loss < 1 for loss in network.loss_curve_)
    weights = [(line[1], line[2]) for line in network.table_ if line[1] in ("debt", "income")]
    assert weights == [(name, unit) for unit in (1, 2) for name in ("debt", "income")]
    assert all(np.isfinite(float(line[3])) for line in network.table_)


def test_a_scorecard_tells_how_the_error_fell_and_no_points() -> None:
    late = np.where(np.arange(len(KIND)) % 5, KIND, 1 - KIND)
    card = Scorecard(
        played(late, PAY, DEBT), PURPOSE, HELPER, epochs=8, bins=4, merge="none", min_cohort=20, rules=()
    ).fit(BOTH, "late")
    assert card.loss_curve_[0] == pytest.approx(0.25, abs=0.01)
    # The best chances, of 0.2 and 0.8, have an error of 0.16.
    assert card.score() == pytest.approx(-0.16, abs=0.02)
    assert card.report_["scale"]["base_score"] == "600"
    assert {line[1] for line in card.table_} >= {"debt", "income"}
    assert all(line[4] is None for line in card.table_)


def test_trees_tell_the_area_and_the_error() -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is an extra")
    # With two incomes, those of the two classes, trees are right whichever rows are held out.
    pay = np.array([900.0, 3100.0])[KIND]
    node = played(KIND, pay, DEBT)
    grown: dict[str, Any] = {"n_estimators": 2, "max_depth": 1, "max_bin": 4, "min_cohort": 2, "rules": ()}
    late = GradientBoosting(node, PURPOSE, test_percent=25, **grown).fit(BOTH, "late")
    assert (late.n_estimators_, len(late.loss_curve_), late.report_["held_out"]) == (2, 2, 40)
    assert late.score() == 1.0
    assert late.loss_curve_[1] < late.loss_curve_[0] < np.log(2)
    due = GradientBoosting(node, PURPOSE, objective="squared", test_percent=0, **grown).fit(BOTH, "due")
    assert due.score() == pytest.approx(-2 * due.loss_curve_[1])
    assert -float((DEBT + pay).var()) < due.score() < 0


def test_the_error_is_that_of_the_trees_kept_on_rows_held_out_if_any() -> None:
    model = GradientBoosting(NODE, PURPOSE, objective="squared")
    model.table_ = [[1, "0.5", "0.625"], [2, "0.25", "0.375"], [3, "0.125", "0.75"]]
    model.report_ = {"rows": 120, "held_out": 40, "trees": 2}
    assert model.loss_curve_ == [0.625, 0.375, 0.75]
    assert model.score() == -0.75
    model.report_ = {"rows": 160, "held_out": 0, "trees": 3}
    assert model.loss_curve_ == [0.5, 0.25, 0.125]
    assert model.score() == -0.25


def test_the_area_is_told_of_enough_rows_alone() -> None:
    model = GradientBoosting(NODE, PURPOSE)
    model.report_ = {"rows": 160, "held_out": 40, "trees": 2, "auc": "0.75"}
    with pytest.raises(InvalidRequest, match="held_out_auc"):
        model.score()
    model.report_ |= {"held_out": 0}
    assert model.score() == 0.75


class Scoring(Node):
    """A node with a model in service, for which it notes what was published."""

    def __init__(self) -> None:
        self.drafted: list[Any] = []

    def draft_model(self, model: str, **how: Any) -> Any:
        self.drafted.append((model, how["job"], how["step"], how["purposes"]))

    def score(self, model: str, persons: Any, purpose: str) -> Any:
        why = [{"owner": "bureau", "column": "income", "points": -12}]
        return [{"score": 2.5, "probability": 0.125, "reasons": why} for _ in persons]


@pytest.mark.parametrize(
    "made",
    [
        lambda node: LogisticRegression(node, PURPOSE, HELPER),
        lambda node: LinearRegression(node, PURPOSE, HELPER),
        lambda node: PoissonRegression(node, PURPOSE, HELPER),
        lambda node: Scorecard(node, PURPOSE, HELPER),
        lambda node: GradientBoosting(node, PURPOSE),
        lambda node: GradientBoosting(node, PURPOSE, objective="squared"),
    ],
)
def test_a_model_that_was_fitted_is_published_and_asked(made: Callable[[Any], Any]) -> None:
    node = Scoring()
    model = made(cast("NodeClient", node))
    model.report_, model.job_ = {"r2": "0.25", "auc": "0.25"}, "job-1"
    if isinstance(model, LogisticRegression | LinearRegression | PoissonRegression):
        assert model.score() == 0.25
    model.publish("lender/late", {"key": "person"})
    assert node.drafted == [("lender/late", "job-1", "train", [PURPOSE])]
    is_number = getattr(model, "objective", "") == "squared"
    if hasattr(model, "predict") and (is_number or not isinstance(model, GradientBoosting)):
        assert model.predict("lender/late", ["a", "b"]) == [2.5, 2.5]
    if hasattr(model, "predict_proba") and not is_number:
        assert model.predict_proba("lender/late", ["a"]) == [0.125]
    if hasattr(model, "decision_function") and not is_number:
        assert model.decision_function("lender/late", ["a"]) == [2.5]


def test_trees_are_asked_for_what_their_label_has() -> None:
    node = cast("NodeClient", Scoring())
    number = GradientBoosting(node, PURPOSE, objective="squared")
    for ask in (number.predict_proba, number.decision_function, GradientBoosting(node, PURPOSE).predict):
        with pytest.raises(InvalidRequest, match="objective"):
            ask("lender/late", ["a"])


def test_points_come_with_their_reasons() -> None:
    model = Scorecard(cast("NodeClient", Scoring()), PURPOSE, HELPER)
    told = [(2.5, [{"owner": "bureau", "column": "income", "points": -12}])]
    assert model.explain("lender/late", ["a"]) == told
