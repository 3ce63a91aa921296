"""What horizontal training is asked to do, what its runs depend on, and its security claim."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import inf
from typing import Final

from mpc.errors import InvalidInput
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "MAX_BATCH",
    "MAX_CLIP",
    "MAX_COLUMNS",
    "MAX_EPOCHS",
    "MAX_HIDDEN",
    "MAX_OWNERS",
    "MAX_ROUNDS",
    "MAX_ROWS",
    "MAX_STEPS",
    "MAX_UNITS",
    "MIN_OWNERS",
    "SPEC",
    "WEIGHT",
    "Family",
    "Guard",
    "Private",
    "Settings",
]

MIN_OWNERS: Final = 3
MAX_OWNERS: Final = 30
MAX_ROWS: Final = 2**26
"""Rows of one owner."""
MAX_COLUMNS: Final = 1024
MAX_ROUNDS: Final = 1000
MAX_EPOCHS: Final = 100
MAX_BATCH: Final = 2**20
MAX_STEPS: Final = 1000
MAX_HIDDEN: Final = 3
MAX_UNITS: Final = 1024
MAX_CLIP: Final = 16
"""Rows times a clipped update, with 24 fractional bits, over 30 owners: less than 2^59."""

_SETTINGS: Final = (
    "the settings, and which owners dropped out, and when; where they judge models, so also that one's rows "
    "did not go with a round's model"
)
_MODEL: Final = (
    "the joint mean and deviation of every column, the number of rows of all together, the model after every "
    "round and its mean loss over all rows"
)
_PRIVATE: Final = (
    "where rows are private: in place of these the number of rows of all together and the model after every "
    "round, made of updates that each carry their owner's noise"
)
WEIGHT: Final = "of an owner that drops out, its number of rows, by how much the total falls"

SPEC: Final = ProtocolSpec(
    name="horizontal/fedavg",
    version=1,
    roles=("aggregator", "owner"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="the aggregator with fewer owners than the threshold",
    leaks={
        "aggregator": (_SETTINGS, _MODEL, _PRIVATE, WEIGHT),
        "owner": (_SETTINGS, _MODEL, _PRIVATE, WEIGHT),
    },
    cost="with n owners and P parameters, a round takes 5 receiving phases at an owner with the "
    "aggregator and 1 with each other owner, and sends 8 P + 182 n bytes from an owner and 8 P + 250 n from "
    "the aggregator to each; three rounds come on top; to the byte by federated.horizontal.costs",
    source="FedAvg: McMahan, Moore, Ramage, Hampson, Agüera y Arcas 2017, algorithm 1; FedProx: Li, Sahu, "
    "Zaheer, Sanjabi, Talwalkar, Smith 2020, algorithm 2; private rows: Abadi et al. 2016; "
    "aggregation: Bonawitz et al. 2017; an aggregator "
    "that sends different models: Pasquini, Francati, Ateniese 2022",
    summary="Owners of the same columns and different rows train one model: each on its own rows, the "
    "updates added up by secure aggregation with drop-outs. Owners compare the digest of every round's model "
    "with one another before they train on it.",
)


class Family(StrEnum):
    """What is fitted: the label's probability, or its mean."""

    LOGISTIC = "logistic"
    LINEAR = "linear"


@dataclass(frozen=True)
class Private:
    """How the updates of an owner are made private for each of its rows, by noisy gradient steps.

    In place of passes over its rows an owner takes ``steps`` steps in a round, each over rows that it draws
    independently of each other. Columns are scaled by agreed bounds in place of joint means, and no loss is
    told.

    Attributes:
        lower, upper: of the columns, the label last; values beyond are taken at the bound. Those of the label
            of a logistic regression are 0 and 1.
        clip: largest Euclidean norm of a row's gradient.
        sample: chance that a row is in a step, in millionths.
        steps: in a round.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    clip: float
    sample: int
    steps: int

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("clip of a row", self.clip, 0.001, MAX_CLIP),
            ("sample", self.sample, 1, 10**6),
            ("steps", self.steps, 1, MAX_STEPS),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")
        for lower, upper in zip(self.lower, self.upper, strict=True):
            if not -inf < lower < upper < inf:
                raise InvalidInput(f"bounds: expected lower below upper, got {lower} and {upper}")


@dataclass(frozen=True)
class Guard:
    """How each owner judges every round's model, by rows of its own that it does not train on.

    Attributes:
        percent: of its rows that an owner holds out.
        worse: by which part of the first model's loss the loss over these rows may be above the least so far.
    """

    percent: int
    worse: float

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("rows held out", self.percent, 1, 50),
            ("worse", self.worse, 0.001, 10),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")


@dataclass(frozen=True)
class Settings:
    """What the owners agreed to run.

    Attributes:
        family: logistic or linear, also of a network's last layer.
        hidden: units of each hidden layer; none: a regression.
        rounds: of training.
        epochs: passes of an owner over its own rows in a round.
        batch: largest number of rows of one step.
        rate: step size, 0.0001 to 2.
        mu: proximal term mu / 2 times the squared distance from the round's model; 0: FedAvg, else FedProx.
        clip: largest Euclidean norm of an owner's update in a round; longer ones are scaled down to it.
        private: how rows are private, in place of ``epochs`` and ``batch``; none: updates carry no noise.
        guard: how owners judge models; none: they do not. Not where rows are private, for whether an owner
            stays tells of its rows.
    """

    family: Family
    hidden: tuple[int, ...] = ()
    rounds: int = 20
    epochs: int = 1
    batch: int = 64
    rate: float = 0.1
    mu: float = 0.0
    clip: float = 4.0
    private: Private | None = None
    guard: Guard | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("rounds", self.rounds, 1, MAX_ROUNDS),
            ("epochs", self.epochs, 1, MAX_EPOCHS),
            ("batch", self.batch, 1, MAX_BATCH),
            ("rate", self.rate, 0.0001, 2),
            ("mu", self.mu, 0, 10),
            ("clip", self.clip, 0.01, MAX_CLIP),
            ("hidden", len(self.hidden), 0, MAX_HIDDEN),
            *(("hidden", units, 1, MAX_UNITS) for units in self.hidden),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")
        if self.private is not None and self.guard is not None:
            raise InvalidInput("guard: expected none where rows are private, got one")

    def shapes(self, columns: int) -> tuple[tuple[int, int], ...]:
        """The (inputs, outputs) of every layer."""
        widths = (columns, *self.hidden, 1)
        return tuple(pairwise(widths))

    def parameters(self, columns: int) -> int:
        """How many numbers the model has; each layer has a bias for each output."""
        return sum((inputs + 1) * outputs for inputs, outputs in self.shapes(columns))
