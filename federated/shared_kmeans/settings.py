"""The sizes and the fixed point of k-means on shares, and its security claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from federated.horizontal.clusters import Clusters
from federated.vertical.settings import Layout
from mpc.errors import InvalidInput
from mpc.spec import Adversary, ProtocolSpec

__all__ = ["CHUNK_CELLS", "FRACTION", "MAX_CELLS", "MAX_COLUMNS", "MAX_ROWS", "SPEC", "Widths", "check_sizes"]

FRACTION: Final = 24
"""Fractional bits of scaled values and of centres."""
MAX_COLUMNS: Final = 256
MAX_ROWS: Final = 2**20
"""Sums of so many values stay below 2^45."""
MAX_CELLS: Final = 2**25
"""Rows times columns and clusters: each takes 16 bytes at every computing party."""
CHUNK_CELLS: Final = 2**19
"""Distances, rows times clusters, that are compared at once."""

_PUBLIC = (
    "the settings, so the start, the number of rows, and of columns of every owner; neither a distance, a "
    "sum, how many rows a cluster has, nor which cluster a row is in"
)
_STEPS = "after how many steps fewer rows than the minimum changed their cluster, where that ends the run"
_OWN = (
    "where the centres are split: how many rows each cluster with the fewest rows has, their squared "
    "distances from its centre in all columns together, and the centre in own columns"
)

SPEC: Final = ProtocolSpec(
    name="vertical/kmeans",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={"owner": (_PUBLIC, _STEPS, _OWN), "helper": (_PUBLIC, _STEPS)},
    cost="for n rows, k clusters and d columns, a step takes some 63 + 22 log2(k) rounds and sends 8 n k + "
    "43 n (k - 1) + 400 k d bytes from a computing party, 14 n (k - 1) + 300 k d more from party 0; the "
    "end 8 n (d + 1), and 16 n more from party 0; inputs take 8 n d bytes of all owners, twice from one that "
    "does not compute; to the byte by federated.shared_kmeans.costs",
    source="Lloyd 1982; the start: Arthur, Vassilvitskii 2007; splitting clusters: Linde, Buzo, Gray 1980; "
    "on shares: Mohassel, Rosulek, Trieu 2020; shares: Araki, Furukawa, Lindell, Nof, Ohara 2016",
    summary="Clusters of aligned rows by k-means on shares of several owners' columns: no distance, sum or "
    "row's cluster is seen; centres for each owner of its own columns or for named recipients.",
)


def check_sizes(layout: Layout, agreed: Clusters) -> None:
    """Refuse what does not fit the agreement, the fixed point or the memory of a computing party.

    Raises:
        InvalidInput: other columns than were agreed, too many rows, columns or cells, or fewer rows than so
            many clusters need.
    """
    columns = sum(layout.columns)
    if columns != len(agreed.names):
        raise InvalidInput(f"columns: expected the {len(agreed.names)} that were agreed, got {columns}")
    if layout.rows < agreed.least_rows:
        raise InvalidInput(
            f"rows: expected at least {agreed.least_rows} for {agreed.count} clusters, got {layout.rows}"
        )
    for name, value, high in (
        ("rows", layout.rows, MAX_ROWS),
        ("columns", columns, MAX_COLUMNS),
        ("rows times columns and clusters", layout.rows * (columns + agreed.count), MAX_CELLS),
    ):
        if value > high:
            raise InvalidInput(f"{name}: expected at most {high}, got {value}")


@dataclass(frozen=True)
class Widths:
    """Bits that hold what is compared and divided; they depend on public sizes alone.

    Attributes:
        rows: of a number of rows.
        difference: of a difference of two such, with its sign.
        distance: of a difference of two squared distances, with its sign.
    """

    rows: int
    difference: int
    distance: int

    @classmethod
    def of(cls, layout: Layout) -> Widths:
        """Choose them.

        A row in the unit cube is at most 1 from a centre in a column, but for the rounding of a centre and
        the step to the side of a split one: squared, over 256 columns, by less than 1 / 400 more.
        """
        rows = layout.rows.bit_length()
        return cls(rows, rows + 1, 2 * FRACTION + sum(layout.columns).bit_length() + 1)

    @property
    def dividend(self) -> int:
        """Of a sum of scaled values."""
        return FRACTION + self.rows
