"""Points of a scorecard: the log odds of a logistic model on a scale, and the reasons of a score.

A score rises as events become less likely, by ``pdo`` points with every doubling of the odds against one.
Points of a bin are those of its difference from the mean of the column, so that a row like the mean of all
has the base points; a party scores its own columns alone, and the sum over all parties is the score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput

__all__ = ["NO_REASON", "Scale", "partial_points", "reasons"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

NO_REASON: Final = -1
"""Stands where fewer columns take points off than reasons were asked for."""


@dataclass(frozen=True)
class Scale:
    """What a score means.

    Attributes:
        pdo: points that double the odds.
        base_score: the score at the base odds.
        base_odds: other rows to one event.
        lowest, highest: limits of a score.
        is_whole: points are rounded to whole numbers, each bin's by itself.
    """

    pdo: float = 20.0
    base_score: float = 600.0
    base_odds: float = 50.0
    lowest: float = 300.0
    highest: float = 850.0
    is_whole: bool = True

    def __post_init__(self) -> None:
        numbers = (self.pdo, self.base_score, self.base_odds, self.lowest, self.highest)
        if not all(map(math.isfinite, numbers)) or self.pdo <= 0 or self.base_odds <= 0:
            raise InvalidInput(f"expected finite numbers, pdo and base odds above 0, got {numbers}")
        if not self.lowest < self.highest:
            raise InvalidInput(f"expected limits in order, got {self.lowest} and {self.highest}")

    @property
    def factor(self) -> float:
        """Points of a unit of log odds."""
        return self.pdo / math.log(2)

    def base(self, intercept: float) -> float:
        """The points of a row like the mean of all, from the log odds of an event there."""
        return self._shown(self.base_score - self.factor * (math.log(self.base_odds) + intercept))

    def points(self, weights: Floats, coefficient: float, mean: float, deviation: float) -> Floats:
        """The points of each bin.

        Args:
            weights: float64[bins], weight of evidence.
            coefficient: of the standardised column, in log odds of an event.
            mean: of the column of weights, as it was standardised with.
            deviation: the same.

        Security: local. Leaks: nothing; local. Cost: local. Source: Siddiqi 2006.
        """
        exact = -self.factor * coefficient * (weights - mean) / deviation
        return np.rint(exact) + 0.0 if self.is_whole else exact

    def limited(self, scores: Floats) -> Floats:
        """Scores within the limits."""
        return np.clip(scores, self.lowest, self.highest)

    def probability(self, score: float) -> float:
        """The probability of an event at a score."""
        odds = math.log(self.base_odds) + (score - self.base_score) / self.factor
        return math.exp(-np.logaddexp(0, odds))

    def _shown(self, points: float) -> float:
        return float(round(points)) if self.is_whole else points


def partial_points(points: Sequence[Floats], codes: Codes) -> Floats:
    """Look up the points of some rows, column by column.

    Args:
        points: float64[bins] of each column.
        codes: int64[columns, rows], the bin of each row.

    Returns:
        float64[columns, rows]; the sum over the columns is what a party adds to the score.

    Raises:
        InvalidInput: another number of columns.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    if len(points) != len(codes):
        raise InvalidInput(f"expected {len(points)} columns, got {len(codes)}")
    found = np.empty(codes.shape, dtype=np.float64)
    for own, places, into in zip(points, codes, found, strict=True):
        np.take(own, places, out=into)
    return found


def reasons(points: Floats, count: int) -> Codes:
    """The columns that take most points off each row's score, the worst first.

    Args:
        points: float64[columns, rows], as `partial_points` gives; 0 is like the mean of all.
        count: reasons of a row.

    Returns:
        int64[rows, count], places of columns; `NO_REASON` where no further column takes points off.

    Security: local. Leaks: nothing; local. Cost: local. Source: reasons by distance from a neutral score:
    Siddiqi 2006, chapter 6.
    """
    worst = np.argsort(points, axis=0, kind="stable")[:count]
    taken = np.take_along_axis(points, worst, axis=0)
    found = np.full((points.shape[1], count), NO_REASON, dtype=np.int64)
    found[:, : len(worst)] = np.where(taken < 0, worst, NO_REASON).T
    return found
