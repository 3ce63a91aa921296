"""Regression on shares: close to Newton's method on pooled rows, at the stated cost, bad input refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.vertical import (
    SPEC,
    Family,
    Layout,
    Settings,
    check_label,
    costs,
    own_coefficients,
    standardise,
    train,
)
from federated.vertical.settings import LIMIT
from mpc import replicated
from mpc.errors import InvalidInput, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.replicated import costs as runtime_costs
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
RNG = np.random.default_rng(31)
ROWS = 1500
COLUMNS = (3, 2)
SETTINGS = Settings(Family.LOGISTIC, epochs=40, batch=512, rate=0.5, l2=0.01)


def example(columns: tuple[int, ...] = COLUMNS, rows: int = ROWS) -> tuple[list[Floats], Floats, Floats]:
    """Standardised columns of each owner, a label of 0 and 1, and one of a linear model."""
    count = sum(columns)
    mixed = RNG.normal(size=(count, rows)) + 0.5 * RNG.normal(size=rows)
    x = standardise(list(mixed), [str(number) for number in range(count)]).values
    true = np.linspace(-1.2, 1.5, count)
    fitted = true @ x - 0.7
    label = (RNG.random(rows) < 1 / (1 + np.exp(-fitted))).astype(np.float64)
    edges = np.cumsum((0, *columns))
    parts = [x[low:high] for low, high in pairwise(edges)]
    return parts, label, fitted + RNG.normal(size=rows)


def newton(x: Floats, y: Floats, l2: float) -> Floats:
    """Logistic regression on pooled rows, with the intercept first and not penalised."""
    design = np.vstack([np.ones(x.shape[1]), x])
    penalty = l2 * np.diag([0.0] + [1.0] * len(x))
    w = np.zeros(len(design))
    for _ in range(30):
        p = 1 / (1 + np.exp(-w @ design))
        hessian = (design * (p * (1 - p))) @ design.T / len(y) + penalty
        w -= np.linalg.solve(hessian, design @ (p - y) / len(y) + penalty @ w)
    return w


def auc(scores: Floats, label: Floats) -> float:
    ranks = scores.argsort().argsort() + 1.0
    positive = label == 1
    count = positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(label) - count)))


def parties(
    features: list[Floats], label: Any, settings: Settings, layout: Layout, measured: list[Any] | None = None
) -> Any:
    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            own = features[rank] if rank < len(features) else None
            trained = train(rt, layout, settings, own, label if rank == 0 else None)
            part = own_coefficients(rt, layout, trained.weights)
            rounds = rt.rounds
        if measured is not None:
            measured.append((rank, rounds, sum(one.stats.bytes_sent for one in mesh.channels.values())))
        return part, trained

    return play


def fitted_weights(ended: list[Any], owners: int) -> Floats:
    (intercept, first), *others = (end[0] for end in ended[:owners])
    return np.concatenate([[intercept], first, *(part for _, part in others)])


@pytest.mark.parametrize(("columns", "size"), [((3, 2), 3), ((2, 2, 1), 3), ((1, 2, 1, 1), 4), ((0, 3), 3)])
def test_logistic_coefficients_are_those_of_pooled_rows(columns: tuple[int, ...], size: int) -> None:
    features, label, _ = example(columns)
    layout = Layout(ROWS, columns)
    ended = run_mesh([parties(features, label, SETTINGS, layout)] * size)
    got = fitted_weights(ended, len(columns))
    pooled = np.vstack(features)
    expected = newton(pooled, label, SETTINGS.l2)
    np.testing.assert_allclose(got, expected, atol=0.03)
    assert abs(auc(got[1:] @ pooled, label) - auc(expected[1:] @ pooled, label)) < 0.002
    for rank, (part, _) in enumerate(ended):
        assert (part is None) == (rank >= len(columns))
        assert part is None or len(part[1]) == columns[rank]


def test_linear_coefficients_are_those_of_least_squares() -> None:
    features, _, target = example()
    y = standardise([target], ["y"]).values[0]
    settings = Settings(Family.LINEAR, epochs=200, batch=2000, rate=0.1, tells_loss=True)
    ended = run_mesh([parties(features, y, settings, Layout(ROWS, COLUMNS))] * 3)
    design = np.vstack([np.ones(ROWS), *features])
    expected, residuals, *_ = np.linalg.lstsq(design.T, y, rcond=None)
    np.testing.assert_allclose(fitted_weights(ended, 2), expected, atol=2e-3)
    owner, other, helper = (end[1] for end in ended)
    assert owner.losses == other.losses
    assert helper.losses == ()
    assert len(owner.losses) == 200
    assert owner.losses[-1] == pytest.approx(residuals[0] / ROWS, abs=1e-3)


def counts(fitted: Floats, mean: float = 3.0) -> Floats:
    """Numbers of events whose means go as exp(fitted), in units of their mean."""
    drawn = np.random.default_rng(7).poisson(mean * np.exp(fitted)).astype(np.float64)
    return drawn / drawn.mean()


def test_poisson_coefficients_are_those_of_the_greatest_likelihood() -> None:
    features, _, _ = example()
    design = np.vstack([np.ones(ROWS), *features])
    y = counts(np.array([0.0, 0.3, -0.2, 0.25, 0.1, -0.15]) @ design)
    settings = Settings(Family.POISSON, epochs=150, batch=2000, rate=0.2, l2=0.01, tells_loss=True)
    ended = run_mesh([parties(features, y, settings, Layout(ROWS, COLUMNS))] * 3)
    penalty = 0.01 * np.diag([0.0] + [1.0] * len(design[1:]))
    w = np.zeros(len(design))
    for _ in range(30):
        mean = np.exp(w @ design)
        gradient = design @ (mean - y) / ROWS + penalty @ w
        w -= np.linalg.solve((design * mean) @ design.T / ROWS + penalty, gradient)
    np.testing.assert_allclose(fitted_weights(ended, 2), w, atol=2e-3)
    assert ended[0][1].losses[-1] == pytest.approx(np.mean((np.exp(w @ design) - y) ** 2), abs=2e-3)


def information(design: Floats, weights: Floats, family: Family) -> Floats:
    mean = predicted(weights @ design, family)
    variance = {Family.LINEAR: np.ones_like(mean), Family.POISSON: mean}.get(family, mean * (1 - mean))
    return np.asarray((design * variance) @ design.T)


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("columns", [(3, 2), (0, 12)])
def test_standard_errors_are_those_of_pooled_rows(family: Family, columns: tuple[int, ...]) -> None:
    features, label, target = example(columns)
    design = np.vstack([np.ones(ROWS), *(one for one in features if len(one))])
    y = standardise([target], ["y"]).values[0] if family is Family.LINEAR else label
    mean = 3.0 if family is Family.POISSON else 1.0
    if family is Family.POISSON:
        y = counts(0.1 * features[1][0], mean)
    settings = Settings(family, epochs=60, batch=400, rate=0.05, standard_errors=True)

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            own = features[mesh.rank] if mesh.rank < 2 and columns[mesh.rank] else None
            held = y if mesh.rank == 0 else None
            trained = train(rt, Layout(ROWS, columns), settings, own, held, mean=mean)
            assert trained.variances is not None
            return [rt.open(one, [1]) for one in (trained.weights, trained.variances)]

    weights, variances = (one * 2.0**-20 for one in run_mesh([play] * 3)[1])
    residual = predicted(weights @ design, family) - y
    scale = residual @ residual / (ROWS - len(design)) if family is Family.LINEAR else 1 / mean
    expected = scale * np.diag(np.linalg.inv(information(design, weights, family)))
    np.testing.assert_allclose(np.sqrt(variances / ROWS), np.sqrt(expected), rtol=5e-3)


@pytest.mark.parametrize("apart", [0.001, 0.2])
def test_columns_that_say_the_same_have_no_standard_errors(apart: float) -> None:
    rng = np.random.default_rng(8)
    same = rng.normal(size=400)
    features = [standardise([same + apart * rng.normal(size=400)], ["c"]).values for _ in range(2)]
    y = standardise([same + rng.normal(size=400)], ["y"]).values[0]
    settings = Settings(Family.LINEAR, epochs=1, rate=0.05, standard_errors=True)
    ended = mesh_outcomes([parties(features, y, settings, Layout(400, (1, 1)))] * 3)
    words = "columns of the owners are nearly sums of others"
    refused = [isinstance(end, ValueOutOfRange) and words in str(end) for end in ended]
    assert refused == [apart < 0.01] * 3


@pytest.mark.parametrize(
    ("settings", "layout", "mean", "words"),
    [
        ({}, Layout(40, (30, 9)), 1.0, "fewer than rows, got 40 and 40 rows"),
        ({}, Layout(400, (200, 60)), 1.0, "at most 256 coefficients"),
        (
            {"family": Family.POISSON},
            Layout(40, (1, 1)),
            2.0**-7,
            "a mean label of 0.015625 to 16384",
        ),
    ],
)
def test_standard_errors_that_cannot_be_had_are_refused(
    settings: dict[str, Any], layout: Layout, mean: float, words: str
) -> None:
    chosen = replace(Settings(Family.LOGISTIC, epochs=1, standard_errors=True), **settings)
    x = np.random.default_rng(9).normal(size=(sum(layout.columns), layout.rows))
    parts = np.split(x, [layout.columns[0]])
    y = np.arange(layout.rows) % 2.0

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            own = parts[mesh.rank] if mesh.rank < 2 else None
            return train(rt, layout, chosen, own, y if mesh.rank == 0 else None, mean=mean)

    ended = mesh_outcomes([play] * 3)
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


def test_training_ends_when_the_coefficients_stand_still() -> None:
    features, label, _ = example()
    settings = replace(SETTINGS, epochs=200, batch=2000, tolerance=1e-3)
    ended = run_mesh([parties(features, label, settings, Layout(ROWS, COLUMNS))] * 3)
    (epochs,) = {end[1].epochs for end in ended}
    assert 5 < epochs < 200
    expected = newton(np.vstack(features), label, settings.l2)
    np.testing.assert_allclose(fitted_weights(ended, 2), expected, atol=0.02)


def descent(x: Floats, y: Floats, settings: Settings, rows: int) -> tuple[list[Floats], list[float]]:
    """In the clear: the coefficients after each epoch, and their loss on the rows from ``rows`` on."""
    design = np.vstack([np.ones(x.shape[1]), x])
    weights = step = np.zeros(len(design))
    every, losses = [], []
    for epoch in range(settings.epochs):
        for part in Layout(rows, (len(x),)).batches(settings.batch):
            residual = predicted(weights @ design[:, part], settings.family) - y[part]
            gradient = design[:, part] @ residual / (part.stop - part.start)
            gradient[1:] += settings.l2 * weights[1:]
            step = settings.rate_of(epoch) * gradient + settings.momentum * step
            weights = weights - step
        every.append(weights)
        losses.append(
            float(np.mean((predicted(weights @ design[:, rows:], settings.family) - y[rows:]) ** 2))
        )
    return every, losses


def predicted(fitted: Floats, family: Family) -> Floats:
    return {Family.LINEAR: fitted, Family.POISSON: np.exp(fitted)}.get(family, 1 / (1 + np.exp(-fitted)))


@pytest.mark.parametrize("family", list(Family))
def test_patience_ends_training_and_keeps_the_coefficients_that_did_best_on_rows_held_out(
    family: Family,
) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(20, 1060))
    y = 0.5 * x[0] + rng.normal(size=1060)
    y = {Family.LINEAR: y, Family.POISSON: counts(y - 1)}.get(family, (y > 0).astype(np.float64))
    settings = Settings(family, epochs=120, batch=60, rate=0.05, patience=6)
    every, losses = descent(x, y, settings, 60)
    best = int(np.argmin(losses))
    layout = Layout(60, (12, 8), held_out=1000)
    ended = run_mesh([parties([x[:12], x[12:]], y, settings, layout)] * 3)
    (epochs,) = {end[1].epochs for end in ended}
    assert 6 < epochs < 120
    assert abs(epochs - 6 - (best + 1)) <= 1
    np.testing.assert_allclose(fitted_weights(ended, 2), every[epochs - 7], atol=0.01)
    assert np.abs(every[epochs - 1] - every[epochs - 7]).max() > 0.05


def test_fitted_values_out_of_reach_on_rows_held_out_end_the_run_for_all() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(8, 300))
    x[:, 200:] = 100
    y = x.sum(axis=0)
    y[200:] = 0
    settings = Settings(Family.LINEAR, epochs=3, batch=10, rate=0.05, patience=3)
    play = parties([x[:4], x[4:]], y, settings, Layout(200, (4, 4), held_out=100))
    ended = mesh_outcomes([play] * 3)
    assert all(isinstance(end, ValueOutOfRange) and "of 300 fitted values" in str(end) for end in ended)


@pytest.mark.parametrize(("patience", "held_out"), [(3, 0), (0, 10)])
def test_a_patience_and_rows_held_out_go_together(patience: int, held_out: int) -> None:
    features, label, _ = example((1, 1), 40 + held_out)
    settings, layout = replace(SETTINGS, patience=patience), Layout(40, (1, 1), held_out)
    ended = mesh_outcomes([parties(features, label, settings, layout)] * 3)
    assert all(isinstance(end, InvalidInput) and "patience" in str(end) for end in ended)


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize(("columns", "size"), [((3, 2), 3), ((1, 2, 1, 1), 4)])
@pytest.mark.parametrize(("tolerance", "errors"), [(0.0, False), (0.0, True), (1e-6, False)])
def test_rounds_and_bytes_are_those_of_the_formulas(
    family: Family, columns: tuple[int, ...], size: int, tolerance: float, errors: bool
) -> None:
    held_out = 140 if tolerance else 0
    features, label, target = example(columns, 300 + held_out)
    y = standardise([target], ["y"]).values[0] if family is Family.LINEAR else label
    layout = Layout(300, columns, held_out)
    settings = Settings(family, 2, 128, rate=0.1, l2=0.0 if errors else 0.1, tolerance=tolerance)
    settings = replace(settings, tells_loss=tolerance > 0, standard_errors=errors)
    settings = replace(settings, patience=2 if held_out else 0)
    measured: list[Any] = []
    run_mesh([parties(features, y, settings, layout, measured)] * size)
    cost = costs.training(layout, settings, size) + costs.coefficients(layout)
    whole = runtime_costs.run(size)
    assert len(measured) == size
    for rank, rounds, sent in measured:
        assert rounds == cost.rounds + whole.rounds
        frame = whole.sent[0] if rank < 3 else whole.outside
        assert sent == costs.sent(layout, cost, rank) + frame


def test_a_rate_that_is_too_large_ends_the_run_for_all_without_coefficients() -> None:
    features, _, target = example()
    y = standardise([target], ["y"]).values[0]
    settings = Settings(Family.LINEAR, epochs=100, batch=2000, rate=2.0, momentum=0.0)
    ended = mesh_outcomes([parties(features, y, settings, Layout(ROWS, COLUMNS))] * 3)
    assert all(isinstance(end, ValueOutOfRange) for end in ended)


@pytest.mark.parametrize("name", ["keys", "input", "product", "planes", "open", "confirm"])
def test_a_changed_message_ends_the_run_without_output(name: str) -> None:
    features, label, _ = example((1, 1), 40)
    settings = Settings(Family.LOGISTIC, epochs=1)
    changed: list[str] = []

    def tap(sender: int, receiver: int, message: str, payload: bytes) -> bytes | None:
        if message.endswith(f"/{name}") and not changed:
            changed.append(message)
            return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    play = parties(features, label, settings, Layout(40, (1, 1)))
    ended = mesh_outcomes([play] * 3, mesh_of(3, tap=tap, timeout_s=3))
    assert changed
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize("bad", [np.nan, np.inf, LIMIT])
def test_a_value_that_cannot_be_encoded_is_refused_before_it_is_shared(bad: float) -> None:
    features, label, _ = example((1, 1), 40)
    features[1] = features[1].copy()
    features[1][0, 7] = bad
    ended = mesh_outcomes([parties(features, label, SETTINGS, Layout(40, (1, 1)))] * 3)
    assert isinstance(ended[1], ValueOutOfRange)
    assert "1 of 40" in str(ended[1])
    assert all(isinstance(end, Exception) for end in ended)


def test_rows_that_do_not_fit_the_layout_are_refused() -> None:
    features, label, _ = example((1, 1), 40)
    features[1] = features[1][:, :39]
    ended = mesh_outcomes([parties(features, label, SETTINGS, Layout(40, (1, 1)))] * 3)
    assert isinstance(ended[1], InvalidInput)
    assert all(isinstance(end, Exception) for end in ended)


def test_columns_are_standardised_and_bad_ones_are_refused_by_name_and_count() -> None:
    column = RNG.normal(3, 2, 500)
    made = standardise([column, column * 1e300], ["a", "b"])
    np.testing.assert_allclose(made.values[1], made.values[0], atol=1e-9)
    np.testing.assert_allclose(made.values[0], (column - column.mean()) / column.std(), atol=1e-9)
    np.testing.assert_allclose([made.means[0], made.deviations[0]], [column.mean(), column.std()])
    holed = column.copy()
    holed[:2] = np.nan, np.inf
    outlier = np.zeros(20_000)
    outlier[0] = 1
    for values, error, words in (
        (holed, ValueOutOfRange, "column c: 2 of 500 values are missing or not finite"),
        (np.full(9, 5.0), InvalidInput, "column c: all 9 values are equal"),
        (outlier, ValueOutOfRange, "column c: 1 of 20000 values are 128 standard deviations"),
    ):
        with pytest.raises(error, match=words):
            standardise([values], ["c"])


def test_a_label_that_is_no_label_is_refused() -> None:
    for label, error, words in (
        ([0, 1, 2, -1], ValueOutOfRange, "label y: 2 of 4 values are neither 0 nor 1"),
        ([1, 1, 1], InvalidInput, "label y: all 3 values are of one class"),
        ([0, np.nan], ValueOutOfRange, "column y: 1 of 2 values are missing"),
    ):
        with pytest.raises(error, match=words):
            check_label(np.array(label, dtype=np.float64), "y", Family.LOGISTIC)
    check_label(np.array([0.0, 5.0]), "y", Family.LINEAR)
    for label, error, words in (
        ([0, 1, -2], ValueOutOfRange, "label y: 1 of 3 values are below 0"),
        ([0, 0], InvalidInput, "label y: all 2 values are 0"),
        ([1, np.inf], ValueOutOfRange, "column y: 1 of 2 values are missing"),
    ):
        with pytest.raises(error, match=words):
            check_label(np.array(label, dtype=np.float64), "y", Family.POISSON)
    check_label(np.array([0.0, 5.0]), "y", Family.POISSON)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch": 5000},
        {"rate": 0.0},
        {"momentum": 1.0},
        {"l2": -1.0},
        {"l2": 0.1, "standard_errors": True},
        {"patience": 1, "standard_errors": True},
        {"tolerance": np.nan},
        {"patience": -1},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(change))):
        replace(SETTINGS, **change)
