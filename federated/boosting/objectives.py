"""Gradients and hessians of the loss, and what a run says of its fit.

Margins are float64[trees of a round, rows]: one line, or one for each class. Classes are numbered from 0 on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.boosting.settings import Objective, Settings
from mpc.errors import InvalidInput, ValueOutOfRange

__all__ = ["auc", "base_margins", "check_label", "confusion", "gradients", "loss", "margin_of", "scores"]

Floats = NDArray[np.float64]


def check_label(label: Floats, name: str, settings: Settings) -> None:
    """Refuse a label that the objective cannot explain.

    Raises:
        ValueOutOfRange: a value that is not finite, neither 0 nor 1, or no class.
        InvalidInput: all values are equal, or a class has no rows.
    """
    if settings.objective is Objective.SQUARED:
        expected, fits = "not finite", np.isfinite(label)
    elif settings.objective is Objective.LOGISTIC:
        expected, fits = "neither 0 nor 1", np.isin(label, (0, 1))
    else:
        expected, fits = (
            f"no class from 0 to {settings.classes - 1}",
            np.isin(label, np.arange(settings.classes)),
        )
    misfits = int(np.count_nonzero(~fits))
    if misfits:
        raise ValueOutOfRange(f"label {name}: {misfits} of {len(label)} values are {expected}")
    if len(label) and np.all(label == label[0]):
        raise InvalidInput(f"label {name}: all {len(label)} values are equal")
    found = len(np.unique(label))
    if settings.objective is Objective.SOFTMAX and found < settings.classes:
        raise InvalidInput(f"label {name}: expected rows of {settings.classes} classes, got rows of {found}")


def base_margins(label: Floats, settings: Settings) -> tuple[float, ...]:
    """The margins before the first tree: the mean, its log odds, or the logarithm of each class's part."""
    if settings.objective is Objective.SOFTMAX:
        counts = np.bincount(label.astype(np.int64), minlength=settings.classes)
        return tuple(np.log(counts / len(label)).tolist())
    return (margin_of(float(label.mean()), settings.objective),)


def margin_of(mean: float, objective: Objective) -> float:
    """The margin by which all rows have this mean, of a label of 0 and 1 one between these."""
    return mean if objective is Objective.SQUARED else float(np.log(mean / (1 - mean)))


def scores(margins: Floats, objective: Objective) -> Floats:
    """What margins say of rows: a probability, one of each class, or the margin itself."""
    if objective is Objective.SOFTMAX:
        return np.asarray(np.exp(margins - np.logaddexp.reduce(margins, axis=0)), dtype=np.float64)
    return margins if objective is Objective.SQUARED else 1 / (1 + np.exp(-margins))


def gradients(margins: Floats, label: Floats, objective: Objective) -> tuple[Floats, Floats]:
    """First and second derivative of the loss at each row's margins, in their shape.

    Of classes, the second is twice the diagonal of the Hessian, a bound of it, as XGBoost has it.
    """
    predicted = scores(margins, objective)
    if objective is Objective.SQUARED:
        return predicted - label, np.ones_like(predicted)
    if objective is Objective.SOFTMAX:
        return predicted - _is_class(label, len(margins)), 2 * predicted * (1 - predicted)
    return predicted - label, predicted * (1 - predicted)


def loss(margins: Floats, label: Floats, objective: Objective) -> float:
    """The mean loss: cross-entropy, or half the squared error."""
    if objective is Objective.SQUARED:
        return float(np.mean((margins - label) ** 2) / 2)
    if objective is Objective.SOFTMAX:
        own = margins[label.astype(np.int64), np.arange(len(label))]
        return float(np.mean(np.logaddexp.reduce(margins, axis=0) - own))
    return float(np.mean(np.logaddexp(0, margins) - label * margins))


def auc(margins: Floats, label: Floats) -> float:
    """Area under the receiver operating characteristic, of a label of 0 and 1; equal margins count half.

    Args:
        margins: float64[rows].
        label: float64[rows].
    """
    _, places, counts = np.unique(margins, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive = label == 1
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(label) - count)))


def confusion(margins: Floats, label: Floats) -> NDArray[np.int64]:
    """How many rows of each class are taken for each: int64[classes, classes], a line for each class.

    A row is taken for the class of the largest margin, the first of equal ones.
    """
    classes = len(margins)
    cells = label.astype(np.int64) * classes + margins.argmax(axis=0)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def _is_class(label: Floats, classes: int) -> NDArray[np.bool_]:
    """bool[classes, rows]."""
    return np.asarray(label == np.arange(classes)[:, None], dtype=np.bool_)
