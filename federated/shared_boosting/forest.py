"""The trees in clear, for whoever they were opened to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.shared_boosting.settings import MARGIN_FRACTION, Settings
from federated.vertical.prediction import LOSS_FRACTION
from federated.vertical.settings import Layout
from mpc.errors import InvalidInput
from mpc.secrecy import Unprintable

__all__ = ["Forest"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, repr=False, eq=False)
class Forest(Unprintable):
    """Complete trees; node i has the children 2 i and 2 i + 1, the root is 1.

    Attributes:
        base: the margin before the first tree.
        columns: int64[trees, inner nodes], numbers of columns over all owners; -1 where all rows go left.
        cuts: int64[trees, inner nodes], which cut of the column; -1 where all rows go left.
        thresholds: float64[trees, inner nodes], values up to and including it go left; 0 where all rows do,
            or where thresholds are not told.
        weights: float64[trees, leaves].
        errors: float64[trees], the mean squared error of the rows trained on, after each tree.
    """

    base: float
    columns: Integers
    cuts: Integers
    thresholds: Floats
    weights: Floats
    errors: Floats

    @classmethod
    def of(cls, numbers: Integers, layout: Layout, settings: Settings) -> Forest:
        """Read what was opened.

        Args:
            numbers: int64[numbers]: the base; then for each tree and level the candidates, the upper and
                the lower halves of their thresholds; and for each tree the weights and the sum of squares.
            layout: of the run.
            settings: of the run.

        Raises:
            InvalidInput: numbers that cannot be the trees of such a run.
        """
        trees = settings.trees
        if numbers.shape != (settings.told,):
            raise InvalidInput(
                f"trees: expected {settings.told} numbers, got an array of shape {numbers.shape}"
            )
        lines = numbers[1:].reshape(trees, -1)
        levels = np.split(lines[:, : 3 * settings.inner], 3 * (2 ** np.arange(1, settings.depth) - 1), axis=1)
        parts = [level.reshape(trees, 3, -1) for level in levels]
        candidates, upper, lower = np.concatenate(parts, axis=2).transpose(1, 0, 2)
        halves = np.stack([candidates, upper, lower])
        limits = np.array([1 + sum(layout.columns) * settings.cuts, 2**32, 2**32])[:, None, None]
        if np.any((halves < 0) | (halves >= limits)):
            raise InvalidInput("trees: expected numbers of cuts and thresholds, got others")
        return cls(
            base=float(numbers[0]) * 2.0**-MARGIN_FRACTION,
            columns=(candidates - 1) // settings.cuts,
            cuts=np.where(candidates > 0, (candidates - 1) % settings.cuts, -1),
            thresholds=((upper << 32) | lower).view(np.float64),
            weights=lines[:, 3 * settings.inner : -1] * 2.0**-MARGIN_FRACTION,
            errors=lines[:, -1] * 4.0**-LOSS_FRACTION / layout.rows,
        )

    def margins(self, codes: NDArray[np.integer[Any]]) -> Floats:
        """What the trees say of rows, before the logistic function.

        Args:
            codes: int[columns, rows], the bins of all owners' columns, as `Binned.codes`.

        Returns:
            float64[rows].
        """
        rows, inner = np.arange(codes.shape[1]), self.columns.shape[1]
        margins = np.full(len(rows), self.base)
        for columns, cuts, weights in zip(self.columns, self.cuts, self.weights, strict=True):
            node = np.ones(len(rows), dtype=np.int64)
            for _ in range((inner + 1).bit_length() - 1):
                at = columns[node - 1]
                node = 2 * node + ((at >= 0) & (codes[at, rows] > cuts[node - 1]))
            margins += weights[node - inner - 1]
        return margins
