"""One owner's part of a split network; ``model/part`` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.results import Cell, ResultTable
from exchange.web.kinds import read_as
from federated.network import OwnWeights
from ledger import canonical

__all__ = ["INTERCEPT", "OUTPUT", "NetworkPart"]

INTERCEPT: Final = "(intercept)"
OUTPUT: Final = "(output)"
"""What stands for a column where weights are no column's."""


@dataclass(frozen=True)
class NetworkPart:
    """One owner's part of a network: of its own columns, in their own order.

    Attributes:
        family: logistic or linear.
        columns: names.
        weights: of each hidden unit, one for each column, per standard deviation of the column.
        intercepts: of each hidden unit, at the label holder; elsewhere empty.
        output: at the label holder its intercept and one for each hidden unit; elsewhere empty.
        means, deviations: of the aligned rows trained on.
        label_mean, label_deviation: at the holder of a label that is a number; elsewhere 0 and 1.
        epochs: passes over the rows.
        losses: mean squared error of each epoch, where it was asked for.
        held_out: the aligned rows that it was not trained on.
    """

    family: str
    columns: tuple[str, ...]
    weights: tuple[tuple[str, ...], ...]
    intercepts: tuple[str, ...]
    output: tuple[str, ...]
    means: tuple[str, ...]
    deviations: tuple[str, ...]
    label_mean: str
    label_deviation: str
    epochs: int
    losses: tuple[str, ...]
    held_out: HeldOut

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> NetworkPart:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "network part")

    @property
    def own(self) -> OwnWeights:
        """The weights as numbers."""
        hidden = np.array([[float(one) for one in line] for line in self.weights])
        return OwnWeights(
            hidden.reshape(len(self.weights), len(self.columns)),
            np.array([float(one) for one in self.intercepts]),
            np.array([float(one) for one in self.output]),
        )

    def table(self) -> ResultTable:
        """A line a weight: units of the hidden layer are counted from 1."""
        facts: dict[str, object] = {
            "family": self.family,
            "units": len(self.weights),
            "epochs": self.epochs,
            "losses": list(self.losses),
        }
        if self.output and self.family == "linear":
            facts |= {"label_mean": self.label_mean, "label_deviation": self.label_deviation}
        return ResultTable(("unit", "column", "weight", "mean", "deviation"), tuple(self._lines()), facts)

    def _lines(self) -> Iterator[tuple[Cell, ...]]:
        for unit, weights in enumerate(self.weights, 1):
            if self.intercepts:
                yield unit, INTERCEPT, self.intercepts[unit - 1], None, None
            for line in zip(self.columns, weights, self.means, self.deviations, strict=True):
                yield unit, *line
        for unit, weight in enumerate(self.output):
            # The intercept of the output is of no unit.
            yield unit or None, OUTPUT, weight, None, None
