"""Which cluster rows are nearest to, by centres that are split among the owners, told to one of them.

Of a row x and a centre c each owner computes 2 x.c - |c|^2 in its own columns at its own node. The sum over
the owners is the larger the nearer they are; it is formed on shares, a tournament finds the largest there,
and the number of the cluster alone is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.shared_kmeans.settings import CHUNK_CELLS, FRACTION, MAX_CELLS, MAX_ROWS
from federated.vertical.settings import Layout
from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.replicated import Runtime, Shared, costs
from mpc.replicated.costs import Cost
from mpc.replicated.sharing import concatenate
from mpc.spec import Adversary, ProtocolSpec

__all__ = ["ASSIGNMENT", "assign", "assignment_cost", "assignment_sent", "nearness"]

Floats = NDArray[np.float64]

_HOLDER: Final = 0
"""Rank of the owner that learns the clusters of its rows."""
_PUBLIC = "the number of rows, of columns of every owner, and of clusters that are told"

ASSIGNMENT: Final = ProtocolSpec(
    name="vertical/cluster-assignment",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={
        "owner": (_PUBLIC, "owner-1: which cluster each row is nearest to, by the columns of all owners"),
        "helper": (_PUBLIC,),
    },
    cost="of n rows and k clusters every owner enters 8 n k bytes, twice from one that does not compute; a "
    "computing party sends some 34 n (k - 1), party 0 46 n (k - 1); one round an owner, one to open, and "
    "some 11 for each doubling of the clusters; to the byte by assignment_cost",
    source="the nearest centre: Lloyd 1982; shares: Araki, Furukawa, Lindell, Nof, Ohara 2016",
    summary="The nearest of split centres for rows of several owners' columns: one owner learns the number "
    "of each row's cluster and no distance.",
)


def nearness(centres: Floats, columns: Floats) -> Floats:
    """An owner's own part of how near rows are to centres, larger if nearer; local.

    Args:
        centres: float64[clusters, own columns], from 0 to 1.
        columns: float64[own columns, rows], as `own_columns` scales them.

    Returns:
        float64[rows, clusters].
    """
    parts: Floats = (2 * centres @ columns - (centres**2).sum(axis=1)[:, None]).T
    return parts


def assign(
    rt: Runtime,
    layout: Layout,
    clusters: int,
    own: Floats | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.int64] | None:
    """Find the nearest centre of each row.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: rows and columns of every owner.
        clusters: how many centres.
        own: float64[rows, clusters], this owner's part of `nearness`; None at a helper.
        progress: told after each chunk of rows.

    Returns:
        At rank 0 int64[rows], the place of the nearest centre, of the first of several; None elsewhere.

    Raises:
        InvalidInput: parts of another shape, or sizes beyond their limits.
        ValueOutOfRange: parts that no rows within the bounds have, before anything is sent of them.

    Security: as the runtime: semi-honest, one of three. Leaks: see `ASSIGNMENT`. Cost: `assignment_cost`.
    Source: see `ASSIGNMENT`.
    """
    shape = (layout.rows, clusters)
    if clusters < 1 or layout.rows > MAX_ROWS or layout.rows * clusters > MAX_CELLS:
        raise InvalidInput(
            f"expected a cluster, and at most {MAX_ROWS} rows and {MAX_CELLS} of rows times clusters, got "
            f"{layout.rows} and {clusters}"
        )
    near = rt.constant(np.zeros(shape, dtype=np.int64))
    for owner, count in enumerate(layout.columns):
        encoded = _encoded(own, shape, count) if owner == rt.rank else None
        near = rt.add(near, rt.share(owner, encoded, shape))
    chunks, places = _chunks(layout, clusters), []
    for done, part in enumerate(chunks, 1):
        places.append(rt.place_of_largest(near[part], bits=_bits(layout)))
        progress(done, len(chunks))
    numbers = concatenate(places).shares * np.arange(clusters, dtype=np.uint64)
    return rt.open(Shared(numbers.sum(axis=-1, dtype=np.uint64)), [_HOLDER])


def assignment_cost(layout: Layout, clusters: int) -> Cost:
    """Cost of `assign`; ``outside`` leaves inputs out, see `assignment_sent`."""
    cost = Cost()
    for owner in range(len(layout.columns)):
        inside = costs.shared(owner, layout.rows * clusters)
        cost += Cost(inside.rounds, inside.sent)
    for part in _chunks(layout, clusters):
        cost += costs.place_of_largest(part.stop - part.start, clusters, _bits(layout))
    return cost + costs.opened(layout.rows, [_HOLDER])


def assignment_sent(layout: Layout, clusters: int, cost: Cost, rank: int) -> int:
    """The bytes that the party of a rank sends for a ``cost``; outside, its own part and no other's."""
    if rank < len(cost.sent):
        return cost.sent[rank]
    is_owner = rank < len(layout.columns)
    return costs.shared(rank, layout.rows * clusters).outside if is_owner else 0


def _chunks(layout: Layout, clusters: int) -> list[slice]:
    return layout.batches(max(1, CHUNK_CELLS // clusters))


def _bits(layout: Layout) -> int:
    """Of a difference of two squared distances from 0 to 1 in a column, with its sign."""
    return FRACTION + sum(layout.columns).bit_length() + 1


def _encoded(own: Floats | None, shape: tuple[int, int], columns: int) -> NDArray[np.int64]:
    if own is None or own.shape != shape:
        raise InvalidInput(f"nearness: expected an array of shape {shape}")
    misfits = int(np.count_nonzero(~((own >= -columns) & (own <= columns))))
    if misfits:
        raise ValueOutOfRange(f"nearness: {misfits} of {own.size} values are not within {columns}")
    encoded: NDArray[np.int64] = np.rint(own * 2.0**FRACTION).astype(np.int64)
    return encoded
