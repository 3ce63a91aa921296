"""The noise of grouped sums has the stated variance, once for each owner, and is centred at zero.

OpenDP draws from the operating system, so no seed is fixed. Each check is two-sided at six standard
deviations of its estimate: a false-alarm rate of 2e-9 for the Gaussian limit of 4,096 draws, and below 1e-7
in all.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from exchange.jobs.fedavg.privacy import RowPrivacy
from exchange.jobs.joint_statistics import _with_noise
from exchange.jobs.noise import draw
from exchange.jobs.privacy import Bounds, Privacy
from mpc.stats.shares import GroupShares, combine

SIGMAS, GROUPS = 6.0, 4096
KURTOSIS = {"gaussian": 3.0, "laplace": 6.0}


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_both_owners_noise_adds_up_to_twice_the_variance_of_one(mechanism: str) -> None:
    bounds = {"x": Bounds("0", "50")}
    privacy = Privacy(mechanism, 1_000_000, 6, bounds)  # type: ignore[arg-type]  # one of the two words
    sensitivities = (1, 50)
    counts = np.full(GROUPS, 10, dtype=np.int64)
    masks = np.arange(GROUPS, dtype=np.uint64)[:, None]
    first = _with_noise(GroupShares(counts, masks), draw(privacy, sensitivities, GROUPS))
    second = _with_noise(GroupShares(counts, 0 - masks), draw(privacy, sensitivities, GROUPS))
    noise = combine(first, second)[:, 0].astype(float)
    one = privacy.deviation(privacy.scales(sensitivities)[1])
    variance = 2 * one**2
    assert abs(noise.mean()) < SIGMAS * math.sqrt(variance / GROUPS)
    # of a sum of two independent draws, the excess kurtosis is half that of one
    spread = math.sqrt(((KURTOSIS[mechanism] - 3) / 2 + 2) / GROUPS)
    assert abs(noise.var() / variance - 1) < SIGMAS * spread
    alone = (first.shares - masks).view(np.int64)[:, 0].astype(float)
    rest = noise - alone
    assert abs(rest.var() / one**2 - 1) < SIGMAS * math.sqrt((KURTOSIS[mechanism] - 1) / GROUPS)


def test_the_noise_of_gradient_steps_has_the_stated_deviation() -> None:
    privacy = RowPrivacy(
        epsilon_micro=10**8,
        delta_exponent=6,
        noise_micro=1_250_000,
        sample_micro=10**6,
        steps=1,
        clip_micro=10**6,
        bounds={},
    )
    noise = np.concatenate([privacy.draw(2**20, GROUPS // 8) for _ in range(8)]).astype(float)
    variance = (1.25 * 2**20) ** 2
    assert abs(noise.mean()) < SIGMAS * math.sqrt(variance / GROUPS)
    assert abs(noise.var() / variance - 1) < SIGMAS * math.sqrt(2 / GROUPS)
    assert len(np.unique(noise)) > GROUPS * 0.99
