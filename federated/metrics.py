"""How good scores are: on rows of (score, label), and on the bins that a joint evaluation opens.

Plain numpy; nothing here communicates. A label is 0 or 1, a higher score says 1; regressions are in
`regression`. `Binned` holds what `federated.vertical.evaluation` tells of rows that nobody sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput

__all__ = [
    "Binned",
    "Calibration",
    "Confusion",
    "Regression",
    "Roc",
    "auc",
    "bin_edges",
    "brier",
    "calibration",
    "confusion",
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "ks",
    "log_loss",
    "regression",
    "roc",
    "stability_index",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Roc:
    """The receiver operating characteristic, from the strictest threshold to the loosest.

    Attributes:
        false_positive_rate, true_positive_rate: float64[n], from 0 to 1.
        thresholds: float64[n - 1]: scores from each of them on count as 1; the first point has none.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats


@dataclass(frozen=True)
class Confusion:
    """How many rows of each label count as 1 and as 0."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def rows(self) -> int:
        """All rows."""
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    @property
    def accuracy(self) -> float:
        """The part of rows that count as what they are."""
        return (self.true_positives + self.true_negatives) / self.rows

    @property
    def precision(self) -> float:
        """The part of rows that count as 1 and are; 0 where none counts as 1."""
        return _part(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """The part of rows with label 1 that count as 1; 0 where there is none."""
        return _part(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def fall_out(self) -> float:
        """The part of rows with label 0 that count as 1; 0 where there is none."""
        return _part(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _part(
            2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives
        )


@dataclass(frozen=True, eq=False)
class Calibration:
    """Bins of rows in the order of their scores, highest first.

    Attributes:
        rows: int64[bins].
        predicted: float64[bins], mean score.
        observed: float64[bins], mean label.
    """

    rows: Ints
    predicted: Floats
    observed: Floats

    @property
    def expected_error(self) -> float:
        """The mean distance of predicted from observed, each bin by its rows (ECE)."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.rows))


@dataclass(frozen=True)
class Regression:
    """Errors of predicted numbers; ``r2`` is 1 less the part of the label's variance that they leave."""

    mse: float
    mae: float
    r2: float


@dataclass(frozen=True, eq=False)
class Binned:
    """Rows in bins of their order by score, highest first; of a regression too, where it says mean labels.

    Attributes:
        rows: int64[bins], each above 0.
        labels: float64[bins], sum of the labels; of labels 0 and 1 the number of positives.
        scores: float64[bins], sum of the scores.
    """

    rows: Ints
    labels: Floats
    scores: Floats

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.labels) == len(self.scores) or np.any(self.rows < 1):
            raise InvalidInput("expected rows, labels and scores of each bin, and no empty bin")

    @classmethod
    def of(cls, scores: Floats, label: Floats, bins: int) -> Binned:
        """Bin rows as a joint evaluation does: by score, in bins whose sizes differ by at most one."""
        order = np.argsort(-scores, kind="stable")
        edges = bin_edges(len(scores), bins)
        sums = [np.add.reduceat(column[order], edges[:-1]) for column in (label, scores)]
        return cls(np.diff(edges), sums[0].astype(np.float64), sums[1].astype(np.float64))

    @property
    def positives(self) -> float:
        """Rows with label 1."""
        return float(self.labels.sum())

    @property
    def negatives(self) -> float:
        """Rows with label 0."""
        return float(self.rows.sum() - self.labels.sum())

    def roc(self) -> tuple[Floats, Floats]:
        """False and true positive rates where the first bins count as 1: none, one, ..., all."""
        return _rates(self.rows - self.labels), _rates(self.labels)

    def auc(self) -> tuple[float, float]:
        """The area under the curve with rows of a bin as ties, and by how much it can be wrong for that."""
        false, true = self.roc()
        own = self.labels * (self.rows - self.labels)
        error = float(own.sum() / (2 * self.positives * self.negatives))
        return _area(false, true), error

    def ks(self) -> float:
        """The largest distance of the true from the false positive rate, at the edges of bins."""
        false, true = self.roc()
        return float(np.max(np.abs(true - false)))

    def gain(self) -> Floats:
        """float64[bins]: the part of all positives that is in the first 1, 2, ... bins."""
        return _rates(self.labels)[1:]

    def lift(self) -> Floats:
        """float64[bins]: the rate of positives in the first 1, 2, ... bins by that of all rows."""
        return self.gain() / _rates(self.rows.astype(np.float64))[1:]

    def calibration(self) -> Calibration:
        """Mean score and mean label of each bin."""
        return Calibration(self.rows, self.scores / self.rows, self.labels / self.rows)

    def confusion(self, flagged: int) -> Confusion:
        """What becomes of the rows where the first ``flagged`` bins count as 1."""
        found, total = (int(np.rint(part.sum())) for part in (self.labels[:flagged], self.labels))
        inside, rows = int(self.rows[:flagged].sum()), int(self.rows.sum())
        return Confusion(found, inside - found, total - found, rows - inside - total + found)


def bin_edges(rows: int, bins: int) -> Ints:
    """Where bins of rows begin and end, int64[bins + 1]; their sizes differ by at most one.

    Raises:
        InvalidInput: no bin, or more bins than rows.
    """
    if not 1 <= bins <= rows:
        raise InvalidInput(f"expected 1 to {rows} bins, got {bins}")
    return np.arange(bins + 1, dtype=np.int64) * rows // bins


