"""An owner's part of a model as it serves: what is kept of a person, and what all owners' parts say together.

Of a regression and of a scorecard each owner adds something to the score, in standard deviations times
coefficients or in points; the label holder's part says what the sum stands for. Of boosted trees each owner
tells on which side a person is at every split on its columns, and the label holder follows the trees.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import Conflict
from exchange.jobs.boosting.part import Structure, TreesPart
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.scorecard.columns import read_column
from exchange.jobs.scorecard.tables import OwnCard
from exchange.scoring.answers import ABSENT, Partial
from exchange.scoring.errors import ScoreFailed
from federated import boosting
from federated.boosting import Objective
from federated.scorecard import partial_points, reasons
from federated.vertical import Family
from federated.vertical.scoring import PART_LIMIT

__all__ = ["Reading", "ServedPart", "served_part", "without_rows"]

_TREES: Final = "model/boosting"
_WORD_BITS: Final = 64
_Floats = NDArray[np.float64]
_Words = NDArray[np.uint64]


class Reading(NamedTuple):
    """What all owners' parts of a person stand for.

    Attributes:
        score: log odds of an event, the expected value of a number or of a count, or the points of a
            scorecard within its limits.
        probability: of an event; None where the label is a number.
    """

    score: float
    probability: float | None


class ServedPart(Protocol):
    """One owner's part of a model."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that it reads."""

    @property
    def has_mean(self) -> bool:
        """Whether a person at the mean of its columns stands for one without a row."""

    @property
    def has_points(self) -> bool:
        """Whether columns take points off, so that there are reasons."""

    def splits(self, owners: int) -> tuple[int | None, ...]:
        """Of trees how many sides each owner tells, None where owners tell scores; for the label holder's."""

    def width(self, *, by_column: bool) -> int:
        """Words that are kept of a person."""

    def words(self, batch: pa.RecordBatch, *, by_column: bool) -> _Words:
        """What is kept of each row: uint64[width, rows].

        Args:
            batch: has the columns.
            by_column: with what each column adds, for reasons.

        Raises:
            MissingValues, WrongColumnType: of a column.
            InvalidInput: rows that have no bin of a scorecard, counted.
        """

    def partials(self, found: _Words, known: NDArray[np.bool_], most: int) -> list[Partial]:
        """What is told of persons.

        Args:
            found: uint64[width, persons], as kept.
            known: bool[persons]; the others have no row.
            most: reasons of a person.
        """

    def read(self, told: Sequence[Sequence[Partial]]) -> list[Reading]:
        """What the parts of persons stand for; for the label holder's part.

        Args:
            told: of each owner in the order of the model, of each person; absent ones are at the mean.

        Raises:
            ScoreFailed: of a model of counts, a sum beyond any that it was trained on.
        """


class _Sum(ABC):
    """A score is what each column adds, and the base."""

    has_mean = True
    has_points = False

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """See `ServedPart`."""

    @property
    @abstractmethod
    def base(self) -> float:
        """What every row has; 0 but at the label holder."""

    @abstractmethod
    def contributions(self, batch: pa.RecordBatch) -> _Floats:
        """What each column adds to the score of each row: float64[columns, rows]."""

    @abstractmethod
    def reading(self, total: float) -> Reading:
        """What a sum of all owners stands for."""

    def splits(self, owners: int) -> tuple[int | None, ...]:
        return (None,) * owners

    def width(self, *, by_column: bool) -> int:
        return 1 + len(self.columns) * by_column

    def words(self, batch: pa.RecordBatch, *, by_column: bool) -> _Words:
        own = self.contributions(batch)
        kept: _Words = np.stack([self.base + own.sum(axis=0), *(own if by_column else ())]).view(np.uint64)
        return kept

    def partials(self, found: _Words, known: NDArray[np.bool_], most: int) -> list[Partial]:
        scores = np.ascontiguousarray(found).view(np.float64)
        if not most:
            named: list[tuple[tuple[str, float], ...]] = [()] * len(known)
        else:
            worst = reasons(scores[1:], most).tolist()
            named = [
                tuple((self.columns[at], float(scores[1 + at, person])) for at in own if at >= 0)
                for person, own in enumerate(worst)
            ]
        lines = zip(known.tolist(), scores[0].tolist(), named, strict=True)
        return [Partial(score, own) if is_known else ABSENT for is_known, score, own in lines]

    def read(self, told: Sequence[Sequence[Partial]]) -> list[Reading]:
        return [
            self.reading(math.fsum(one.value for one in parts if isinstance(one.value, float)))
            for parts in zip(*told, strict=True)
        ]


