"""An owner's part of a round whose rows are private: noisy gradient steps over rows drawn at random.

A step draws each row independently, adds up the rows' gradients, each clipped, in whole numbers of a unit,
and adds noise of whole numbers to the sum. What comes after, up to the model and everything made of it, is
calculated from noisy sums alone. What the steps lose together is accounted for by who makes the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.horizontal.local import clipped
from federated.horizontal.models import Floats, clipped_gradients
from federated.horizontal.settings import Family, Private, Settings
from federated.horizontal.standardise import Scales, Table
from mpc.randomness import Randomness

__all__ = ["Noise", "bounded", "private_update", "sampled", "scales_within", "sensitivity"]

Noise = Callable[[int, int], NDArray[np.int64]]
"""Draws noise for sums of a sensitivity in the Euclidean norm, and of so many numbers."""

UNITS: Final = 2**20
"""Units of a gradient of the largest norm."""


def scales_within(private: Private, family: Family) -> Scales:
    """The scales by which values within the bounds are -1 to 1; of a logistic label, as it is."""
    lower, upper = np.array(private.lower), np.array(private.upper)
    means, deviations = (lower + upper) / 2, (upper - lower) / 2
    if family is Family.LOGISTIC:
        means[-1], deviations[-1] = 0.0, 1.0
    return Scales(means, deviations)


def bounded(private: Private, table: Table) -> Table:
    """Own rows, values beyond the bounds at them."""
    *low, low_label = private.lower
    *high, high_label = private.upper
    features = np.clip(table.features, low, high)
    return Table(table.names, features, table.label_name, np.clip(table.label, low_label, high_label))


def private_update(
    settings: Settings,
    private: Private,
    model: Floats,
    features: Floats,
    label: Floats,
    rng: Randomness,
    noise: Noise,
) -> Floats:
    """Train on own rows by noisy steps and return how far the parameters moved: float64[parameters].

    Args:
        settings: as agreed.
        private: as agreed.
        model: of the round; float64[parameters].
        features: float64[rows, columns], standardised.
        label: float64[rows], 0 and 1 or standardised.
        rng: draws which rows are in a step; secret.
        noise: of the steps.

    Security: of two tables that differ in that a row is there or adds nothing, the sums of a step differ by
    at most `sensitivity` before the noise; with Gaussian noise of a multiple of that, a step is the sampled
    Gaussian mechanism. The number of rows is not protected. Leaks: nothing; local. Cost: local; a step takes
    a forward and a backward pass over its rows, 8 random bytes a row and a draw of noise a parameter.
    Source: Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang 2016, algorithm 1.
    """
    own, size = model.copy(), len(label) * private.sample / 10**6
    for _ in range(private.steps):
        rows = sampled(len(label), private.sample, rng)
        total = clipped_gradients(settings, own, features[rows], label[rows], private.clip)
        counted = np.rint(total * (UNITS / private.clip)).astype(np.int64)
        counted += noise(sensitivity(len(own)), len(own))
        gradient = counted * (private.clip / UNITS / size)
        own -= settings.rate * (gradient + settings.mu * (own - model))
    return clipped(own - model, settings.clip)


def sampled(rows: int, sample: int, rng: Randomness) -> NDArray[np.int64]:
    """Draw each of ``rows`` rows with a chance of at most ``sample`` millionths: int64[drawn], ascending."""
    if sample == 10**6:
        return np.arange(rows)
    words = np.frombuffer(rng.bytes(8 * rows), dtype="<u8")
    return np.flatnonzero(words < np.uint64(2**64 * sample // 10**6))


def sensitivity(parameters: int) -> int:
    """By how much a row changes the sums of a step, in units and the Euclidean norm.

    Its gradient has at most `UNITS`. Rounding changes each number by at most one unit more, and the
    floating-point sums before it, of rows in another order, by far less than the second.
    """
    return UNITS + 2 * ceil(sqrt(parameters))
