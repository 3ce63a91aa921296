"""An owner's columns as integers: units, codes, or 0 and 1, within what a step declares of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import JobFailed
from exchange.jobs import disclosure
from exchange.jobs.component import StepContext
from exchange.jobs.secret_columns.nodes import Declared, Kind
from mpc import fixed_point

__all__ = ["check_rules", "encoded"]


def check_rules(context: StepContext) -> None:
    """Refuse output rules that nobody can check on figures that nobody sees.

    Raises:
        JobFailed: this owner sets one.
    """
    rules = context.rules
    for name, is_set in (
        ("dominance", rules.dominance_percent),
        ("p-percent", rules.p_percent),
        ("round_counts", rules.round_counts > 1),
    ):
        if is_set:
            raise JobFailed(
                f"step {context.step.id}: the rule {name} of this owner cannot be checked on shares"
            )


def encoded(context: StepContext, declared: Declared) -> NDArray[np.int64]:
    """One column of this role's input in source order, int64[n].

    Raises:
        JobFailed: values outside the declared bounds or labels, counted.
    """
    name = declared.name
    if declared.kind is Kind.CATEGORY:
        found = connected.group_codes(context.read(name), name)
        positions = {label: number for number, label in enumerate(declared.labels)}
        numbers = np.array([positions.get(label, -1) for label in found.labels], dtype=np.int64)
        codes = numbers[found.codes] if len(numbers) else found.codes
        return _within(declared, codes, "among the declared labels")
    values = connected.measure_array(context.read(name), name)
    units = fixed_point.encode(list(values) if values.dtype == object else values, declared.decimals)
    if declared.kind is Kind.NUMBER:
        units = disclosure.rounded(units, context.rules.base_of(name, declared.decimals))
    return _within(declared, units, "within the declared bounds")


def _within(declared: Declared, values: NDArray[np.int64], where: str) -> NDArray[np.int64]:
    misfits = int(np.count_nonzero((values < declared.lower) | (values > declared.upper)))
    if misfits:
        raise JobFailed(f"column {declared.name}: {misfits} of {len(values)} values are not {where}")
    return values