def roc(scores: Floats, label: Floats) -> Roc:
    """The ROC curve, with a point for each distinct score.

    Raises:
        InvalidInput: scores that are not finite, labels other than 0 and 1, or one class only.
    """
    _check(scores, label)
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], label[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.append(0.0, np.cumsum(found)[last])
    false = np.append(0.0, last + 1 - true[1:])
    return Roc(false / false[-1], true / true[-1], ranked[last])


def auc(scores: Floats, label: Floats) -> float:
    """The chance that a row with label 1 scores above one with label 0; equal scores count one half."""
    curve = roc(scores, label)
    return _area(curve.false_positive_rate, curve.true_positive_rate)


def ks(scores: Floats, label: Floats) -> float:
    """The largest distance of the two classes' distributions of scores (Kolmogorov, Smirnov)."""
    curve = roc(scores, label)
    return float(np.max(np.abs(curve.true_positive_rate - curve.false_positive_rate)))


def confusion(scores: Floats, label: Floats, threshold: float) -> Confusion:
    """Count rows where scores of at least ``threshold`` count as 1."""
    _check(scores, label, classes=1)
    flagged, positive = scores >= threshold, label == 1
    cells = ((flagged, positive), (flagged, ~positive), (~flagged, positive), (~flagged, ~positive))
    return Confusion(*(int(np.count_nonzero(one & other)) for one, other in cells))


def brier(probabilities: Floats, label: Floats) -> float:
    """The mean squared distance of probabilities from labels (Brier 1950)."""
    _check(probabilities, label, classes=1)
    return float(np.mean((probabilities - label) ** 2))


def log_loss(probabilities: Floats, label: Floats) -> float:
    """The mean negative logarithm of the probability given to what was; infinite where that was 0."""
    _check(probabilities, label, classes=1)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(np.where(label == 1, probabilities, 1 - probabilities))))


def calibration(probabilities: Floats, label: Floats, bins: int) -> Calibration:
    """Compare mean probability and mean label in bins of equal numbers of rows."""
    _check(probabilities, label, classes=1)
    return Binned.of(probabilities, label, bins).calibration()


def regression(predicted: Floats, actual: Floats) -> Regression:
    """Mean squared and mean absolute error, and R2.

    Raises:
        InvalidInput: arrays of different lengths, values that are not finite, or a label of one value.
    """
    _check_finite(predicted, actual)
    errors, spread = predicted - actual, float(np.sum((actual - actual.mean()) ** 2))
    if not spread > 0:
        raise InvalidInput(f"all {len(actual)} labels are equal")
    squares = float(np.sum(errors**2))
    return Regression(squares / len(actual), float(np.mean(np.abs(errors))), 1 - squares / spread)


def stability_index(expected: Ints, actual: Ints, *, floor: float = 1e-4) -> float:
    """The population stability index of two distributions over the same bins.

    Args:
        expected: int64[bins], rows of each bin when the model was made.
        actual: the same at another time.
        floor: the part of rows that an empty bin counts with, for its logarithm to exist.

    Raises:
        InvalidInput: different bins, a negative count, or no row.
    """
    if expected.shape != actual.shape or min(expected.min(), actual.min()) < 0:
        raise InvalidInput("expected counts of the same bins, none below 0")
    if not expected.sum() or not actual.sum():
        raise InvalidInput("expected at least one row in each distribution, got none")
    before, now = (np.maximum(counts / counts.sum(), floor) for counts in (expected, actual))
    return float(np.sum((now - before) * np.log(now / before)))


def demographic_parity_difference(flagged: NDArray[np.bool_], group: Ints) -> float:
    """The largest less the smallest rate of flagged rows among groups."""
    rates = [np.mean(flagged[group == one]) for one in np.unique(group)]
    return float(max(rates) - min(rates))


def equal_opportunity_difference(flagged: NDArray[np.bool_], label: Floats, group: Ints) -> float:
    """The largest less the smallest true positive rate among groups (Hardt, Price, Srebro 2016).

    Raises:
        InvalidInput: a group without a row of label 1.
    """
    without = [one for one in np.unique(group) if not np.any(label[group == one] == 1)]
    if without:
        raise InvalidInput(f"{len(without)} groups have no row of label 1")
    return demographic_parity_difference(flagged[label == 1], group[label == 1])


def _part(some: int, of: int) -> float:
    return some / of if of else 0.0


def _rates(counts: Floats) -> Floats:
    """Running sums by the whole, from 0 to 1."""
    running = np.append(0.0, np.cumsum(counts))
    rates: Floats = running / running[-1]
    return rates


def _area(false: Floats, true: Floats) -> float:
    """The area under a curve, by trapezoids."""
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2)


def _check_finite(scores: Floats, label: Floats) -> None:
    if scores.shape != label.shape or scores.ndim != 1 or not len(scores):
        raise InvalidInput(f"expected a score and a label of each row, got {scores.shape} and {label.shape}")
    misfits = int(np.count_nonzero(~np.isfinite(scores)) + np.count_nonzero(~np.isfinite(label)))
    if misfits:
        raise InvalidInput(f"{misfits} scores and labels are not finite")


def _check(scores: Floats, label: Floats, *, classes: int = 2) -> None:
    _check_finite(scores, label)
    misfits = int(np.count_nonzero((label != 0) & (label != 1)))
    if misfits:
        raise InvalidInput(f"{misfits} of {len(label)} labels are neither 0 nor 1")
    if len(np.unique(label)) < classes:
        raise InvalidInput(f"all {len(label)} labels are of one class")
