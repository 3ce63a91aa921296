"""The clusters as one owner has them after k-means over columns: what stays at its node."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from exchange.jobs.boosting.part import text
from exchange.jobs.results import Cell, ResultTable
from exchange.web.kinds import Rule, read_as
from federated.horizontal.clusters import MAX_CLUSTERS
from federated.shared_kmeans import Centres
from federated.shared_kmeans.settings import MAX_COLUMNS
from ledger import canonical

__all__ = ["OwnClusters"]


@dataclass(frozen=True)
class OwnClusters:
    """The clusters that are told, with the centres in one owner's columns.

    Attributes:
        columns: names.
        numbers: of the clusters, from 1.
        rows: of each.
        inertia: of each, squared distances from the centre in all columns, in the agreed ranges as units.
        centres: of each cluster the columns' values, one cluster after another.
        suppressed: how many clusters are not told.
        steps: by which centres moved.
        settled: fewer rows than the minimum changed their cluster in the last step.
    """

    columns: Annotated[tuple[str, ...], Rule("columns", maximum=MAX_COLUMNS)]
    numbers: Annotated[tuple[int, ...], Rule("numbers of clusters", maximum=MAX_CLUSTERS)]
    rows: Annotated[tuple[int, ...], Rule("numbers of rows", maximum=MAX_CLUSTERS)]
    inertia: Annotated[tuple[str, ...], Rule("numbers", maximum=MAX_CLUSTERS)]
    centres: Annotated[tuple[str, ...], Rule("numbers", maximum=MAX_CLUSTERS * MAX_COLUMNS)]
    suppressed: int
    steps: int
    settled: bool

    @classmethod
    def of(
        cls, columns: tuple[str, ...], found: Centres, clusters: int, steps: int, *, settled: bool
    ) -> OwnClusters:
        """From centres in clear, of so many clusters that were looked for."""
        return cls(
            columns=columns,
            numbers=tuple(found.numbers.tolist()),
            rows=tuple(found.rows.tolist()),
            inertia=tuple(map(text, found.inertia.tolist())),
            centres=tuple(map(text, found.values.ravel().tolist())),
            suppressed=clusters - len(found.numbers),
            steps=steps,
            settled=settled,
        )

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> OwnClusters:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "clusters")

    def table(self) -> ResultTable:
        """A line for each cluster and column."""
        centres = iter(self.centres)
        lines: list[tuple[Cell, ...]] = [
            (number, rows, inertia, name, next(centres))
            for number, rows, inertia in zip(self.numbers, self.rows, self.inertia, strict=True)
            for name in self.columns
        ]
        facts = {
            "rows": sum(self.rows),
            "inertia": text(sum(map(float, self.inertia))),
            "suppressed": self.suppressed,
            "steps": self.steps,
            "settled": self.settled,
        }
        return ResultTable(("cluster", "rows", "inertia", "column", "centre"), tuple(lines), facts)
