"""Metrics against brute force over all pairs, thresholds and rows; bins against the rows they are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federated import metrics
from federated.metrics import Binned
from mpc.errors import InvalidInput

RNG = np.random.default_rng(5)
ROWS = 240
SCORES = np.round(1 / (1 + np.exp(-RNG.normal(size=ROWS))), 2)
LABEL = (RNG.random(ROWS) < SCORES).astype(np.float64)
"""Two decimals: many scores are equal."""


def test_auc_counts_pairs_and_half_of_ties() -> None:
    ones, zeros = SCORES[LABEL == 1], SCORES[LABEL == 0]
    above = (ones[:, None] > zeros).sum() + 0.5 * (ones[:, None] == zeros).sum()
    assert metrics.auc(SCORES, LABEL) == pytest.approx(above / (len(ones) * len(zeros)), abs=1e-12)
    assert metrics.auc(np.full(4, 0.5), np.array([0.0, 1.0, 1.0, 0.0])) == 0.5
    assert metrics.auc(LABEL, LABEL) == 1.0
    assert metrics.auc(-LABEL, LABEL) == 0.0


def test_roc_and_ks_are_those_of_every_threshold() -> None:
    curve = metrics.roc(SCORES, LABEL)
    assert (curve.false_positive_rate[0], curve.true_positive_rate[0]) == (0, 0)
    counted = [metrics.confusion(SCORES, LABEL, threshold) for threshold in np.unique(SCORES)[::-1]]
    zeros = counted[0].false_positives + counted[0].true_negatives
    np.testing.assert_allclose(curve.true_positive_rate[1:], [one.recall for one in counted])
    np.testing.assert_allclose(
        curve.false_positive_rate[1:], [one.false_positives / zeros for one in counted]
    )
    np.testing.assert_array_equal(curve.thresholds, np.unique(SCORES)[::-1])
    furthest = max(abs(one.recall - one.false_positives / zeros) for one in counted)
    assert metrics.ks(SCORES, LABEL) == pytest.approx(furthest, abs=1e-12)


def test_confusion_counts_rows_and_its_rates_follow() -> None:
    table = metrics.confusion(np.array([0.9, 0.5, 0.5, 0.1, 0.2]), np.array([1.0, 1, 0, 0, 1]), 0.5)
    assert table == metrics.Confusion(2, 1, 1, 1)
    assert (table.rows, table.accuracy) == (5, 0.6)
    assert (table.precision, table.recall, table.f1) == (2 / 3, 2 / 3, 2 / 3)
    nobody = metrics.confusion(np.array([0.1]), np.array([0.0]), 0.5)
    assert (nobody.precision, nobody.recall, nobody.f1) == (0, 0, 0)


def test_losses_are_means_over_rows() -> None:
    rows = list(zip(SCORES.clip(0.01, 0.99), LABEL, strict=True))
    inside = np.array([score for score, _ in rows])
    squares = sum((score - label) ** 2 for score, label in rows) / ROWS
    assert metrics.brier(inside, LABEL) == pytest.approx(squares)
    logs = sum(-np.log(score if label else 1 - score) for score, label in rows) / ROWS
    assert metrics.log_loss(inside, LABEL) == pytest.approx(logs)
    assert metrics.log_loss(np.array([0.0]), np.array([1.0])) == np.inf


def test_regression_errors_follow_their_definitions() -> None:
    actual = RNG.normal(10, 3, 50)
    predicted = actual + RNG.normal(size=50)
    found = metrics.regression(predicted, actual)
    left = sum((p - a) ** 2 for p, a in zip(predicted, actual, strict=True))
    assert found.mse == pytest.approx(left / 50)
    assert found.mae == pytest.approx(sum(abs(p - a) for p, a in zip(predicted, actual, strict=True)) / 50)
    assert found.r2 == pytest.approx(1 - left / 50 / actual.var())
    assert metrics.regression(np.full(50, actual.mean()), actual).r2 == pytest.approx(0)


def test_bins_hold_the_rows_in_the_order_of_their_scores() -> None:
    bins = Binned.of(SCORES, LABEL, 7)
    order = sorted(range(ROWS), key=lambda row: -SCORES[row])
    parts = [order[number * ROWS // 7 : (number + 1) * ROWS // 7] for number in range(7)]
    assert bins.rows.tolist() == [len(part) for part in parts]
    np.testing.assert_allclose(bins.labels, [LABEL[part].sum() for part in parts])
    np.testing.assert_allclose(bins.scores, [SCORES[part].sum() for part in parts])
    assert bins.gain()[-1] == bins.lift()[-1] == 1
    top = [row for part in parts[:2] for row in part]
    assert bins.gain()[1] == pytest.approx(LABEL[top].sum() / LABEL.sum())
    assert bins.lift()[1] == pytest.approx(LABEL[top].mean() / LABEL.mean())
    expected = metrics.Confusion(
        int(LABEL[top].sum()),
        len(top) - int(LABEL[top].sum()),
        int(LABEL.sum() - LABEL[top].sum()),
        ROWS - len(top) - int(LABEL.sum() - LABEL[top].sum()),
    )
    assert bins.confusion(2) == expected
    assert metrics.calibration(SCORES, LABEL, 7).expected_error == bins.calibration().expected_error
    one = Binned.of(SCORES, LABEL, 1).calibration()
    assert one.expected_error == pytest.approx(abs(SCORES.mean() - LABEL.mean()))


@pytest.mark.parametrize("bins", [1, 2, 5, 20, ROWS])
def test_the_area_of_bins_is_wrong_by_no_more_than_they_say(bins: int) -> None:
    distinct = np.argsort(np.argsort(SCORES)).astype(np.float64)
    area, error = Binned.of(distinct, LABEL, bins).auc()
    assert abs(area - metrics.auc(distinct, LABEL)) <= error + 1e-12
    assert Binned.of(distinct, LABEL, bins).ks() <= metrics.ks(distinct, LABEL) + 1e-12
    assert (error == 0) == (bins == ROWS)


def test_stability_index_is_zero_for_equal_shapes_and_grows_with_the_shift() -> None:
    before = np.array([100, 200, 700])
    assert metrics.stability_index(before, before * 3) == pytest.approx(0)
    now = np.array([300, 300, 400])
    expected = sum((n - b) * np.log(n / b) for b, n in ((0.1, 0.3), (0.2, 0.3), (0.7, 0.4)))
    assert metrics.stability_index(before, now) == pytest.approx(expected)
    emptied = metrics.stability_index(before, np.array([0, 300, 700]))
    assert emptied == pytest.approx((1e-4 - 0.1) * np.log(1e-3) + 0.1 * np.log(1.5))


def test_fairness_compares_groups() -> None:
    flagged = np.array([1, 1, 0, 0, 1, 0, 0, 0], dtype=np.bool_)
    label = np.array([1, 1, 1, 0, 1, 1, 0, 0], dtype=np.float64)
    group = np.array([0, 0, 0, 0, 7, 7, 7, 7])
    assert metrics.demographic_parity_difference(flagged, group) == pytest.approx(1 / 4)
    assert metrics.equal_opportunity_difference(flagged, label, group) == pytest.approx(2 / 3 - 1 / 2)
    with pytest.raises(InvalidInput, match="1 groups have no row of label 1"):
        metrics.equal_opportunity_difference(flagged, label * (group == 0), group)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: metrics.auc(SCORES, LABEL[1:]), "a score and a label of each row"),
        (lambda: metrics.auc(SCORES, np.zeros(ROWS)), "240 labels are of one class"),
        (lambda: metrics.auc(SCORES, LABEL * 2), "labels are neither 0 nor 1"),
        (lambda: metrics.auc(np.append(SCORES[1:], np.nan), LABEL), "1 scores and labels are not finite"),
        (lambda: metrics.regression(SCORES, np.ones(ROWS)), "240 labels are equal"),
        (lambda: metrics.stability_index(np.array([1]), np.array([1, 2])), "the same bins"),
        (lambda: metrics.stability_index(np.array([0]), np.array([1])), "at least one row"),
        (lambda: Binned.of(SCORES, LABEL, ROWS + 1), "1 to 240 bins, got 241"),
        (lambda: Binned(np.array([0]), np.zeros(1), np.zeros(1)), "no empty bin"),
    ],
)
def test_what_cannot_be_measured_is_refused(ask: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        ask()
