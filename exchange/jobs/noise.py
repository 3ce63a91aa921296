"""Discrete noise by OpenDP, whose samplers are exact: no floating-point gap tells a value (Mironov 2012).

OpenDP is an optional package; without it a step with ``privacy`` is refused and no noise of another kind
takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.errors import ExchangeError, JobFailed
from exchange.jobs.privacy import Privacy

__all__ = ["NoiseUnavailable", "draw", "gaussian", "require_noise"]

_STEP = 1.0 + 2.0**-40


class NoiseUnavailable(ExchangeError):
    """The package that makes noise for differential privacy is not installed at this node."""

    code = "privacy.noise-unavailable"
    blame = "operator"


def require_noise() -> Any:  # noqa: ANN401 - a module without types
    """Import OpenDP.

    Raises:
        NoiseUnavailable: it is not installed; the text has the line that installs it.
    """
    try:
        import opendp.prelude as dp
    except ImportError:
        raise NoiseUnavailable(
            "expected the package opendp, found none: pip install 'parley-exchange[dp]'"
        ) from None
    dp.enable_features("contrib")
    return dp


def draw(privacy: Privacy, sensitivities: tuple[int, ...], count: int) -> NDArray[np.int64]:
    """Draw fresh noise for ``count`` groups: int64[count, parts], in the order of ``sensitivities``.

    Raises:
        NoiseUnavailable: OpenDP is not installed.
        JobFailed: OpenDP accounts a larger loss than the step spends.
    """
    dp = require_noise()
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    parts, columns = len(sensitivities), []
    for sensitivity, scale in zip(sensitivities, privacy.scales(sensitivities), strict=True):
        allowed = privacy.allowed(parts)
        if privacy.mechanism == "laplace":
            make = partial(dp.m.make_laplace, domain, dp.l1_distance(T="i64"))
            columns.append(_drawn(make, sensitivity, scale, allowed, count))
        else:
            columns.append(gaussian(sensitivity, scale, allowed, count))
    return np.stack(columns, axis=1)


def gaussian(sensitivity: int, scale: float, allowed: float, count: int) -> NDArray[np.int64]:
    """Draw fresh discrete Gaussian noise: int64[count].

    Args:
        sensitivity: of the sums, in the Euclidean norm over all of them.
        scale: standard deviation.
        allowed: the zero-concentrated loss that it may have.
        count: how many numbers.

    Raises:
        NoiseUnavailable: OpenDP is not installed.
        JobFailed: OpenDP accounts a larger loss than is allowed.
    """
    dp = require_noise()
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    make = partial(dp.m.make_gaussian, domain, dp.l2_distance(T=float))
    return _drawn(make, float(sensitivity), scale, allowed, count)


def _drawn(
    make: Callable[..., Any], sensitivity: float, scale: float, allowed: float, count: int
) -> NDArray[np.int64]:
    for _ in range(3):
        mechanism = make(scale=scale)
        loss = mechanism.map(sensitivity)
        if loss <= allowed:
            return np.array(mechanism([0] * count), dtype=np.int64)
        scale *= _STEP  # the account rounds up; so does the noise
    raise JobFailed(f"expected noise with a loss of at most {allowed}, its account says {loss}")
