"""What boosting is asked to do, what its runs depend on, and its security claim."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mpc.errors import InvalidInput
from mpc.he.subset_sums import Blocks
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "MAX_BINS",
    "MAX_CLASSES",
    "MAX_DEPTH",
    "MAX_OWNERS",
    "MAX_TREES",
    "SPEC",
    "Objective",
    "Settings",
    "Sizes",
]

MAX_BINS: Final = 64
MAX_DEPTH: Final = 8
MAX_TREES: Final = 1000
MAX_CLASSES: Final = 16
MAX_OWNERS: Final = 16

SPEC: Final = ProtocolSpec(
    name="vertical/secureboost",
    version=1,
    roles=("owner",),
    adversary=Adversary.SEMI_HONEST,
    corruptions="the label holder alone, or any of the other owners together",
    leaks={
        "owner": (
            "all: the settings, and the number of rows",
            "the label holder, of every other owner: how many columns it has and into how many bins each "
            "falls; for every node examined, the sums of gradients and of hessians in each bin, under the "
            "numbers of column and bin, which of a node of few rows tell each row's bins; for every split on "
            "its columns, on which side each aligned row is, also of rows held out or not in the node",
            "every other owner: how many nodes of each level were examined in each round of trees, and its "
            "own splits by round and level, not of which class; where there is a patience, after which round "
            "growth ended and after which the loss on the rows held out was lowest; not which rows a node "
            "holds, no gradient and nothing else of the label, and not which rows were drawn by their "
            "gradients",
        ),
    },
    cost="2 rounds a level; for a level with m nodes examined (1, 1, 2, 4, .. at most, and that for every "
    "class) n / B ciphertexts of 131 kB to every other owner and cuts m B / 8192 of 66 kB back, with B rows "
    "a block so that time is least; to the byte by federated.boosting.costs",
    source="Cheng, Fan, Jin, Liu, Chen, Papadopoulos, Yang 2019 (SecureBoost); packing of gradients and "
    "hessians, histogram subtraction: Chen, Ma, Fan, Kang, Xu, Yang 2021 (SecureBoost+); encryption: Fan, "
    "Vercauteren 2012 (BFV), in place of Paillier's; drawing rows by gradients: Ke, Meng, Finley, Wang, "
    "Chen, Ma, Ye, Liu 2017 (LightGBM)",
    summary="Gradient boosted trees over columns of several owners: the label holder has the structure and "
    "the leaves, each owner the thresholds of its own splits.",
)


class Objective(StrEnum):
    """What the trees explain: the probability of a label of 0 and 1, a number, or that of each class."""

    LOGISTIC = "logistic"
    SQUARED = "squared"
    SOFTMAX = "softmax"


@dataclass(frozen=True)
class Settings:
    """What the owners agreed to run; names and meanings are those of XGBoost.

    Attributes:
        objective: logistic, squared error or softmax.
        classes: of the label, and trees of a round, where the objective is softmax; 1 otherwise.
        trees: rounds of trees, of one tree each where there are no classes.
        depth: most splits between a root and a leaf.
        rate: by which the weights of leaves are shrunk, more than 0 to 1.
        l2: penalty of squared leaf weights (lambda).
        gamma: least gain of a split.
        min_child_weight: least sum of hessians at either side of a split.
        bins: most bins of a column.
        patience: growth ends after so many rounds in a row that do not lower the loss on the rows held out,
            and the rounds up to that of the lowest are kept; 0: never.
        l1: penalty of the magnitudes of leaf weights (alpha).
        top_rate: of the rows, those of the largest gradients, which every tree is grown on; 1: all are.
        other_rate: of the rows, those drawn from the others for each tree, which count for all the others.
        monotone: for each owner by rank and each of its columns, 1 where scores may not fall with it, -1
            where they may not rise, 0 where both may be; empty: 0 for all.
    """

    objective: Objective = Objective.LOGISTIC
    trees: int = 20
    depth: int = 5
    rate: float = 0.3
    l2: float = 1.0
    gamma: float = 0.0
    min_child_weight: float = 1.0
    bins: int = 32
    patience: int = 0
    l1: float = 0.0
    top_rate: float = 1.0
    other_rate: float = 0.0
    classes: int = 1
    monotone: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("trees", self.trees, 1, MAX_TREES),
            ("depth", self.depth, 1, MAX_DEPTH),
            ("rate", self.rate, 0.001, 1),
            ("l2", self.l2, 0, 1000),
            ("gamma", self.gamma, 0, 1e6),
            ("min_child_weight", self.min_child_weight, 0, 1e6),
            ("bins", self.bins, 2, MAX_BINS),
            ("patience", self.patience, 0, MAX_TREES),
            ("l1", self.l1, 0, 1000),
            ("top_rate", self.top_rate, 0.01, 1),
            ("other_rate", self.other_rate, 0.01 if self.samples else 0, 1),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")
        least, most = (2, MAX_CLASSES) if self.objective is Objective.SOFTMAX else (1, 1)
        if not least <= self.classes <= most:
            expected = f"expected {least} to {most} where the objective is {self.objective}"
            raise InvalidInput(f"classes: {expected}, got {self.classes}")
        if self.monotone and self.objective is Objective.SOFTMAX:
            raise InvalidInput("monotone: expected no directions where the objective is softmax")
        if any(one not in (-1, 0, 1) for own in self.monotone for one in own):
            raise InvalidInput("monotone: expected directions of 1, 0 and -1")
        if self.top_rate + self.other_rate > 1 + 1e-9:
            got = f"{self.top_rate} and {self.other_rate}"
            raise InvalidInput(f"top_rate and other_rate: expected at most 1 together, got {got}")

    @property
    def samples(self) -> bool:
        """Trees are grown on part of the rows."""
        return self.top_rate < 1

    def most_asked(self, level: int) -> int:
        """Nodes of a level whose sums are asked for, at most: of two children one is the other's rest."""
        return self.classes << max(level - 1, 0)

    def most_splits(self, level: int) -> int:
        """Splits of a level, at most."""
        return self.classes << level


@dataclass(frozen=True)
class Sizes:
    """The public sizes of a run.

    Attributes:
        rows: aligned rows that trees are grown on.
        cuts: for each owner but the label holder, by rank from 1, how many cuts each of its columns has.
        held_out: aligned rows that are not, for which trees are followed none the less.
    """

    rows: int
    cuts: tuple[tuple[int, ...], ...]
    held_out: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.cuts) < MAX_OWNERS:
            raise InvalidInput(f"expected 2 to {MAX_OWNERS} owners, got {len(self.cuts) + 1}")

    @property
    def aligned(self) -> int:
        """All rows."""
        return self.rows + self.held_out

    def blocks(self, nodes: int) -> Blocks:
        """The layout of ciphertexts where so many nodes are examined, the same for all owners."""
        return Blocks.of(self.rows, max(map(sum, self.cuts)), nodes)
