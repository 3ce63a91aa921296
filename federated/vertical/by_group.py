"""Figures of a model by group of rows, on shares: what is told of each group that is large enough.

Who holds the groups knows how many rows each has, so it decides which are told: it enters no row of the
others (`kept_groups`), and all their figures come out as 0. Rates of a label of 0 and 1 need enough rows of
either label too; nobody knows those numbers, so they are compared on shares and the rates multiplied by the
outcome. With counts n of a group's rows by bin of score, and e of those compared with, B bins,

    index = sum_b (a_b - r_b) (ln(2 n_b + 1) - ln(2 e_b + 1)),      a_b = (2 n_b + 1) / (2 sum(n) + B),

and r_b the same of e, is the population stability index of counts that are half a row larger: the logarithms
of the denominators drop out, as parts add up to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from federated.metrics import bin_edges
from federated.vertical.event_counts import both_reach
from federated.vertical.scoring import SCORE_FRACTION
from federated.vertical.settings import Family
from mpc.errors import CohortTooSmall, InvalidInput
from mpc.replicated import Runtime, Shared, costs, logarithm, logistic
from mpc.replicated.costs import Cost
from mpc.replicated.sharing import concatenate, stack
from mpc.stats.group_sums import SUPPRESSED, count_cohorts

if TYPE_CHECKING:
    from federated.vertical.evaluation import Sizes

__all__ = [
    "MAX_CUTOFFS",
    "MAX_GROUPS",
    "MILLION",
    "Entered",
    "GroupFigures",
    "Grouping",
    "Placed",
    "cost",
    "enter",
    "figures",
    "kept_groups",
    "opened",
    "twice_outscored",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_GROUPS: Final = 36
MAX_CUTOFFS: Final = 5
MILLION: Final = 10**6
_MOST_ROWS: Final = 2 ** (logarithm.MAX_BITS - 1) - 1
_INVERSE_FRACTION: Final = 40
_PART_FRACTION: Final = 24
"""Fractional bits of an inverse number of rows, and of a part of the rows."""


@dataclass(frozen=True)
class Grouping:
    """What is told by group.

    Attributes:
        holder: rank of the owner that knows the group of each row.
        groups: how many there are.
        cutoffs: probabilities in millionths, ascending; rows of that score and more are selected. Of a
            logistic model alone.
        follows_first: the stability index compares groups with the first one; else with all rows.
    """

    holder: int
    groups: int
    cutoffs: tuple[int, ...] = ()
    follows_first: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.groups <= MAX_GROUPS:
            raise InvalidInput(f"expected 2 to {MAX_GROUPS} groups, got {self.groups}")
        if len(self.cutoffs) > MAX_CUTOFFS or list(self.cutoffs) != sorted(set(self.cutoffs)):
            raise InvalidInput(f"expected at most {MAX_CUTOFFS} ascending cutoffs, got {len(self.cutoffs)}")
        if any(not 0 < cutoff < MILLION for cutoff in self.cutoffs):
            raise InvalidInput("expected cutoffs between 0 and 1, got others")

    def check(self, family: Family, rows: int, owners: int) -> None:
        """Check that it fits an evaluation.

        Raises:
            InvalidInput: by what does not.
        """
        if self.cutoffs and family is not Family.LOGISTIC:
            raise InvalidInput(f"cutoffs: expected none of a {family} model, got {len(self.cutoffs)}")
        if not 0 <= self.holder < owners:
            raise InvalidInput(f"expected a holder of the groups below {owners}, got {self.holder}")
        if rows > _MOST_ROWS:
            raise InvalidInput(f"expected at most {_MOST_ROWS} rows by group, got {rows}")

    @property
    def thresholds(self) -> list[int]:
        """The least fitted value that each cutoff selects, with `SCORE_FRACTION` fractional bits."""
        odds = (cutoff / (MILLION - cutoff) for cutoff in self.cutoffs)
        return [math.ceil(math.log(one) * 2**SCORE_FRACTION) for one in odds]

    def results(self, family: Family) -> int:
        """How many numbers come out."""
        own = 2 * len(self.cutoffs) + 2 if family is Family.LOGISTIC else 1
        return self.groups * (4 + own)


@dataclass(frozen=True)
class Entered:
    """Shares of the groups.

    Attributes:
        members: int64[groups, rows], 1 where a row is in a group that is told.
        inverses: int64[groups], of twice a group's rows and the number of bins.
        ranking: int64[groups, groups], in each line a 1 at one group, that of the most rows in the first.
    """

    members: Shared
    inverses: Shared
    ranking: Shared

    @property
    def columns(self) -> list[Shared]:
        """The members group by group."""
        return _rows(self.members)


@dataclass(frozen=True)
class Placed:
    """Columns in the order of scores, the highest first: shared int64[rows] each, and int64[groups, rows].

    Attributes:
        key: fitted values.
        actual: labels, as they were entered.
        score: what the model says, in the unit of ``actual``; a probability with `logistic.FRACTION` bits.
        members: as of `Entered`.
    """

    key: Shared
    actual: Shared
    score: Shared
    members: Shared


@dataclass(frozen=True, eq=False)
class GroupFigures:
    """What recipients learn of each group; nothing of one without rows, which is too small.

    Attributes:
        rows: int64[groups], 0 where too few.
        labels: float64[groups], sum of the labels.
        scores: float64[groups], sum of the scores.
        stability: float64[groups], the stability index; NaN where it or what it compares with is not told.
        selected: int64[groups, cutoffs], rows that score at least a cutoff.
        told: bool[groups], whether rates of rows with label 1 and 0 are told.
        true_positives: int64[groups, cutoffs], selected rows with label 1; 0 where not told.
        auc: float64[groups], exact for scores to `SCORE_FRACTION` bits; NaN where not told.
        mse: float64[groups], mean squared error, of a model of numbers; NaN elsewhere.
    """

    rows: Ints
    labels: Floats
    scores: Floats
    stability: Floats
    selected: Ints
    told: NDArray[np.bool_]
    true_positives: Ints
    auc: Floats
    mse: Floats


def kept_groups(codes: Ints, groups: int, least: int) -> Ints:
    """The group of each row where it is told, else -1.

    A group with fewer rows than the least is not. Where the rows of all such together are fewer, the smallest
    group that is left goes with them: else they would be what all rows have more than the groups told.

    Args:
        codes: int64[rows], each from 0 to groups - 1.
        groups: how many there are.
        least: rows of a group, and of all that are not told together.

    Returns:
        int64[rows].

    Raises:
        InvalidInput: codes of no group.
        CohortTooSmall: no group is left.

    Security: local, before anything of it is sent. Leaks: nothing. Cost: local. Source: as
    `mpc.stats.group_sums.count_cohorts`.
    """
    is_told = count_cohorts(codes, groups, least, complementary=True) != SUPPRESSED
    if not is_told.any():
        raise CohortTooSmall(least, len(np.unique(codes)))
    return np.where(is_told[codes], codes, -1)


def enter(rt: Runtime, sizes: Sizes, by: Grouping, codes: Ints | None) -> Entered:
    """Share the groups.

    Args:
        rt: the run.
        sizes: of the evaluation.
        by: equal at all parties.
        codes: int64[rows] at the holder, as of `kept_groups`; None elsewhere.

    Raises:
        InvalidInput: codes of another shape, or of no group.

    Security: as `Runtime.share`. Leaks: nothing. Cost: three rounds; 8 bytes a row and group from a holder
    that computes, 16 from another. Source: one-hot coding.
    """
    members = inverses = ranking = None
    if codes is not None:
        if codes.shape != (sizes.rows,) or codes.dtype != np.int64:
            raise InvalidInput(f"groups: expected int64[{sizes.rows}], got {codes.dtype}{list(codes.shape)}")
        misfits = int(np.count_nonzero((codes < -1) | (codes >= by.groups)))
        if misfits:
            raise InvalidInput(f"groups: {misfits} of {len(codes)} are not from -1 to {by.groups - 1}")
        members = (codes == np.arange(by.groups)[:, None]).astype(np.int64)
        rows = members.sum(axis=1)
        inverses = np.rint(2.0**_INVERSE_FRACTION / (2 * rows + sizes.bins)).astype(np.int64)
        ranking = np.eye(by.groups, dtype=np.int64)[np.argsort(-rows, kind="stable")]
    return Entered(
        rt.share(by.holder, members, (by.groups, sizes.rows), limit=2),
        rt.share(by.holder, inverses, by.groups),
        rt.share(by.holder, ranking, (by.groups, by.groups), limit=2),
    )


def figures(
    rt: Runtime, sizes: Sizes, by: Grouping, entered: Entered, placed: Placed, least: int
) -> list[Shared]:
    """Compute what is told of each group.

    Args:
        rt: the run.
        sizes: of the evaluation.
        by: equal at all parties.
        entered: of the rows as they stood.
        placed: the rows.
        least: rows of either label that a group's rates need. Where all others together have fewer, the rates
            of the group with the fewest rows, of those that have enough, are not told either.

    Returns:
        Shared int64[groups] each, for `opened`.

    Security: as the runtime: semi-honest, one of three. Leaks: nothing. Cost: see `cost`. Source: Mann,
    Whitney 1947; Siddiqi 2006; see `federated.fairness` for what is made of it.
    """
    members = placed.members
    columns, is_logistic = [placed.actual, placed.score], sizes.family is Family.LOGISTIC
    selected = _selected(rt, sizes, by, placed.key) if is_logistic else []
    if not is_logistic:
        error = rt.sub(placed.score, placed.actual)
        columns.append(rt.mul(error, error))
    sums = rt.dot(members, stack([*columns, *selected]))
    rows = rt.sum(members).reshape(by.groups)
    told = [
        rows,
        *_each(sums[:, :2]),
        _stability(rt, sizes, by, members, entered.inverses),
        *_each(sums[:, 2:]),
    ]
    return [*told, *_rates(rt, sizes, by, entered, placed, selected, least)] if is_logistic else told


def opened(sizes: Sizes, by: Grouping, results: Ints, mean: float, deviation: float) -> GroupFigures:
    """Read the opened results; ``mean`` and ``deviation`` are those of the label's unit."""
    lines = results.reshape(-1, by.groups)
    rows, cutoffs = lines[0], len(by.cutoffs)
    nothing = np.full(by.groups, np.nan)
    compared = rows[0] if by.follows_first else sizes.rows
    index = lines[3] * 2.0 ** -(_PART_FRACTION + logarithm.FRACTION)
    stability = np.where((rows > 0) & (compared > 0), index, np.nan)
    if sizes.family is Family.LOGISTIC:
        selected, hits = lines[4 : 4 + cutoffs].T, lines[4 + cutoffs : 4 + 2 * cutoffs].T
        twice, told = lines[-2], lines[-1] == 1
        pairs = lines[1] * (rows - lines[1])
        auc = np.where(told, twice / 2 / np.maximum(pairs, 1), np.nan)
        labels, scores = lines[1].astype(np.float64), lines[2] * 2.0**-logistic.FRACTION
        return GroupFigures(rows, labels, scores, stability, selected, told, hits, auc, nothing)
    unit = 2.0**-SCORE_FRACTION
    labels, scores = (line * unit * deviation + mean * rows for line in lines[1:3])
    mse = np.where(rows > 0, lines[4] * (unit * deviation) ** 2 / np.maximum(rows, 1), np.nan)
    none = np.zeros((by.groups, 0), dtype=np.int64)
    hidden = np.zeros(by.groups, dtype=np.bool_)
    return GroupFigures(rows, labels, scores, stability, none, hidden, none, nothing, mse)


