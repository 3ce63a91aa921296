"""Correlations between columns of several owners, from inner products of standardised columns on shares.

Columns of mean 0 and deviation 1 have the inner product n r over n rows. Each owner multiplies its own
columns with each other at its own node; products of columns of different owners are computed on shares, in
chunks of rows, so that memory does not grow with their number. Nothing is opened here: the caller decides who
learns the correlations, and whether those below a threshold stay closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federated.vertical.settings import LIMIT, Layout
from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.replicated import Runtime, Shared
from mpc.replicated.sharing import concatenate
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "CHUNK_ROWS",
    "FRACTION",
    "MAX_ROWS",
    "SPEC",
    "correlate",
    "correlations",
    "cross_sizes",
    "inflation",
    "own_products",
    "placed",
    "selected",
]

Floats = NDArray[np.float64]

FRACTION: Final = 19
"""Fractional bits of a standardised value; a correlation is within 2^-19 of that of the exact values."""
MAX_ROWS: Final = 2**23
"""Products of 38 fractional bits then sum to at most 2^61, and so does what they are compared with."""
CHUNK_ROWS: Final = 65_536
_UNIT: Final = 4**FRACTION
_SINGULAR: Final = 1e-4
"""An eigenvalue below it is no more than what rounding may leave of 0: inflation would exceed 10^4."""
_INVOLVED: Final = 1e-6
"""Part of a column, in squared loadings, that lies along eigenvectors of such eigenvalues."""

_PUBLIC = "the threshold, the number of rows, and of columns of every owner"

SPEC: Final = ProtocolSpec(
    name="vertical/correlation",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={"owner": (_PUBLIC,), "helper": (_PUBLIC,)},
    cost="an owner sends 8 bytes a row and column, 16 where it does not compute, and a computing party 8 a "
    "pair of columns of different owners and chunk of 65,536 rows; to the byte by federated.vertical.costs",
    source="inner products and comparison on replicated shares: Araki, Furukawa, Lindell, Nof, Ohara 2016; "
    "Mohassel, Rindal 2018",
    summary="Pearson's correlations between columns of several owners as shares for named recipients, all of "
    "them or those from a threshold on.",
)


def correlate(
    rt: Runtime,
    layout: Layout,
    features: Floats | None,
    threshold: float = 0.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Shared:
    """Multiply the columns of every two different owners.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: rows and columns of every owner.
        features: float64[columns, rows] of this owner, standardised; None elsewhere.
        threshold: correlations of a smaller magnitude become 0; 0 to 1, equal at all parties.
        progress: told after each chunk of rows.

    Returns:
        Shared int64[pairs] in units of 1 / (rows 2^38), in the order that `placed` takes.

    Raises:
        InvalidInput: an array that does not fit the layout, an owner without columns, or too many rows.
        ValueOutOfRange: a value that is not finite or too large, before anything is sent of it.

    Security: as the runtime: semi-honest, one of three. Leaks: see `SPEC`. Cost: see
    `federated.vertical.costs.correlation`. Source: see `SPEC`.
    """
    if layout.rows > MAX_ROWS or not all(layout.columns):
        raise InvalidInput(
            f"expected at most {MAX_ROWS} rows and a column of every owner, got {layout.rows} rows and "
            f"{min(layout.columns)} columns"
        )
    chunks = layout.batches(CHUNK_ROWS)
    if features is not None:
        _check(layout, rt.rank, features)
    total = rt.constant(np.zeros(sum(cross_sizes(layout)), dtype=np.int64))
    for done, chunk in enumerate(chunks, 1):
        shared = []
        for owner, count in enumerate(layout.columns):
            own = None
            if features is not None and owner == rt.rank:
                own = np.rint(features[:, chunk] * 2.0**FRACTION).astype(np.int64)
            shape = (count, chunk.stop - chunk.start)
            shared.append(rt.share(owner, own, shape, limit=LIMIT << FRACTION))
        blocks = [
            rt.dot(shared[owner], concatenate(shared[owner + 1 :])).reshape(size)
            for owner, size in enumerate(cross_sizes(layout))
        ]
        total = rt.add(total, concatenate(blocks))
        progress(done, len(chunks))
    return _from_threshold(rt, total, _least(layout, threshold)) if threshold else total


def own_products(layout: Layout, features: Floats, threshold: float = 0.0) -> NDArray[np.int64]:
    """The inner products of an owner's own columns, in the units of `correlate`; local."""
    products = np.rint(features @ features.T * _UNIT).astype(np.int64)
    return np.where(np.abs(products) < _least(layout, threshold), 0, products)


