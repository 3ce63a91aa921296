"""Events by bin of another owner's column: who holds the bins learns the counts, nobody else anything.

A row's bin is a power of two: with counts below 2^k, bin b of a column sets bit k (b mod f) of word b // f,
f bins to a word of 62 bits. The inner product of these words with the shared label holds f counts side by
side, exactly. Before an owner learns counts, neighbouring bins are joined in secret until each group has
enough events and enough other rows; which were joined is known to the owner of the bins alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.replicated import Runtime, Shared, SharedBits, costs
from mpc.replicated.comparison import bits_of
from mpc.replicated.sharing import concatenate, stack
from mpc.replicated.tally import Tally
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "CHUNK_WORDS",
    "MAX_BINS",
    "SPEC",
    "Layout",
    "both_reach",
    "expected",
    "group_events",
    "own_events",
]

Codes = NDArray[np.uint8]

CHUNK_WORDS: Final = 2**20
"""Words of bins that are shared at a time, of all owners together: 8 MiB, and 16 of shares."""
MAX_BINS: Final = 128
_WORD_BITS: Final = 62

_PUBLIC = "the settings, the number of rows, and of columns of every owner"
_EVENTS = (
    "of each own column, the events in each group of neighbouring bins, joined so that every group has the "
    "least events and the least other rows that the settings state; so also the events of all rows"
)

SPEC: Final = ProtocolSpec(
    name="vertical/woe",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={"owner": (_PUBLIC, _EVENTS), "helper": (_PUBLIC,)},
    cost="8 bytes a row and word of bins from an owner that computes, 16 from another, with 62 / log2(rows) "
    "bins to a word; about 12 rounds a bin and 2 a million words; to the byte by "
    "federated.vertical.event_counts.expected",
    source="inner products, comparisons: Araki, Furukawa, Lindell, Nof, Ohara 2016; Mohassel, Rindal 2018; "
    "weight of evidence: Siddiqi 2006",
    summary="Events by bin for the weight of evidence of columns of several owners, where one of them holds "
    "the label.",
)


@dataclass(frozen=True)
class Layout:
    """The public sizes of a run.

    Attributes:
        rows: aligned rows.
        columns: of each owner, by rank, whose bins the others must not know; 0 at rank 0, the label's holder.
        bins: most bins of a column; all are treated as if they had as many.
        least: events, and other rows, that each group has.
    """

    rows: int
    columns: tuple[int, ...]
    bins: int
    least: int

    def __post_init__(self) -> None:
        if not 1 <= self.bins <= MAX_BINS or not 1 <= self.least <= self.rows < 2**31:
            raise InvalidInput(
                f"expected 1 to {MAX_BINS} bins and 1 to as many events as rows, "
                f"got {self.bins} and {self.least} of {self.rows}"
            )
        if self.columns[0] or not sum(self.columns):
            raise InvalidInput("expected columns of other owners than that of the label, and none of that")

    @property
    def count_bits(self) -> int:
        """Bits that hold any count."""
        return self.rows.bit_length()

    @property
    def bins_per_word(self) -> int:
        """How many counts stand side by side."""
        return _WORD_BITS // self.count_bits

    @property
    def words(self) -> int:
        """Words of a row and column."""
        return -(-self.bins // self.bins_per_word)

    def chunks(self) -> list[slice]:
        """The rows that are shared together."""
        size = max(1, CHUNK_WORDS // (self.words * sum(self.columns)))
        return [slice(low, min(low + size, self.rows)) for low in range(0, self.rows, size)]

    def places(self, rank: int) -> slice:
        """Where the columns of an owner are among those of all."""
        start = sum(self.columns[:rank])
        return slice(start, start + self.columns[rank])


def group_events(
    rt: Runtime,
    layout: Layout,
    label: NDArray[np.bool_] | None,
    codes: Codes | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Shared:
    """Count the events of every bin and join neighbours as `federated.binning.groups_of` does.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: sizes of the run, equal at all parties.
        label: bool[rows] at rank 0, True where there is an event; None elsewhere.
        codes: uint8[columns, rows] at every other owner, each row's bin; None where it has none.
        progress: told after each chunk of rows.

    Returns:
        Shared int64[bins, columns]: the events of the group that ends with a bin, 0 where none does. The last
        bin ends the last group.

    Raises:
        ValueOutOfRange: fewer events, or fewer other rows, than a group must have; nothing has been sent.
        InvalidInput: arrays that do not fit the layout.

    Security: as the runtime: semi-honest, one of three. Leaks: nothing but the layout. Cost: see `expected`;
    a million rows and one column of 21 bins: 56 MB from an owner that computes. Source: see `SPEC`.
    """
    _check(rt, layout, label, codes)
    events = _unpacked(rt, layout, _packed_sums(rt, layout, label, codes, progress))
    others = rt.sub(_shared_rows(rt, layout, codes), events)
    return _joined(rt, layout, stack([events, others]))


def own_events(rt: Runtime, layout: Layout, groups: Shared) -> NDArray[np.int64] | None:
    """Tell every owner the counts of its own columns.

    Returns:
        int64[bins, columns] of this owner; None where it has no column.

    Security: as `Runtime.open`. Leaks: nothing else. Cost: one round an owner; 8 bytes a count, 16 to a party
    that does not compute. Source: none.
    """
    own = None
    for rank, count in enumerate(layout.columns):
        if count:
            opened = rt.open(groups[:, layout.places(rank)], [rank])
            own = opened if opened is not None else own
    return own


def both_reach(rt: Runtime, counts: Shared, least: int, bits: int) -> SharedBits:
    """Whether both of two counts reach a minimum.

    Args:
        rt: the run.
        counts: shared int64[2, ...], none below 0.
        least: the minimum.
        bits: how many hold a count less the minimum.

    Returns:
        Shared bits, one for each two counts, along one axis.

    Security: as the runtime. Leaks: nothing. Cost: `mpc.replicated.costs.sign` of all counts, and
    `conjunction` of half. Source: see `SPEC`.
    """
    short = rt.add_public(counts, -least).reshape(counts.size)
    reached = rt.not_(rt.is_negative(short, bits=bits))
    half = counts.size // 2
    return rt.and_(reached.take(slice(half)), reached.take(slice(half, None)))


def expected(layout: Layout, parties: int) -> tuple[list[int], int]:
    """Bytes that the party of each rank sends, and rounds, of a whole run; a test measures them."""
    tally = Tally(parties)
    group_events(tally, layout, None, None)
    cost, alone = tally.take(), costs.run(parties).outside
    for rank, count in enumerate(layout.columns):
        if count:
            cost += costs.opened(layout.bins * count, [rank])
    sent = [*cost.sent, *(alone + tally.inputs[rank] for rank in range(len(cost.sent), parties))]
    return sent, cost.rounds


def _check(rt: Runtime, layout: Layout, label: NDArray[np.bool_] | None, codes: Codes | None) -> None:
    own = layout.columns[rt.rank] if rt.rank < len(layout.columns) else 0
    if (codes is None) != (own == 0) or (label is None) != (rt.rank != 0):
        raise InvalidInput("expected bins at the owners of columns, and the label at rank 0, alone")
    if codes is not None:
        if codes.shape != (own, layout.rows):
            raise InvalidInput(f"bins: expected the shape {(own, layout.rows)}, got {codes.shape}")
        misfits = int(np.count_nonzero(codes >= layout.bins))
        if misfits:
            raise ValueOutOfRange(f"bins: {misfits} of {codes.size} are not below {layout.bins}")
    if label is not None:
        if label.shape != (layout.rows,) or label.dtype != np.bool_:
            raise InvalidInput(f"label: expected bool[{layout.rows}], got {label.dtype}{list(label.shape)}")
        events = int(np.count_nonzero(label))
        if min(events, layout.rows - events) < layout.least:
            raise ValueOutOfRange(f"label: expected {layout.least} events and as many other rows, got fewer")


def _packed_sums(
    rt: Runtime,
    layout: Layout,
    label: NDArray[np.bool_] | None,
    codes: Codes | None,
    progress: Callable[[int, int], None],
) -> Shared:
    """Inner products of the label and each word of bins: int64[columns x words]."""
    total = rt.constant(np.zeros(sum(layout.columns) * layout.words, dtype=np.int64))
    for chunk in layout.chunks():
        size = chunk.stop - chunk.start
        events = None if label is None else label[chunk].astype(np.int64)
        y = rt.share(0, events, size)
        parts = []
        for rank, count in enumerate(layout.columns):
            if count:
                words = _words(layout, codes[:, chunk]) if rank == rt.rank and codes is not None else None
                parts.append(rt.share(rank, words, (count * layout.words, size)))
        product = rt.dot(concatenate(parts), y.reshape(1, size))
        total = rt.add(total, product.reshape(*total.shape))
        progress(chunk.stop, layout.rows)
    return total


def _words(layout: Layout, codes: Codes) -> NDArray[np.int64]:
    """The words of some rows' bins: int64[columns x words, rows]."""
    columns, rows = codes.shape
    words = np.zeros((columns, layout.words, rows), dtype=np.int64)
    word, place = np.divmod(codes.astype(np.int64), layout.bins_per_word)
    words[np.arange(columns)[:, None], word, np.arange(rows)] = np.left_shift(1, place * layout.count_bits)
    return words.reshape(-1, rows)