def twice_outscored(rt: Runtime, negatives: Shared) -> Shared:
    """Twice the negatives that score below each distinct score, and once those of it. Local."""
    below = rt.sub(rt.sum(negatives), rt.cumsum(negatives))
    return rt.add(rt.scale(below, 2), negatives)


def cost(sizes: Sizes, by: Grouping) -> Cost:
    """Cost of `enter` and `figures`; ``outside`` leaves inputs out."""
    rows, groups, bins, cutoffs = sizes.rows, by.groups, sizes.bins, len(by.cutoffs)
    entered = costs.shared(by.holder, groups * rows) + costs.shared(by.holder, groups)
    entered += costs.shared(by.holder, groups * groups)
    cells = groups * bins
    index = costs.logarithm(cells, _count_bits(sizes)) + costs.product(cells) + costs.quotient(cells)
    total = entered + index + costs.product(groups * groups)
    if sizes.family is not Family.LOGISTIC:
        return total + costs.product(rows) + costs.product(3 * groups)
    if cutoffs:
        total += costs.sign(cutoffs * rows, sizes.score_bits) + costs.to_arithmetic(cutoffs * rows)
        total += costs.product(cutoffs * groups)
    total += costs.product((2 + cutoffs) * groups)
    total += costs.product(groups * rows) + costs.group_sums(rows, 2 * groups, [sizes.score_bits])
    total += costs.product(groups * groups)
    bits = _count_bits(sizes)
    total += costs.sign(2 * groups, bits) + costs.conjunction(groups) + costs.to_arithmetic(groups)
    total += costs.product(2 * groups) + costs.sign(2, bits) + costs.conjunction(1) + costs.is_zero(1, bits)
    total += costs.conjunction(1) + costs.product(groups) + costs.is_zero(groups, groups.bit_length() + 1)
    total += costs.conjunction(groups) + costs.to_arithmetic(groups) + costs.product(groups) * 2
    return total + costs.product((cutoffs + 1) * groups)


