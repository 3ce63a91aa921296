"""What a model whose coefficients are shared says of rows that are shared."""

from __future__ import annotations

from typing import Final

from federated.vertical.settings import FEATURE_FRACTION, WEIGHT_FRACTION, Family
from mpc.replicated import Runtime, Shared, logistic

__all__ = ["FITTED_FRACTION", "LOSS_FRACTION", "fitted", "predicted", "squares"]

FITTED_FRACTION: Final = FEATURE_FRACTION + WEIGHT_FRACTION
LOSS_FRACTION: Final = 12
"""Fractional bits of residuals when they are squared: 2^18 rows of 2^9 squared sum to less than 2^62."""


def fitted(rt: Runtime, batch: Shared, weights: Shared) -> Shared:
    """The sums of columns times coefficients, int64[rows] with `FITTED_FRACTION` fractional bits; a round."""
    rows = Shared(batch.shares.transpose(0, 2, 1))
    return rt.dot(rows, weights.reshape(1, weights.rows)).reshape(rows.rows)


def predicted(rt: Runtime, family: Family, batch: Shared, weights: Shared) -> Shared:
    """What the model says of each row: int64[rows] with `logistic.FRACTION` fractional bits, as residuals."""
    sums = fitted(rt, batch, weights)
    if family is Family.LINEAR:
        return rt.quotient(sums, 2 ** (FITTED_FRACTION - logistic.FRACTION))
    if family is Family.POISSON:
        return rt.exponential(sums, FITTED_FRACTION)
    return rt.add_public(rt.sigmoid(sums, FITTED_FRACTION), 2 ** (logistic.FRACTION - 1))


def squares(rt: Runtime, residual: Shared, fraction: int = logistic.FRACTION) -> Shared:
    """The sum of squared residuals of ``fraction`` fractional bits, with twice `LOSS_FRACTION` of them."""
    short = rt.quotient(residual, 2 ** (fraction - LOSS_FRACTION))
    return rt.dot(short, short)
