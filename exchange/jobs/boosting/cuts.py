"""Where an owner's columns were cut into bins for boosting on shares: what stays at its node."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from exchange.jobs.results import Cell, ResultTable
from exchange.web.kinds import Rule, read_as
from federated.boosting import Binned
from federated.shared_boosting.settings import MAX_BINS, MAX_COLUMNS
from ledger import canonical

__all__ = ["OwnCuts"]


@dataclass(frozen=True)
class _Column:
    name: str
    thresholds: Annotated[tuple[str, ...], Rule("thresholds", maximum=MAX_BINS)]


@dataclass(frozen=True)
class OwnCuts:
    """The cuts of one owner's columns, in their order; values up to and including a threshold go left."""

    columns: Annotated[tuple[_Column, ...], Rule("columns", maximum=MAX_COLUMNS)]

    @classmethod
    def of(cls, binned: Binned) -> OwnCuts:
        """Those of columns in bins."""
        pairs = zip(binned.names, binned.cuts, strict=True)
        return cls(tuple(_Column(name, tuple(map(repr, cuts.tolist()))) for name, cuts in pairs))

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> OwnCuts:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "cuts")

    def table(self) -> ResultTable:
        """A line a cut: its number is that in the trees."""
        lines: list[tuple[Cell, ...]] = [
            (column.name, number, threshold)
            for column in self.columns
            for number, threshold in enumerate(column.thresholds, start=1)
        ]
        return ResultTable(("column", "cut", "threshold"), tuple(lines))
