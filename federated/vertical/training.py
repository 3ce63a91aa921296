"""Mini-batch gradient descent on shares: the loop, and who learns the coefficients.

Fixed point: features have 14 fractional bits, coefficients 20, residuals 27. The fitted values of a logistic
regression enter the sine series with all their 34 bits, and the gradient is truncated once a step, together
with its division by the batch and the momentum; so a step takes six rounds.

A run that a lost party cut off goes on in a new session at the last epoch that all parties had reached: with
the shares they kept, and inputs shared anew. What such an epoch tells, it tells again, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.checkpoints import Checkpoints
from federated.shared_checkpoints import keep_shares, shares_of
from federated.vertical import standard_errors
from federated.vertical.inputs import shared_features, shared_label
from federated.vertical.prediction import FITTED_FRACTION, LOSS_FRACTION, fitted, predicted, squares
from federated.vertical.settings import (
    FEATURE_FRACTION,
    MAX_ERRORS,
    WEIGHT_FRACTION,
    Family,
    Layout,
    Settings,
)
from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.replicated import Runtime, Shared, logistic
from mpc.replicated.sharing import concatenate, concatenate_bits
from mpc.secrecy import Unprintable

__all__ = ["Trained", "own_coefficients", "told", "train"]

Floats = NDArray[np.float64]

_NO_LOSS: Final = 2**62
"""Above every sum of squares."""
_SHARES: Final = ("weights", "step", "best", "lowest")
"""What of an epoch is shared when the next begins."""
_STEP: Final = FEATURE_FRACTION + logistic.FRACTION - WEIGHT_FRACTION
"""Fractional bits of a gradient beyond those of coefficients."""


@dataclass(frozen=True, repr=False, eq=False)
class Trained(Unprintable):
    """The outcome of a run.

    Attributes:
        weights: shared int64[coefficients], the intercept first, of standardised columns, 20 fractional bits.
        epochs: passes over the rows, with those after which other coefficients were kept.
        losses: mean squared error of each epoch, at the owners and where it was asked for; else empty.
        variances: shared int64[coefficients], of the coefficients, times the number of rows, 20 fractional
            bits; None where they were not asked for.
    """

    weights: Shared
    epochs: int
    losses: tuple[float, ...]
    variances: Shared | None = None


def train(
    rt: Runtime,
    layout: Layout,
    settings: Settings,
    features: Floats | None,
    label: Floats | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    mean: float = 1.0,
    checkpoints: Checkpoints | None = None,
    on_loss: Callable[[float], None] = lambda loss: None,
) -> Trained:
    """Fit a regression to the columns of all owners.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: rows and columns of every owner.
        settings: as agreed, equal at all parties.
        features: float64[columns, rows + held_out] of this owner, standardised; None where it has none.
        label: float64[rows + held_out] at rank 0: 0 and 1, standardised, or counts over their mean; None
            elsewhere.
        progress: told after each epoch.
        mean: at rank 0, of a label that counts, before it was divided by it; for standard errors.
        checkpoints: where this party's shares are kept before each epoch, and the epoch to begin at. The rows
            come in the same order in every attempt.
        on_loss: told the mean squared error of each epoch, where this party learns it.

    Raises:
        ValueOutOfRange: a value that is not finite or too large, before anything is sent of it; or, at the
            end and at all parties, that training failed, or that standard errors have no sense.
        InvalidInput: arrays that do not fit the layout, a patience without rows held out, such rows without
            a patience, or a checkpoint of another run.

    Security: as the runtime: semi-honest, one of three. Leaks: see `SPEC`. Cost: see
    `federated.vertical.costs.training`. Source: Mohassel, Zhang 2017, section 4.1, on replicated shares; the
    epoch kept: Prechelt 1998, Early Stopping - But When?
    """
    if (settings.patience > 0) != (layout.held_out > 0):
        raise InvalidInput(
            f"patience: expected rows held out with one and none without, got {settings.patience} epochs and "
            f"{layout.held_out} rows"
        )
    if settings.standard_errors and not layout.coefficients <= min(MAX_ERRORS, layout.rows - 1):
        raise InvalidInput(
            f"standard_errors: expected at most {MAX_ERRORS} coefficients, and fewer than rows, got "
            f"{layout.coefficients} and {layout.rows} rows"
        )
    x = shared_features(rt, layout, features)
    y = shared_label(rt, layout, label, logistic.FRACTION)
    weights = step = rt.constant(np.zeros(layout.coefficients, dtype=np.int64))
    losses: list[float] = []
    epochs = best_epoch = 0
    best, lowest = weights, rt.constant(np.array([_NO_LOSS], dtype=np.int64))
    held = Checkpoints() if checkpoints is None else checkpoints
    held.forget_later()
    if (begun := held.begun) is not None:
        first = dict(zip(_SHARES, (weights, step, best, lowest), strict=True))
        weights, step, best, lowest = shares_of(begun, first)
        losses, (best_epoch,) = begun["losses"].tolist(), begun["best_epoch"].tolist()
        epochs = held.begins_at - 1
    while epochs < settings.epochs:
        shared = dict(zip(_SHARES, (weights, step, best, lowest), strict=True))
        public = {"losses": np.array(losses), "best_epoch": np.array([best_epoch])}
        keep_shares(rt, held, epochs + 1, shared, public)
        before, losing = weights, []
        for part in layout.batches(settings.batch):
            batch, size = x[:, part], part.stop - part.start
            residual = rt.sub(predicted(rt, settings.family, batch, weights), y[part])
            if settings.tells_loss:
                losing.append(squares(rt, residual))
            gradient = rt.dot(batch, residual).reshape(layout.coefficients)
            divisor = round(size / settings.rate_of(epochs) * 2**_STEP)
            momentum = rt.scale(step, round(settings.momentum * divisor))
            gradient = _penalised(rt, settings, size, gradient, weights)
            step = rt.quotient(rt.add(gradient, momentum), divisor)
            weights = rt.sub(weights, step)
        epochs += 1
        if losing:
            for opened in _opened_loss(rt, layout, losing):
                losses.append(opened)
                on_loss(opened)
        progress(epochs, settings.epochs)
        if settings.patience:
            loss = _held_out_loss(rt, layout, settings, x, y, weights)
            if told(rt, rt.sub(loss, lowest)):
                best, lowest, best_epoch = weights, loss, epochs
            elif epochs - best_epoch >= settings.patience:
                break
        if settings.tolerance and _stands_still(rt, rt.sub(weights, before), settings.tolerance):
            break
    if settings.patience:
        weights = best
    _check_reach(rt, layout, settings.family, x, weights)
    variances = None
    if settings.standard_errors:
        variances = standard_errors.variances(rt, layout, settings, x, y, weights, mean)
    return Trained(weights, epochs, tuple(losses), variances)


def own_coefficients(rt: Runtime, layout: Layout, weights: Shared) -> tuple[float, Floats] | None:
    """Tell every owner the coefficients of its own columns, and rank 0 the intercept.

    Returns:
        At an owner, the intercept (0 where it is another's) and float64[columns]; None elsewhere.

    Security: as `Runtime.open`. Leaks: nothing else. Cost: one round an owner; 8 bytes a coefficient, 16 to a
    party that does not compute. Source: none.
    """
    own: tuple[float, Floats] | None = None
    for rank in range(len(layout.columns)):
        asked = weights[layout.places(rank)]
        if rank == 0:
            asked = concatenate([weights[:1], asked])
        if not asked.rows:
            continue
        opened = rt.open(asked, [rank])
        if opened is not None:
            values = opened * 2.0**-WEIGHT_FRACTION
            own = (float(values[0]), values[1:]) if rank == 0 else (0.0, values)
    return own


def told(rt: Runtime, value: Shared) -> bool:
    """Whether a value is negative, told to every party.

    Args:
        rt: the run.
        value: shared int64[1].

    Security: as `Runtime.open`. Leaks: the bit, to every party. Cost: a sign, and one round. Source: none.
    """
    opened = rt.open_bits(rt.is_negative(value), range(rt.parties))
    assert opened is not None  # noqa: S101 - every party is among those told
    return bool(opened[0])


def _penalised(rt: Runtime, settings: Settings, size: int, gradient: Shared, weights: Shared) -> Shared:
    """The gradient of a batch of some size, with that of the penalty; the intercept has none."""
    if not settings.l2:
        return gradient
    penalties = np.full(weights.rows, round(settings.l2 * size * 2**_STEP), dtype=np.int64)
    penalties[0] = 0
    return rt.add(gradient, rt.scale(weights, penalties))


def _held_out_loss(
    rt: Runtime, layout: Layout, settings: Settings, x: Shared, y: Shared, weights: Shared
) -> Shared:
    """The sum of squared residuals of the rows held out, a batch at a time."""
    parts = [
        squares(rt, rt.sub(predicted(rt, settings.family, x[:, part], weights), y[part]))
        for part in layout.held_out_batches(settings.batch)
    ]
    return rt.sum(concatenate(parts))


def _opened_loss(rt: Runtime, layout: Layout, parts: list[Shared]) -> list[float]:
    total = rt.sum(concatenate(parts))
    opened = rt.open(total, range(len(layout.columns)))
    return [] if opened is None else [float(opened[0]) * 4.0**-LOSS_FRACTION / layout.rows]


def _stands_still(rt: Runtime, moved: Shared, tolerance: float) -> bool:
    """Whether the coefficients moved by less than the tolerance together; every party learns it."""
    unit = 2.0**WEIGHT_FRACTION
    beyond = rt.add_public(rt.dot(moved, moved), -round((tolerance * unit) ** 2) - 1)
    return told(rt, beyond)


def _check_reach(rt: Runtime, layout: Layout, family: Family, x: Shared, weights: Shared) -> None:
    """End the run where the approximation, or the ring, cannot have held.

    One in a hundred rows may be out of reach: those far from the boundary of a logistic regression hardly
    move it.
    """
    sums, reach = fitted(rt, x, weights), round(family.reach * 2**FITTED_FRACTION)
    above = rt.is_negative(rt.add_public(rt.neg(sums), reach))
    below = rt.is_negative(rt.add_public(sums, reach))
    outside = rt.sum(rt.to_arithmetic(concatenate_bits([above, below])))
    allowed = layout.shared_rows // 100
    if not told(rt, rt.add_public(outside, -allowed - 1)):
        raise ValueOutOfRange(
            f"more than {allowed} of {layout.shared_rows} fitted values are beyond {family.reach}: "
            "a smaller rate or a larger l2 is needed"
        )
