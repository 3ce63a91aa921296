"""Gradients and hessians of the loss, and what a run says of its fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.boosting.settings import Objective
from mpc.errors import InvalidInput, ValueOutOfRange

__all__ = ["auc", "base_margin", "check_label", "gradients", "loss", "margin_of", "scores"]

Floats = NDArray[np.float64]


def check_label(label: Floats, name: str, objective: Objective) -> None:
    """Refuse a label that the objective cannot explain.

    Raises:
        ValueOutOfRange: a value that is neither 0 nor 1, or is not finite.
        InvalidInput: all values are equal.
    """
    if objective is Objective.LOGISTIC:
        misfits = int(np.count_nonzero((label != 0) & (label != 1)))
        if misfits:
            raise ValueOutOfRange(f"label {name}: {misfits} of {len(label)} values are neither 0 nor 1")
    misfits = int(np.count_nonzero(~np.isfinite(label)))
    if misfits:
        raise ValueOutOfRange(f"label {name}: {misfits} of {len(label)} values are not finite")
    if len(label) and np.all(label == label[0]):
        raise InvalidInput(f"label {name}: all {len(label)} values are equal")


def base_margin(label: Floats, objective: Objective) -> float:
    """The margin before the first tree: the mean, or its log odds."""
    return margin_of(float(label.mean()), objective)


def margin_of(mean: float, objective: Objective) -> float:
    """The margin of all rows by which they have this mean, of a label of 0 and 1 one between these."""
    return mean if objective is Objective.SQUARED else float(np.log(mean / (1 - mean)))


def scores(margins: Floats, objective: Objective) -> Floats:
    """What margins say of rows: a probability, or the margin itself."""
    return margins if objective is Objective.SQUARED else 1 / (1 + np.exp(-margins))


def gradients(margins: Floats, label: Floats, objective: Objective) -> tuple[Floats, Floats]:
    """First and second derivative of the loss at each row's margin."""
    predicted = scores(margins, objective)
    if objective is Objective.SQUARED:
        return predicted - label, np.ones_like(label)
    return predicted - label, predicted * (1 - predicted)


def loss(margins: Floats, label: Floats, objective: Objective) -> float:
    """The mean loss: cross-entropy, or half the squared error."""
    if objective is Objective.SQUARED:
        return float(np.mean((margins - label) ** 2) / 2)
    return float(np.mean(np.logaddexp(0, margins) - label * margins))


def auc(margins: Floats, label: Floats) -> float:
    """Area under the receiver operating characteristic, of a label of 0 and 1; equal margins count half."""
    _, places, counts = np.unique(margins, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive = label == 1
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(label) - count)))
