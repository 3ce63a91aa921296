"""What owners keep before each tree, as arrays, and the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.boosting.fixed_point import Quantised
from federated.boosting.trees import OwnSplit, Split, Tree
from federated.checkpoints import Arrays
from mpc.secrecy import Unprintable

__all__ = ["Grown", "own_splits", "splits_as_arrays"]

Floats = NDArray[np.float64]


@dataclass(repr=False, eq=False)
class Grown(Unprintable):
    """What the label holder has before a tree.

    Attributes:
        margins: float64[rows].
        trees: grown so far.
        losses: after each of them.
        own: its own splits.
        asked, won: as `Ensemble` has them.
    """

    margins: Floats
    trees: list[Tree] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    own: list[OwnSplit] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    won: list[tuple[int, ...]] = field(default_factory=list)

    def as_arrays(self, numbers: Quantised) -> Arrays:
        """With the numbers that are encrypted for the next tree."""
        structure = {
            "trees": [[_rows(tree.splits), _rows(tree.leaves)] for tree in self.trees],
            "own": [astuple(split) for split in self.own],
            "asked": self.asked,
            "won": self.won,
        }
        return {
            "margins": self.margins,
            "losses": np.array(self.losses),
            "structure": np.frombuffer(json.dumps(structure).encode(), dtype=np.uint8),
            "g": numbers.g,
            "h": numbers.h,
            "scales": np.array([numbers.g_scale, numbers.h_scale]),
        }

    @classmethod
    def of(cls, kept: Arrays) -> Grown:
        """The inverse of `as_arrays`, without the numbers."""
        structure = json.loads(kept["structure"].tobytes())
        return cls(
            margins=kept["margins"],
            trees=[
                Tree({node: Split(*split) for node, *split in splits}, dict(leaves))
                for splits, leaves in structure["trees"]
            ],
            losses=kept["losses"].tolist(),
            own=[OwnSplit(*split) for split in structure["own"]],
            asked=structure["asked"],
            won=[tuple(one) for one in structure["won"]],
        )

    @staticmethod
    def numbers_of(kept: Arrays) -> Quantised:
        """The numbers for the next tree."""
        g_scale, h_scale = map(float, kept["scales"])
        return Quantised(kept["g"], kept["h"], g_scale, h_scale)


def splits_as_arrays(splits: Sequence[OwnSplit]) -> Arrays:
    """What another owner has before a tree: its own splits."""
    return {
        "columns": np.array([split.column for split in splits], dtype=np.int64),
        "thresholds": np.array([split.threshold for split in splits], dtype=np.float64),
    }


def own_splits(kept: Arrays | None) -> list[OwnSplit]:
    """The inverse of `splits_as_arrays`; none at the start."""
    if kept is None:
        return []
    return [OwnSplit(*one) for one in zip(kept["columns"].tolist(), kept["thresholds"].tolist(), strict=True)]


def _rows(nodes: Mapping[int, Split] | Mapping[int, float]) -> list[list[Any]]:
    """One row for each node, its number first."""
    return [
        [node, *(astuple(value) if isinstance(value, Split) else (value,))] for node, value in nodes.items()
    ]
