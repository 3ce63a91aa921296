"""The forward pass of a network on shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from federated.network.settings import ACTIVATION_LIMIT, FITTED_BITS, SUM_BITS
from federated.vertical.prediction import FITTED_FRACTION
from federated.vertical.settings import FEATURE_FRACTION, WEIGHT_FRACTION, Family
from mpc.replicated import Runtime, Shared
from mpc.replicated.clipping import clipped
from mpc.replicated.sharing import concatenate
from mpc.secrecy import Unprintable

__all__ = ["Passed", "forward"]


@dataclass(frozen=True, repr=False, eq=False)
class Passed(Unprintable):
    """What rows become in a network; all of it shared.

    Attributes:
        activations: int64[1 + units, rows], ones first, with `FEATURE_FRACTION` fractional bits.
        slopes: int64[units, rows], 1 where an activation grows with its sum, else 0.
        fitted: int64[rows], sums of the output within the family's reach, `FITTED_FRACTION` fractional bits.
    """

    activations: Shared
    slopes: Shared
    fitted: Shared


def forward(rt: Runtime, family: Family, batch: Shared, hidden: Shared, output: Shared) -> Passed:
    """Pass rows through both layers.

    Args:
        rt: the run.
        family: of the output.
        batch: shared int64[1 + columns, rows] with `FEATURE_FRACTION` fractional bits, ones first.
        hidden: shared int64[units, 1 + columns] with `WEIGHT_FRACTION` fractional bits, intercepts first.
        output: shared int64[1 + units] with the same, the intercept first.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `federated.network.costs.forward`.
    Source: Mohassel, Zhang 2017, section 4.3; Wagh, Gupta, Chandran 2019, rectifiers and their slopes.
    """
    sums = rt.quotient(rt.dot(hidden, _turned(batch)), 2**WEIGHT_FRACTION)
    end = ACTIVATION_LIMIT << FEATURE_FRACTION
    values, slopes = clipped(rt, sums, 0, end, bits=SUM_BITS)
    ones = rt.constant(np.full((1, batch.shape[1]), 2**FEATURE_FRACTION, dtype=np.int64))
    activations = concatenate([ones, values])
    fitted = rt.dot(output.reshape(1, output.rows), _turned(activations)).reshape(batch.shape[1])
    reach = round(family.reach * 2**FITTED_FRACTION)
    within, _ = clipped(rt, fitted, -reach, reach, bits=FITTED_BITS)
    return Passed(activations, slopes, within)


def _turned(a: Shared) -> Shared:
    return Shared(a.shares.transpose(0, 2, 1))
