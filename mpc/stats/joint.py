"""Figures over the rows of many owners: small cells stay closed before anybody has seen a count.

Each owner has added up its own rows: for each of k public cells a count and some figures. Owners are ranks 0
to n-1; where there are two, rank 2 is a helper without data. Ranks 0 to 2 compare on replicated shares.

    1. every two owners agree on a key; its streams make additive shares of zero
    2. each owner enters its counts plus its share of zero: words that are uniform by themselves and add up to
       the pooled counts. Is pooled count - minimum negative?  One bit a cell is opened, to all parties
    3. quantiles of the open cells by bisection: is D #{x <= middle} - N #{x} negative?  One bit a quantile is
       opened to the owners in each step; all the bits together are the quantile itself
    4. each owner's counts and figures of the open cells, plus its share of zero, are its output

Whoever has the outputs of all owners adds them up. What an owner enters for comparison is masked already, so
that even all three computing parties together learn pooled counts and no owner's.

A cell that an owner may not let be released, because one of its rows dominates the sum, is entered with a
count far below zero: it stays closed as a small one does, and nobody knows who closed it or why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import replicated, wire
from mpc.aggregation import pairwise
from mpc.errors import CohortTooSmall, InputsDisagree, InvalidInput, MalformedMessage, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.randomness import Randomness
from mpc.replicated import Runtime, Shared, costs
from mpc.replicated.runtime import COMPUTING
from mpc.replicated.sharing import words_of
from mpc.secrecy import SecretBytes, Unprintable
from mpc.spec import Adversary, ProtocolSpec
from mpc.stats.joint_shares import JointShares, from_integers

__all__ = ["MAX_CELLS", "MAX_FIGURES", "MAX_OWNERS", "SPEC", "Part", "Pick", "Query", "run"]

Words = NDArray[np.uint64]

MAX_OWNERS: Final = 30
MAX_CELLS: Final = 65_536
MAX_FIGURES: Final = 1_024
MAX_ROWS: Final = 2**40
MAX_DENOMINATOR: Final = 1_000
MAX_RANGE: Final = 2**62
QUERY_BYTES: Final = 56

_CLOSED: Final = 2**46
_COMPARED_BITS: Final = 58
"""A closed cell weighs more than all rows of 30 owners; 58 bits hold a thousand times all rows."""

SPEC: Final = ProtocolSpec(
    name="stats/joint",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties; all owners but two that do not compute",
    leaks={
        "owner": (
            "the number of cells and figures, and the largest minimum that an owner states",
            "which cells reach the minimum and are closed by no owner",
            "of these cells each minimum, maximum and quantile that is asked for",
            "where an owner asks for it, whether the closed cells have rows, and as many as the minimum",
        ),
        "helper": (
            "the number of cells and figures, and the largest minimum that an owner states",
            "which cells reach the minimum and are closed by no owner",
            "where an owner asks for it, whether the closed cells have rows, and as many as the minimum",
        ),
    },
    cost=(
        "for n owners, k cells, p of them open, f figures and q quantiles of a range of 2^b values: n + 12 "
        "rounds and n + 9 more for each of b bisections; at most 40 k + 40 b p q bytes from each party that "
        "compares; the output has 16 p (f + 1) bytes"
    ),
    source=(
        "masks: Bonawitz et al. 2017, section 4.1; comparison: Araki, Furukawa, Lindell, Nof, Ohara 2016 and "
        "Mohassel, Rindal 2018; quantiles: Aggarwal, Mishra, Pinkas 2004"
    ),
    summary=(
        "Counts, sums and quantiles by cell over the rows of many owners; each owner gets a share of the "
        "cells that have enough rows together, and no cell below the minimum is opened to anybody."
    ),
)


@dataclass(frozen=True)
class Pick:
    """One quantile of a column: the least value that at least ``numerator / denominator`` of rows reach.

    Attributes:
        column: number of the column among the parts' values.
        low: least possible value.
        high: largest possible value.
        numerator: 0 for the minimum; equal to the denominator for the maximum.
        denominator: at most 1,000.
    """

    column: int
    low: int
    high: int
    numerator: int
    denominator: int

    def __post_init__(self) -> None:
        if not 0 <= self.numerator <= self.denominator <= MAX_DENOMINATOR or not self.denominator:
            raise InvalidInput(f"expected a part of 0 to 1 in at most {MAX_DENOMINATOR} steps")
        if not -MAX_RANGE < self.low <= self.high < MAX_RANGE:
            raise InvalidInput("expected a range between -2^62 and 2^62")

    @property
    def steps(self) -> int:
        """Bisections until one value is left."""
        return (self.high - self.low).bit_length()


@dataclass(frozen=True)
class Query:
    """What all parties know before.

    Attributes:
        owners: n, 2 to 30.
        cells: k.
        figures: f of each cell, besides its count.
        picks: quantiles of each open cell.
        meaning: what the figures mean, in any words; parties with another meaning do not go on.
    """

    owners: int
    cells: int
    figures: int
    picks: tuple[Pick, ...] = ()
    meaning: bytes = b""

    def __post_init__(self) -> None:
        if not 2 <= self.owners <= MAX_OWNERS:
            raise InvalidInput(f"expected 2 to {MAX_OWNERS} owners, got {self.owners}")
        if not 1 <= self.cells <= MAX_CELLS or not 0 <= self.figures <= MAX_FIGURES:
            raise InvalidInput(
                f"expected 1 to {MAX_CELLS} cells and at most {MAX_FIGURES} figures, got {self.cells} and "
                f"{self.figures}"
            )

    @property
    def parties(self) -> int:
        """Owners, and the helper of two."""
        return max(self.owners, COMPUTING)


@dataclass(frozen=True, repr=False, eq=False)
class Part(Unprintable):
    """What one owner adds.

    Attributes:
        counts: int64[k], rows of each cell; with noise they may be negative.
        figures: k * f integers below 2^120 in magnitude, cell by cell.
        closed: bool[k], cells that this owner does not let be released.
        values: for each column that is picked from, int64[rows] ascending within each cell.
        starts: for each such column, int64[k + 1], where the values of each cell start.
    """

    counts: NDArray[np.int64]
    figures: list[int]
    closed: NDArray[np.bool_]
    values: tuple[NDArray[np.int64], ...] = ()
    starts: tuple[NDArray[np.int64], ...] = ()


def run(
    mesh: Mesh,
    query: Query,
    part: Part | None,
    *,
    min_cohort: int,
    rng: Randomness,
    complementary: bool = False,
) -> JointShares | None:
    """Play an owner, or with ``part`` None the helper.

    Args:
        mesh: among all parties, owners first; its session is fresh.
        query: the same at all parties.
        part: own figures.
        min_cohort: smallest pooled count this party lets be opened, at least 1; the largest of all holds.
        rng: own randomness.
        complementary: the run ends where the closed cells have rows, but fewer than the minimum together. It
            does so where any party asks for it.

    Returns:
        This owner's share of the open cells; None for the helper.

    Raises:
        InvalidInput: own arguments are not as stated. `ValueOutOfRange` where a figure or value does not fit.
        InputsDisagree: the parties do not ask the same.
        CohortTooSmall: the closed cells have too few rows, as ``complementary`` says.
        ProtocolAbort: a message is not as the protocol has it, or another party aborted.

    Security: semi-honest; one computing party, and any owners besides as long as two others are honest.
    Leaks: to this party, which cells are open and the quantiles of these.
    Cost: `rounds` and `bytes_sent`.
    Source: Bonawitz et al. 2017; Araki et al. 2016; Aggarwal, Mishra, Pinkas 2004.
    """
    _check(mesh, query, part, min_cohort)
    with replicated.run(mesh, SPEC, rng) as rt:
        # 1. The query and the minimum; keys for the masks.
        minimum, complementary = _agree(rt, query, min_cohort, complementary)
        among = range(query.owners)
        seeds = {} if part is None else pairwise.agree(rt.links.peers, among, SPEC, rng)
        masks = _Masks(rt.rank, seeds)
        # 2. Which cells reach the minimum.
        counts = None if part is None else part.counts - np.where(part.closed, np.int64(_CLOSED), 0)
        opened = _reach(rt, query, masks, counts, (query.cells,), minimum, range(query.parties))
        cells = np.flatnonzero(opened)
        if complementary:
            _check_closed(rt, query, masks, part, opened, minimum)
        # 3. Quantiles of these.
        picks = _bisect(rt, query, masks, part, cells)
        # 4. Own share of the open cells.
        if part is None:
            return None
        own = from_integers(_figures_of(part, query, cells))
        return JointShares(opened.astype(np.uint8), pairwise.add(own, masks.draw(own.shape)), picks)


class _Masks:
    """Shares of zero, each used once; every owner draws the same in the same order."""

    def __init__(self, rank: int, seeds: Mapping[int, SecretBytes]) -> None:
        self._rank, self._seeds, self._number = rank, seeds, 0

    def draw(self, shape: tuple[int, ...]) -> Words:
        """The next share of zero."""
        self._number += 1
        return pairwise.zero_share(self._seeds, self._rank, self._number, shape)


def _agree(rt: Runtime, query: Query, min_cohort: int, complementary: bool) -> tuple[int, bool]:
    """Compare the query with the others'; the largest minimum, and if any asks for ``complementary``."""
    own = [
        query.owners,
        query.cells,
        query.figures,
        len(query.picks),
        int.from_bytes(_digest(query)[:8], "little"),
    ]
    peers = rt.links.peers
    wanted = (*own, min_cohort, int(complementary))
    peers.broadcast("query", b"".join(wire.encode_uint64(value) for value in wanted))
    minimum, asked = min_cohort, int(complementary)
    for payload in peers.gather("query").values():
        reader = wire.Reader("query", payload)
        for field, value in zip(("owners", "cells", "figures", "quantiles", "meaning"), own, strict=True):
            if (actual := reader.uint64(field)) != value:
                raise InputsDisagree(field, value, actual)
        minimum, asked = max(minimum, reader.uint64("minimum")), asked | reader.uint64("complementary")
        reader.finish()
    if minimum > MAX_ROWS:
        raise MalformedMessage(f"query: expected a minimum of at most {MAX_ROWS} rows, got {minimum}")
    return minimum, bool(asked)


