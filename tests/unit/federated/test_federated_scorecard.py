"""Points, scores and reasons of a scorecard."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from federated.scorecard import NO_REASON, Scale, partial_points, reasons
from mpc.errors import InvalidInput

EXACT = Scale(is_whole=False)
RNG = np.random.default_rng(4)


def test_the_score_is_the_log_odds_on_the_scale() -> None:
    """Summed over columns, points are those of the fitted log odds: pdo points double the odds."""
    weights = [RNG.normal(size=5), RNG.normal(size=3)]
    codes = np.stack([RNG.integers(0, len(own), 400) for own in weights])
    coefficients, intercept = (-0.8, 0.3), -1.2
    columns = [own[places] for own, places in zip(weights, codes, strict=True)]
    means, deviations = [one.mean() for one in columns], [one.std() for one in columns]
    points = [
        EXACT.points(own, coefficient, mean, deviation)
        for own, coefficient, mean, deviation in zip(weights, coefficients, means, deviations, strict=True)
    ]
    scores = EXACT.base(intercept) + partial_points(points, codes).sum(axis=0)
    fitted = intercept + sum(
        coefficient * (one - mean) / deviation
        for one, coefficient, mean, deviation in zip(columns, coefficients, means, deviations, strict=True)
    )
    np.testing.assert_allclose(2 ** ((scores - 600) / 20) * 50, np.exp(-fitted))


def test_the_base_score_is_at_the_base_odds_and_limits_hold() -> None:
    assert EXACT.base(-math.log(50)) == pytest.approx(600)
    assert EXACT.base(-math.log(100)) == pytest.approx(620)
    assert Scale(pdo=40, base_odds=1).base(-math.log(2)) == 640
    assert EXACT.limited(np.array([100.0, 500.0, 900.0])).tolist() == [300.0, 500.0, 850.0]


def test_whole_points_are_within_half_a_point_of_exact_ones() -> None:
    weights = RNG.normal(size=40)
    whole, exact = (one.points(weights, -1.3, 0.1, 0.7) for one in (Scale(), EXACT))
    assert np.all(whole == np.round(whole))
    assert np.abs(whole - exact).max() <= 0.5
    assert Scale().base(0.123) == round(EXACT.base(0.123))


def test_reasons_are_the_columns_that_take_most_off() -> None:
    points = np.array([[-5.0, 3.0, 1.0], [-9.0, -1.0, 0.0], [4.0, -2.0, 2.0]])
    assert reasons(points, 2).tolist() == [[1, 0], [2, 1], [NO_REASON, NO_REASON]]
    assert reasons(points, 4).tolist()[0] == [1, 0, NO_REASON, NO_REASON]


@pytest.mark.parametrize(
    "change", [{"pdo": 0.0}, {"base_odds": -1.0}, {"base_score": math.nan}, {"lowest": 850.0}]
)
def test_a_scale_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        replace(EXACT, **change)


def test_points_of_another_number_of_columns_are_refused() -> None:
    with pytest.raises(InvalidInput, match="expected 1 columns, got 2"):
        partial_points([np.zeros(2)], np.zeros((2, 3), dtype=np.int64))
