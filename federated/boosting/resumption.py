"""What owners keep before each round of trees, as arrays, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.boosting.fixed_point import Quantised
from federated.boosting.trees import OwnSplit, Split, Tree
from federated.checkpoints import Arrays, as_text, from_text, rows_of
from mpc.secrecy import Unprintable

__all__ = ["Grown", "own_splits", "splits_as_arrays"]

Floats = NDArray[np.float64]

_PLAIN: Final = ("losses", "held_out_losses", "records", "asked", "won")
"""What of `Grown` is JSON as it is."""


@dataclass(repr=False, eq=False)
class Grown(Unprintable):
    """What the label holder has between two rounds; as `Ensemble` has it where nothing else is said.

    Attributes:
        margins: float64[classes or 1, rows], after all rounds so far.
        kept_margins: after those that are kept if growth ends now.
        trees: of all rounds so far.
        losses, held_out_losses: after each.
        own: its own splits.
        records: how many of these there were after each round.
        asked, won: by level.
    """

    margins: Floats
    kept_margins: Floats
    trees: list[Tree] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    held_out_losses: list[float] = field(default_factory=list)
    own: list[OwnSplit] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    won: list[tuple[int, ...]] = field(default_factory=list)

    def as_arrays(self, weights: Floats, numbers: Sequence[Quantised]) -> Arrays:
        """With what was drawn for the next round: float64[rows] and the numbers of each tree."""
        structure = {
            "trees": [[rows_of(tree.splits), rows_of(tree.leaves)] for tree in self.trees],
            "own": [astuple(split) for split in self.own],
            **{name: getattr(self, name) for name in _PLAIN},
        }
        return {
            "margins": self.margins,
            "kept_margins": self.kept_margins,
            "structure": as_text(structure),
            "weights": weights,
            "g": np.stack([one.g for one in numbers]),
            "h": np.stack([one.h for one in numbers]),
            "scales": np.array([(one.g_scale, one.h_scale) for one in numbers]),
        }

    @classmethod
    def of(cls, kept: Arrays) -> Grown:
        """The inverse of `as_arrays`, without what was drawn."""
        structure = from_text(kept["structure"])
        return cls(
            kept["margins"],
            kept["kept_margins"],
            trees=[
                Tree({node: Split(*split) for node, *split in splits}, dict(leaves))
                for splits, leaves in structure["trees"]
            ],
            own=[OwnSplit(*split) for split in structure["own"]],
            won=[tuple(one) for one in structure["won"]],
            **{name: structure[name] for name in _PLAIN if name != "won"},
        )

    @staticmethod
    def drawn_of(kept: Arrays) -> tuple[Floats, list[Quantised]]:
        """What was drawn for the next round."""
        parts = zip(kept["g"], kept["h"], kept["scales"].tolist(), strict=True)
        return kept["weights"], [Quantised(g, h, *scales) for g, h, scales in parts]


def splits_as_arrays(splits: Sequence[OwnSplit], records: Sequence[int]) -> Arrays:
    """What another owner has between two rounds: its own splits, and how many there were after each round."""
    return {
        "columns": np.array([split.column for split in splits], dtype=np.int64),
        "thresholds": np.array([split.threshold for split in splits], dtype=np.float64),
        "records": np.array(records, dtype=np.int64),
    }


def own_splits(kept: Arrays | None) -> tuple[list[OwnSplit], list[int]]:
    """The inverse of `splits_as_arrays`; none at the start."""
    if kept is None:
        return [], []
    splits = zip(kept["columns"].tolist(), kept["thresholds"].tolist(), strict=True)
    return [OwnSplit(*one) for one in splits], kept["records"].tolist()
