"""Mini-batch gradient descent of a network on shares: forward, backward, and a step, for each batch.

The gradient of a hidden weight is w_u sum_r s_ur e_r x_rc, with the slope s of unit u at row r, the residual
e and the weight w_u of the unit in the output. The weight is taken out of the sum, so that nothing of the
size of rows times units is truncated on the way back: the sums are, and then their products with weights.

A run that a lost party cut off goes on in a new session at the last epoch that all parties had reached, as
`federated.vertical.training` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.checkpoints import Checkpoints
from federated.network.layers import forward
from federated.network.settings import STEP_BITS, WEIGHT_LIMIT, Settings, check_sizes
from federated.network.weights import initial
from federated.shared_checkpoints import keep_shares, shares_of
from federated.vertical.inputs import shared_features, shared_label
from federated.vertical.prediction import FITTED_FRACTION, LOSS_FRACTION, squares
from federated.vertical.settings import FEATURE_FRACTION, WEIGHT_FRACTION, Family, Layout
from mpc.replicated import Runtime, Shared
from mpc.replicated.clipping import clipped
from mpc.replicated.sharing import concatenate
from mpc.secrecy import Unprintable

__all__ = ["Trained", "train"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Trained(Unprintable):
    """The outcome of a run.

    Attributes:
        weights: shared int64[weights], of standardised columns, in the order of
            `federated.network.weights.initial`.
        losses: mean squared error of each epoch, at the owners and where it was asked for; else empty.
    """

    weights: Shared
    losses: tuple[float, ...]


def train(
    rt: Runtime,
    layout: Layout,
    settings: Settings,
    features: Floats | None,
    label: Floats | None,
    seed: bytes,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    checkpoints: Checkpoints | None = None,
    on_loss: Callable[[float], None] = lambda loss: None,
) -> Trained:
    """Fit a network to the columns of all owners.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: rows and columns of every owner.
        settings: as agreed, equal at all parties.
        features: float64[columns, rows] of this owner, standardised; None where it has none.
        label: float64[rows] at rank 0: 0 and 1, or standardised; None elsewhere.
        seed: public, equal at all parties: what the first weights are drawn from.
        progress: told after each epoch.
        checkpoints: where this party's shares are kept before each epoch, and the epoch to begin at.
        on_loss: told the mean squared error of each epoch, where this party learns it.

    Raises:
        InvalidInput: arrays that do not fit the layout, sizes beyond their limits, or a checkpoint of another
            run.
        ValueOutOfRange: a value that is not finite or too large, before anything is sent of it.

    Security: as the runtime: semi-honest, one of three. Leaks: see `SPEC`. Cost: see
    `federated.network.costs.training`. Source: Mohassel, Zhang 2017, sections 4.1 and 4.3; back-propagation:
    Rumelhart, Hinton, Williams 1986.
    """
    check_sizes(layout)
    x = shared_features(rt, layout, features)
    y = shared_label(rt, layout, label, settings.residual_fraction)
    weights = rt.constant(initial(layout, settings, seed))
    losses: list[float] = []
    held = Checkpoints() if checkpoints is None else checkpoints
    held.forget_later()
    if (begun := held.begun) is not None:
        (weights,), losses = shares_of(begun, {"weights": weights}), begun["losses"].tolist()
    for epoch in range(max(0, held.begins_at - 1), settings.epochs):
        keep_shares(rt, held, epoch + 1, {"weights": weights}, {"losses": np.array(losses)})
        losing = list[Shared]()
        for part in layout.batches(settings.batch):
            gradient, residual = _gradient(rt, layout, settings, x[:, part], y[part], weights)
            if settings.tells_loss:
                losing.append(squares(rt, residual, settings.residual_fraction))
            weights = _stepped(rt, layout, settings, epoch, weights, gradient)
        if losing:
            opened = rt.open(rt.sum(concatenate(losing)), range(len(layout.columns)))
            if opened is not None:
                losses.append(float(opened[0]) * 4.0**-LOSS_FRACTION / layout.rows)
                on_loss(losses[-1])
        progress(epoch + 1, settings.epochs)
    return Trained(weights, tuple(losses))


def _gradient(
    rt: Runtime, layout: Layout, settings: Settings, batch: Shared, label: Shared, weights: Shared
) -> tuple[Shared, Shared]:
    """The mean gradient of a batch, with twice `WEIGHT_FRACTION` fractional bits, and its residuals."""
    split, size = settings.hidden(layout), batch.shape[1]
    hidden, output = weights[:split].reshape(settings.units, layout.coefficients), weights[split:]
    passed = forward(rt, settings.family, batch, hidden, output)
    residual = rt.sub(_predicted(rt, settings, passed.fitted), label)
    lower = rt.dot(rt.mul(passed.slopes, residual), batch)
    upper = rt.dot(passed.activations, residual.reshape(1, size))
    sums = concatenate([lower.reshape(split), upper.reshape(output.rows)])
    excess = settings.residual_fraction + FEATURE_FRACTION - WEIGHT_FRACTION
    means = rt.quotient(sums, size << excess)
    back = rt.mul(means[:split].reshape(*hidden.shape), output[1:].reshape(settings.units, 1))
    return concatenate([back.reshape(split), rt.scale(means[split:], 2**WEIGHT_FRACTION)]), residual


def _predicted(rt: Runtime, settings: Settings, fitted: Shared) -> Shared:
    """What the network says of each row: int64[rows] with the fractional bits of residuals."""
    fraction = settings.residual_fraction
    if settings.family is Family.LINEAR:
        return rt.quotient(fitted, 2 ** (FITTED_FRACTION - fraction))
    return rt.add_public(rt.sigmoid(fitted, FITTED_FRACTION), 2 ** (fraction - 1))


def _stepped(
    rt: Runtime, layout: Layout, settings: Settings, epoch: int, weights: Shared, gradient: Shared
) -> Shared:
    """The weights after a step, cut off at their limit."""
    if settings.l2:
        gradient = rt.add(gradient, rt.scale(weights, _penalties(layout, settings)))
    step = rt.quotient(gradient, round(2**WEIGHT_FRACTION / settings.rate_of(epoch)))
    end = WEIGHT_LIMIT << WEIGHT_FRACTION
    kept, _ = clipped(rt, rt.sub(weights, step), -end, end, bits=STEP_BITS)
    return kept


def _penalties(layout: Layout, settings: Settings) -> NDArray[np.int64]:
    """What each weight is multiplied by in the gradient; intercepts by 0."""
    penalties = np.full(settings.weights(layout), round(settings.l2 * 2**WEIGHT_FRACTION), dtype=np.int64)
    split = settings.hidden(layout)
    penalties[: split : layout.coefficients] = 0
    penalties[split] = 0
    return penalties
