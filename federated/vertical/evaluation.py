"""Evaluating a model on shares: bins of rows by score, the exact area under the curve, errors.

Rows are sorted by their fitted values in secret, so that what a bin holds is a sum over places: a bin has a
stated number of rows, and nobody learns which. With the positives p_g and negatives n_g of each distinct
score, in falling order,

    2 U = sum_g p_g (2 N_g + n_g),      N_g = negatives that score below g,

counts the pairs in which a positive scores above a negative, ties as halves; the area is U / (P N).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.metrics import Binned, Regression, bin_edges
from federated.vertical import by_group
from federated.vertical.by_group import GroupFigures, Grouping, Placed
from federated.vertical.scoring import PART_LIMIT, SCORE_FRACTION
from federated.vertical.settings import Family
from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.replicated import Runtime, Shared, costs, logistic
from mpc.replicated.costs import Cost
from mpc.replicated.sharing import concatenate, stack
from mpc.spec import Adversary, ProtocolSpec

__all__ = ["EVALUATION", "Evaluation", "Sizes", "cost", "evaluate", "opened", "sent"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_UNIT: Final = 2**SCORE_FRACTION
_ROUND_OFF: Final = logistic.FRACTION - SCORE_FRACTION
_PUBLIC = "the family of the model, every owner's minimum, and the number of rows, of owners and of bins"
_REFUSED = (
    "that it was refused: labels of the rows are no labels, or one of them has fewer rows than the minimum; "
    "groups of the rows are none of the stated ones, or so few rows are in each that none can be told"
)

EVALUATION: Final = ProtocolSpec(
    name="vertical/evaluation",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={"owner": (_PUBLIC, _REFUSED), "helper": (_PUBLIC, _REFUSED)},
    cost="about 9 rounds a bit of the scores, of which those of two owners have 22, and 11 a doubling of the "
    "rows; then 2 kB a row and party, and 0.8 kB more from party 0; by group 72 bytes more a row, group and "
    "party, and about 100 rounds; to the byte by federated.vertical.evaluation",
    source="sorting on shares: Chida et al. 2019; area under the curve: Mann, Whitney 1947",
    summary="How good a split model is: bins of rows by score, the area under the ROC curve, KS and errors, "
    "for named recipients; the same by group of rows.",
)


@dataclass(frozen=True)
class Sizes:
    """The public sizes of a run.

    Attributes:
        family: of the model.
        rows: that are evaluated.
        owners: each has a part of every score.
        bins: by score, of sizes that differ by at most one.
        by: what is told by group; None: nothing is.
    """

    family: Family
    rows: int
    owners: int
    bins: int
    by: Grouping | None = None

    def __post_init__(self) -> None:
        bin_edges(self.rows, self.bins)
        if self.by is not None:
            self.by.check(self.family, self.rows, self.owners)
        # The squares of errors of numbers have 24 fractional bits and add up to less than 2^63.
        largest = 2**39 // (PART_LIMIT * (self.owners + 1)) ** 2
        if self.family is not Family.LOGISTIC and self.rows > largest:
            raise InvalidInput(f"expected at most {largest} rows of {self.owners} owners, got {self.rows}")

    @property
    def score_bits(self) -> int:
        """How many bits hold a fitted value."""
        return (self.owners * PART_LIMIT * _UNIT).bit_length() + 1

    @property
    def results(self) -> int:
        """How many numbers come out."""
        return 2 * self.bins + 3 + (0 if self.by is None else self.by.results(self.family))


@dataclass(frozen=True)
class Evaluation:
    """What recipients learn.

    Attributes:
        binned: bins of rows by score, highest first; scores are probabilities, or expected values.
        auc: exact for scores to `SCORE_FRACTION` fractional bits; of a logistic regression alone.
        ks: the same, over all thresholds.
        brier: within the error of the logistic function on shares, 0.0032; of a logistic regression alone.
        errors: of another regression, else None.
        groups: figures by group, where they were asked for.
    """

    binned: Binned
    auc: float | None = None
    ks: float | None = None
    brier: float | None = None
    errors: Regression | None = None
    groups: GroupFigures | None = None


def evaluate(
    rt: Runtime,
    sizes: Sizes,
    part: Ints | None,
    label: Floats | None,
    *,
    codes: Ints | None = None,
    least: int = 1,
) -> Shared:
    """Evaluate the scores of all owners' parts.

    Args:
        rt: the run; the ranks of the owners come first.
        sizes: as agreed, equal at all parties.
        part: int64[rows] of this owner, from `scoring.part_of_scores`; None where it is none.
        label: float64[rows] at rank 0: 0 and 1, or in the unit that it was trained in; None elsewhere.
        codes: int64[rows] at the holder of the groups, as `by_group.kept_groups` gives them; None elsewhere.
        least: rows of either label that the rates of a group need.

    Returns:
        Shared int64[results], for `opened`.

    Raises:
        ValueOutOfRange: a label of `PART_LIMIT` units or more; nothing was sent of it.
        InvalidInput: arrays that do not fit the sizes.

    Security: as the runtime: semi-honest, one of three. Leaks: see `EVALUATION`. Cost: see `cost`.
    Source: Chida et al. 2019 for the order; Mann, Whitney 1947 for the area.
    """
    fitted = _fitted(rt, sizes, part)
    is_logistic = sizes.family is Family.LOGISTIC
    y = rt.share(0, _encoded(label, sizes, 1 if is_logistic else _UNIT), sizes.rows, limit=PART_LIMIT * _UNIT)
    entered = None if sizes.by is None else by_group.enter(rt, sizes, sizes.by, codes)
    families = {Family.LINEAR: _linear, Family.LOGISTIC: _logistic, Family.POISSON: _poisson}
    results, placed = families[sizes.family](rt, sizes, fitted, y, [] if entered is None else entered.columns)
    if sizes.by is not None and entered is not None:
        key, actual, score, *members = placed
        ordered = Placed(key, actual, score, stack(members))
        results += by_group.figures(rt, sizes, sizes.by, entered, ordered, least)
    return concatenate(results)


def opened(sizes: Sizes, results: Ints, *, mean: float = 0.0, deviation: float = 1.0) -> Evaluation:
    """Read the opened results.

    Args:
        sizes: of the run.
        results: int64[results].
        mean: of the label, where that is told in its own unit: the label was trained on less the mean, over
            the deviation.
        deviation: the same.
    """
    rows = np.diff(bin_edges(sizes.rows, sizes.bins))
    results, rest = np.split(results, [2 * sizes.bins + 3])
    groups = None if sizes.by is None else by_group.opened(sizes, sizes.by, rest, mean, deviation)
    labels, scores = (part.astype(np.float64) for part in np.split(results[: 2 * sizes.bins], 2))
    squares, *others = results[2 * sizes.bins :].tolist()
    if sizes.family is Family.LOGISTIC:
        binned = Binned(rows, labels, scores * 2.0**-logistic.FRACTION)
        twice, furthest = others
        pairs = binned.positives * binned.negatives
        brier = squares / _UNIT**2 / sizes.rows
        return Evaluation(binned, twice / 2 / pairs, furthest / pairs, brier, groups=groups)
    absolute, of_labels = others
    total = float(labels.sum()) / _UNIT
    spread = of_labels / _UNIT**2 - total**2 / sizes.rows
    mse, mae = squares / _UNIT**2 / sizes.rows, absolute / _UNIT / sizes.rows
    r2 = 1 - mse * sizes.rows / spread if spread > 0 else float("nan")
    told = [part / _UNIT * deviation + mean * rows for part in (labels, scores)]
    errors = Regression(mse * deviation**2, mae * deviation, r2)
    return Evaluation(Binned(rows, *told), errors=errors, groups=groups)


def cost(sizes: Sizes, parties: int) -> Cost:
    """Cost of `evaluate`; ``outside`` leaves inputs out, see `sent`."""
    rows, bits = sizes.rows, sizes.score_bits
    total = costs.shared(0, rows)
    for owner in range(sizes.owners):
        total += costs.shared(owner, rows)
    moved = 0
    if sizes.by is not None:
        total += by_group.cost(sizes, sizes.by)
        moved = sizes.by.groups
    total += costs.order_of(rows, [bits])
    errors = costs.product(1) * 3 + costs.sign(rows) + costs.to_arithmetic(rows)
    if sizes.family is Family.LINEAR:
        return total + costs.reorder(rows, 2 + moved) + errors
    total += (costs.sign(rows) + costs.select(rows)) * 2 + costs.quotient(rows)
    if sizes.family is Family.POISSON:
        return total + costs.exponential(rows) + costs.reorder(rows, 3 + moved) + errors
    total += costs.sigmoid(rows)
    total += costs.reorder(rows, 3 + moved) + costs.group_sums(rows, 2, [bits])
    order = costs.product(1) + costs.product(2 * rows) + costs.extreme(1, 2 * rows, _area_bits(rows))
    return total + order + costs.product(1)


def sent(sizes: Sizes, spent: Cost, rank: int) -> int:
    """The bytes that the party of a rank sends for a cost; outside, its own part alone."""
    if rank < len(spent.sent):
        return spent.sent[rank]
    numbers = sizes.rows if rank < sizes.owners else 0
    if sizes.by is not None and rank == sizes.by.holder:
        numbers += sizes.by.groups * (sizes.rows + 1 + sizes.by.groups)
    return costs.shared(rank, numbers).outside


def _linear(
    rt: Runtime, sizes: Sizes, fitted: Shared, y: Shared, groups: list[Shared]
) -> tuple[list[Shared], list[Shared]]:
    """The results; and fitted values, labels, scores and groups in the order of scores."""
    (key,), (actual, *placed) = rt.sort([fitted], [y, *groups], [sizes.score_bits], [True])
    results = [*_sums(rt, sizes, actual), *_sums(rt, sizes, key), *_errors(rt, fitted, y)]
    return results, [key, actual, key, *placed]


def _poisson(
    rt: Runtime, sizes: Sizes, fitted: Shared, y: Shared, groups: list[Shared]
) -> tuple[list[Shared], list[Shared]]:
    """As `_linear`."""
    within = _within_reach(rt, fitted, round(sizes.family.reach * _UNIT))
    expected = rt.quotient(rt.exponential(within, SCORE_FRACTION), 2**_ROUND_OFF)
    (key,), (actual, score, *placed) = rt.sort([fitted], [y, expected, *groups], [sizes.score_bits], [True])
    results = [*_sums(rt, sizes, actual), *_sums(rt, sizes, score), *_errors(rt, expected, y)]
    return results, [key, actual, score, *placed]


def _logistic(
    rt: Runtime, sizes: Sizes, fitted: Shared, y: Shared, groups: list[Shared]
) -> tuple[list[Shared], list[Shared]]:
    """As `_linear`."""
    within = _within_reach(rt, fitted, round(sizes.family.reach * _UNIT))
    chance = rt.add_public(rt.sigmoid(within, SCORE_FRACTION), 2 ** (logistic.FRACTION - 1))
    distance = rt.quotient(rt.sub(chance, rt.scale(y, 2**logistic.FRACTION)), 2**_ROUND_OFF)
    bits = [sizes.score_bits]
    (key,), (actual, score, *placed) = rt.sort([fitted], [y, chance, *groups], bits, [True])
    ones = rt.constant(np.ones(sizes.rows, dtype=np.int64))
    positives, rows = rt.group_sums([key], [actual, ones], bits).sums
    order = _order_figures(rt, positives, rt.sub(rows, positives))
    bins = [*_sums(rt, sizes, actual), *_sums(rt, sizes, score)]
    return [*bins, rt.dot(distance, distance), *order], [key, actual, score, *placed]


def _fitted(rt: Runtime, sizes: Sizes, part: Ints | None) -> Shared:
    shape, limit = (sizes.rows,), PART_LIMIT * _UNIT + 1
    parts = [
        rt.share(owner, part if owner == rt.rank else None, shape, limit=limit)
        for owner in range(sizes.owners)
    ]
    total = parts[0]
    for other in parts[1:]:
        total = rt.add(total, other)
    return total


def _encoded(label: Floats | None, sizes: Sizes, unit: int) -> Ints | None:
    if label is None:
        return None
    misfits = int(np.count_nonzero(~(np.abs(label) < PART_LIMIT)))
    if misfits:
        raise ValueOutOfRange(
            f"label: {misfits} of {len(label)} values are not below {PART_LIMIT} of the units trained in"
        )
    encoded: Ints = np.rint(label * unit).astype(np.int64)
    return encoded


def _sums(rt: Runtime, sizes: Sizes, column: Shared) -> list[Shared]:
    """The sum of a column in each bin, in the order of its rows."""
    edges = bin_edges(sizes.rows, sizes.bins).tolist()
    return [rt.sum(column[low:high]) for low, high in pairwise(edges)]


def _within_reach(rt: Runtime, fitted: Shared, reach: int) -> Shared:
    """Fitted values, those beyond what the series on shares can take brought inside."""
    for bound in (reach, -reach):
        rest = rt.add_public(rt.neg(fitted) if bound > 0 else fitted, reach)
        edge = rt.constant(np.full(fitted.rows, bound, dtype=np.int64))
        fitted = rt.select(rt.is_negative(rest), edge, fitted)
    return fitted


def _errors(rt: Runtime, fitted: Shared, y: Shared) -> list[Shared]:
    """Sums of squared and of absolute errors, and of squared labels."""
    error = rt.sub(fitted, y)
    squares = rt.dot(error, error)
    negative = rt.to_arithmetic(rt.is_negative(error))
    below = rt.dot(negative, error)
    return [squares, rt.sub(rt.sum(error), rt.scale(below, 2)), rt.dot(y, y)]


def _order_figures(rt: Runtime, positives: Shared, negatives: Shared) -> list[Shared]:
    """2 U, and the largest distance of the two running sums, in pairs, from those of each distinct score."""
    above, passed = rt.cumsum(positives), rt.cumsum(negatives)
    every, none = rt.sum(positives), rt.sum(negatives)
    twice = rt.dot(positives, by_group.twice_outscored(rt, negatives))
    weighted = rt.mul(stack([above, passed]), stack([none, every]))
    apart = rt.sub(weighted[0], weighted[1])
    both = concatenate([apart, rt.neg(apart)])
    bits = _area_bits(positives.rows)
    return [twice, rt.extreme(both.reshape(1, both.rows), bits=bits, largest=True)]


def _area_bits(rows: int) -> int:
    """How many bits hold the difference of two numbers of pairs."""
    return 2 * rows.bit_length() + 1