def cross_sizes(layout: Layout) -> list[int]:
    """For each owner but the last, the pairs of its columns with those of the owners after it."""
    columns = layout.columns
    return [count * sum(columns[owner + 1 :]) for owner, count in enumerate(columns[:-1])]


def placed(layout: Layout, cross: NDArray[Any]) -> NDArray[Any]:
    """The pairs of `correlate` in a matrix of all columns by owner, above the blocks of single owners."""
    width = sum(layout.columns)
    matrix = np.zeros((width, width), dtype=cross.dtype)
    first = at = 0
    for count, size in zip(layout.columns, cross_sizes(layout), strict=False):
        last = first + count
        matrix[first:last, last:] = cross[at : at + size].reshape(count, width - last)
        first, at = last, at + size
    return matrix


def correlations(rows: int, products: NDArray[np.int64]) -> Floats:
    """The symmetric matrix of correlations from its upper half in the units of `correlate`; local."""
    upper = np.triu(products, 1) / (rows * _UNIT)
    matrix: Floats = upper + upper.T + np.eye(len(products))
    return matrix


def inflation(matrix: Floats) -> Floats:
    """The variance inflation factor of each column: the diagonal of the inverse of the correlations.

    Returns:
        float64[columns]; NaN for a column that is, to what rounding tells, a sum of multiples of others.

    Security: local. Leaks: nothing; local. Cost: local. Source: Marquardt 1970; Belsley, Kuh, Welsch 1980.
    """
    values, vectors = np.linalg.eigh(matrix)
    loadings, singular = vectors**2, values < _SINGULAR
    factors: Floats = (loadings[:, ~singular] / values[~singular]).sum(axis=1)
    factors[loadings[:, singular].sum(axis=1) > _INVOLVED] = np.nan
    return factors


def selected(matrix: Floats, most: float) -> list[int]:
    """The columns that stay where that of the largest inflation is left out until none exceeds ``most``.

    Security: local. Leaks: nothing; local. Cost: local. Source: Belsley, Kuh, Welsch 1980; O'Brien 2007.
    """
    left = list(range(len(matrix)))
    while len(left) > 1:
        factors = np.nan_to_num(inflation(matrix[np.ix_(left, left)]), nan=np.inf)
        worst = int(factors.argmax())
        if factors[worst] <= most:
            break
        left.pop(worst)
    return left


def _check(layout: Layout, rank: int, features: Floats) -> None:
    shape = (layout.columns[rank], layout.rows)
    if features.shape != shape:
        raise InvalidInput(f"features: expected an array of shape {shape}")
    misfits = int(np.count_nonzero(~(np.abs(features) < LIMIT)))
    if misfits:
        raise ValueOutOfRange(f"features: {misfits} of {features.size} values are not below {LIMIT}")


def _least(layout: Layout, threshold: float) -> int:
    return round(threshold * layout.rows * _UNIT)


def _from_threshold(rt: Runtime, products: Shared, least: int) -> Shared:
    """Products whose magnitude reaches ``least``, and 0 for the others."""
    below = rt.is_negative(rt.add_public(products, -least))
    above_negative = rt.is_negative(rt.add_public(rt.neg(products), -least))
    reaches = rt.to_arithmetic(rt.not_(rt.and_(below, above_negative)))
    return rt.mul(products, reaches)
