"""What the parties of horizontal boosting keep before each tree, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from federated.boosting.trees import Best
from federated.checkpoints import Arrays, as_text, from_text, rows_of
from federated.horizontal.models import Floats
from federated.horizontal.trees import Cuts, JointTree

__all__ = ["Grown"]


@dataclass
class Grown:
    """What all parties have between two trees; as `Boosted` has it.

    Attributes:
        base, cuts: of the run.
        trees, losses, asked: so far.
    """

    base: float
    cuts: Cuts
    trees: list[JointTree] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def as_arrays(self, state: Floats) -> Arrays:
        """With the numbers that are told before the next tree."""
        structure = {
            "base": self.base,
            "cuts": [own.tolist() for own in self.cuts],
            "trees": [[rows_of(one) for one in (tree.splits, tree.leaves, tree.rows)] for tree in self.trees],
            "losses": self.losses,
            "asked": self.asked,
        }
        return {"state": state, "structure": as_text(structure)}

    @classmethod
    def of(cls, kept: Arrays) -> Grown:
        """The inverse of `as_arrays`, without the state."""
        structure = from_text(kept["structure"])
        return cls(
            structure["base"],
            tuple(np.array(own, dtype=np.int64) for own in structure["cuts"]),
            [
                JointTree({node: Best(*best) for node, *best in splits}, dict(leaves), dict(rows))
                for splits, leaves, rows in structure["trees"]
            ],
            structure["losses"],
            [tuple(one) for one in structure["asked"]],
        )
