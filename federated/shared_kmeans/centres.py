"""The clusters in clear, for whoever they were opened to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.horizontal.clusters import Clusters
from federated.shared_kmeans.settings import FRACTION, MAX_ROWS
from mpc.errors import InvalidInput
from mpc.secrecy import Unprintable

__all__ = ["Centres"]

_ROUNDING = 3
"""By how many units a shared quotient may differ from the exact one."""
_ROUNDING_OF_SQUARES = 8
"""By how many units a row and column, or one more, the squared distances may."""


@dataclass(frozen=True, repr=False, eq=False)
class Centres(Unprintable):
    """The clusters with the least rows.

    Attributes:
        numbers: from 1, in the order of the start: int64[shown].
        rows: of each: int64[shown].
        inertia: of each, the squared distances of its rows from its centre, in the agreed ranges of all
            columns as units: float64[shown].
        values: the mean of its rows in every column, in the column's unit: float64[shown, columns].
    """

    numbers: NDArray[np.int64]
    rows: NDArray[np.int64]
    inertia: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, opened: NDArray[np.int64], agreed: Clusters, owner: slice = slice(None)) -> Centres:
        """Read what was opened.

        Args:
            opened: int64[clusters, 2 + columns], as `Trained.clusters`.
            agreed: of the run.
            owner: which of the agreed columns these are.

        Raises:
            InvalidInput: numbers that cannot be the clusters of such a run.
        """
        lower, upper = np.array(agreed.lower[owner]), np.array(agreed.upper[owner])
        if opened.shape != (agreed.count, 2 + len(lower)):
            raise InvalidInput(
                f"clusters: expected {agreed.count} of {len(lower)} columns, got an array of shape "
                f"{opened.shape}"
            )
        counts, inertia, scaled = opened[:, 0], opened[:, 1], opened[:, 2:]
        is_shown, one = counts != 0, 2**FRACTION
        is_size = (counts[is_shown] >= agreed.least) & (counts[is_shown] <= MAX_ROWS)
        if not is_size.all() or counts.sum() > MAX_ROWS or opened[~is_shown].any():
            raise InvalidInput(
                "clusters: expected numbers of rows, and nothing of small clusters, got others"
            )
        width = len(agreed.names)
        slack = _ROUNDING_OF_SQUARES * counts * (width + 1)
        fits = (inertia >= -slack) & (inertia <= counts * width * one + slack)
        within = (scaled >= -_ROUNDING) & (scaled <= one + _ROUNDING)
        if not fits.all() or not within.all():
            raise InvalidInput("clusters: expected centres and distances within the bounds, got others")
        values = lower + np.clip(scaled[is_shown] / one, 0, 1) * (upper - lower)
        shown = np.flatnonzero(is_shown)
        return cls(shown + 1, counts[shown], np.maximum(inertia[shown] / one, 0), values)
