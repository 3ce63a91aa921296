"""What comes of an app: its last arrays and what was learned of each answer, as nodes keep and release it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Annotated, Final

import numpy as np

from exchange.errors import JobFailed
from exchange.jobs.regression.part import text
from exchange.jobs.results import Cell, ResultTable
from exchange.web.kinds import Rule, read_as
from federated.horizontal.apps import MAX_MESSAGES, MAX_NUMBERS, Agreed, Served
from ledger import base64url, canonical

__all__ = ["JointArrays"]

_BYTES: Final = 8
_Values = Annotated[
    str, Rule("numbers in base64url", maximum=2 * _BYTES * MAX_NUMBERS, pattern="[A-Za-z0-9_-]*")
]


@dataclass(frozen=True)
class Message:
    """What all learned of the answer to a message.

    Attributes:
        kind: train or evaluate.
        rows: examples of all owners together.
        metrics: weighted means, in the order of their names.
    """

    kind: Annotated[str, Rule("train or evaluate", pattern="train|evaluate")]
    rows: int
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class JointArrays:
    """The outcome of a run, the same at all its parties.

    Attributes:
        app: SHA-256 of the app.
        names, shapes: of the arrays.
        values: of the arrays, one after the other, float64 in little-endian order; empty where not shown.
        metrics: names of what was learned besides, of training and of evaluation.
        messages: answers in order.
        present: roles of the owners in the last answer.
    """

    app: str
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    values: _Values
    metrics: tuple[tuple[str, ...], ...]
    messages: Annotated[tuple[Message, ...], Rule("answers", maximum=MAX_MESSAGES)]
    present: tuple[str, ...]

    @staticmethod
    def of(app: str, agreed: Agreed, served: Served, roles: Sequence[str]) -> JointArrays:
        """The outcome of a run whose owners play ``roles``, in the order of their numbers."""
        return JointArrays(
            app=app,
            names=tuple(agreed.shapes),
            shapes=tuple(agreed.shapes.values()),
            values=base64url.encode(served.arrays.astype("<f8").tobytes()),
            metrics=tuple(agreed.metrics.values()),
            messages=tuple(
                Message(one.kind.name.lower(), one.rows, tuple(map(text, one.metrics))) for one in served.told
            ),
            present=tuple(roles[number - 1] for number in served.owners),
        )

    def without_values(self) -> JointArrays:
        """What tells how training went, and not what came of it."""
        return replace(self, values="")

    def encode(self) -> bytes:
        """Encode, for a node's own sealed store or for sealing to recipients."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> JointArrays:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "arrays")

    def table(self) -> ResultTable:
        """The numbers by array and place, or what was learned of each answer where they are not shown.

        Raises:
            JobFailed: the numbers are not those of such arrays.
        """
        if not self.values:
            return ResultTable(("message", "kind", "examples", "metric", "mean"), tuple(self._lines()), {})
        try:
            numbers = np.frombuffer(base64url.decode(self.values), dtype="<f8")
        except ValueError:
            numbers = np.zeros(0)
        if numbers.size != sum(map(prod, self.shapes)):
            raise JobFailed(f"expected the numbers of {len(self.names)} arrays, got others")
        places = (
            (name, place)
            for name, shape in zip(self.names, self.shapes, strict=True)
            for place in range(prod(shape))
        )
        rows = tuple((*place, repr(one)) for place, one in zip(places, numbers.tolist(), strict=True))
        facts: dict[str, object] = {
            "shapes": dict(zip(self.names, map(list, self.shapes), strict=True)),
            "messages": [list(line) for line in self._lines()],
        }
        return ResultTable(("array", "place", "value"), rows, facts)

    def _lines(self) -> Iterator[tuple[Cell, ...]]:
        """Of each answer its number, kind and examples, with each metric, or with none."""
        names = dict(zip(("train", "evaluate"), self.metrics, strict=False))
        for number, one in enumerate(self.messages, start=1):
            head = (number, one.kind, one.rows)
            if len(names.get(one.kind, ())) != len(one.metrics):
                raise JobFailed(f"expected the metrics of message {number}, got others")
            pairs = tuple(zip(names.get(one.kind, ()), one.metrics, strict=True))
            yield from ((*head, *pair) for pair in pairs or ((None, None),))
