"""What a regression is asked to do, what its runs depend on, and its security claim."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput
from mpc.replicated import exponential, logistic
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "FEATURE_FRACTION",
    "LIMIT",
    "MAX_BATCH",
    "MAX_COLUMNS",
    "MAX_EPOCHS",
    "MAX_ERRORS",
    "MAX_PATIENCE",
    "SPEC",
    "WEIGHT_FRACTION",
    "Family",
    "Layout",
    "Settings",
    "falling_rate",
]

FEATURE_FRACTION: Final = 14
WEIGHT_FRACTION: Final = 20
"""Fractional bits of features and of coefficients."""
LIMIT: Final = 2**7
"""Standardised values stay below 128 in magnitude; so do labels of a linear regression, and of a Poisson
regression in units of their mean."""
MAX_BATCH: Final = 4096
"""A sum of 2^12 products below 2^7, with 14 + 27 fractional bits, stays below 2^60."""
MAX_COLUMNS: Final = 1024
MAX_ERRORS: Final = 256
"""Coefficients of which standard errors are computed; the work goes with their third power."""
MAX_EPOCHS: Final = 1000
MAX_PATIENCE: Final = 100

_PUBLIC = "the settings, the number of rows, and of columns of every owner"
_EPOCHS = "after how many epochs the coefficients stood still, where a tolerance is set"
_HELD_OUT = (
    "after each epoch, whether the loss on the rows held out was lower than ever before, where there is a "
    "patience; never the loss"
)
_LOSS = "the mean squared error of every epoch, where it is asked for"
_ENDED = (
    "that training failed: more than one in a hundred fitted values was out of reach, or, where standard "
    "errors are asked for, columns were nearly sums of others"
)

SPEC: Final = ProtocolSpec(
    name="vertical/regression",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={
        "owner": (_PUBLIC, _EPOCHS, _HELD_OUT, _LOSS, _ENDED),
        "helper": (_PUBLIC, _EPOCHS, _HELD_OUT, _ENDED),
    },
    cost="a batch of b rows and d columns takes 6 rounds and 8 (b + b + 3 d) bytes a party, and 512 b more "
    "from party 0 for the logistic function; for the exponential function 8 rounds, 8 b more a party and "
    "176 b from party 0; to the byte by federated.vertical.costs",
    source="mini-batch gradient descent on shares: Mohassel, Zhang 2017 (SecureML); shares: Araki, Furukawa, "
    "Lindell, Nof, Ohara 2016; logistic and exponential function: Zheng et al. 2023",
    summary="Logistic, linear and Poisson regression on shares of several owners' columns, with coefficients "
    "for each owner of its own columns or for named recipients.",
)


class Family(StrEnum):
    """What is fitted: the label's probability, its mean, or the logarithm of its mean where it counts."""

    LOGISTIC = "logistic"
    LINEAR = "linear"
    POISSON = "poisson"

    @property
    def reach(self) -> float:
        """Fitted values beyond it mean that training has failed."""
        return {"logistic": logistic.REACH, "linear": 4 * LIMIT, "poisson": exponential.REACH}[self]

    def mean_of(self, fitted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse link: what the model says of rows with these fitted values, in the label's unit."""
        if self is Family.LOGISTIC:
            chance: NDArray[np.float64] = np.exp(-np.logaddexp(0, -fitted))
            return chance
        return np.exp(fitted) if self is Family.POISSON else fitted


@dataclass(frozen=True)
class Settings:
    """What the owners agreed to run.

    Attributes:
        family: logistic, linear or poisson.
        epochs: passes over the rows, at most.
        batch: largest number of rows of one step.
        rate: step size, 0.01 to 2; in the second half of the epochs it falls towards 0, see `rate_of`.
        momentum: part of the last step that is taken again, 0 to 0.95.
        l2: penalty l2 / 2 times the squared coefficients, added to the mean loss; the intercept has none.
        tolerance: training ends after an epoch in which the coefficients, together, moved by less; 0: never.
        tells_loss: the owners learn the mean squared error of every epoch.
        patience: training ends after so many epochs in a row whose mean squared error on the rows held out
            was not lower than ever before, and the coefficients of the lowest are kept; 0: never.
        standard_errors: the variances of the coefficients are computed too; neither with a penalty nor with a
            patience, under which they mean nothing.
    """

    family: Family
    epochs: int = 30
    batch: int = 1024
    rate: float = 0.5
    momentum: float = 0.9
    l2: float = 0.0
    tolerance: float = 0.0
    tells_loss: bool = False
    patience: int = 0
    standard_errors: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("epochs", self.epochs, 1, MAX_EPOCHS),
            ("batch", self.batch, 1, MAX_BATCH),
            ("rate", self.rate, 0.01, 2),
            ("momentum", self.momentum, 0, 0.95),
            ("l2", self.l2, 0, 1),
            ("tolerance", self.tolerance, 0, 1),
            ("patience", self.patience, 0, MAX_PATIENCE),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")
        if self.standard_errors and (self.l2 or self.patience):
            raise InvalidInput(
                f"standard_errors: expected neither an l2 nor a patience with them, got {self.l2:g} and "
                f"{self.patience}"
            )

    def rate_of(self, epoch: int) -> float:
        """The step size of an epoch, counted from 0."""
        return falling_rate(self.rate, epoch, self.epochs)


def falling_rate(rate: float, epoch: int, epochs: int) -> float:
    """The step size of an epoch, counted from 0. It falls so that the noise of batches does."""
    return rate * min(1.0, 2 * (1 - epoch / epochs))


@dataclass(frozen=True)
class Layout:
    """The public sizes of a run.

    Attributes:
        rows: aligned rows.
        columns: features of each owner, by rank; rank 0 also holds the label.
        held_out: further rows, after them, that only tell when to stop.
    """

    rows: int
    columns: tuple[int, ...]
    held_out: int = 0

    def __post_init__(self) -> None:
        if (
            self.rows < 1
            or not 1 <= sum(self.columns) <= MAX_COLUMNS
            or min((*self.columns, self.held_out)) < 0
        ):
            raise InvalidInput(
                f"expected rows and 1 to {MAX_COLUMNS} columns, got {self.rows} and {sum(self.columns)}"
            )

    @property
    def coefficients(self) -> int:
        """The intercept, and one for each column."""
        return 1 + sum(self.columns)

    @property
    def shared_rows(self) -> int:
        """Rows trained on and held out."""
        return self.rows + self.held_out

    def places(self, rank: int) -> slice:
        """Where the coefficients of an owner's columns are; the intercept is at 0."""
        start = 1 + sum(self.columns[:rank])
        return slice(start, start + self.columns[rank])

    def batches(self, largest: int) -> list[slice]:
        """As few batches as there can be, of sizes that differ by at most one."""
        return _parts(0, self.rows, largest)

    def held_out_batches(self, largest: int) -> list[slice]:
        """The same of the rows held out."""
        return _parts(self.rows, self.held_out, largest)


def _parts(start: int, rows: int, largest: int) -> list[slice]:
    count = -(-rows // largest)
    edges = [start + rows * number // count for number in range(count + 1)] if count else []
    return [slice(low, high) for low, high in pairwise(edges)]
