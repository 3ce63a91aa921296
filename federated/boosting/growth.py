"""The label holder's side of one tree: which nodes are examined, split and closed.

Of two children that may be split, the sums of the left one are asked for; those of the right one are its
parent's less these (histogram subtraction).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federated.boosting.binning import Binned
from federated.boosting.fixed_point import Quantised
from federated.boosting.settings import Settings
from federated.boosting.trees import ROOT, Best, Histogram, Split, Tree, best_split, weight_of

__all__ = ["Growth", "own_sums"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Masks = Sequence[NDArray[np.bool_]]
AskSums = Callable[[Masks], list[tuple[Integers, Integers]]]
"""From the rows of each node to examine: the sums of gradients and hessians in the bins of all owners."""
AskSides = Callable[[Mapping[int, Best]], Mapping[int, tuple[Split, NDArray[np.bool_]]]]
"""From the best split of each node that is split: who has it, under which number, and who goes left."""


@dataclass
class Growth:
    """One tree while it grows.

    Attributes:
        settings: as agreed.
        counts: cuts of every column of all owners, in the order of the sums.
        numbers: the gradients and hessians that were encrypted.
        g, h: the same before they were rounded, for the leaves.
        held_out: rows after those, which follow the tree and shape nothing of it.
    """

    settings: Settings
    counts: Sequence[int]
    numbers: Quantised
    g: Floats
    h: Floats
    held_out: int = 0
    place: Integers = field(init=False)
    _splits: dict[int, Split] = field(init=False, default_factory=dict)
    _known: dict[int, Histogram] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.place = np.full(len(self.g) + self.held_out, ROOT, dtype=np.int64)

    def grow(self, ask_sums: AskSums, ask_sides: AskSides) -> tuple[Tree, Floats]:
        """Grow the tree level by level.

        Returns:
            The tree, and float64[rows + held out], what it adds to each margin.
        """
        level = [ROOT]
        for _ in range(self.settings.depth):
            children = self._split_level(level, ask_sums, ask_sides)
            if children is None:
                break
            level = children
        return self._closed()

    def _split_level(self, level: Sequence[int], ask_sums: AskSums, ask_sides: AskSides) -> list[int] | None:
        """Split nodes: their children, or None where nothing was asked: the tree ends, and all know."""
        candidates = {node for node in level if self._may_split(node)}
        asked = sorted(node for node in candidates if node % 2 == 0 or node - 1 not in candidates)
        answers = ask_sums([self._rows(node) for node in asked])
        found = {node: self._histogram(node, *sums) for node, sums in zip(asked, answers, strict=True)}
        for node in candidates - set(asked):
            found[node] = self._known[node // 2].minus(found[node - 1])
        self._known = found
        best = {node: best_split(one, self.counts, self.settings) for node, one in sorted(found.items())}
        chosen = {node: one for node, one in best.items() if one is not None}
        if not asked:
            return None
        children = []
        for node, (split, goes_left) in ask_sides(chosen).items():
            self._splits[node] = split
            rows = np.nonzero(self.place == node)[0]
            self.place[rows] = 2 * node + 1 - goes_left[rows]
            children += [2 * node, 2 * node + 1]
        return sorted(children)

    def _rows(self, node: int) -> NDArray[np.bool_]:
        """The rows of a node that it is grown on."""
        rows: NDArray[np.bool_] = self.place[: len(self.g)] == node
        return rows

    def _may_split(self, node: int) -> bool:
        rows = self._rows(node)
        return int(rows.sum()) > 1 and float(self.h[rows].sum()) >= 2 * self.settings.min_child_weight

    def _histogram(self, node: int, g: Integers, h: Integers) -> Histogram:
        rows, numbers = self._rows(node), self.numbers
        return Histogram(
            g / numbers.g_scale,
            h / numbers.h_scale,
            float(numbers.g[rows].sum()) / numbers.g_scale,
            float(numbers.h[rows].sum()) / numbers.h_scale,
        )

    def _closed(self) -> tuple[Tree, Floats]:
        nodes, leaf = np.unique(self.place, return_inverse=True)
        sums = [np.bincount(leaf[: len(one)], one, len(nodes)) for one in (self.g, self.h)]
        weights = [weight_of(g, h, self.settings) for g, h in zip(*sums, strict=True)]
        leaves = dict(zip(nodes.tolist(), weights, strict=True))
        return Tree(self._splits, leaves), np.array(weights)[leaf]


def own_sums(binned: Binned, numbers: Quantised, rows: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Sums of own columns over some rows, for each bin but the last of its column: int64[cuts], twice."""
    at = np.nonzero(rows)[0]
    split = [(codes[at], len(cuts)) for codes, cuts in zip(binned.codes, binned.cuts, strict=True)]

    def sums(values: Integers) -> Integers:
        # Below 2^53, sums of floating-point integers are exact.
        parts = [np.bincount(codes, values[at], cuts + 1)[:cuts] for codes, cuts in split]
        found: Integers = np.concatenate(parts).astype(np.int64)
        return found

    return sums(numbers.g), sums(numbers.h)
