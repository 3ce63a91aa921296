"""The trees of a run as nodes keep and release them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Final

from exchange.errors import JobFailed
from exchange.jobs.regression.part import text
from exchange.jobs.results import Cell, ResultTable
from exchange.web.kinds import Rule, read_as
from federated.horizontal import Boosted, Boosting
from ledger import canonical

__all__ = ["MAX_NODES", "JointTrees"]

MAX_NODES: Final = 20_000
"""Of all trees together."""
_Numbers = Annotated[tuple[int, ...], Rule("numbers", maximum=MAX_NODES)]
_Texts = Annotated[tuple[str, ...], Rule("numbers", maximum=MAX_NODES)]


@dataclass(frozen=True)
class JointTrees:
    """Boosted trees, the same at all their parties.

    Attributes:
        objective: logistic or squared.
        columns: of the features, in order, then of the label.
        base: the margin before the first tree, in units of the label or as log odds.
        trees, nodes: of each node its tree, from 1, and its place as in a heap, the root is 1.
        split: of each node the column that it is split by, from 1; 0 of a leaf.
        thresholds, gains: of each node that is split, in their order.
        weights: of each leaf, in their order, as ``base``.
        counts: of each node, rows of all owners that were there when it was split off.
        rows: of the owners in the last round.
        losses: mean loss before the first tree, and after each; of a label scaled by its bounds.
        present: roles of the owners in the last round.
    """

    objective: str
    columns: tuple[str, ...]
    base: str
    trees: _Numbers
    nodes: _Numbers
    split: _Numbers
    thresholds: _Texts
    gains: _Texts
    weights: _Texts
    counts: _Numbers
    rows: int
    losses: tuple[str, ...]
    present: tuple[str, ...]

    @staticmethod
    def of(agreed: Boosting, boosted: Boosted, roles: Sequence[str]) -> JointTrees:
        """The trees of a run whose owners play ``roles``, in the order of their numbers."""
        is_class, thresholds = agreed.is_logistic, agreed.thresholds(boosted.cuts)
        low, unit = (0.0, 1.0) if is_class else (agreed.lower[-1], agreed.upper[-1] - agreed.lower[-1])
        places = [
            (number, node) for number, tree in enumerate(boosted.trees, start=1) for node in sorted(tree.rows)
        ]
        splits = [boosted.trees[number - 1].splits.get(node) for number, node in places]
        weights = [boosted.trees[number - 1].leaves.get(node) for number, node in places]
        return JointTrees(
            objective=agreed.settings.objective.value,
            columns=agreed.names,
            base=text(low + unit * boosted.base),
            trees=tuple(number for number, _ in places),
            nodes=tuple(node for _, node in places),
            split=tuple(0 if one is None else one.column + 1 for one in splits),
            thresholds=tuple(
                text(float(thresholds[one.column][one.cut])) for one in splits if one is not None
            ),
            gains=tuple(text(one.gain) for one in splits if one is not None),
            weights=tuple(text(unit * one) for one in weights if one is not None),
            counts=tuple(boosted.trees[number - 1].rows[node] for number, node in places),
            rows=boosted.rows,
            losses=tuple(map(text, boosted.losses)),
            present=tuple(roles[number - 1] for number in boosted.owners),
        )

    def without_trees(self) -> JointTrees:
        """What tells how training went, and not what came of it."""
        none: tuple[int, ...] = ()
        return replace(
            self,
            base="",
            trees=none,
            nodes=none,
            split=none,
            thresholds=(),
            gains=(),
            weights=(),
            counts=none,
        )

    def encode(self) -> bytes:
        """Encode, for a node's own sealed store or for sealing to recipients."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> JointTrees:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "trees")

    def table(self) -> ResultTable:
        """The nodes of all trees, or the loss after each where they are not shown.

        Raises:
            JobFailed: the numbers are not those of such trees.
        """
        facts: dict[str, object] = {"objective": self.objective, "rows": self.rows}
        if not self.nodes:
            return ResultTable(("tree", "loss"), tuple(enumerate(self.losses)), facts)
        splits = sum(one > 0 for one in self.split)
        found = [
            len(one)
            for one in (self.trees, self.split, self.counts, self.thresholds, self.gains, self.weights)
        ]
        count = len(self.nodes)
        fits = found == [count, count, count, splits, splits, count - splits]
        if not fits or not all(0 <= one < len(self.columns) for one in self.split):
            raise JobFailed(
                f"expected the numbers of {count} nodes over {len(self.columns) - 1} columns, got others"
            )
        facts |= {"base": self.base, "losses": list(self.losses)}
        header = ("tree", "node", "column", "threshold", "gain", "weight", "rows")
        return ResultTable(header, tuple(self._lines()), facts)

    def _lines(self) -> Iterator[tuple[Cell, ...]]:
        thresholds, gains, weights = iter(self.thresholds), iter(self.gains), iter(self.weights)
        for tree, node, column, rows in zip(self.trees, self.nodes, self.split, self.counts, strict=True):
            if column:
                yield (tree, node, self.columns[column - 1], next(thresholds), next(gains), None, rows)
            else:
                yield (tree, node, None, None, None, next(weights), rows)