def _unpacked(rt: Runtime, layout: Layout, sums: Shared) -> Shared:
    """The counts in sums of words: int64[bins, columns]."""
    columns, width = sum(layout.columns), layout.bins_per_word * layout.count_bits
    digits = rt.to_arithmetic(bits_of(rt, sums, width))
    weighted = rt.scale(digits, (2 ** (np.arange(width) % layout.count_bits))[:, None])
    shape = (layout.bins_per_word, layout.count_bits, columns, layout.words)
    counts = weighted.reshape(*shape).shares.sum(axis=2, dtype=np.uint64)
    ordered = np.moveaxis(counts, 1, -1).reshape(len(counts), columns, layout.words * layout.bins_per_word)
    return Shared(np.ascontiguousarray(ordered[:, :, : layout.bins].transpose(0, 2, 1)))


def _shared_rows(rt: Runtime, layout: Layout, codes: Codes | None) -> Shared:
    """The rows of each bin, by their owners: int64[bins, columns]."""
    parts = []
    for rank, count in enumerate(layout.columns):
        if count:
            rows = None
            if rank == rt.rank and codes is not None:
                rows = np.stack([np.bincount(one, minlength=layout.bins) for one in codes])
            parts.append(rt.share(rank, rows, (count, layout.bins)))
    return Shared(concatenate(parts).shares.transpose(0, 2, 1))


def _joined(rt: Runtime, layout: Layout, counts: Shared) -> Shared:
    """Events by group, from int64[2, bins, columns] of events and other rows."""
    columns = sum(layout.columns)
    running = np.cumsum(counts.shares, axis=2, dtype=np.uint64)
    rest = Shared(running[:, :, -1:] - running)
    bits = layout.count_bits + 1
    leaves_enough = both_reach(rt, rest, layout.least, bits)
    held = rt.constant(np.zeros((2, columns), dtype=np.int64))
    groups = []
    for place in range(layout.bins - 1):
        held = rt.add(held, counts[:, place])
        ends = rt.and_(
            both_reach(rt, held, layout.least, bits),
            leaves_enough.take(slice(place * columns, (place + 1) * columns)),
        )
        ended = rt.mul(rt.to_arithmetic(ends), held)
        groups.append(ended[0])
        held = rt.sub(held, ended)
    groups.append(rt.add(held, counts[:, layout.bins - 1])[0])
    return stack(groups)
