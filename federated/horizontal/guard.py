"""An owner's own judgement of every round's model: by rows that it does not train on."""

from __future__ import annotations

import numpy as np

from federated.horizontal.models import Floats, losses
from federated.horizontal.settings import Guard, Settings
from mpc.errors import InvalidInput, ModelRefused
from mpc.randomness import Randomness, random_permutation

__all__ = ["Watch"]


class Watch:
    """The rows of an owner in two parts, and how well models have fitted the one that is held out.

    Args:
        settings: as agreed.
        guard: as agreed.
        model: before the first round; float64[parameters].
        features: float64[rows, columns], standardised.
        label: float64[rows].
        rng: draws the rows that are held out.

    Raises:
        InvalidInput: so few rows that a part would be empty.
    """

    def __init__(
        self,
        settings: Settings,
        guard: Guard,
        model: Floats,
        features: Floats,
        label: Floats,
        rng: Randomness,
    ) -> None:
        held = len(label) * guard.percent // 100
        if not 0 < held < len(label):
            raise InvalidInput(
                f"rows: expected as many as leave some when {guard.percent} percent are held out, got fewer"
            )
        order = random_permutation(rng, len(label))
        self._settings, self._held = settings, (features[order[:held]], label[order[:held]])
        self.features, self.label = features[order[held:]], label[order[held:]]
        """Of the rows to train on."""
        first = self._loss(model)
        self._least, self._allowed = first, guard.worse * first

    def judge(self, model: Floats, done: int) -> None:
        """Go on with a model after ``done`` rounds, or not.

        Raises:
            ModelRefused: it fits the rows held out worse than the best one so far, by more than is allowed.

        Security: local. Leaks: to everybody, by whether this owner stays. Cost: a forward pass over the rows
        held out. Source: trainers that validate the joint model: Andreina, Marson, Möllering, Karame 2021
        (BaFFLe), on the loss in place of errors by class.
        """
        loss = self._loss(model)
        if not loss <= self._least + self._allowed:
            raise ModelRefused(f"round {done}: the model fits own rows that were held out worse than agreed")
        self._least = min(self._least, loss)

    def _loss(self, model: Floats) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(losses(self._settings, model, *self._held).mean())
