"""An owner's own columns, made ready at its node: checked, centred, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.vertical.settings import LIMIT, Family
from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.secrecy import Unprintable

__all__ = ["Standardised", "check_label", "standardise"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Standardised(Unprintable):
    """Columns with mean 0 and standard deviation 1, and what they were before.

    Attributes:
        values: float64[columns, rows].
        means: float64[columns].
        deviations: float64[columns], all above 0.
    """

    values: Floats
    means: Floats
    deviations: Floats

    def of(self, columns: Sequence[Floats]) -> Floats:
        """Centre and scale other rows of the same columns as these were: float64[columns, rows].

        What does not fit, for `train` to refuse, may come out infinite or not a number.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: Floats = (np.array(columns) - self.means[:, None]) / self.deviations[:, None]
        return scaled


def standardise(columns: Sequence[Floats], names: Sequence[str]) -> Standardised:
    """Centre and scale each column by its own mean and (population) standard deviation.

    Args:
        columns: float64[rows] each.
        names: of the columns, for errors.

    Raises:
        ValueOutOfRange: values that are not finite, counted; or values `LIMIT` deviations from the mean.
        InvalidInput: a column that has one value only.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    rows = len(columns[0]) if columns else 0
    values, means, deviations = np.empty((len(columns), rows)), np.empty(len(columns)), np.empty(len(columns))
    for number, (column, name) in enumerate(zip(columns, names, strict=True)):
        _check_finite(column, name)
        # Halves of the extremes: their difference does not overflow.
        middle, half = column.max() / 2 + column.min() / 2, column.max() / 2 - column.min() / 2
        if not half > 0:
            raise InvalidInput(f"column {name}: all {rows} values are equal")
        scaled = (column - middle) / half
        mean, deviation = scaled.mean(), scaled.std()
        values[number] = (scaled - mean) / deviation
        means[number], deviations[number] = middle + half * mean, half * deviation
        misfits = int(np.count_nonzero(np.abs(values[number]) >= LIMIT))
        if misfits:
            raise ValueOutOfRange(
                f"column {name}: {misfits} of {rows} values are {LIMIT} standard deviations from the mean"
            )
    return Standardised(values, means, deviations)


def check_label(label: Floats, name: str, family: Family) -> None:
    """Check the label.

    For a logistic regression it is 0 and 1, both of them; for a linear one finite; for a Poisson regression
    not negative, and not 0 throughout.

    Raises:
        ValueOutOfRange: values that are not finite, other than 0 and 1, or below 0; counted.
        InvalidInput: one class only, or nothing but 0.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    _check_finite(label, name)
    if family is Family.LINEAR:
        return
    if family is Family.POISSON:
        if negative := int(np.count_nonzero(label < 0)):
            raise ValueOutOfRange(f"label {name}: {negative} of {len(label)} values are below 0")
        if not np.any(label):
            raise InvalidInput(f"label {name}: all {len(label)} values are 0")
        return
    misfits = int(np.count_nonzero((label != 0) & (label != 1)))
    if misfits:
        raise ValueOutOfRange(f"label {name}: {misfits} of {len(label)} values are neither 0 nor 1")
    if np.all(label == label[:1]):
        raise InvalidInput(f"label {name}: all {len(label)} values are of one class")


def _check_finite(column: Floats, name: str) -> None:
    misfits = int(np.count_nonzero(~np.isfinite(column)))
    if misfits:
        raise ValueOutOfRange(f"column {name}: {misfits} of {len(column)} values are missing or not finite")