def _check_closed(
    rt: Runtime,
    query: Query,
    masks: _Masks,
    part: Part | None,
    opened: NDArray[np.bool_],
    minimum: int,
) -> None:
    """End the run where the closed cells have rows, but fewer than the minimum together; two bits."""
    rows = None if part is None else np.full(2, part.counts[~opened].sum(), dtype=np.int64)
    limits = np.array([1, minimum], dtype=np.int64)
    any_rows, enough = _reach(rt, query, masks, rows, (2,), limits, range(query.parties)).tolist()
    if any_rows and not enough:
        raise CohortTooSmall(minimum, 1)


def _reach(
    rt: Runtime,
    query: Query,
    masks: _Masks,
    values: NDArray[np.int64] | None,
    shape: tuple[int, ...],
    threshold: int | NDArray[np.int64],
    to: Collection[int],
) -> NDArray[np.bool_]:
    """Whether the sums of all owners' values reach a public threshold; all False to whom it is not opened."""
    words = None if values is None else values.view(np.uint64) + masks.draw(shape)
    total = rt.constant(np.zeros(shape, dtype=np.int64))
    for owner in range(query.owners):
        mine = words if owner == rt.rank else None
        total = rt.add(total, Shared(rt.input_words("masked", owner, mine, shape, add=True)))
    below = rt.is_negative(rt.add_public(total, -np.asarray(threshold)), bits=_COMPARED_BITS)
    found = rt.open_bits(rt.not_(below), to)
    return np.zeros(shape, dtype=np.bool_) if found is None else found


