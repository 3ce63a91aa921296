"""Private rows in joint training: what a step states, what it spends, and the noise of an owner's steps.

Every owner adds the whole noise to its own sums, before anything leaves it: the guarantee needs no trust in
the aggregator, in the other owners or in how many of them stay. It covers every update, so every round's
model, the last one and all that is made of these, against whoever sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest
from exchange.jobs.noise import gaussian
from exchange.jobs.privacy import Bounds
from exchange.jobs.sampled_gaussian import steps_loss
from exchange.jobs.spec import Step
from exchange.web.kinds import Rule, read_as
from federated.horizontal.settings import MAX_CLIP, MAX_STEPS
from ledger.rules.budgets import epsilon

__all__ = ["RowPrivacy"]

_MILLION: Final = 10**6
_LEAST_NOISE: Final = 300_000
_MOST_NOISE: Final = 1000 * _MILLION
_LARGEST_LOSS: Final = 2**43
"""Of a step at any order: the ledger adds up a thousand such jobs within its integers."""


@dataclass(frozen=True)
class RowPrivacy:
    """The parameter ``privacy`` of a step.

    Attributes:
        epsilon_micro: the most that the step may spend of each owner's rows, in millionths, at
            ``delta_exponent``; it spends what its noise costs, which is no more.
        delta_exponent: k of delta = 10 ** -k.
        noise_micro: standard deviation of the noise in millionths of what a row can change.
        sample_micro: chance that a row is in a gradient step, in millionths.
        steps: gradient steps of an owner in a round.
        clip_micro: largest norm of the gradient of a row, in millionths.
        bounds: of every column but a logistic label.
    """

    epsilon_micro: Annotated[int, Rule("millionths, 1 to 100,000,000", minimum=1, maximum=100 * _MILLION)]
    delta_exponent: Annotated[int, Rule("1 to 30", minimum=1, maximum=30)]
    noise_micro: Annotated[
        int, Rule("millionths, 300,000 and more", minimum=_LEAST_NOISE, maximum=_MOST_NOISE)
    ]
    sample_micro: Annotated[int, Rule("millionths, 1 to 1,000,000", minimum=1, maximum=_MILLION)]
    steps: Annotated[int, Rule(f"1 to {MAX_STEPS}", minimum=1, maximum=MAX_STEPS)]
    clip_micro: Annotated[int, Rule("millionths, 1000 and more", minimum=1000, maximum=MAX_CLIP * _MILLION)]
    bounds: dict[str, Bounds]

    @staticmethod
    def of(step: Step) -> RowPrivacy | None:
        """The privacy that a step states; None where updates carry no noise."""
        value = step.params.get("privacy")
        return None if value is None else read_as(RowPrivacy, value, f"steps.{step.id}.params.privacy")

    def loss(self, rounds: int) -> tuple[int, ...]:
        """What training spends: Renyi loss at the ledger's orders in millionths, rounded up."""
        return steps_loss(self.noise_micro, self.sample_micro, self.steps * rounds)

    def check(self, rounds: int, where: str) -> None:
        """Check that the noise is enough for the stated epsilon.

        Raises:
            InvalidRequest: it is not, with the least that is; or none would be.
        """
        if self._is_enough(self.noise_micro, rounds):
            return
        if not self._is_enough(_MOST_NOISE, rounds):
            raise InvalidRequest(f"{where}.epsilon_micro", "more at this delta", str(self.epsilon_micro))
        low, high = self.noise_micro, _MOST_NOISE
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._is_enough(middle, rounds) else (middle, high)
        raise InvalidRequest(
            f"{where}.noise_micro",
            f"{high} or more for epsilon {self.epsilon_micro} millionths at delta 10^-{self.delta_exponent}",
            str(self.noise_micro),
        )

    def draw(self, sensitivity: int, count: int) -> NDArray[np.int64]:
        """The noise of a gradient step: int64[count]; raises as ``exchange.jobs.noise.gaussian``."""
        noise = self.noise_micro / _MILLION
        return gaussian(sensitivity, sensitivity * noise, 1 / (2 * noise * noise), count)

    def facts(self, rounds: int) -> dict[str, object]:
        """What a result says of it: what was spent, and how."""
        return {
            "epsilon_micro": epsilon(self.loss(rounds), self.delta_exponent),
            "delta_exponent": self.delta_exponent,
            "noise_micro": self.noise_micro,
            "sample_micro": self.sample_micro,
            "steps": self.steps * rounds,
            "protects": "a row of an owner",
        }

    def _is_enough(self, noise_micro: int, rounds: int) -> bool:
        loss = steps_loss(noise_micro, self.sample_micro, self.steps * rounds)
        return max(loss) <= _LARGEST_LOSS and epsilon(loss, self.delta_exponent) <= self.epsilon_micro
