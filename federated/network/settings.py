"""What a network is asked to do, its sizes and fixed point, and its security claim.

Fixed point: features and activations have 14 fractional bits, weights 20, residuals 27 of a label of 0 and
1 and 17 of another. After each step weights are cut off at 16 in magnitude, activations saturate at 64, and
what the network says of a row is cut off at the reach of its family. With at most 255 columns, 32 units and
4,096 rows a batch no number then reaches 2^62, whatever the columns are, and nothing ever wraps:

    sums of a hidden unit       16 (255 * 128 + 1) < 2^19      34 bits    2^53
    sums of the output          16 (32 * 64 + 1) < 2^15.1      34 bits    2^49.1
    gradients of 4,096 rows     1.01 * 128 * 4096 < 2^19.1     41 bits    2^60.1   of a label of 0 and 1
                                640 * 128 * 4096 < 2^28.4      31 bits    2^59.4   of another
    the same, times a weight    640 * 128 * 16 < 2^20.4        40 bits    2^60.4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from federated.vertical.settings import (
    FEATURE_FRACTION,
    MAX_BATCH,
    MAX_EPOCHS,
    Family,
    Layout,
    falling_rate,
)
from mpc.errors import InvalidInput
from mpc.replicated import logistic
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "ACTIVATION_LIMIT",
    "FAMILIES",
    "FITTED_BITS",
    "MAX_COLUMNS",
    "MAX_ROWS",
    "MAX_UNITS",
    "SPEC",
    "STEP_BITS",
    "SUM_BITS",
    "WEIGHT_LIMIT",
    "Settings",
    "check_sizes",
]

FAMILIES: Final = (Family.LOGISTIC, Family.LINEAR)
"""What the output is: the probability of a label of 0 and 1, or a number."""
MAX_UNITS: Final = 32
MAX_COLUMNS: Final = 255
MAX_ROWS: Final = 2**18
"""Squares of so many residuals below 640, with 24 fractional bits, sum to less than 2^61."""
WEIGHT_LIMIT: Final = 16
ACTIVATION_LIMIT: Final = 64
SUM_BITS: Final = 19 + FEATURE_FRACTION + 2
"""Of the distance between a sum of a hidden unit and an end of its activation, with its sign."""
FITTED_BITS: Final = 51
"""The same of a sum of the output, with 34 fractional bits, and the reach of a family."""
STEP_BITS: Final = 43
"""The same of a weight after a step of at most 2^21.4, with 20 fractional bits, and its limit."""

_PUBLIC = (
    "the settings, the number of rows, and of columns of every owner, and the weights before the first step; "
    "neither an activation, a gradient, a residual nor a weight of any later step"
)
_LOSS = "the mean squared error of every epoch, where it is asked for"

SPEC: Final = ProtocolSpec(
    name="vertical/network",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={"owner": (_PUBLIC, _LOSS), "helper": (_PUBLIC,)},
    cost="a batch of b rows takes 47 rounds, and for h units some 80 (h + 1) b bytes of every computing "
    "party, 40 (h + 1) b more of party 0, and another 496 b for the logistic function; inputs take 8 bytes a "
    "row and column, 16 from an owner that does not compute; to the byte by federated.network.costs",
    source="networks on shares: Mohassel, Zhang 2017 (SecureML); Mohassel, Rindal 2018 (ABY3); Wagh, Gupta, "
    "Chandran 2019 (SecureNN); shares: Araki, Furukawa, Lindell, Nof, Ohara 2016; first weights: He, Zhang, "
    "Ren, Sun 2015; logistic function: Zheng et al. 2023",
    summary="A neural network with one hidden layer on shares of several owners' columns: activations and "
    "gradients stay shares; weights go to each owner of its own columns or to named recipients.",
)


@dataclass(frozen=True)
class Settings:
    """What the owners agreed to run.

    Attributes:
        family: logistic or linear.
        units: of the hidden layer, 1 to 32.
        epochs: passes over the rows.
        batch: largest number of rows of one step.
        rate: step size, 0.01 to 2; in the second half of the epochs it falls towards 0.
        l2: penalty l2 / 2 times the squared weights, added to half the mean squared error or to the mean
            logarithmic loss; intercepts have none.
        tells_loss: the owners learn the mean squared error of every epoch.
    """

    family: Family
    units: int = 8
    epochs: int = 30
    batch: int = 256
    rate: float = 0.5
    l2: float = 0.0
    tells_loss: bool = False

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InvalidInput(f"family: expected {' or '.join(FAMILIES)}, got {self.family}")
        for name, value, low, high in (
            ("units", self.units, 1, MAX_UNITS),
            ("epochs", self.epochs, 1, MAX_EPOCHS),
            ("batch", self.batch, 1, MAX_BATCH),
            ("rate", self.rate, 0.01, 2),
            ("l2", self.l2, 0, 1),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")

    @property
    def residual_fraction(self) -> int:
        """Fractional bits of the label and of residuals."""
        return logistic.FRACTION if self.family is Family.LOGISTIC else logistic.FRACTION - 10

    def rate_of(self, epoch: int) -> float:
        """The step size of an epoch, counted from 0."""
        return falling_rate(self.rate, epoch, self.epochs)

    def hidden(self, layout: Layout) -> int:
        """Weights of the hidden layer: of each unit the intercept, and one for each column."""
        return self.units * layout.coefficients

    def weights(self, layout: Layout) -> int:
        """All weights: those of the hidden layer, and the intercept and one for each unit of the output."""
        return self.hidden(layout) + 1 + self.units

    def told(self, layout: Layout, rank: int) -> int:
        """Weights that an owner has of a split network; rank 0 has all intercepts and the output's too."""
        return self.units * layout.columns[rank] + (2 * self.units + 1 if rank == 0 else 0)


def check_sizes(layout: Layout) -> None:
    """Refuse what does not fit the fixed point.

    Raises:
        InvalidInput: too many rows or columns, or rows held out, of which training takes none.
    """
    for name, value, high in (
        ("rows", layout.rows, MAX_ROWS),
        ("columns", sum(layout.columns), MAX_COLUMNS),
        ("rows held out", layout.held_out, 0),
    ):
        if value > high:
            raise InvalidInput(f"{name}: expected at most {high}, got {value}")
