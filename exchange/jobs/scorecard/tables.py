"""One owner's bins, as they stay sealed at its node and as it reads them."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from exchange.jobs.regression.part import text
from exchange.jobs.scorecard.columns import Fine
from exchange.web.kinds import read_as
from federated.binning import Bins, Missing
from federated.merging import by_chi_square, monotone, optimal, summed
from federated.scorecard import Scale
from federated.woe import information_value, weights_of_evidence
from ledger import canonical

__all__ = ["BinnedColumn", "OwnBins", "OwnCard", "ScoredColumn", "StatedScale", "binned"]

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class BinnedColumn:
    """The bins of one column, in order.

    Attributes:
        name: of the column.
        edges, categories, missing: as in `federated.binning.Bins`.
        rows, events: of each bin.
        woe: weight of evidence of each bin.
        iv: information value of the column.
    """

    name: str
    edges: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    missing: str
    rows: tuple[int, ...]
    events: tuple[int, ...]
    woe: tuple[str, ...]
    iv: str

    @property
    def bins(self) -> Bins:
        """The bins themselves."""
        return Bins(tuple(map(float, self.edges)), self.categories, Missing(self.missing))


@dataclass(frozen=True)
class OwnBins:
    """The bins of an owner's own columns."""

    columns: tuple[BinnedColumn, ...]

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> OwnBins:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "own bins")


@dataclass(frozen=True)
class ScoredColumn:
    """The bins of one column, and the points of each."""

    binned: BinnedColumn
    points: tuple[str, ...]


@dataclass(frozen=True)
class StatedScale:
    """A scale as it is stated and kept; names as in `federated.scorecard.Scale`."""

    pdo: str
    base_score: str
    base_odds: str
    lowest: str
    highest: str

    @classmethod
    def of(cls, scale: Scale) -> StatedScale:
        """State a scale."""
        return cls(**{field.name: text(getattr(scale, field.name)) for field in fields(cls)})

    def read(self) -> Scale:
        """The scale itself."""
        pdo, base_score, base_odds, lowest, highest = map(float, astuple(self))
        return Scale(pdo, base_score, base_odds, lowest, highest)


@dataclass(frozen=True)
class OwnCard:
    """One owner's part of a scorecard.

    Attributes:
        columns: its own.
        base: points of a row like the mean of all, at the label's holder; elsewhere 0.
        epochs: passes over the rows.
        scale: what a score means.
    """

    columns: tuple[ScoredColumn, ...]
    base: str
    epochs: int
    scale: StatedScale

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> OwnCard:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "own card")


def binned(fine: Fine, starts: NDArray[np.bool_], events: Counts, merge: str, most: int) -> BinnedColumn:
    """Finish a column whose events are known.

    Args:
        fine: its fine bins.
        starts: bool[fine bins], where groups start that have enough events and enough other rows.
        events: int64[groups].
        merge: none, monotone, optimal or chi-square: how groups are joined further.
        most: bins that are left, besides that of missing values; not where ``merge`` is none.
    """
    bins, rows = fine.bins.merged(starts), summed(fine.rows, starts)
    fixed = bins.alone
    if bins.is_category:
        # Categories have no order of their own: those of like shares of events become neighbours.
        fixed = int(bins.missing is not Missing.NOWHERE)
        order = np.argsort(events[fixed:] / rows[fixed:], kind="stable")
        places = np.concatenate([np.arange(fixed), fixed + order])
        bins = bins.reordered((places[bins.alone :] - bins.alone).tolist())
        rows, events = rows[places], events[places]
    if merge != "none" and len(rows) > fixed:
        kept = np.ones(len(rows), dtype=np.bool_)
        kept[fixed:] = _joined(events[fixed:], (rows - events)[fixed:], merge, most)
        bins, rows, events = bins.merged(kept), summed(rows, kept), summed(events, kept)
    woe = weights_of_evidence(events, rows - events)
    return BinnedColumn(
        name=fine.name,
        edges=tuple(map(repr, bins.edges)),
        categories=bins.categories,
        missing=bins.missing.value,
        rows=tuple(rows.tolist()),
        events=tuple(events.tolist()),
        woe=tuple(map(text, woe.tolist())),
        iv=text(information_value(events, rows - events)),
    )


def _joined(events: Counts, others: Counts, merge: str, most: int) -> NDArray[np.bool_]:
    """Which bins start a group once neighbours are joined."""
    if merge == "chi-square":
        return by_chi_square(events, others, most)
    if merge == "optimal":
        return optimal(events, others, most)
    starts = monotone(events, others)
    fewer = by_chi_square(summed(events, starts), summed(others, starts), most, threshold=0)
    starts[np.flatnonzero(starts)[~fewer]] = False
    return starts
