"""An owner's part of a model as it serves: what its columns add to a score, and what the sum of all means.

A score is a sum of what each owner's columns add to it. Of a regression that is in standard deviations times
coefficients, of a scorecard in points; the label holder's part says what the sum stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.scorecard.columns import read_column
from exchange.jobs.scorecard.tables import OwnCard
from exchange.scoring.errors import ScoreFailed
from federated.scorecard import partial_points
from federated.vertical import Family
from federated.vertical.scoring import PART_LIMIT

__all__ = ["Reading", "ServedPart", "served_part"]

_Floats = NDArray[np.float64]


class Reading(NamedTuple):
    """What a sum of partial scores stands for.

    Attributes:
        score: log odds of an event, the expected value of a linear model or of one of counts, or the points
            of a scorecard within its limits.
        probability: of an event; None of linear models and of those of counts.
    """

    score: float
    probability: float | None


class ServedPart(Protocol):
    """One owner's part of a model."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that it reads."""

    @property
    def base(self) -> float:
        """What every row has; 0 but at the label holder."""

    @property
    def is_card(self) -> bool:
        """Whether it has points, so that columns that take some off are reasons."""

    def contributions(self, batch: pa.RecordBatch) -> _Floats:
        """What each of its columns adds to the score of each row: float64[columns, rows].

        Raises:
            MissingValues, WrongColumnType: of a column of a regression.
            InvalidInput, WrongColumnType: of a column of a scorecard: rows that have no bin, counted.
        """

    def read(self, total: float) -> Reading:
        """What a sum of all owners' partial scores stands for; for the label holder's part.

        Raises:
            ScoreFailed: of a model of counts, a sum beyond any that it was trained on.
        """


class _Regression:
    """Coefficients per standard deviation; the intercept is the label holder's."""

    is_card = False

    def __init__(self, raw: bytes) -> None:
        self._part = ModelPart.decode(raw)

    @property
    def columns(self) -> tuple[str, ...]:
        return self._part.columns

    @property
    def base(self) -> float:
        return float(self._part.intercept)

    def contributions(self, batch: pa.RecordBatch) -> _Floats:
        part, found = self._part, np.empty((len(self._part.columns), batch.num_rows))
        lines = zip(part.columns, part.coefficients, part.means, part.deviations, found, strict=True)
        for name, coefficient, mean, deviation, into in lines:
            values = connected.measure_array([batch], name).astype(np.float64)
            into[:] = float(coefficient) * (values - float(mean)) / float(deviation)
        return found

    def read(self, total: float) -> Reading:
        part, family = self._part, Family(self._part.family)
        if family is Family.POISSON and abs(total) >= PART_LIMIT:
            raise ScoreFailed("a person is unlike anything that the model was trained on")
        mean = float(family.mean_of(np.array(total)))
        if family is Family.LOGISTIC:
            return Reading(total, mean)
        return Reading(float(part.label_mean) + float(part.label_deviation) * mean, None)


class _Card:
    """Points of bins; the base points are the label holder's."""

    is_card = True

    def __init__(self, raw: bytes) -> None:
        self._card = OwnCard.decode(raw)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.binned.name for column in self._card.columns)

    @property
    def base(self) -> float:
        return float(self._card.base)

    def contributions(self, batch: pa.RecordBatch) -> _Floats:
        rows, columns = np.arange(batch.num_rows), self._card.columns
        codes = [
            read_column(lambda name: [batch], one.binned.name, rows).codes(one.binned.bins) for one in columns
        ]
        points = [np.array([float(each) for each in one.points]) for one in columns]
        return partial_points(points, np.array(codes).reshape(len(columns), batch.num_rows))

    def read(self, total: float) -> Reading:
        scale = self._card.scale.read()
        score = float(scale.limited(np.array(total)))
        return Reading(score, scale.probability(score))


_KINDS: Final[Mapping[str, Callable[[bytes], ServedPart]]] = {
    **{f"model/{family}": _Regression for family in Family},
    "model/scorecard": _Card,
}


def served_part(component: str, raw: bytes) -> ServedPart:
    """Decode what a step of a component has left at an owner; ``InvalidRequest`` if it is something else."""
    return _KINDS[component](raw)
