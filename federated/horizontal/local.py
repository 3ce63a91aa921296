"""One owner's part of a round: gradient descent over its own rows, and by how much it moved the model."""

from __future__ import annotations

from typing import Final

import numpy as np

from federated.horizontal.encoding import FRACTION
from federated.horizontal.models import Floats, losses_and_gradient
from federated.horizontal.settings import Settings
from mpc.errors import MalformedMessage, ValueOutOfRange
from mpc.randomness import Randomness

__all__ = ["check_mean", "clipped", "update"]

_SLACK: Final = 1.0 + 2.0**-20
"""Of a clipped norm, for rounding to fixed point."""


def update(settings: Settings, model: Floats, features: Floats, label: Floats, rng: Randomness) -> Floats:
    """Train on own rows and return by how much the parameters moved, clipped: float64[parameters].

    Args:
        settings: as agreed.
        model: of the round; float64[parameters].
        features: float64[rows, columns], standardised.
        label: float64[rows], 0 and 1 or standardised.
        rng: seeds the order of the rows.

    Raises:
        ValueOutOfRange: training left the numbers that are finite.

    Security: local. Leaks: nothing; local. Cost: local; an epoch takes a forward and a backward pass over all
    rows. Source: McMahan et al. 2017, ClientUpdate; the proximal term: Li et al. 2020, equation 2.
    """
    order = np.random.Generator(np.random.PCG64(int.from_bytes(rng.bytes(16))))
    own = model.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(settings.epochs):
            rows = order.permutation(len(label))
            for at in range(0, len(rows), settings.batch):
                batch = rows[at : at + settings.batch]
                _, gradient = losses_and_gradient(settings, own, features[batch], label[batch])
                own -= settings.rate * (gradient + settings.mu * (own - model))
    return clipped(own - model, settings.clip)


def clipped(moved: Floats, largest: float) -> Floats:
    """Scale an update down to a norm of at most ``largest``.

    Raises:
        ValueOutOfRange: a value is not finite; counted.

    Source: Sun, Kairouz, Suresh, McMahan 2019 (Can You Really Backdoor Federated Learning?), section 4.
    """
    misfits = int(np.count_nonzero(~np.isfinite(moved)))
    if misfits:
        raise ValueOutOfRange(
            f"update: {misfits} of {moved.size} values are not finite: a smaller rate is needed"
        )
    # The largest value first: a square must not overflow.
    scale = float(np.abs(moved).max(initial=0.0))
    norm = scale * float(np.linalg.norm(moved / scale)) if scale else 0.0
    return moved if norm <= largest else moved * (largest / norm)


def check_mean(step: Floats, largest: float) -> None:
    """Check that a mean of clipped updates is no longer than the clip; raises ``MalformedMessage``."""
    norm = float(np.linalg.norm(step))
    if not norm <= largest * _SLACK + len(step) * 2.0**-FRACTION:
        raise MalformedMessage(
            f"update: expected a mean update within the clip of {largest:g}, got one of norm {norm:.3g}"
        )
