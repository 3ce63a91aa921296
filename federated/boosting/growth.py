"""The label holder's side of the trees of one round: which nodes are examined, split and closed.

Of two children that may be split, the sums of the left one are asked for; those of the right one are its
parent's less these (histogram subtraction). The trees of a round, one for each class, grow side by side: a
level takes the messages of one tree however many there are, and the nodes of all share ciphertexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federated.boosting.binning import Binned
from federated.boosting.fixed_point import Quantised
from federated.boosting.settings import Settings
from federated.boosting.trees import FREE, ROOT, Best, Bounds, Histogram, Split, Tree, best_split, weights_of

__all__ = ["Growth", "grow", "own_sums"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Rows = NDArray[np.bool_]
Sums = tuple[Integers, Integers]
"""Of gradients and of hessians, in the bins of all owners."""
Node = tuple[int, int]
"""The number of a tree in its round, and that of a node in it."""
AskSums = Callable[[Sequence[tuple[int, Rows]]], list[Sums]]
"""From tree and rows of each node to examine: its sums."""
AskSides = Callable[[Mapping[Node, Best]], Mapping[Node, tuple[Split, Rows]]]
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
    _level: list[int] = field(init=False)
    _asked: list[int] = field(init=False, default_factory=list)
    _rest: list[int] = field(init=False, default_factory=list)
    _bounds: dict[int, Bounds] = field(init=False)
    _best: dict[int, Best] = field(init=False, default_factory=dict)
    _splits: dict[int, Split] = field(init=False, default_factory=dict)
    _known: dict[int, Histogram] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.place = np.full(len(self.g) + self.held_out, ROOT, dtype=np.int64)
        self._level, self._bounds = [ROOT], {ROOT: FREE}

    def asked(self) -> list[Rows]:
        """The rows of each node of this level whose sums are needed."""
        candidates = {node for node in self._level if self._may_split(node)}
        self._asked = sorted(node for node in candidates if node % 2 == 0 or node - 1 not in candidates)
        self._rest = sorted(candidates - set(self._asked))
        return [self._rows(node) for node in self._asked]

    def choose(self, answers: Iterable[Sums]) -> dict[int, Best]:
        """The best split of each node that has one, from the sums that were asked for, which come first."""
        found = {node: self._histogram(node, *sums) for node, sums in zip(self._asked, answers, strict=False)}
        for node in self._rest:
            found[node] = self._known[node // 2].minus(found[node - 1])
        self._known = found
        best = {
            node: best_split(one, self.counts, self.settings, self._directions, self._bounds[node])
            for node, one in sorted(found.items())
        }
        self._best = {node: one for node, one in best.items() if one is not None}
        return self._best

    def split(self, sides: Mapping[int, tuple[Split, Rows]]) -> None:
        """Split nodes of this level; their children are the next one."""
        children = []
        for node, (split, goes_left) in sides.items():
            self._splits[node] = split
            rows = np.nonzero(self.place == node)[0]
            self.place[rows] = 2 * node + 1 - goes_left[rows]
            self._bound(node)
            children += [2 * node, 2 * node + 1]
        self._level = sorted(children)

    def closed(self) -> tuple[Tree, Floats]:
        """The tree, and float64[rows + held out], what it adds to each margin."""
        nodes, leaf = np.unique(self.place, return_inverse=True)
        weights = [self.settings.rate * self._weight(int(node)) for node in nodes]
        leaves = dict(zip(nodes.tolist(), weights, strict=True))
        return Tree(self._splits, leaves), np.array(weights)[leaf]

    @property
    def _directions(self) -> list[int]:
        return [direction for own in self.settings.monotone for direction in own]

    def _bound(self, node: int) -> None:
        """Bound the weights below a node's children, halfway between theirs where there is a direction."""
        low, high = self._bounds[node]
        children = (2 * node, 2 * node + 1)
        self._bounds |= dict.fromkeys(children, (low, high))
        direction = self._directions[self._best[node].column] if self.settings.monotone else 0
        if direction:
            middle = sum(map(self._weight, children)) / 2
            lower, upper = children[::direction]
            self._bounds |= {lower: (low, middle), upper: (middle, high)}

    def _weight(self, node: int) -> float:
        """Of a leaf in its place, before it is shrunk."""
        rows = self._rows(node)
        sums = float(self.g[rows].sum()), float(self.h[rows].sum())
        return float(weights_of(*sums, self.settings, self._bounds[node]))

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


def grow(trees: Sequence[Growth], ask_sums: AskSums, ask_sides: AskSides) -> list[tuple[Tree, Floats]]:
    """Grow the trees of a round, all with the same settings, level by level: each as `Growth.closed`."""
    for _ in range(trees[0].settings.depth):
        asked = [(number, rows) for number, tree in enumerate(trees) for rows in tree.asked()]
        answers = iter(ask_sums(asked))
        if not asked:
            break
        chosen = {
            (number, node): best
            for number, tree in enumerate(trees)
            for node, best in tree.choose(answers).items()
        }
        sides = ask_sides(chosen)
        for number, tree in enumerate(trees):
            tree.split({node: told for (one, node), told in sides.items() if one == number})
    return [tree.closed() for tree in trees]


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