class _Regression(_Sum):
    """Coefficients per standard deviation; the intercept is the label holder's."""

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
            into[:] = float(coefficient) * (_numbers(batch, name) - float(mean)) / float(deviation)
        return found

    def reading(self, total: float) -> Reading:
        part, family = self._part, Family(self._part.family)
        if family is Family.POISSON and abs(total) >= PART_LIMIT:
            raise ScoreFailed("a person is unlike anything that the model was trained on")
        mean = float(family.mean_of(np.array(total)))
        if family is Family.LOGISTIC:
            return Reading(total, mean)
        return Reading(float(part.label_mean) + float(part.label_deviation) * mean, None)


class _Card(_Sum):
    """Points of bins; the base points are the label holder's."""

    has_points = True

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

    def reading(self, total: float) -> Reading:
        scale = self._card.scale.read()
        score = float(scale.limited(np.array(total)))
        return Reading(score, scale.probability(score))


class _Trees:
    """Sides at own splits, a bit each; the structure and the leaves are the label holder's."""

    has_mean = False
    has_points = False

    def __init__(self, raw: bytes) -> None:
        self._part = TreesPart.decode(raw)
        if self._part.objective is Objective.SOFTMAX:
            raise Conflict("trees of several classes do not score single persons")

    @property
    def columns(self) -> tuple[str, ...]:
        return self._part.columns

    def splits(self, owners: int) -> tuple[int | None, ...]:
        return boosting.splits_of(self._known.trees, owners)

    def width(self, *, by_column: bool) -> int:
        del by_column
        return -(-len(self._part.own) // _WORD_BITS)

    def words(self, batch: pa.RecordBatch, *, by_column: bool) -> _Words:
        columns = [_numbers(batch, name) for name in self.columns]
        packed = np.packbits(boosting.sides(columns, self._part.own), axis=0)
        found = np.zeros((batch.num_rows, 8 * self.width(by_column=by_column)), dtype=np.uint8)
        found[:, : len(packed)] = packed.T
        return found.view(np.uint64).T

    def partials(self, found: _Words, known: NDArray[np.bool_], most: int) -> list[Partial]:
        size = -(-len(self._part.own) // 8)
        rows = np.ascontiguousarray(found.T)
        lines = zip(known.tolist(), rows, strict=True)
        return [Partial(row.tobytes()[:size]) if is_known else ABSENT for is_known, row in lines]

    def read(self, told: Sequence[Sequence[Partial]]) -> list[Reading]:
        known, persons, sides = self._known, len(told[0]), []
        for own, count in zip(told, boosting.splits_of(known.trees, len(told)), strict=True):
            packed = b"".join(one.value for one in own if isinstance(one.value, bytes))
            rows = np.frombuffer(packed, dtype=np.uint8).reshape(persons, -(-count // 8))
            sides.append(np.unpackbits(rows, axis=1, count=count).T.astype(np.bool_))
        margins = boosting.followed(known.base, known.trees, sides, persons)
        scores = margins[0].tolist()
        if self._part.objective is Objective.SQUARED:
            return [Reading(score, None) for score in scores]
        chances = boosting.scores(margins, self._part.objective)[0].tolist()
        return [Reading(*one) for one in zip(scores, chances, strict=True)]

    @property
    def _known(self) -> Structure:
        if self._part.structure is None:
            raise Conflict("another owner has the structure of the trees")
        return self._part.structure


def _numbers(batch: pa.RecordBatch, name: str) -> _Floats:
    return connected.measure_array([batch], name).astype(np.float64)


_KINDS: Final[Mapping[str, Callable[[bytes], ServedPart]]] = {
    **{f"model/{family}": _Regression for family in Family},
    "model/scorecard": _Card,
    _TREES: _Trees,
}


def served_part(component: str, raw: bytes) -> ServedPart:
    """Decode what a step of a component has left at an owner.

    Raises:
        Conflict: it cannot score single persons.
        InvalidRequest, JobFailed, MpcError: it is something else.
    """
    return _KINDS[component](raw)


def without_rows(component: str, raw: bytes) -> bytes:
    """What a step of a component has left at an owner, without what it says of the rows trained on."""
    if component != _TREES:
        return raw
    part = TreesPart.decode(raw)
    if (known := part.structure) is None:
        return raw
    scores = np.zeros((len(known.base), 0))
    return replace(part, structure=replace(known, scores=scores)).encode()
