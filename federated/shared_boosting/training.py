"""Growth on shares: complete trees, level by level, without a decision that anybody sees.

Every owner shares, for each column and cut, which rows are on the left of it. Which rows a node holds is
shared as numbers 0 and 1; the sums on the left of all cuts are sums of products, and a tournament on shares
makes a 1 at the best cut and 0 elsewhere. The product of these with all cuts is the chosen one, without
telling which: it divides the rows. The first candidate of all leaves every row on the left: where no cut is
worth it, it wins.

A run that a lost party cut off goes on in a new session at the last tree that all parties had reached: with
the shares they kept, and inputs shared anew. Nothing is told before the end, so nothing is told again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.boosting.binning import Binned
from federated.boosting.objectives import check_label, margin_of
from federated.boosting.settings import Objective
from federated.boosting.settings import Settings as PlainSettings
from federated.checkpoints import Checkpoints
from federated.shared_boosting.settings import (
    LEAST_GAIN,
    MARGIN_FRACTION,
    SUM_FRACTION,
    Scales,
    Settings,
    check_sizes,
)
from federated.shared_checkpoints import keep_shares, shares_of
from federated.vertical.prediction import squares
from federated.vertical.settings import Layout
from mpc.errors import InvalidInput
from mpc.replicated import Runtime, Shared, logistic
from mpc.replicated.clipping import clipped
from mpc.replicated.division import MAX_DIVISOR_BITS
from mpc.replicated.sharing import concatenate, stack

__all__ = ["DIVIDEND_BITS", "HALVES", "SUM_BITS", "train"]

Floats = NDArray[np.float64]

DIVIDEND_BITS: Final = 52
"""As `Scales.divisor` is chosen, rows are at most 2^(31 - divisor); dividends have 20 bits more than it."""
SUM_BITS: Final = SUM_FRACTION + 20
"""Of sums of hessians, and of their distance to the least."""
HALVES: Final = 2
"""Numbers that carry the 64 bits of a threshold."""
_ONE: Final = 2**SUM_FRACTION
_AHEAD: Final = 2**60
"""Added to the score of every split that may be chosen; those that may not have 0."""
_FLATTENED: Final = round(_ONE * (1 + 2 * logistic.ERROR) ** 2)
"""What squares of the logistic function less one half are divided by, so that they are at most 1/4."""
_RATE_FRACTION: Final = 16


def train(
    rt: Runtime,
    layout: Layout,
    settings: Settings,
    binned: Binned | None,
    label: Floats | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoints: Checkpoints | None = None,
) -> Shared:
    """Grow trees that tell a label of 0 and 1.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: rows and columns of every owner.
        settings: as agreed, equal at all parties.
        binned: columns of this owner; None where it has none.
        label: float64[rows] at rank 0, None elsewhere.
        progress: told after each tree.
        checkpoints: where this party's shares are kept before each tree, and the tree to begin at.

    Returns:
        Shared int64[numbers], to be opened to whoever learns the trees; see `Forest.of`.

    Raises:
        InvalidInput: arrays that do not fit the layout, sizes beyond their limits, or a label of one value,
            before anything is sent of it; a checkpoint of another run.
        ValueOutOfRange: labels that are neither 0 nor 1, before anything is sent of them.

    Security: as the runtime: semi-honest, one of three. Leaks: see `SPEC`. Cost: see
    `federated.shared_boosting.costs.training`. Source: see `SPEC`.
    """
    check_sizes(layout, settings)
    held = Checkpoints() if checkpoints is None else checkpoints
    held.forget_later()
    cuts = _cuts(rt, layout, settings, binned)
    target, base = _label(rt, layout, label)
    margins = Shared(np.repeat(base.shares, layout.rows, axis=-1))
    told, done = [base], 0
    if (begun := held.begun) is not None:
        done = held.begins_at - 1
        first = {"margins": margins, "told": rt.constant(np.zeros(settings.told_after(done), dtype=np.int64))}
        margins, before = shares_of(begun, first)
        told = [before]
    centred = _centred(rt, margins)
    for number in range(done, settings.trees):
        keep_shares(rt, held, number + 1, {"margins": margins, "told": concatenate(told)})
        nodes = _root(rt, centred, target)
        for _ in range(settings.depth):
            place = _best(rt, layout, settings, nodes[1:], cuts[:, : layout.rows])
            chosen = rt.dot(place, Shared(cuts.shares.transpose(0, 2, 1)))
            nodes = _children(rt, nodes, chosen[:, : layout.rows])
            told += _split(place, chosen[:, layout.rows :])
        weights = _weights(rt, layout, settings, nodes[1:])
        rows = Shared(nodes.shares[:, 0].transpose(0, 2, 1))
        added = rt.dot(rows, weights.reshape(1, settings.leaves))
        margins = rt.add(margins, added.reshape(layout.rows))
        centred = _centred(rt, margins)
        told += [weights, squares(rt, _gradients(rt, centred, target))]
        progress(number + 1, settings.trees)
    return concatenate(told)


def _cuts(rt: Runtime, layout: Layout, settings: Settings, binned: Binned | None) -> Shared:
    """The candidates of all owners after one without a cut: int64[candidates, rows + HALVES].

    Each is a 1 for the rows on its left, and its threshold in two halves, or 0 where nobody is told of it.
    """
    width = layout.rows + HALVES
    none = np.ones((1, width), dtype=np.int64)
    none[:, layout.rows :] = 0
    parts = [rt.constant(none)]
    for owner, count in enumerate(layout.columns):
        if count:
            own = _own_cuts(layout, settings, count, binned) if owner == rt.rank else None
            parts.append(rt.share(owner, own, (count * settings.cuts, width), limit=2**32))
    return concatenate(parts)


def _own_cuts(layout: Layout, settings: Settings, count: int, binned: Binned | None) -> NDArray[np.int64]:
    if binned is None or binned.codes.shape != (count, layout.rows):
        raise InvalidInput(f"columns: expected bins of {count} columns and {layout.rows} rows")
    if max(binned.counts) > settings.cuts:
        raise InvalidInput(f"columns: expected at most {settings.cuts} cuts, got {max(binned.counts)}")
    own = np.zeros((count, settings.cuts, layout.rows + HALVES), dtype=np.int64)
    for column, (codes, cuts) in enumerate(zip(binned.codes, binned.cuts, strict=True)):
        own[column, :, : layout.rows] = codes <= np.arange(settings.cuts)[:, None]
        if settings.tells_thresholds:
            words = cuts.view(np.uint64)
            own[column, : len(cuts), layout.rows] = words >> np.uint64(32)
            own[column, : len(cuts), layout.rows + 1] = words & np.uint64(2**32 - 1)
    return own.reshape(count * settings.cuts, layout.rows + HALVES)


def _label(rt: Runtime, layout: Layout, label: Floats | None) -> tuple[Shared, Shared]:
    """The label with `SUM_FRACTION` fractional bits, and the margin before the first tree."""
    own = None
    if rt.rank == 0:
        if label is None or label.shape != (layout.rows,):
            raise InvalidInput(f"label: expected an array of shape {(layout.rows,)}")
        check_label(label, "at rank 0", PlainSettings(Objective.LOGISTIC))
        base = margin_of(float(label.mean()), Objective.LOGISTIC) * 2**MARGIN_FRACTION
        own = np.concatenate([np.rint(label) * _ONE, [np.rint(base)]]).astype(np.int64)
    both = rt.share(0, own, layout.rows + 1, limit=2 * _ONE)
    return both[: layout.rows], both[layout.rows :]


def _gradients(rt: Runtime, centred: Shared, target: Shared) -> Shared:
    """What the trees so far say of each row less its label, with `SUM_FRACTION` fractional bits. Local."""
    return rt.add_public(rt.sub(centred, target), _ONE // 2)


def _root(rt: Runtime, centred: Shared, target: Shared) -> Shared:
    """Membership, gradients and hessians of all rows, as those of one node: int64[3, 1, rows].

    The last two have `SUM_FRACTION` fractional bits. No hessian is negative: the square under it is divided
    by a little more than the approximation of the logistic function makes it too large.
    """
    under = rt.quotient(rt.mul(centred, centred), _FLATTENED)
    hessians = rt.add_public(rt.neg(under), _ONE // 4 + 2)
    members = rt.constant(np.ones(centred.rows, dtype=np.int64))
    return stack([members, _gradients(rt, centred, target), hessians]).reshape(3, 1, centred.rows)


def _centred(rt: Runtime, margins: Shared) -> Shared:
    """The logistic function of margins less one half, with `SUM_FRACTION` fractional bits.

    A margin beyond the reach of `logistic.sigmoid` gives way to its end, where the function is 0 or 1 too.
    """
    end = logistic.REACH << MARGIN_FRACTION
    within, _ = clipped(rt, margins, -end, end)
    return rt.sigmoid(within, MARGIN_FRACTION)


def _best(rt: Runtime, layout: Layout, settings: Settings, nodes: Shared, left: Shared) -> Shared:
    """A 1 at the best candidate of each node: int64[nodes, candidates].

    Args:
        rt: the run.
        layout: of the run.
        settings: of the run.
        nodes: int64[2, nodes, rows], gradients and hessians, 0 for rows that are not in the node.
        left: int64[candidates, rows].
    """
    scales, (_, count, rows) = Scales.of(layout.rows, settings), nodes.shape
    shape = (2, count, left.rows)
    sums = rt.dot(nodes.reshape(2 * count, rows), left).reshape(*shape)
    # The first candidate has all rows of its node on the left.
    sides = stack([sums, rt.sub(sums[:, :, :1], sums)])
    gradients, hessians = (sides[:, one].reshape(sides.size // 2) for one in (0, 1))
    weights = _divided(rt, settings, scales, gradients, hessians, scales.weight)
    factors = rt.quotient(gradients, 2 ** (SUM_FRACTION - scales.factor))
    scores = rt.mul(factors, weights).reshape(*shape)
    scores = rt.add_public(rt.add(scores[0], scores[1]), _AHEAD)
    may = _enough(rt, settings, sides[:, 1, :, 1:])
    worth = max(1, round(max(settings.gamma, LEAST_GAIN) * 2**scales.score))
    none, others = rt.add_public(scores[:, :1], worth), rt.mul(scores[:, 1:], may)
    scores = Shared(np.concatenate([none.shares, others.shares], axis=-1))
    return rt.place_of_largest(scores, bits=64)


def _divided(
    rt: Runtime, settings: Settings, scales: Scales, gradients: Shared, hessians: Shared, fraction: int
) -> Shared:
    """Sums of gradients over sums of hessians and the penalty, with ``fraction`` fractional bits."""
    penalty = round(settings.l2 * 2**scales.divisor)
    divisors = rt.add_public(rt.quotient(hessians, 2 ** (SUM_FRACTION - scales.divisor)), penalty)
    dividends = rt.scale(gradients, 2 ** (fraction + scales.divisor - SUM_FRACTION))
    return rt.divide(dividends, divisors, dividend_bits=DIVIDEND_BITS, divisor_bits=MAX_DIVISOR_BITS)


def _enough(rt: Runtime, settings: Settings, hessians: Shared) -> Shared:
    """A 1 where the sums of both sides, int64[2, nodes, cuts], reach the least."""
    short = rt.add_public(hessians, -(settings.least_rows * _ONE // 4))
    first, second = (
        rt.not_(rt.is_negative(side.reshape(side.size), bits=SUM_BITS)) for side in (short[0], short[1])
    )
    return rt.to_arithmetic(rt.and_(first, second)).reshape(*hessians.shape[1:])


def _children(rt: Runtime, nodes: Shared, goes_left: Shared) -> Shared:
    """The children of every node, left before right: int64[3, 2 nodes, rows]."""
    left = rt.mul(nodes, goes_left)
    both = np.stack([left.shares, rt.sub(nodes, left).shares], axis=3)
    return Shared(both.reshape(len(both), 3, 2 * goes_left.rows, goes_left.shape[1]))


def _split(place: Shared, threshold: Shared) -> list[Shared]:
    """The numbers of the candidates of a level, and the halves of their thresholds."""
    numbers = Shared(
        (place.shares * np.arange(place.shape[1], dtype=np.uint64)).sum(axis=-1, dtype=np.uint64)
    )
    return [numbers, threshold[:, 0], threshold[:, 1]]


def _weights(rt: Runtime, layout: Layout, settings: Settings, leaves: Shared) -> Shared:
    """The shrunk weights of all leaves, with `MARGIN_FRACTION` fractional bits.

    Those of leaves without rows are 0 but for rounding.
    """
    gradients, hessians = (rt.sum(leaves[one]).reshape(settings.leaves) for one in (0, 1))
    scales = Scales.of(layout.rows, settings)
    weights = _divided(rt, settings, scales, gradients, hessians, MARGIN_FRACTION)
    shrunk = rt.scale(weights, -round(settings.rate * 2**_RATE_FRACTION))
    return rt.quotient(shrunk, 2**_RATE_FRACTION)
