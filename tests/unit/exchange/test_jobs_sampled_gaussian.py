"""Accounting of the sampled Gaussian mechanism: published values, divergences summed up, rounding up."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from exchange.jobs.sampled_gaussian import step_loss, steps_loss
from ledger.rules.budgets import ORDERS, epsilon


@pytest.mark.parametrize(
    ("order", "published"),
    [
        (1.5, 6.70579741e-04),
        (2.5, 1.08548710e-03),
        (5, 2.18075656e-03),
        (50, 2.38460375e-02),
        (100, 167.416308),
    ],
)
def test_values_of_dp_accounting_are_met(order: float, published: float) -> None:
    """Of google/differential-privacy, rdp_privacy_accountant_test.py: 50 steps, chance 0.01, noise 2.5.

    At integer orders the figure is the same; between them the line is above it.
    """
    found = 50 * step_loss(order, 2.5, 0.01)
    if order == int(order):
        assert found == pytest.approx(published, rel=1e-4)
    else:
        assert published < found < 1.5 * published


def test_an_epsilon_of_dp_accounting_is_met() -> None:
    """Of the same file: without sampling, noise of 4.530877117 is (1, 10^-6); fixed orders cost a little."""
    found = epsilon(steps_loss(4_530_877, 1_000_000, 1), 6)
    # Our conversion is proposition 3 of Mironov 2017; theirs is the tighter one of 2020.
    assert 1_000_000 < found < 1_250_000


def divergence(order: float, noise: float, sample: float, shift: int, *, is_turned: bool) -> float:
    """Renyi divergence of two discrete distributions, summed up: of the mixture and the noise alone.

    The noise is a discrete Gaussian of ``noise * shift`` and a row shifts it by ``shift``.
    """
    deviation = noise * shift
    at = np.arange(-int(60 * deviation), int(60 * deviation) + shift, dtype=np.float64)
    alone = np.exp(-(at**2) / (2 * deviation**2))
    moved = np.exp(-((at - shift) ** 2) / (2 * deviation**2))
    alone, moved = alone / alone.sum(), moved / moved.sum()
    mixed = (1 - sample) * alone + sample * moved
    first, second = (alone, mixed) if is_turned else (mixed, alone)
    there = (first > 0) & (second > 0)
    terms = order * np.log(first[there]) + (1 - order) * np.log(second[there])
    return float((terms.max() + log(np.exp(terms - terms.max()).sum())) / (order - 1))


@pytest.mark.parametrize("shift", [1, 3])
@pytest.mark.parametrize(("noise", "sample"), [(1.0, 0.1), (0.7, 0.5), (4.0, 0.02), (2.0, 1.0)])
@pytest.mark.parametrize("order", [1.25, 1.75, 2, 2.5, 3, 8, 16])
def test_discrete_noise_loses_what_is_stated_and_no_more(
    order: float, noise: float, sample: float, shift: int
) -> None:
    stated = step_loss(order, noise, sample)
    found = divergence(order, noise, sample, shift, is_turned=False)
    turned = divergence(order, noise, sample, shift, is_turned=True)
    assert turned <= found * (1 + 1e-9) + 1e-12
    assert found <= stated * (1 + 1e-9) + 1e-12
    if order == int(order):
        assert found == pytest.approx(stated, rel=1e-6)


def test_loss_is_stated_at_the_orders_of_the_ledger_and_rounded_up() -> None:
    found = steps_loss(1_100_000, 4_267, 14_063)
    assert len(found) == len(ORDERS)
    for order, stated in zip(ORDERS, found, strict=True):
        exact = 14_063 * step_loss(order / 4, 1.1, 0.004267) * 1e6
        assert exact <= stated <= exact * (1 + 1e-8) + 1
    # About 60 passes over 60,000 rows by steps of 256: Abadi et al. and their successors state about 3.
    assert 2_500_000 < epsilon(found, 5) < 3_500_000


def test_less_noise_more_rows_and_more_steps_lose_more() -> None:
    least = steps_loss(2_000_000, 10_000, 100)
    for more in (
        steps_loss(1_500_000, 10_000, 100),
        steps_loss(2_000_000, 20_000, 100),
        steps_loss(2_000_000, 10_000, 101),
    ):
        assert all(one < other for one, other in zip(least, more, strict=True))
    assert steps_loss(2_000_000, 10_000, 100) == least


def test_every_row_in_every_step_is_the_gaussian_mechanism() -> None:
    for order in (1.5, 2, 7, 1024):
        assert step_loss(order, 3.0, 1.0) == pytest.approx(order / (2 * 3.0**2))
        assert step_loss(order, 3.0, 1 - 1e-9) == pytest.approx(order / (2 * 3.0**2), rel=0.4)
