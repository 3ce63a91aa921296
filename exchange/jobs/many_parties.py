"""What components of several owners have in common: identifiers by role, and joins of many tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors import columns, identifiers
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Param, StepContext
from exchange.jobs.releases import Cardinality
from exchange.jobs.spec import Step
from policies.plans import Join

__all__ = [
    "NORMALISE",
    "Identified",
    "agreed_count",
    "check_roles",
    "distinct",
    "joins",
    "minimum_of",
    "read_identifiers",
]


@dataclass(frozen=True, repr=False, eq=False)
class Identified:
    """The identifiers of one role, each with a row of the source."""

    items: list[bytes]
    rows: NDArray[np.int64]


def _check_normalise(value: object, at: str) -> None:
    if not isinstance(value, dict):
        raise InvalidRequest(at, "rules for each role with an input", type(value).__name__)
    for role, rules in value.items():
        if not isinstance(rules, list):
            raise InvalidRequest(f"{at}.{role}", "a list of rules", type(rules).__name__)
        for rule in rules:
            if rule not in identifiers.RULES:
                raise InvalidRequest(
                    f"{at}.{role}", f"one of {', '.join(identifiers.RULES)}", repr(rule)[:40]
                )


NORMALISE = Param("how each role's identifiers are brought into one form: rules by role", _check_normalise)


def check_roles(step: Step) -> None:
    """Check that ``normalise`` states rules for exactly the roles that read something."""
    stated = cast("dict[str, list[str]]", step.params["normalise"])
    if set(stated) != set(step.inputs):
        raise InvalidRequest(
            f"steps.{step.id}.params.normalise", ", ".join(sorted(step.inputs)), ", ".join(sorted(stated))
        )


def minimum_of(context: StepContext, name: str) -> int:
    """The larger of the agreed minimum cohort and the parameter of that name."""
    return max(context.number(name), context.minimum_cohort)


def read_identifiers(context: StepContext) -> pa.Array:
    """The first column of this role's input in the form that its rules give; may hold repeats and nulls."""
    column = context.step.inputs[context.role].columns[0].name
    rules = cast("dict[str, list[str]]", context.step.params["normalise"])
    return identifiers.normalise(
        columns.column_array(context.read(column), column), rules[context.role], column
    )


def distinct(array: pa.Array, rows: NDArray[np.int64], column: str) -> Identified:
    """Each identifier once, with the first of its ``rows``.

    Raises:
        EmptyIdentifiers: some are missing.
    """
    encoded = pc.dictionary_encode(array, null_encoding="encode")
    names = identifiers.check(encoded.dictionary, column)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    return Identified(identifiers.to_bytes(names), rows[first])


def joins(name: str, relations: Sequence[tuple[str, str]]) -> tuple[Join, ...]:
    """Operators that join relations, each by a column, into one called ``name``."""
    (above, key), *others = relations
    made = []
    for number, (relation, column) in enumerate(others, start=2):
        joined = name if number == len(relations) else f"{name}.with-{number}"
        made.append(Join(joined, above, relation, ((key, column),)))
        above, key = joined, f"{above}.{key}"
    return tuple(made)


def agreed_count(step: Step, releases: Sequence[bytes]) -> int:
    """The count that all of several releases state.

    Raises:
        JobFailed: they state different ones.
    """
    counts = {Cardinality.decode(release).matched for release in releases}
    if len(counts) != 1:
        raise JobFailed(f"step {step.id}: expected one count from all parties, got {len(counts)} different")
    return counts.pop()
