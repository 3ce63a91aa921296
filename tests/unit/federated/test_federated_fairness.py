"""Differences between groups from counts are those of the rows that were counted."""

from __future__ import annotations

import numpy as np
import pytest

from federated import metrics
from federated.fairness import Fairness, fairness
from federated.metrics import Confusion

RNG = np.random.default_rng(8)
SCORES, LABEL, GROUP = RNG.random(400), (RNG.random(400) < 0.4).astype(np.float64), RNG.integers(0, 3, 400)


def test_figures_of_counts_are_those_of_rows() -> None:
    cutoff = 0.7
    flagged = SCORES >= cutoff
    inside = [GROUP == group for group in range(3)]
    counts = [metrics.confusion(SCORES[rows], LABEL[rows], cutoff) for rows in inside]
    found = fairness([(int(flagged[rows].sum()), int(rows.sum())) for rows in inside], counts)
    parts = [flagged[rows].mean() for rows in inside]
    true = [flagged[rows & (LABEL == 1)].mean() for rows in inside]
    false = [flagged[rows & (LABEL == 0)].mean() for rows in inside]
    chosen = [LABEL[rows & flagged].mean() for rows in inside]
    assert found.parity_difference == pytest.approx(
        metrics.demographic_parity_difference(flagged, GROUP), abs=1e-12
    )
    assert found.parity_ratio == pytest.approx(min(parts) / max(parts))
    assert found.opportunity_difference == pytest.approx(
        metrics.equal_opportunity_difference(flagged, LABEL, GROUP), abs=1e-12
    )
    assert found.odds_difference == pytest.approx(max(np.ptp(true), np.ptp(false)))
    assert found.predictive_difference == pytest.approx(np.ptp(chosen))


def test_what_cannot_be_compared_is_not() -> None:
    one = Confusion(3, 1, 2, 4)
    assert fairness([(4, 10)], [one]) == Fairness(None, None, None, None, None)
    nobody = Confusion(0, 0, 5, 5)
    found = fairness([(0, 10), (0, 10)], [nobody, nobody])
    assert found == Fairness(0, None, 0, 0, None)
    assert fairness([(4, 10), (0, 10)], [one]) == Fairness(0.4, 0, None, None, None)
    assert fairness([(4, 10), (0, 10)], [one, nobody]).predictive_difference is None
