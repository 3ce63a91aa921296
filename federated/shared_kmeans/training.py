"""Lloyd's algorithm on shares, step by step, without a decision that anybody sees.

Every owner shares its columns, scaled to 0 to 1 by agreed bounds. Of a row x and a centre c, 2 x.c - |c|^2 is
the larger the nearer they are, and a tournament of comparisons leaves a 1 at the nearest centre. These 1s are
counted without a message, their products with all columns are the sums by cluster, and the new centres are
quotients of the two. A cluster with fewer rows than the least is put beside the centre of the largest one, as
all are by a choice on shares, so that nobody sees which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.checkpoints import Checkpoints
from federated.horizontal.clusters import Clusters, directions, start
from federated.horizontal.standardise import check_finite, in_unit
from federated.shared_checkpoints import keep_shares, shares_of
from federated.shared_kmeans.settings import CHUNK_CELLS, FRACTION, Widths, check_sizes
from federated.vertical.settings import Layout
from federated.vertical.training import told
from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.replicated import Runtime, Shared
from mpc.replicated.sharing import concatenate, stack
from mpc.replicated.suppression import large_enough
from mpc.secrecy import Unprintable

__all__ = ["Trained", "own_centres", "own_columns", "places_of", "scaled", "train"]

Floats = NDArray[np.float64]

_ONE: Final = 2**FRACTION
_ASIDE: Final = 2**14
"""How far from the centre of the largest cluster, in every column, a small one is put: a thousandth."""


@dataclass(frozen=True, repr=False, eq=False)
class Trained(Unprintable):
    """The outcome of a run.

    Attributes:
        clusters: shared int64[clusters, 2 + columns]: the number of rows and, with `FRACTION` fractional
            bits, the sum of their squared distances from their mean, and the mean; 0 throughout of clusters
            with fewer rows than the least, and of the smallest others where these have few rows together. See
            `Centres.of`.
        steps: by which centres moved.
        is_settled: fewer rows than the least changed their cluster in the last one; never where that is not
            asked for.
    """

    clusters: Shared
    steps: int
    is_settled: bool


def train(
    rt: Runtime,
    layout: Layout,
    agreed: Clusters,
    columns: Floats | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    ends_early: bool = False,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Find clusters of the rows by the columns of all owners.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: rows and columns of every owner.
        agreed: equal at all parties, the columns those of all owners by rank.
        columns: float64[columns, rows] of this owner, as `own_columns` makes them; None where it has none.
        progress: told after each step.
        ends_early: after each step but the first all parties are told whether fewer rows than the least
            changed their cluster, and it is the last if so.
        checkpoints: where this party's shares are kept before each step and after the last, and the step to
            begin at.

    Raises:
        InvalidInput: columns that do not fit the layout, sizes beyond their limits, or a checkpoint of
            another run.
        ValueOutOfRange: values that are not from 0 to 1, before anything is sent of them.

    Security: as the runtime: semi-honest, one of three. Leaks: see `SPEC`. Cost: see
    `federated.shared_kmeans.costs.training`. Source: see `SPEC`.
    """
    check_sizes(layout, agreed)
    held = Checkpoints() if checkpoints is None else checkpoints
    held.forget_later()
    begun, steps = held.begun, max(held.begins_at - 1, 0)
    if begun is not None and "clusters" in begun:
        shape = (agreed.count, 2 + len(agreed.names))
        (clusters,) = shares_of(begun, {"clusters": rt.constant(np.zeros(shape, dtype=np.int64))})
        return Trained(clusters, steps, bool(begun["is_settled"]))
    x, widths = _columns(rt, layout, columns), Widths.of(layout)
    centres = before = rt.constant(np.rint(start(agreed) * _ONE).astype(np.int64))
    places: Shared | None = None
    is_settled = False
    if begun is not None:
        centres, before = shares_of(begun, {"centres": centres, "before": before})
        if ends_early and steps:
            places = _nearest(rt, layout, x, before)
    while True:
        keep_shares(rt, held, steps + 1, {"centres": centres, "before": before})
        earlier, places = places, _nearest(rt, layout, x, centres)
        members = _transposed(places)
        rows = rt.sum(members).reshape(agreed.count)
        means = _means(rt, widths, rt.dot(members, x), rows)
        steps += 1
        progress(steps, agreed.rounds)
        if ends_early and earlier is not None:
            is_settled = _is_settled(rt, places, earlier, agreed.least)
        if is_settled or steps == agreed.rounds:
            inertia = _inertia(rt, layout, x, members, rows, means)
            found = concatenate([stack([rows, inertia]), _transposed(means)])
            is_told = _large(rt, agreed, rows, complementary=True)
            clusters = rt.mul(is_told, _transposed(found))
            keep_shares(rt, held, steps + 1, {"clusters": clusters}, {"is_settled": np.array(is_settled)})
            return Trained(clusters, steps, is_settled)
        is_large = _large(rt, agreed, rows, complementary=False)
        beside = _beside_largest(rt, widths, agreed, rows, means)
        before, centres = centres, rt.add(beside, rt.mul(is_large, rt.sub(means, beside)))


