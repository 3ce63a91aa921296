"""What boosting on shares is asked to do, its sizes and fixed point, and its security claim."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import Final

from federated.vertical.settings import Layout
from mpc.errors import InvalidInput
from mpc.replicated import logistic
from mpc.replicated.division import MAX_DIVISOR_BITS
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "LEAST_GAIN",
    "MARGIN_FRACTION",
    "MAX_BINS",
    "MAX_CELLS",
    "MAX_COLUMNS",
    "MAX_DEPTH",
    "MAX_ROWS",
    "MAX_TREES",
    "SPEC",
    "SUM_FRACTION",
    "Scales",
    "Settings",
    "check_sizes",
]

MAX_BINS: Final = 32
MAX_DEPTH: Final = 5
MAX_TREES: Final = 100
MAX_COLUMNS: Final = 256
MAX_ROWS: Final = 2**17
MAX_CELLS: Final = 2**26
"""Rows times columns times cuts: each takes 16 bytes at every computing party."""
MARGIN_FRACTION: Final = 20
"""Fractional bits of margins and of leaf weights: 2^17 rows over 0.1, 100 times, stay below 2^48."""
SUM_FRACTION: Final = logistic.FRACTION
"""Fractional bits of gradients and hessians, and of their sums: below 2^45."""
LEAST_GAIN: Final = 1e-6
"""As in XGBoost."""
_LEAST_L2: Final = 0.1
_SCORE_BITS: Final = 60
"""Scores of splits stay below 2^60."""

_PUBLIC = (
    "the settings, the number of rows, and of columns of every owner; neither a label, a gradient, a sum, "
    "into how many bins a column falls, a split, nor which rows a node holds"
)

SPEC: Final = ProtocolSpec(
    name="vertical/boosting-shared",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={"owner": (_PUBLIC,), "helper": (_PUBLIC,)},
    cost="for n rows, a tree of depth d takes 32 (2^d - 1) n bytes of every computing party for its nodes, "
    "117 n for gradients, hessians and margins, and 576 n more of party 0; a level with m nodes and c cuts "
    "of all columns takes some 85 + 12 log2(c) rounds and 1,140 m c bytes, 2,130 m c of party 0; inputs take "
    "8 c n bytes, 16 c n from an owner that does not compute; to the byte by federated.shared_boosting.costs",
    source="trees: Chen, Guestrin 2016 (XGBoost); growth on shares: Fang et al. 2021 (SS-XGB), Abspoel, "
    "Escudero, Volgushev 2021; shares: Araki, Furukawa, Lindell, Nof, Ohara 2016; logistic function: Zheng "
    "et al. 2023",
    summary="Gradient boosted trees on shares of several owners' columns: no gradient, sum or split is seen; "
    "named recipients learn splits and leaves.",
)


@dataclass(frozen=True)
class Settings:
    """What the owners agreed to run; names and meanings are those of XGBoost, but for the last one.

    Attributes:
        trees: how many.
        depth: splits between the root and every leaf; a split may send all rows to the left.
        bins: most bins of a column.
        rate: by which the weights of leaves are shrunk, 0.001 to 1.
        l2: penalty of squared leaf weights (lambda), 0.1 to 100.
        gamma: least gain of a split.
        least_rows: fewest rows on either side of a split, and so of a leaf. Sums of hessians of at least a
            quarter of it are asked for (min_child_weight), and a hessian is at most 1/4.
        tells_thresholds: whoever learns the trees learns the thresholds of their splits; else it learns which
            cut of a column each is, and the owner of the column alone knows where that is.
    """

    trees: int = 20
    depth: int = 3
    bins: int = 16
    rate: float = 0.3
    l2: float = 1.0
    gamma: float = 0.0
    least_rows: int = 4
    tells_thresholds: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("trees", self.trees, 1, MAX_TREES),
            ("depth", self.depth, 1, MAX_DEPTH),
            ("bins", self.bins, 2, MAX_BINS),
            ("rate", self.rate, 0.001, 1),
            ("l2", self.l2, _LEAST_L2, 100),
            ("gamma", self.gamma, 0, 1e6),
            ("least_rows", self.least_rows, 1, MAX_ROWS),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")

    @property
    def cuts(self) -> int:
        """Of every column, whatever its values: those it lacks send all rows to the left."""
        return self.bins - 1

    @property
    def inner(self) -> int:
        """Inner nodes of a tree."""
        return (1 << self.depth) - 1

    @property
    def leaves(self) -> int:
        """Leaves of a tree."""
        return 1 << self.depth

    @property
    def told(self) -> int:
        """Numbers that whoever learns the trees receives; see `Forest.of`."""
        return self.told_after(self.trees)

    def told_after(self, trees: int) -> int:
        """How many of these there are after so many trees."""
        return 1 + trees * (3 * self.inner + self.leaves + 1)


def check_sizes(layout: Layout, settings: Settings) -> None:
    """Refuse what does not fit the fixed point or the memory of a computing party.

    Raises:
        InvalidInput: too many rows, columns or cells.
    """
    columns = sum(layout.columns)
    for name, value, high in (
        ("rows", layout.rows, MAX_ROWS),
        ("columns", columns, MAX_COLUMNS),
        ("rows times columns times cuts", layout.rows * columns * settings.cuts, MAX_CELLS),
    ):
        if value > high:
            raise InvalidInput(f"{name}: expected at most {high}, got {value}")


@dataclass(frozen=True)
class Scales:
    """Fractional bits where a node's sums are divided; they depend on public sizes alone.

    Attributes:
        divisor: of a sum of hessians with its penalty, so that it stays below 2^29.
        weight: of a sum of gradients over it.
        factor: of the sum of gradients that this is multiplied by, so that scores stay below 2^60.
    """

    divisor: int
    weight: int
    factor: int

    @classmethod
    def of(cls, rows: int, settings: Settings) -> Scales:
        """Choose them.

        Hessians are at most 1/4, gradients at most 1.004 in magnitude, and so are the sums of a node's two
        sides n_L^2 / l2 + n_R^2 / l2 <= n^2 / l2.
        """
        divisor = MAX_DIVISOR_BITS - ceil(log2(rows / 4 + settings.l2 + 1))
        score = _SCORE_BITS - ceil(log2(1.02 * (rows + 1) ** 2 / settings.l2 + settings.gamma + 1))
        weight = min(20, score - score // 3)
        return cls(min(divisor, 24), weight, min(20, score - weight))

    @property
    def score(self) -> int:
        """Of scores."""
        return self.weight + self.factor