def _selected(rt: Runtime, sizes: Sizes, by: Grouping, key: Shared) -> list[Shared]:
    """For each cutoff a 1 where a row scores at least that."""
    if not by.cutoffs:
        return []
    apart = concatenate([rt.add_public(key, -threshold) for threshold in by.thresholds])
    below = rt.to_arithmetic(rt.is_negative(apart, bits=sizes.score_bits))
    reached = rt.add_public(rt.neg(below), 1).reshape(len(by.cutoffs), sizes.rows)
    return _rows(reached)


def _rates(
    rt: Runtime,
    sizes: Sizes,
    by: Grouping,
    entered: Entered,
    placed: Placed,
    selected: list[Shared],
    least: int,
) -> list[Shared]:
    """True positives at each cutoff and twice the pairs in order, 0 where not told; whether they are."""
    members = placed.members
    positives = rt.mul(members, placed.actual)
    hits = _each(rt.dot(positives, stack(selected))) if selected else []
    apart = rt.group_sums([placed.key], [*_rows(positives), *_rows(members)], [sizes.score_bits]).sums
    ranked = stack(apart[: by.groups])
    negatives = rt.sub(stack(apart[by.groups :]), ranked)
    twice = _dots(rt, ranked, twice_outscored(rt, negatives))
    told = _told(rt, sizes, by, entered.ranking, placed, positives, least)
    masked = rt.mul(told, stack([*hits, twice]))
    return [*_rows(masked), told]


