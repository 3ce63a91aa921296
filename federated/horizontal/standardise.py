"""Columns centred and scaled by the mean and deviation over the rows of all owners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from federated.horizontal.models import Floats
from federated.horizontal.settings import Family
from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.secrecy import Unprintable

__all__ = ["Scales", "Table", "check_bounds", "check_finite", "in_unit", "scales_of", "squares", "sums"]

_CONSTANT: Final = 1e-9
"""A deviation below this part of the mean is rounding."""


@dataclass(frozen=True, repr=False, eq=False)
class Table(Unprintable):
    """An owner's own rows.

    Attributes:
        names: of the features, in the order that all owners have.
        features: float64[rows, columns].
        label_name: of the label.
        label: float64[rows].
    """

    names: tuple[str, ...]
    features: Floats
    label_name: str
    label: Floats

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, the label last."""
        return (*self.names, self.label_name)

    def check(self, family: Family) -> None:
        """Check own values before anything is sent of them.

        Raises:
            InvalidInput: the arrays do not fit each other, or there is no row.
            ValueOutOfRange: values that are missing or not finite, or labels other than 0 and 1; counted.
        """
        rows = len(self.label)
        if not rows or self.features.shape != (rows, len(self.names)):
            raise InvalidInput(
                f"expected rows of {len(self.names)} features and a label, got {self.features.shape} "
                f"and {rows}"
            )
        for number, name in enumerate(self.names):
            check_finite(self.features[:, number], name)
        check_finite(self.label, self.label_name)
        if family is Family.LOGISTIC:
            misfits = int(np.count_nonzero((self.label != 0) & (self.label != 1)))
            if misfits:
                raise ValueOutOfRange(
                    f"label {self.label_name}: {misfits} of {rows} values are neither 0 nor 1"
                )


@dataclass(frozen=True)
class Scales:
    """What all owners' rows have in common; public in a run.

    Attributes:
        means, deviations: of the columns, the label last: float64[columns + 1]. The label of a logistic
            regression has 0 and 1 here.
    """

    means: Floats
    deviations: Floats

    def of(self, table: Table) -> tuple[Floats, Floats]:
        """The standardised features, float64[rows, columns], and label, float64[rows]."""
        features = (table.features - self.means[:-1]) / self.deviations[:-1]
        return features, (table.label - self.means[-1]) / self.deviations[-1]


def sums(table: Table) -> list[float]:
    """The number of rows and the sum of each column, the label last."""
    with np.errstate(over="ignore"):  # a guard of the range comes after
        return [float(len(table.label)), *table.features.sum(axis=0).tolist(), float(table.label.sum())]


def squares(table: Table, means: Floats) -> list[float]:
    """The number of rows, and of each column the sum of squared distances from the joint mean."""
    with np.errstate(over="ignore"):
        features = ((table.features - means[:-1]) ** 2).sum(axis=0)
        label = float(((table.label - means[-1]) ** 2).sum())
    return [float(len(table.label)), *features.tolist(), label]


def scales_of(rows: int, means: Floats, deviations: Floats, names: Sequence[str], family: Family) -> Scales:
    """The scales, if no column has one value only at all owners together.

    Raises:
        InvalidInput: one has, or a logistic label has one class; it is named.
    """
    if family is Family.LOGISTIC and not 0 < means[-1] < 1:
        raise InvalidInput(f"label {names[-1]}: all {rows} values of all owners are of one class")
    for name, mean, deviation in zip(names, means.tolist(), deviations.tolist(), strict=True):
        if not deviation > _CONSTANT * abs(mean):
            raise InvalidInput(f"column {name}: all {rows} values of all owners are equal")
    if family is Family.LINEAR:
        return Scales(means, deviations)
    return Scales(np.append(means[:-1], 0.0), np.append(deviations[:-1], 1.0))


def check_finite(column: Floats, name: str) -> None:
    """Check that no value of a column is missing; raises ``ValueOutOfRange``, by name and count."""
    misfits = int(np.count_nonzero(~np.isfinite(column)))
    if misfits:
        raise ValueOutOfRange(f"column {name}: {misfits} of {len(column)} values are missing or not finite")


def check_bounds(names: Sequence[str], lower: Sequence[float], upper: Sequence[float]) -> None:
    """Check that bounds are finite and in order; raises ``InvalidInput``, by column."""
    for name, low, high in zip(names, lower, upper, strict=True):
        if not -np.inf < low < high < np.inf:
            raise InvalidInput(f"bounds of {name}: expected lower below upper, got {low} and {high}")


def in_unit(rows: Floats, lower: Sequence[float], upper: Sequence[float]) -> Floats:
    """Rows scaled by bounds to 0 to 1, values beyond the bounds at them: float64[rows, columns]."""
    low, high = np.array(lower), np.array(upper)
    scaled: Floats = (np.clip(rows, low, high) - low) / (high - low)
    return scaled
