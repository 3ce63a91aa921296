"""The parameters by which trees grow, whoever has the rows and the columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exchange.jobs.component import Param, whole_number
from exchange.jobs.spec import Step
from federated.boosting import Objective, Settings
from federated.boosting.settings import MAX_BINS, MAX_DEPTH

__all__ = ["GROWING", "MILLION", "grown_by"]

MILLION: Final = 10**6
_MICRO: Final = ("rate", "l1", "l2", "gamma", "min_child_weight", "top_rate", "other_rate")
"""Settings that a parameter states in millionths."""

GROWING: Final[Mapping[str, Param]] = {
    "depth": Param("most splits between a root and a leaf; 5", whole_number(1, MAX_DEPTH), optional=True),
    "bins": Param("most bins of a column; 32", whole_number(2, MAX_BINS), optional=True),
    "rate_micro": Param(
        "by which leaf weights are shrunk, in millionths; 300000",
        whole_number(1000, MILLION),
        optional=True,
    ),
    "l2_micro": Param(
        "penalty of squared leaf weights (lambda), in millionths; 1000000",
        whole_number(0, 1000 * MILLION),
        optional=True,
    ),
    "l1_micro": Param(
        "penalty of the magnitudes of leaf weights (alpha), in millionths; 0",
        whole_number(0, 1000 * MILLION),
        optional=True,
    ),
    "gamma_micro": Param(
        "least gain of a split, in millionths; 0", whole_number(0, 1000 * MILLION), optional=True
    ),
    "min_child_weight_micro": Param(
        "least sum of hessians on either side of a split, in millionths; 1000000",
        whole_number(0, 1000 * MILLION),
        optional=True,
    ),
}


def grown_by(step: Step, monotone: tuple[tuple[int, ...], ...] = ()) -> Settings:
    """What the parameters of a step say, and such directions; what they leave out has its default."""
    given = step.params
    chosen: dict[str, Any] = {
        name: given[name] for name in ("trees", "classes", "depth", "bins", "patience") if name in given
    }
    for name in _MICRO:
        if isinstance(value := given.get(f"{name}_micro"), int):
            chosen[name] = value / MILLION
    return Settings(Objective(str(given.get("objective", Objective.LOGISTIC))), **chosen, monotone=monotone)
