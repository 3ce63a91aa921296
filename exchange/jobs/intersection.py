"""Component ``psi/ecdh``: which people do two owners both know, kept as aligned rows at each owner."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from connectors import columns, identifiers
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, whole_number
from exchange.jobs.releases import Cardinality
from mpc.psi import ecdh
from policies.column_control import Level

__all__ = ["COMPONENT", "rows_of"]


def _check_normalise(value: object, at: str) -> None:
    if not isinstance(value, dict) or set(value) != {"left", "right"}:
        raise InvalidRequest(at, "rules for left and for right", repr(value)[:40])
    for role, rules in value.items():
        if not isinstance(rules, list):
            raise InvalidRequest(f"{at}.{role}", "a list of rules", type(rules).__name__)
        for rule in rules:
            if rule not in identifiers.RULES:
                raise InvalidRequest(
                    f"{at}.{role}", f"one of {', '.join(identifiers.RULES)}", repr(rule)[:40]
                )


def rows_of(local: bytes) -> NDArray[np.int64]:
    """The aligned row numbers, ``int64[matched]``, from a step's local outcome."""
    return np.frombuffer(local, dtype="<i8").astype(np.int64)


def _run(context: StepContext) -> Outcome:
    column = context.step.inputs[context.role].columns[0].name
    rules = cast("dict[str, list[str]]", context.step.params["normalise"])
    read = columns.column_array(context.read(column), column)
    items = identifiers.check(identifiers.normalise(read, rules[context.role], column), column)
    other = "right" if context.role == "left" else "left"
    matched = ecdh.run(
        context.channel(other),
        identifiers.to_bytes(items),
        context.rng,
        progress=context.progress,
    )
    size = len(matched.rows)
    floor = max(context.number("minimum_matches"), context.minimum_cohort)
    if size < floor:
        raise JobFailed(f"step {context.step.id}: expected at least {floor} matches, found fewer")
    return Outcome(
        local=matched.rows.astype("<i8").tobytes(),
        release=Cardinality(size).encode(),
        cohort=size,
    )


COMPONENT = Component(
    name="psi/ecdh",
    version=1,
    summary="Private set intersection: two owners find the people both know and align their rows.",
    roles={
        "left": RoleInput(1, 1, frozenset({"identifier"}), Level.AFTER_JOIN),
        "right": RoleInput(1, 1, frozenset({"identifier"}), Level.AFTER_JOIN),
    },
    params={
        "normalise": Param("rules that bring identifiers to one form, for left and right", _check_normalise),
        "minimum_matches": Param("smallest intersection that may be used", whole_number(1, 2**31)),
    },
    output_type="cardinality",
    needs=frozenset(),
    protocol=ecdh.SPEC,
    run=_run,
)