def _bisect(
    rt: Runtime, query: Query, masks: _Masks, part: Part | None, cells: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The quantiles of the open cells, int64[p, q]; all are looked for at once.

    Each step tells whether the quantile is at most the middle of what is left of its range, which the
    quantile itself tells as well.
    """
    shape = (len(cells), len(query.picks))
    low = np.broadcast_to(np.array([pick.low for pick in query.picks], dtype=np.int64), shape).copy()
    high = np.broadcast_to(np.array([pick.high for pick in query.picks], dtype=np.int64), shape).copy()
    least = np.array([int(not pick.numerator) for pick in query.picks], dtype=np.int64)
    threshold = np.broadcast_to(least, shape).ravel()
    if not threshold.size:
        return low
    for _ in range(_steps(query)):
        middle = low + (high - low) // 2
        values = None if part is None else _ranks(part, query, cells, middle).ravel()
        found = _reach(rt, query, masks, values, (low.size,), threshold, range(query.owners)).reshape(shape)
        is_open = low < high
        high = np.where(found & is_open, middle, high)
        low = np.where(~found & is_open, middle + 1, low)
    return low


def _ranks(
    part: Part, query: Query, cells: NDArray[np.int64], middle: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How far this owner's rows at most ``middle`` are above the part that is asked for, in steps of it."""
    ranks = np.empty(middle.shape, dtype=np.int64)
    for number, pick in enumerate(query.picks):
        values, starts = part.values[pick.column], part.starts[pick.column].tolist()
        for place, cell in enumerate(cells.tolist()):
            inside = values[starts[cell] : starts[cell + 1]]
            reached = int(np.searchsorted(inside, middle[place, number], side="right"))
            ranks[place, number] = pick.denominator * reached - pick.numerator * len(inside)
    return ranks


def _figures_of(part: Part, query: Query, cells: NDArray[np.int64]) -> list[int]:
    """The counts and figures of the open cells, cell by cell."""
    width, counts = query.figures, part.counts.tolist()
    return [
        number
        for cell in cells.tolist()
        for number in (counts[cell], *part.figures[cell * width : (cell + 1) * width])
    ]


def rounds(query: Query, opened: int, *, complementary: bool = False) -> int:
    """Return the rounds of the comparisons, as the runtime counts them; two more agree on query and keys."""
    return 1 + _cost(query, opened, complementary).rounds


def bytes_sent(rank: int, query: Query, opened: int, *, complementary: bool = False) -> int:
    """Return the payload bytes that a party sends where ``opened`` cells are open."""
    cost, runtime = _cost(query, opened, complementary), costs.run(query.parties)
    agreed = QUERY_BYTES * (query.parties - 1)
    if rank < query.owners:
        agreed += pairwise.MESSAGE_BYTES * (query.owners - 1)
    if rank < COMPUTING:
        return agreed + cost.sent[rank] + runtime.sent[rank]
    return agreed + cost.outside // (query.owners - COMPUTING) + runtime.outside


def _cost(query: Query, opened: int, complementary: bool) -> costs.Cost:
    total = costs.Cost()
    sizes = [(query.cells, query.parties), *([(2, query.parties)] if complementary else [])]
    if opened and query.picks:
        sizes += [(opened * len(query.picks), query.owners)] * _steps(query)
    for size, readers in sizes:
        for owner in range(query.owners):
            total += costs.shared(owner, size)
        total += costs.sign(size, _COMPARED_BITS) + costs.opened(words_of(size), range(readers))
    return total


def _steps(query: Query) -> int:
    return max((pick.steps for pick in query.picks), default=0)


def _digest(query: Query) -> bytes:
    return hashlib.sha256(repr(query.picks).encode() + query.meaning).digest()


def _check(mesh: Mesh, query: Query, part: Part | None, min_cohort: int) -> None:
    if mesh.size != query.parties:
        raise InvalidInput(f"expected {query.parties} parties for {query.owners} owners, got {mesh.size}")
    if (part is not None) != (mesh.rank < query.owners):
        raise InvalidInput(f"expected figures of the {query.owners} owners alone, rank {mesh.rank} differs")
    if min_cohort < 1:
        raise InvalidInput(f"min_cohort is at least 1, got {min_cohort}")
    if part is None:
        return
    k, columns = query.cells, 1 + max((pick.column for pick in query.picks), default=-1)
    if part.counts.shape != (k,) or part.closed.shape != (k,) or len(part.figures) != k * query.figures:
        raise InvalidInput(
            f"expected counts[{k}], closed[{k}] and {k * query.figures} figures, got {part.counts.shape}, "
            f"{part.closed.shape} and {len(part.figures)}"
        )
    if len(part.values) < columns or any(len(starts) != k + 1 for starts in part.starts):
        raise InvalidInput(f"expected {columns} columns of values in {k} cells, got {len(part.values)}")
    if np.any(np.abs(part.counts) > MAX_ROWS):
        raise ValueOutOfRange(f"a count is beyond {MAX_ROWS} rows")
    for pick in query.picks:
        values = part.values[pick.column]
        misfits = int(np.count_nonzero((values < pick.low) | (values > pick.high)))
        if misfits:
            raise ValueOutOfRange(f"{misfits} of {len(values)} values are outside the stated range")
