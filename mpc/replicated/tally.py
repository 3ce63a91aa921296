"""What a program on replicated shares will send, by playing it with sizes alone."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
from numpy.typing import NDArray

from mpc.replicated import costs
from mpc.replicated.costs import Cost
from mpc.replicated.links import COMPUTING
from mpc.replicated.runtime import Runtime

__all__ = ["Tally"]


class Tally(Runtime):
    """A run that is not played: operations add up what they would cost.

    It is a party that holds no shares and sends nothing, so its arrays take no memory, and it walks through
    the very program that the parties execute: the figures cannot drift from the code. What is opened, and
    public numbers that are told, are for the caller to add.

    Attributes:
        inputs: by rank, the bytes that each party that does not compute sends of its own values.
    """

    def __init__(self, parties: int) -> None:
        self.rank, self.parties, self.computes = parties, parties + 1, False
        self.inputs: Counter[int] = Counter()
        self._total = costs.run(parties)

    def take(self) -> Cost:
        """What has been counted since the last time; at first with the keys and the comparison at the end."""
        total, self._total = self._total, Cost()
        return total

    def input_words(
        self, message: str, owner: int, words: object, shape: tuple[int, ...], *, add: bool
    ) -> NDArray[np.uint64]:
        """Count an input."""
        cost = costs.shared(owner, prod(shape))
        self._total += cost
        if owner >= COMPUTING:
            self.inputs[owner] += cost.outside
        return np.empty((0, *shape), dtype=np.uint64)

    def reshare(self, message: str, terms: object, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        """Count a product, or a conjunction of words."""
        self._total += costs.product(prod(shape))
        return np.empty((0, *shape), dtype=np.uint64)
