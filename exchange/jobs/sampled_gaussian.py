"""What steps of the sampled Gaussian mechanism lose: each row drawn with a chance, noise added to the sum.

Two tables are neighbours if they differ in one row, which is there in one and adds nothing in the other. At
an integer order a, with chance q and noise of z times the sensitivity, a step has Renyi loss

    ln(sum over k = 0..a of C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 z^2))) / (a - 1)

(Mironov, Talwar, Zhang 2019, section 3.3). The terms are the moments of the ratio of two Gaussian densities.
Those of discrete Gaussians that lie a whole vector apart are the same, because a sum over all whole numbers
may be shifted by one; and a reflection maps one density to the other, which is what makes the other direction
the smaller one (theorem 5 there). So the bound holds for noise in whole numbers (Canonne, Kamath, Steinke
2020).

Between integers (a - 1) times the loss is a convex function of a, so it lies below the line between them; at
order 1 it is 0. Steps add up.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import ceil, exp, floor, lgamma, log, log1p
from typing import Final

from ledger.rules.budgets import ORDERS

__all__ = ["step_loss", "steps_loss"]

_MILLION: Final = 10**6
_SLACK: Final = 1 + 1e-9
"""Of floating-point sums, so that what is stated is never less than the formula."""


def steps_loss(noise_micro: int, sample_micro: int, steps: int) -> tuple[int, ...]:
    """What steps lose: Renyi loss at ``ORDERS`` in millionths, rounded up.

    Args:
        noise_micro: standard deviation of the noise in millionths of the sensitivity.
        sample_micro: chance of a row to be in a step, in millionths.
        steps: how many.
    """
    per_step = _losses(noise_micro, sample_micro)
    return tuple(ceil(steps * one * _MILLION * _SLACK) for one in per_step)


def step_loss(order: float, noise: float, sample: float) -> float:
    """The Renyi loss of one step at an order above 1.

    Args:
        order: of the divergence.
        noise: standard deviation in units of the sensitivity.
        sample: chance of a row to be in a step, 0 to 1.
    """
    if sample == 1:
        return order / (2 * noise * noise)
    below, above = floor(order), ceil(order)
    if below == above:
        return _log_moment(below, noise, sample) / (order - 1)
    part = order - below
    low = _log_moment(below, noise, sample) if below > 1 else 0.0
    return ((1 - part) * low + part * _log_moment(above, noise, sample)) / (order - 1)


@lru_cache(maxsize=256)
def _losses(noise_micro: int, sample_micro: int) -> tuple[float, ...]:
    noise, sample = noise_micro / _MILLION, sample_micro / _MILLION
    return tuple(step_loss(float(Fraction(order, 4)), noise, sample) for order in ORDERS)


def _log_moment(order: int, noise: float, sample: float) -> float:
    """The logarithm of the sum above."""
    terms = [
        lgamma(order + 1)
        - lgamma(k + 1)
        - lgamma(order - k + 1)
        + (order - k) * log1p(-sample)
        + k * log(sample)
        + (k * k - k) / (2 * noise * noise)
        for k in range(order + 1)
    ]
    largest = max(terms)
    return largest + log(sum(exp(term - largest) for term in terms))