def own_columns(agreed: Clusters, owner: slice, columns: Sequence[Floats]) -> Floats:
    """An owner's columns as `scaled` makes them, for `train`.

    Raises:
        ValueOutOfRange: values that are missing or not finite; by column and count.
        InvalidInput: another number of columns, or one that has one value only within the bounds.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    found = scaled(agreed, owner, columns)
    for name, column in zip(agreed.names[owner], found, strict=True):
        if column.min() == column.max():
            raise InvalidInput(f"column {name}: all {len(column)} values are equal within the bounds")
    return found


def scaled(agreed: Clusters, owner: slice, columns: Sequence[Floats]) -> Floats:
    """An owner's columns scaled by the agreed bounds to 0 to 1, values beyond these at them.

    Args:
        agreed: as at all parties.
        owner: which of the agreed columns are this owner's; see `places_of`.
        columns: float64[rows] each, in that order.

    Returns:
        float64[columns, rows].

    Raises:
        ValueOutOfRange: values that are missing or not finite; by column and count.
        InvalidInput: another number of columns.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    names = agreed.names[owner]
    if len(columns) != len(names):
        raise InvalidInput(f"columns: expected {', '.join(names)}, got {len(columns)}")
    for name, column in zip(names, columns, strict=True):
        check_finite(column, name)
    return in_unit(np.column_stack(columns), agreed.lower[owner], agreed.upper[owner]).T


def own_centres(rt: Runtime, layout: Layout, trained: Trained) -> NDArray[np.int64] | None:
    """Tell every owner the rows and the inertia of all clusters, and their centres in its own columns.

    Returns:
        At an owner int64[clusters, 2 + own columns], as `Trained.clusters`; None elsewhere.

    Security: as `Runtime.open`. Leaks: nothing else. Cost: one round an owner; 8 bytes a number, 16 to a
    party that does not compute. Source: none.
    """
    own: NDArray[np.int64] | None = None
    for rank in range(len(layout.columns)):
        place = places_of(layout, rank)
        asked = trained.clusters[:, np.r_[:2, 2 + place.start : 2 + place.stop]]
        opened = rt.open(asked, [rank])
        own = own if opened is None else opened
    return own


def places_of(layout: Layout, rank: int) -> slice:
    """Which of the columns of all owners are those of one."""
    place = layout.places(rank)
    return slice(place.start - 1, place.stop - 1)


def _columns(rt: Runtime, layout: Layout, columns: Floats | None) -> Shared:
    """Share the columns of all owners: int64[columns, rows]."""
    parts = []
    for owner, count in enumerate(layout.columns):
        if not count:
            continue
        encoded = _encoded(columns, (count, layout.rows)) if owner == rt.rank else None
        parts.append(rt.share(owner, encoded, (count, layout.rows), limit=_ONE + 1))
    return concatenate(parts)


