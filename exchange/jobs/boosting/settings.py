"""The parameters by which trees grow, whoever has the rows and the columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exchange.jobs.component import Param, one_of, whole_number
from exchange.jobs.spec import Step
from federated.boosting import Objective, Settings
from federated.boosting.settings import MAX_BINS, MAX_DEPTH, MAX_TREES

__all__ = ["GROWING", "settings_of"]

_MILLION: Final = 10**6
_MICRO: Final = ("rate", "l2", "gamma", "min_child_weight")
"""Settings that a parameter states in millionths."""

GROWING: Final[Mapping[str, Param]] = {
    "objective": Param(
        "logistic, the label is 0 or 1; squared, it is a number; logistic",
        one_of(*Objective),
        optional=True,
    ),
    "trees": Param("how many; 20", whole_number(1, MAX_TREES), optional=True),
    "depth": Param("most splits between a root and a leaf; 5", whole_number(1, MAX_DEPTH), optional=True),
    "bins": Param("most bins of a column; 32", whole_number(2, MAX_BINS), optional=True),
    "rate_micro": Param(
        "by which leaf weights are shrunk, in millionths; 300000",
        whole_number(1000, _MILLION),
        optional=True,
    ),
    "l2_micro": Param(
        "penalty of squared leaf weights (lambda), in millionths; 1000000",
        whole_number(0, 1000 * _MILLION),
        optional=True,
    ),
    "gamma_micro": Param(
        "least gain of a split, in millionths; 0", whole_number(0, 1000 * _MILLION), optional=True
    ),
    "min_child_weight_micro": Param(
        "least sum of hessians on either side of a split, in millionths; 1000000",
        whole_number(0, 1000 * _MILLION),
        optional=True,
    ),
}


def settings_of(step: Step) -> Settings:
    """What the parameters of a step say; what they leave out has its default."""
    given = step.params
    chosen: dict[str, Any] = {name: given[name] for name in ("trees", "depth", "bins") if name in given}
    for name in _MICRO:
        if isinstance(value := given.get(f"{name}_micro"), int):
            chosen[name] = value / _MILLION
    return Settings(Objective(str(given.get("objective", Objective.LOGISTIC))), **chosen)
