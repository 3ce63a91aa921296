"""Standard errors of coefficients on shares: the inverse of the Fisher information, which nobody sees.

With the rows x_i, what the model says of them m_i and its variance function v (m (1 - m), 1 or m),

    H = 1/n sum_i v(m_i) x_i x_i^T,        variance of coefficient j = phi (H^-1)_jj / n

where phi is 1 for a logistic regression, the sum of squared residuals over n - d for a linear one, and 1 over
the mean label for counts, which are trained on in that unit. B, which is H over its trace, has eigenvalues up
to 1, so that Y <- Y (2 I - B Y) converges to its inverse from Y = I.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.vertical import prediction
from federated.vertical.settings import FEATURE_FRACTION, WEIGHT_FRACTION, Family, Layout, Settings
from mpc.errors import ValueOutOfRange
from mpc.replicated import Runtime, Shared, logistic
from mpc.replicated.sharing import concatenate

__all__ = ["FRACTION", "MEANS", "STEPS", "TRACE_FRACTION", "variances"]

MEANS: Final = (2**-6, 2**14)
"""Smallest and largest mean of a label that counts."""
FRACTION: Final = 22
"""Fractional bits of matrices."""
STEPS: Final = 16
"""Enough where the trace is 2^12 times the smallest eigenvalue; entries stay below 2^16 meanwhile."""
TRACE_FRACTION: Final = 16
_SHORT: Final = 4
"""Fractional bits that the diagonal of an inverse loses before it is multiplied."""
_APART: Final = 0.01
"""Largest distance of B Y from I, as the root of the sum of squares."""


def variances(
    rt: Runtime, layout: Layout, settings: Settings, x: Shared, y: Shared, weights: Shared, mean: float
) -> Shared:
    """The variance of each coefficient, times the number of rows.

    Args:
        rt: the run.
        layout: rows and columns of every owner.
        settings: as agreed.
        x: shared int64[coefficients, rows], `FEATURE_FRACTION` fractional bits.
        y: shared int64[rows], `logistic.FRACTION` fractional bits.
        weights: shared int64[coefficients], as trained.
        mean: of a label that counts, at rank 0.

    Returns:
        Shared int64[coefficients] with `WEIGHT_FRACTION` fractional bits.

    Raises:
        ValueOutOfRange: at all parties, that columns say the same: the information has a trace of more than
            about 2^12 times its smallest eigenvalue; at rank 0 a mean that is too small or too large.

    Security: as the runtime: semi-honest, one of three. Leaks: that they say the same. Cost: see
        `federated.vertical.costs.standard_errors`.
    Source: inverse by Schulz 1933; standard errors: McCullagh, Nelder 1989, Generalized Linear Models.
    """
    information, scale = _information(rt, layout, settings, x, y, weights)
    size = layout.coefficients
    trace = rt.quotient(rt.sum(_diagonal(information)), 2 ** (FRACTION - TRACE_FRACTION))
    unit = rt.constant(np.array([2 ** (TRACE_FRACTION + FRACTION)], dtype=np.int64))
    over_trace = rt.divide(unit, trace, dividend_bits=TRACE_FRACTION + FRACTION + 1)
    b = rt.quotient(rt.mul(information, over_trace), 2**FRACTION)
    inverse = rt.constant(np.eye(size, dtype=np.int64) << FRACTION)
    for _ in range(STEPS):
        inverse = _product(rt, inverse, _rest(rt, b, inverse, 2))
    _check_inverse(rt, _rest(rt, b, inverse, 1).reshape(size * size))
    short = rt.quotient(_diagonal(inverse), 2**_SHORT)
    diagonal = rt.quotient(rt.mul(short, over_trace), 2 ** (2 * FRACTION - _SHORT - WEIGHT_FRACTION))
    if settings.family is Family.POISSON:
        limit = round(2**WEIGHT_FRACTION / MEANS[0]) + 1
        scale = rt.share(0, _over(mean) if rt.rank == 0 else None, 1, limit=limit)
    if scale is None:
        return diagonal
    return rt.quotient(rt.mul(diagonal, scale), 2**WEIGHT_FRACTION)


def _information(
    rt: Runtime, layout: Layout, settings: Settings, x: Shared, y: Shared, weights: Shared
) -> tuple[Shared, Shared | None]:
    """H with `FRACTION` fractional bits, and phi of a linear regression with `WEIGHT_FRACTION`."""
    size, squares = layout.coefficients, list[Shared]()
    total = rt.constant(np.zeros((size, size), dtype=np.int64))
    for part in layout.batches(settings.batch):
        batch = weighted = x[:, part]
        told = prediction.predicted(rt, settings.family, batch, weights)
        if settings.family is Family.LINEAR:
            squares.append(prediction.squares(rt, rt.sub(told, y[part])))
        else:
            weight = told if settings.family is Family.POISSON else _of_chances(rt, told)
            weighted = rt.quotient(rt.mul(batch, weight), 2**logistic.FRACTION)
        total = rt.add(total, rt.quotient(rt.dot(weighted, batch), 2 ** (2 * FEATURE_FRACTION - FRACTION)))
    information = rt.quotient(total, layout.rows)
    if not squares:
        return information, None
    freedom = layout.rows - size
    unit = 2 ** (2 * prediction.LOSS_FRACTION - WEIGHT_FRACTION)
    return information, rt.quotient(rt.sum(concatenate(squares)), freedom * unit)


def _of_chances(rt: Runtime, chance: Shared) -> Shared:
    """The variance p (1 - p) = 1/4 - (p - 1/2)^2 of a label of 0 and 1."""
    from_middle = rt.add_public(chance, -(2 ** (logistic.FRACTION - 1)))
    square = rt.quotient(rt.mul(from_middle, from_middle), 2**logistic.FRACTION)
    return rt.add_public(rt.neg(square), 2 ** (logistic.FRACTION - 2))


def _rest(rt: Runtime, b: Shared, inverse: Shared, times: int) -> Shared:
    """I, some times, less the product of two matrices."""
    ones = rt.constant(times * np.eye(b.rows, dtype=np.int64) << FRACTION)
    return rt.sub(ones, _product(rt, b, inverse))


def _product(rt: Runtime, left: Shared, right: Shared) -> Shared:
    # The iteration heals its rounding only where products are what they say, symmetric factors or not.
    return rt.quotient(rt.dot(left, Shared(right.shares.transpose(0, 2, 1))), 2**FRACTION)


def _diagonal(matrix: Shared) -> Shared:
    places = np.arange(matrix.rows)
    return matrix[places, places]


def _check_inverse(rt: Runtime, rest: Shared) -> None:
    """End the run where the iteration did not come to an inverse; every party learns it."""
    short = rt.quotient(rest, 2 ** (FRACTION - WEIGHT_FRACTION))
    beyond = rt.add_public(rt.dot(short, short), -round(_APART**2 * 4.0**WEIGHT_FRACTION))
    opened = rt.open_bits(rt.is_negative(beyond), range(rt.parties))
    assert opened is not None  # noqa: S101 - every party is among those told
    if not opened[0]:
        raise ValueOutOfRange(
            "standard errors: columns of the owners are nearly sums of others: leave some out, or the errors"
        )


def _over(mean: float) -> NDArray[np.int64]:
    low, high = MEANS
    if not low <= mean <= high:
        raise ValueOutOfRange(f"standard errors: expected a mean label of {low} to {high}")
    return np.array([round(2**WEIGHT_FRACTION / mean)], dtype=np.int64)
