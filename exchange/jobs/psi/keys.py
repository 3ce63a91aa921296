"""What steps of two-party intersection have in common: keys of rows, parameters and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import pyarrow as pa

from connectors import identifiers
from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers
from exchange.errors import InvalidRequest
from exchange.jobs.component import Param, RoleInput, StepContext, one_of, whole_number
from exchange.jobs.releases import Cardinality
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from mpc.psi.masking import Receivers
from mpc.psi.own_set import MAX_ROWS, Duplicates
from policies.column_control import Level

__all__ = [
    "PARAMS",
    "ROLES",
    "batches",
    "check",
    "check_keys",
    "check_recipient",
    "duplicates",
    "limits",
    "normalise_of",
    "receivers",
    "refused",
    "shown",
    "told",
    "whole",
]

MAX_COLUMNS: Final = 8
_BATCH_ROWS: Final = 65_536


def normalise_of(*roles: str) -> Param:
    """The parameter that states the rules for the keys of two roles."""

    def check_rules(value: object, at: str) -> None:
        if not isinstance(value, dict) or set(value) != set(roles):
            raise InvalidRequest(at, f"rules for {' and for '.join(roles)}", repr(value)[:40])
        for role, rules in value.items():
            _check_rules(rules, f"{at}.{role}")

    summary = (
        f"rules that bring identifiers to one form, for {' and '.join(roles)}; a list, or one a key column"
    )
    return Param(summary, check_rules)


def _check_rules(rules: object, at: str) -> None:
    if not isinstance(rules, list):
        raise InvalidRequest(at, "a list of rules", type(rules).__name__)
    lists = rules if rules and all(isinstance(one, list) for one in rules) else [rules]
    for rule in (rule for one in lists for rule in one):
        if not isinstance(rule, str) or not identifiers.is_rule(rule):
            raise InvalidRequest(at, f"one of {', '.join(identifiers.RULES)}", repr(rule)[:40])


_KEY_COLUMNS: Final = frozenset({"identifier", "feature"})
"""A published identifier is distinct by itself; what repeats, or names a row with others, is a feature."""
ROLES: Final[Mapping[str, RoleInput | None]] = {
    role: RoleInput(1, MAX_COLUMNS, _KEY_COLUMNS, Level.AFTER_JOIN) for role in ("left", "right")
}
PARAMS: Final[Mapping[str, Param]] = {
    "normalise": normalise_of("left", "right"),
    "minimum_matches": Param("smallest intersection that may be used", whole_number(1, MAX_ROWS)),
    "maximum_matches": Param(
        "largest intersection that may be used", whole_number(1, MAX_ROWS), optional=True
    ),
    "receivers": Param("who learns the result: both, left or right", one_of("both", "left", "right"), True),
    "duplicates": Param(
        "rows with one identifier: refuse ends the step, first takes the first of them, groups takes all",
        one_of(*Duplicates),
        optional=True,
    ),
}


def check(step: Step) -> None:
    """Check what the parameters mean together.

    Raises:
        InvalidRequest: they contradict one another or the columns.
    """
    check_keys(step)
    alone = [step.parties[role] for role in told(step)]
    if len(alone) == 1:
        check_recipient(step, alone[0])


def check_recipient(step: Step, receiver: str) -> None:
    """Check that who alone learns the result is who the step says gets it; others get nothing released."""
    if step.recipients != (receiver,):
        at, expected = f"steps.{step.id}.recipients", "the one owner that learns the result"
        raise InvalidRequest(at, expected, ", ".join(step.recipients) or "nobody")


def check_keys(step: Step) -> None:
    """Check that both sides have as many key columns, rules that fit them, and limits that leave something.

    Raises:
        InvalidRequest: they do not.
    """
    at = f"steps.{step.id}"
    counts = {role: len(given.columns) for role, given in step.inputs.items()}
    if len(set(counts.values())) != 1:
        raise InvalidRequest(f"{at}.inputs", "as many key columns at both", str(sorted(counts.values())))
    for role, rules in cast("dict[str, list[Any]]", step.params["normalise"]).items():
        if rules and isinstance(rules[0], list) and len(rules) != counts[role]:
            raise InvalidRequest(
                f"{at}.params.normalise.{role}", f"rules for {counts[role]} columns", str(len(rules))
            )
    low, high = limits(step, 0)
    if low > high:
        raise InvalidRequest(f"{at}.params.maximum_matches", f"at least {low}", str(high))


def receivers(step: Step) -> Receivers:
    """Who learns the result."""
    return Receivers[str(step.params.get("receivers", "both")).upper()]


def told(step: Step) -> tuple[str, ...]:
    """The roles that learn the result."""
    return tuple(role for rank, role in enumerate(("left", "right")) if receivers(step).has(rank))


def duplicates(step: Step) -> Duplicates:
    """What rows with one identifier mean."""
    return Duplicates(str(step.params.get("duplicates", Duplicates.REFUSE)))


def limits(step: Step, minimum_cohort: int) -> tuple[int, int]:
    """The fewest and the most matches with which the step goes on."""
    low = max(cast(int, step.params["minimum_matches"]), minimum_cohort)
    return low, cast(int, step.params.get("maximum_matches", MAX_ROWS))


def batches(context: StepContext) -> Iterator[list[bytes]]:
    """Yield the keys of this role's rows: each column normalised, several columns in one unambiguous text.

    Raises:
        EmptyIdentifiers: at the end, with the number of rows in which a key column is missing or empty.
    """
    for array in _normalised(context):
        yield identifiers.to_bytes(array)


def whole(context: StepContext) -> pa.Array:
    """All keys of this role's rows at once, string[n]; raises as ``batches``."""
    return pa.concat_arrays(list(_normalised(context)) or [pa.array([], pa.string())])


def shown(step: Step, matched: int) -> tuple[bytes | None, dict[str, bytes]]:
    """What leaves a receiver: a release where both learn the result, else a file for its own people."""
    if receivers(step) is Receivers.BOTH:
        return Cardinality(matched).encode(), {}
    return None, ResultTable(("matched",), ((matched,),)).files()


def refused(context: StepContext, surplus: int) -> DuplicateIdentifiers:
    """The error of an owner whose rows repeat identifiers."""
    return DuplicateIdentifiers(_named(context), surplus)


def _normalised(context: StepContext) -> Iterator[pa.Array]:
    names = [column.name for column in context.step.inputs[context.role].columns]
    stated = cast("dict[str, list[Any]]", context.step.params["normalise"])[context.role]
    rules = stated if stated and isinstance(stated[0], list) else [stated] * len(names)
    read = context.read(names[0]) if len(names) == 1 else context.hand_over.rows(names)
    empty = 0
    for batch in read:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            texts = [
                identifiers.normalise(part.column(name), own, name)
                for name, own in zip(names, rules, strict=True)
            ]
            empty += identifiers.count_empty(texts)
            if not empty:
                yield identifiers.compose(texts)
    if empty:
        raise EmptyIdentifiers(_named(context), empty)


def _named(context: StepContext) -> str:
    return ", ".join(column.name for column in context.step.inputs[context.role].columns)
