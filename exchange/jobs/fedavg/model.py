"""The model of a run as nodes keep and release it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Annotated, Final

from exchange.errors import JobFailed
from exchange.jobs.regression.part import text
from exchange.jobs.results import Cell, ResultTable
from exchange.web.kinds import Rule, read_as
from federated.horizontal import Settings, Trained
from ledger import canonical

__all__ = ["INTERCEPT", "MAX_PARAMETERS", "JointModel"]

INTERCEPT: Final = "(intercept)"
MAX_PARAMETERS: Final = 10_000


@dataclass(frozen=True)
class JointModel:
    """A trained model, the same at all its parties.

    Attributes:
        family: logistic or linear.
        hidden: units of each hidden layer.
        columns: of the features, in order, then of the label.
        parameters: layer by layer, biases first, of standardised columns; none where it is not shown.
        means, deviations: of the columns over all rows; none where the model is not shown.
        rows: of the owners in the last round.
        losses: mean loss of the model before the first round, and after each.
        present: roles of the owners in the last round.
    """

    family: str
    hidden: tuple[int, ...]
    columns: tuple[str, ...]
    parameters: Annotated[tuple[str, ...], Rule("numbers", maximum=MAX_PARAMETERS)]
    means: tuple[str, ...]
    deviations: tuple[str, ...]
    rows: int
    losses: tuple[str, ...]
    present: tuple[str, ...]

    @staticmethod
    def of(settings: Settings, trained: Trained, columns: Sequence[str], roles: Sequence[str]) -> JointModel:
        """The model of a run whose owners play ``roles``, in the order of their numbers."""
        return JointModel(
            family=settings.family.value,
            hidden=settings.hidden,
            columns=tuple(columns),
            parameters=tuple(map(text, trained.parameters.tolist())),
            means=tuple(map(text, trained.scales.means.tolist())),
            deviations=tuple(map(text, trained.scales.deviations.tolist())),
            rows=trained.rows,
            losses=tuple(map(text, trained.losses)),
            present=tuple(roles[number - 1] for number in trained.owners),
        )

    def without_parameters(self) -> JointModel:
        """What tells how training went, and not what came of it."""
        return replace(self, parameters=(), means=(), deviations=())

    def encode(self) -> bytes:
        """Encode, for a node's own sealed store or for sealing to recipients."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> JointModel:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "model")

    def table(self) -> ResultTable:
        """The parameters, or the loss of every round where they are not shown.

        Raises:
            JobFailed: the numbers are not those of such a model.
        """
        facts = {"family": self.family, "hidden": list(self.hidden), "rows": self.rows}
        if not self.parameters:
            return ResultTable(("round", "loss"), tuple(enumerate(self.losses)), facts)
        scales = (len(self.means), len(self.deviations))
        if len(self.parameters) != sum(1 for _ in self._places()) or scales != (len(self.columns),) * 2:
            raise JobFailed(f"expected the numbers of {len(self.columns) - 1} columns, got others")
        facts |= {"losses": list(self.losses)}
        if self.family == "linear":
            facts |= {"label_mean": self.means[-1], "label_deviation": self.deviations[-1]}
        scaled = {
            name: (mean, deviation)
            for name, mean, deviation in zip(self.columns[:-1], self.means, self.deviations, strict=False)
        }
        lines: list[tuple[Cell, ...]] = [
            (*place, parameter, *(scaled.get(place[1], (None, None)) if place[0] == 1 else (None, None)))
            for place, parameter in zip(self._places(), self.parameters, strict=True)
        ]
        return ResultTable(("layer", "input", "unit", "weight", "mean", "deviation"), tuple(lines), facts)

    def _places(self) -> Iterator[tuple[int, str, int]]:
        """Layer, what enters, and the unit of it, of each parameter in order; all counted from 1."""
        names: Sequence[str] = self.columns[:-1]
        for layer, (_, units) in enumerate(pairwise((len(names), *self.hidden, 1)), start=1):
            for name in (INTERCEPT, *names):
                yield from ((layer, name, unit) for unit in range(1, units + 1))
            names = [f"unit {unit}" for unit in range(1, units + 1)]
