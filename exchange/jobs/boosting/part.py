"""One owner's part of boosted trees, and component ``model/trees`` by which it reads it at its own node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.boosting.cuts import OwnCuts
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from federated.boosting import Objective, OwnSplit, Split, Tree
from ledger import canonical
from mpc import wire
from mpc.secrecy import Unprintable
from policies.plans import Plan

__all__ = ["COMPONENT", "Structure", "TreesPart", "score_table", "text"]

FORMAT = 2
_DIGITS = 12
_ON_SHARES = "model/boosting-shared"
_Floats = NDArray[np.float64]


def text(number: float) -> str:
    """A number as canonical JSON carries it, to twelve digits."""
    return f"{number:.{_DIGITS}g}"


def score_table(
    rows: NDArray[np.int64], scores: _Floats, facts: Mapping[str, object], **more: list[str]
) -> ResultTable:
    """A line for each row, with its score or one of each class.

    Args:
        rows: int64[rows], their numbers.
        scores: float64[classes or 1, rows].
        facts: of the table.
        more: further columns.
    """
    names = ["score"] if len(scores) == 1 else [f"score_{number}" for number in range(len(scores))]
    cells = [[text(one) for one in line] for line in scores.tolist()]
    return ResultTable(
        ("row", *names, *more), tuple(zip(rows.tolist(), *cells, *more.values(), strict=True)), dict(facts)
    )


@dataclass(frozen=True, repr=False, eq=False)
class Structure(Unprintable):
    """What the label holder alone has of the trees.

    Attributes:
        base: the margins before the first tree, one or one for each class.
        trees: inner nodes and leaves, by round, and in a round by class.
        scores: float64[classes or 1, rows], of all aligned rows, in their common order.
        losses: mean loss on the rows trained on after each round that was grown, those dropped too.
        held_out_losses: that on the rows held out; none where none is.
    """

    base: tuple[float, ...]
    trees: tuple[Tree, ...]
    scores: _Floats
    losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]


@dataclass(frozen=True, repr=False, eq=False)
class TreesPart(Unprintable):
    """One owner's part of boosted trees.

    Attributes:
        columns: its columns, by number.
        own: its own splits, by record.
        held_out: which of the aligned rows were not trained on.
        objective: that the trees were grown by.
        structure: at the label holder; None elsewhere.
    """

    columns: tuple[str, ...]
    own: tuple[OwnSplit, ...]
    held_out: HeldOut
    objective: Objective
    structure: Structure | None = None

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        objective = self.objective.value
        head = canonical.encode(
            {"columns": list(self.columns), "objective": objective, **vars(self.held_out)}
        )
        parts = [
            wire.encode_uint64(FORMAT),
            wire.encode_array(np.frombuffer(head, dtype=np.uint8)),
            _integers([one.column for one in self.own]),
            _floats([one.threshold for one in self.own]),
            wire.encode_uint64(self.structure is not None),
        ]
        if (known := self.structure) is not None:
            splits = [
                (tree, node, one)
                for tree, grown in enumerate(known.trees)
                for node, one in grown.splits.items()
            ]
            leaves = [
                (tree, node, weight)
                for tree, grown in enumerate(known.trees)
                for node, weight in grown.leaves.items()
            ]
            parts += [
                wire.encode_uint64(len(known.trees)),
                _integers([tree for tree, _, _ in splits]),
                _integers([node for _, node, _ in splits]),
                _integers([one.owner for _, _, one in splits]),
                _integers([one.record for _, _, one in splits]),
                _floats([one.gain for _, _, one in splits]),
                _integers([tree for tree, _, _ in leaves]),
                _integers([node for _, node, _ in leaves]),
                _floats([weight for _, _, weight in leaves]),
                _floats(known.base),
                _floats(known.losses),
                _floats(known.held_out_losses),
                _floats(known.scores),
            ]
        return b"".join(parts)

    @classmethod
    def decode(cls, raw: bytes) -> TreesPart:
        """Decode what ``encode`` made; anything else raises ``MalformedMessage`` or ``JobFailed``."""
        reader = wire.Reader("part of trees", raw)
        if (version := reader.uint64("format")) != FORMAT:
            raise JobFailed(f"part of trees: expected format {FORMAT}, got {version}")
        told: Any = canonical.decode(reader.array("columns", "u1", (None,)).tobytes())
        held_out = HeldOut(told["seed"], told["percent"])
        columns, thresholds = _read(reader, "columns"), _read_floats(reader, "thresholds")
        own = tuple(OwnSplit(*one) for one in zip(columns, thresholds.tolist(), strict=True))
        structure = None
        if reader.uint64("structure"):
            trees = [Tree({}, {}) for _ in range(reader.uint64("trees"))]
            numbers = [_read(reader, "splits") for _ in range(4)]
            for tree, node, owner, record, gain in zip(
                *numbers, _read_floats(reader, "gains").tolist(), strict=True
            ):
                trees[tree].splits[node] = Split(owner, record, gain)
            numbers = [_read(reader, "leaves") for _ in range(2)]
            for tree, node, weight in zip(*numbers, _read_floats(reader, "weights").tolist(), strict=True):
                trees[tree].leaves[node] = weight
            base, losses, held_out_losses = (
                _read_floats(reader, field).tolist() for field in ("base", "losses", "held_out_losses")
            )
            scores = reader.array("scores", "<u8", (len(base), None)).view(np.float64)
            structure = Structure(tuple(base), tuple(trees), scores, tuple(losses), tuple(held_out_losses))
        reader.finish()
        return cls(tuple(told["columns"]), own, held_out, Objective(told["objective"]), structure)

    def table(self) -> ResultTable:
        """What the owner reads: its splits, or the structure with its own splits filled in."""
        used = Counter(self.columns[one.column] for one in self.own)
        facts: dict[str, object] = {"splits_by_column": {name: used[name] for name in self.columns}}
        if self.structure is None:
            lines = [
                (number, self.columns[one.column], text(one.threshold)) for number, one in enumerate(self.own)
            ]
            return ResultTable(("record", "column", "threshold"), tuple(lines), facts)
        facts |= {
            "base": [text(margin) for margin in self.structure.base],
            "losses": [text(loss) for loss in self.structure.losses],
            "held_out_losses": [text(loss) for loss in self.structure.held_out_losses],
            "rows": self.structure.scores.shape[1],
        }
        header = ("tree", "node", "owner", "record", "column", "threshold", "gain", "weight")
        return ResultTable(header, tuple(self._nodes(self.structure)), facts)

    def scores(self, structure: Structure) -> ResultTable:
        """A score for each aligned row, or one of each class, and whether it was trained on."""
        rows = structure.scores.shape[1]
        part = np.full(rows, "train")
        part[self.held_out.test(rows)] = "test"
        return score_table(np.arange(rows), structure.scores, {}, part=part.tolist())

    def _nodes(self, structure: Structure) -> Iterator[tuple[Cell, ...]]:
        for number, tree in enumerate(structure.trees):
            for node in sorted({*tree.splits, *tree.leaves}):
                if node in tree.leaves:
                    yield (number, node, None, None, None, None, None, text(tree.leaves[node]))
                    continue
                one = tree.splits[node]
                name = threshold = None
                if one.owner == 0:
                    own = self.own[one.record]
                    name, threshold = self.columns[own.column], text(own.threshold)
                yield (
                    number, node, f"owner-{one.owner + 1}", one.record, name, threshold, text(one.gain), None
                )  # fmt: skip


def _integers(values: list[int]) -> bytes:
    return wire.encode_array(np.array(values, dtype=np.int64))


def _floats(values: Sequence[float] | _Floats) -> bytes:
    return wire.encode_array(np.array(values, dtype=np.float64).view(np.uint64))


def _read(reader: wire.Reader, field: str) -> list[int]:
    return [int(one) for one in reader.array(field, "<i8", (None,))]


def _read_floats(reader: wire.Reader, field: str) -> _Floats:
    return reader.array(field, "<u8", (None,)).view(np.float64)


def _run(context: StepContext) -> Outcome:
    (name,) = context.step.after
    if context.before[name].component == _ON_SHARES:
        return Outcome(local=b"", files=OwnCuts.decode(context.earlier[name]).table().files())
    part = TreesPart.decode(context.earlier[name])
    files = part.table().files()
    if part.structure is not None:
        files["scores.csv"] = part.scores(part.structure).files()["table.csv"]
    return Outcome(local=b"", files=files)


def _check(step: Step) -> None:
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step that trained", str(len(step.after)))


def _check_follows(step: Step, before: Step) -> None:
    reader = step.parties["reader"]
    if before.role_of(reader) not in before.inputs:
        raise InvalidRequest(f"steps.{step.id}.parties.reader", f"an owner in step {before.id}", reader)


def _plan(step: Step) -> Plan:
    """Nothing is shown that the reader did not get when the trees were grown."""
    return ()


COMPONENT = Component(
    name="model/trees",
    version=1,
    summary="The owner who asked reads its own splits, the label holder also the structure and the scores; "
    "of trees grown on shares an owner reads where its own columns were cut.",
    roles={"reader": None},
    params={},
    output_type="report",
    needs=frozenset({"model/boosting", _ON_SHARES}),
    check_follows=_check_follows,
    protocol=None,
    run=_run,
    plan=_plan,
    check_step=_check,
)