def _told(
    rt: Runtime,
    sizes: Sizes,
    by: Grouping,
    ranking: Shared,
    placed: Placed,
    positives: Shared,
    least: int,
) -> Shared:
    """A 1 where a group has enough rows of either label, and so have all the others together, or none.

    As `mpc.replicated.suppression.large_enough` of two counts at once, in fewer rounds: the order of groups
    by their rows was entered.
    """
    bits = _count_bits(sizes)
    events = rt.sum(positives).reshape(by.groups)
    others = rt.sub(rt.sum(placed.members).reshape(by.groups), events)
    counts = stack([events, others])
    enough = rt.to_arithmetic(both_reach(rt, counts, least, bits))
    every = rt.sum(placed.actual)
    whole = stack([every, rt.add_public(rt.neg(every), sizes.rows)])
    rest = rt.sub(whole, rt.sum(rt.mul(enough, counts)))
    is_empty = rt.is_zero(rt.add(rest[0], rest[1]), bits=bits)
    is_short = rt.and_(rt.not_(both_reach(rt, rest, least, bits)), rt.not_(is_empty))
    # From the end, the running number of groups with enough is 1 first at the one with the fewest rows.
    ranked = rt.dot(ranking, enough.reshape(1, by.groups)).reshape(by.groups)
    from_end = Shared(rt.cumsum(ranked[::-1]).shares[:, ::-1].copy())
    is_one = rt.is_zero(rt.add_public(from_end, -1), bits=by.groups.bit_length() + 1)
    closes = rt.to_arithmetic(rt.and_(is_one, is_short.take([0] * by.groups)))
    closed = rt.mul(ranked, closes).reshape(1, by.groups)
    turned = Shared(ranking.shares.swapaxes(1, 2).copy())
    return rt.sub(enough, rt.dot(turned, closed).reshape(by.groups))


def _stability(rt: Runtime, sizes: Sizes, by: Grouping, members: Shared, inverses: Shared) -> Shared:
    """The stability index of each group, with the fractional bits of a part and of a logarithm."""
    edges = bin_edges(sizes.rows, sizes.bins).tolist()
    counts = [rt.sum(members[:, low:high]) for low, high in pairwise(edges)]
    odd = Shared(np.concatenate([rt.add_public(rt.scale(one, 2), 1).shares for one in counts], axis=2))
    cells = odd.reshape(odd.size)
    logarithms = logarithm.logarithm(rt, cells, bits=_count_bits(sizes)).reshape(*odd.shape)
    scaled = rt.mul(odd, inverses.reshape(by.groups, 1))
    parts = rt.quotient(scaled, 2 ** (_INVERSE_FRACTION - _PART_FRACTION))
    first = parts[0], logarithms[0]
    if not by.follows_first:
        every = 2 * np.diff(edges) + 1
        first = (
            _public(rt, every / every.sum() * 2**_PART_FRACTION),
            _public(rt, np.log(every) * 2**logarithm.FRACTION),
        )
    return _dots(rt, rt.sub(parts, first[0]), rt.sub(logarithms, first[1]))


def _public(rt: Runtime, values: Floats) -> Shared:
    return rt.constant(np.rint(values).astype(np.int64))


def _dots(rt: Runtime, a: Shared, b: Shared) -> Shared:
    """Sums of products row by row, [n, k] and [n, k] give [n], at the cost of `Runtime.dot` of all pairs."""
    return Shared(rt.dot(a, b).shares.diagonal(axis1=1, axis2=2).copy())


def _rows(table: Shared) -> list[Shared]:
    return [table[place] for place in range(table.rows)]


def _each(table: Shared) -> list[Shared]:
    """The columns of a table."""
    return [table[:, place] for place in range(table.shape[1])]


def _count_bits(sizes: Sizes) -> int:
    """How many bits hold the difference of two numbers of rows, and twice such a number and one."""
    return sizes.rows.bit_length() + 1
