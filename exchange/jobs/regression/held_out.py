"""Which of the aligned rows a model is trained on, and which are held out to evaluate it later.

The order is drawn from the session of the training step, so that it is the same at all owners and hangs on no
value. Every owner keeps the seed with its part of the model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exchange.jobs.spec import Step

__all__ = ["HeldOut"]


@dataclass(frozen=True)
class HeldOut:
    """A split of aligned rows.

    Attributes:
        seed: hex, equal at all owners.
        percent: of the rows that are held out, rounded down; 0: none.
    """

    seed: str
    percent: int

    @classmethod
    def of(cls, session: bytes, step: Step) -> HeldOut:
        """As a training step says."""
        percent = step.params.get("test_percent", 0)
        assert isinstance(percent, int)  # noqa: S101 - the declaration has checked it
        return cls(hashlib.sha256(b"rows" + session).hexdigest(), percent)

    def size(self, rows: int) -> int:
        """How many of so many rows are held out."""
        return rows * self.percent // 100

    def test(self, rows: int) -> NDArray[np.int64]:
        """The places of the rows held out, among so many aligned ones."""
        return self._order(rows)[: self.size(rows)]

    def train(self, rows: int) -> NDArray[np.int64]:
        """The places of all others, in the order of training."""
        return self._order(rows)[self.size(rows) :]

    def chosen(self, rows: int, part: str) -> NDArray[np.int64]:
        """The places of one part, among so many aligned rows: ``all``, ``train`` or ``test``."""
        if part == "all":
            return np.arange(rows, dtype=np.int64)
        return self.train(rows) if part == "train" else self.test(rows)

    def _order(self, rows: int) -> NDArray[np.int64]:
        generator = np.random.Generator(np.random.PCG64(int(self.seed, 16)))
        return generator.permutation(rows).astype(np.int64, copy=False)
