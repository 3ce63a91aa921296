"""k-means on rows scaled to the unit cube: what is agreed, the start, and one step of Lloyd's algorithm.

Nothing here talks to anybody; `federated.horizontal.kmeans` adds up over the owners what `summed` gives, and
`federated.shared_kmeans` begins at the same start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.horizontal.models import CHUNK_ROWS, Floats
from federated.horizontal.settings import MAX_COLUMNS, MAX_ROUNDS
from federated.horizontal.standardise import check_bounds, check_finite, in_unit
from mpc.errors import InvalidInput

__all__ = ["MAX_CLUSTERS", "Clusters", "Codes", "directions", "moved_centres", "nearest", "start", "summed"]

Codes = NDArray[np.int64]

MAX_CLUSTERS: Final = 64
_CANDIDATES: Final = 32
"""Points drawn for each centre of the start."""


@dataclass(frozen=True)
class Clusters:
    """What the owners agreed to run.

    Attributes:
        names: of the columns; the same at all owners.
        lower, upper: of each column, the range that its values are scaled by and clipped to.
        count: clusters, k.
        seed: of the start and of the directions in which clusters are split; public.
        least: fewest rows of a cluster whose sums are added up and shown, and fewest rows that change their
            cluster in a step that another one follows.
        rounds: most steps.
    """

    names: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    count: int
    seed: int
    least: int
    rounds: int = 50

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("columns", len(self.names), 1, MAX_COLUMNS),
            ("clusters", self.count, 2, MAX_CLUSTERS),
            ("seed", self.seed, 0, 2**31 - 1),
            ("least", self.least, 1, 2**31),
            ("rounds", self.rounds, 1, MAX_ROUNDS),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")
        check_bounds(self.names, self.lower, self.upper)

    @property
    def least_rows(self) -> int:
        """Fewest rows of all owners together: so many that one cluster at least is not too small."""
        return self.count * self.least

    def scaled(self, rows: Floats) -> Floats:
        """Own rows in the unit cube, values beyond the bounds at them: float64[rows, columns].

        Raises:
            InvalidInput: another number of columns, or no row.
            ValueOutOfRange: values that are missing or not finite; by column and count.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.names) or not len(rows):
            raise InvalidInput(f"expected rows of {len(self.names)} columns, got {rows.shape}")
        for number, name in enumerate(self.names):
            check_finite(rows[:, number], name)
        return in_unit(rows, self.lower, self.upper)

    def in_units(self, centres: Floats) -> Floats:
        """Centres in the units of the columns: float64[clusters, columns]."""
        lower, upper = np.array(self.lower), np.array(self.upper)
        found: Floats = lower + centres * (upper - lower)
        return found


def start(agreed: Clusters) -> Floats:
    """Draw the first centres from the public seed, far from each other: float64[clusters, columns].

    Points are drawn uniformly within the bounds and centres chosen among these, each with a probability in
    proportion to its squared distance from the nearest one that was chosen before. No row has a part in it.

    Security: public. Leaks: nothing. Cost: local. Source: Arthur, Vassilvitskii 2007, algorithm 1, on points
    that are drawn in place of rows.
    """
    draw = np.random.Generator(np.random.PCG64(agreed.seed))
    points = draw.random((_CANDIDATES * agreed.count, len(agreed.names)))
    chosen = [0]
    distances = ((points - points[0]) ** 2).sum(axis=1)
    while len(chosen) < agreed.count:
        passed = np.cumsum(distances)
        chosen.append(int(np.searchsorted(passed, draw.random() * passed[-1], side="right")))
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def directions(agreed: Clusters) -> Floats:
    """Where each cluster is put beside one that is split, -1 or 1 in a column: float64[clusters, columns]."""
    draw = np.random.Generator(np.random.PCG64([agreed.seed, 1]))
    return draw.choice([-1.0, 1.0], (agreed.count, len(agreed.names)))


def nearest(points: Floats, centres: Floats) -> Codes:
    """The nearest centre of each point, the first of several: int64[rows]."""
    lengths = (centres**2).sum(axis=1)
    parts = [
        (lengths - 2 * points[at : at + CHUNK_ROWS] @ centres.T).argmin(axis=1)
        for at in range(0, len(points), CHUNK_ROWS)
    ]
    return np.concatenate(parts)


def summed(points: Floats, codes: Codes, centres: Floats) -> tuple[Floats, Floats, Floats]:
    """Of each cluster its rows, their squared distances from its centre, and their sum.

    Args:
        points: float64[rows, columns].
        codes: the cluster of each; int64[rows].
        centres: float64[clusters, columns].

    Returns:
        float64[clusters], float64[clusters] and float64[clusters, columns].
    """
    count = len(centres)
    distances = ((points - centres[codes]) ** 2).sum(axis=1)
    sums = [np.bincount(codes, weights=column, minlength=count) for column in points.T]
    return (
        np.bincount(codes, minlength=count).astype(np.float64),
        np.bincount(codes, weights=distances, minlength=count).astype(np.float64),
        np.column_stack(sums).astype(np.float64),
    )


def moved_centres(agreed: Clusters, centres: Floats, rows: Floats, inertia: Floats, sums: Floats) -> Floats:
    """The centres of the next step: float64[clusters, columns].

    A cluster moves to the mean of its rows. One that is empty or too small takes a part of a large one: its
    centre is put beside that of the cluster whose rows are farthest from their mean in all, of the second
    such for the second, and so on, as far away as the rows of that cluster are on average.

    Args:
        agreed: what the owners agreed to.
        centres: of this step, float64[clusters, columns].
        rows: of each cluster over all owners, float64[clusters].
        inertia: their squared distances from its centre, float64[clusters].
        sums: their sum, float64[clusters, columns].

    Source: Lloyd 1982; splitting: Linde, Buzo, Gray 1980, section III.
    """
    is_open = rows >= agreed.least
    moved = centres.copy()
    moved[is_open] = sums[is_open] / rows[is_open, None]
    # Around the mean it is less than around the centre before, by Steiner's theorem.
    around = np.maximum(inertia - rows * ((moved - centres) ** 2).sum(axis=1), 0.0)
    aside = directions(agreed)
    widest = [at for at in np.argsort(-around, kind="stable").tolist() if is_open[at]]
    for closed, split in zip(np.flatnonzero(~is_open).tolist(), widest, strict=False):
        spread = np.sqrt(around[split] / (rows[split] * centres.shape[1]))
        moved[closed] = moved[split] + spread * aside[closed]
    return np.clip(moved, 0.0, 1.0)