def _encoded(columns: Floats | None, shape: tuple[int, int]) -> NDArray[np.int64]:
    if columns is None or columns.shape != shape:
        raise InvalidInput(f"columns: expected an array of shape {shape}")
    misfits = int(np.count_nonzero(~((columns >= 0) & (columns <= 1))))
    if misfits:
        raise ValueOutOfRange(f"columns: {misfits} of {columns.size} values are not from 0 to 1")
    encoded: NDArray[np.int64] = np.rint(columns * _ONE).astype(np.int64)
    return encoded


def _nearest(rt: Runtime, layout: Layout, x: Shared, centres: Shared) -> Shared:
    """A 1 at the nearest centre of each row, the first of several: int64[rows, clusters]."""
    count = centres.rows
    squares = rt.sum(rt.mul(centres, centres)).reshape(1, count)
    bits, parts = Widths.of(layout).distance, []
    for part in layout.batches(max(1, CHUNK_CELLS // count)):
        products = rt.dot(_transposed(x[:, part]), centres)
        parts.append(rt.place_of_largest(rt.sub(rt.scale(products, 2), squares), bits=bits))
    return concatenate(parts)


def _means(rt: Runtime, widths: Widths, sums: Shared, rows: Shared) -> Shared:
    """Sums by cluster over its rows: int64[clusters, columns]; of a cluster without any it means nothing."""
    divisors = Shared(np.repeat(rows.shares, sums.shape[1], axis=-1))
    means = rt.divide(
        sums.reshape(sums.size), divisors, dividend_bits=widths.dividend, divisor_bits=widths.rows
    )
    return means.reshape(*sums.shape)


def _inertia(rt: Runtime, layout: Layout, x: Shared, members: Shared, rows: Shared, means: Shared) -> Shared:
    """Squared distances of a cluster's rows from their mean, by Steiner's theorem: int64[clusters].

    Squares are rounded before they are added up; of a cluster of n rows and d columns the sum is within
    8 n (d + 1) units.
    """
    lengths = []
    for part in layout.batches(max(1, CHUNK_CELLS // x.rows)):
        squares = rt.mul(x[:, part], x[:, part])
        lengths.append(rt.quotient(Shared(squares.shares.sum(axis=1, dtype=np.uint64)), _ONE))
    sums = rt.dot(members, concatenate(lengths).reshape(1, layout.rows)).reshape(rows.rows)
    of_means = rt.quotient(rt.sum(rt.mul(means, means)).reshape(rows.rows), _ONE)
    return rt.sub(sums, rt.mul(rows, of_means))


def _large(rt: Runtime, agreed: Clusters, rows: Shared, *, complementary: bool) -> Shared:
    """A 1 where a cluster has the least rows: int64[clusters, 1]."""
    return large_enough(rt, rows, agreed.least, complementary=complementary).reshape(agreed.count, 1)


def _is_settled(rt: Runtime, places: Shared, before: Shared, least: int) -> bool:
    """Whether fewer rows than the least changed their cluster; every party learns it."""
    stayed = rt.dot(places.reshape(places.size), before.reshape(before.size))
    return told(rt, rt.add_public(rt.neg(stayed), places.rows - least))


def _beside_largest(rt: Runtime, widths: Widths, agreed: Clusters, rows: Shared, means: Shared) -> Shared:
    """Where each cluster goes if it is too small: int64[clusters, columns]."""
    largest = rt.place_of_largest(rows.reshape(1, agreed.count), bits=widths.difference)
    aside = rt.constant(np.rint(directions(agreed) * _ASIDE).astype(np.int64))
    return rt.add(rt.dot(largest, _transposed(means)), aside)


def _transposed(a: Shared) -> Shared:
    return Shared(a.shares.transpose(0, 2, 1))
