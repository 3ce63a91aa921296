"""An owner's columns at the rows that an earlier step has aligned, as steps over several owners read them.

After an intersection a step works on all aligned rows, and on columns as they are. After ``model/prepare`` it
works on the rows that train, and on what the recipes of that step make of the columns that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import InvalidRequest
from exchange.jobs.component import StepContext
from exchange.jobs.intersection import rows_of
from exchange.jobs.preparation.fitting import NOTHING, made
from exchange.jobs.preparation.prepared import Prepared
from exchange.jobs.preparation.recipes import AS_IS, COMPONENT_NAME, CategoryRecipe, Recipe, recipes_of
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from ledger import canonical
from mpc import wire
from mpc.errors import CohortTooSmall, InputsDisagree
from mpc.replicated import Runtime, Shared

__all__ = [
    "ALIGNING",
    "READABLE",
    "STATED",
    "agreed_rows",
    "agreed_split",
    "aligned_column",
    "aligned_rows",
    "check_classes",
    "check_follows",
    "check_helper",
    "check_parties",
    "encode_names",
    "names_of",
    "own_columns",
    "own_share",
    "owners_of",
    "read",
    "read_names",
    "sizes_of",
    "widths_of",
]

ALIGNING: Final = frozenset({"psi/ecdh", "psi/many", "psi/rr22"})
"""Components that align rows."""
READABLE: Final = ALIGNING | {COMPONENT_NAME}
"""Components after which the functions here find rows and columns."""
STATED: Final = 2
"""Public numbers of each owner in `agreed_rows`: its rows and its minimum."""
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Named:
    role: str
    column: str


def aligned_rows(context: StepContext) -> NDArray[np.int64]:
    """The numbers of this owner's rows that the step works on, in the order common to all owners."""
    local = context.earlier[context.step.after[0]]
    return rows_of(local) if _preparation(context) is None else Prepared.decode(local).train


def aligned_column(context: StepContext, name: str) -> _Floats:
    """One column of numbers as it is, a label for instance, at the aligned rows: float64[rows].

    Raises:
        MissingValues, WrongColumnType: from the source.
    """
    values = connected.measure_array(context.read(name), name)
    return values[aligned_rows(context)].astype(np.float64)


def own_columns(context: StepContext, names: Sequence[str]) -> tuple[list[str], list[_Floats]]:
    """What the step computes with in place of some columns of this owner, at the aligned rows.

    Returns:
        Names, and float64[rows] of each; more than were asked for where a recipe makes several of one.

    Raises:
        MissingValues, WrongColumnType: from the source.
        JobFailed: values that a recipe refuses, counted.
    """
    before = _preparation(context)
    if before is None:
        return list(names), [aligned_column(context, name) for name in names]
    recipes = _recipes(context.step, before)[context.role]
    prepared = Prepared.decode(context.earlier[before.id])
    labels, columns = list[str](), list[_Floats]()
    for name in names:
        recipe = recipes.get(name, AS_IS)
        values = read(context, name, recipe)[prepared.train]
        labels += recipe.names(name)
        columns += made(recipe, prepared.fitted.get(name, NOTHING), name, values)
    return labels, columns


def read(context: StepContext, name: str, recipe: Recipe) -> NDArray[Any]:
    """A column of this role's input as a recipe takes it, in source order.

    Raises:
        WrongColumnType: from the source.
    """
    if isinstance(recipe, CategoryRecipe):
        return connected.label_codes(context.read(name), name, recipe.labels)
    return connected.number_array(context.read(name), name)


def names_of(context: StepContext, label: str | None = None) -> list[tuple[str, str]]:
    """The columns that the step computes with, of all owners in the order of their roles.

    Args:
        context: of any party of the step.
        label: a column of owner-1 that is none of them.
    """
    step, before = context.step, _preparation(context)
    recipes = {} if before is None else _recipes(step, before)
    return [
        (role, name)
        for role in owners_of(step)
        for column in step.inputs[role].columns
        if (role, column.name) != ("owner-1", label)
        for name in recipes.get(role, {}).get(column.name, AS_IS).names(column.name)
    ]


def check_follows(step: Step, before: Step) -> None:
    """Check that a step explains no label that a recipe of the step before alters.

    Raises:
        InvalidRequest: by field.
    """
    if before.component != COMPONENT_NAME:
        return
    label, holder = step.params.get("label"), before.role_of(step.parties["owner-1"])
    if holder is not None and recipes_of(before)[holder].get(str(label), AS_IS) != AS_IS:
        at = f"steps.{before.id}.params.columns.{holder}.{label}"
        raise InvalidRequest(at, f"no recipe for the label of step {step.id}", "one")


def owners_of(step: Step) -> list[str]:
    """The roles owner-1, owner-2 and so on of a step, by number."""
    return sorted(step.inputs, key=lambda role: int(role.rpartition("-")[2]))


def widths_of(step: Step) -> tuple[int, ...]:
    """How many columns each owner names, by rank."""
    return tuple(len(step.inputs[role].columns) for role in owners_of(step))


def sizes_of(step: Step, names: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """How many of the named columns each owner has, by rank."""
    roles = [role for role, _ in names]
    return tuple(map(roles.count, owners_of(step)))


def encode_names(names: Sequence[tuple[str, str]]) -> bytes:
    """The columns of a result as its release states them; every party states the same."""
    named = canonical.encode([asdict(_Named(*name)) for name in names])
    return wire.encode_array(np.frombuffer(named, dtype=np.uint8))


def read_names(reader: wire.Reader) -> list[tuple[str, str]]:
    """Read what `encode_names` wrote.

    Raises:
        MalformedMessage, InvalidRequest: it is something else.
    """
    raw = reader.array("names", "u1", (None,)).tobytes()
    return [(one.role, one.column) for one in read_as(tuple[_Named, ...], canonical.decode(raw), "names")]


def agreed_rows(rt: Runtime, own: tuple[int, int] | None, least: int) -> int:
    """Agree on the number of aligned rows, as `agreed_split` does where none is held out."""
    return agreed_split(rt, own, least, HeldOut("", 0))[0]


def agreed_split(
    rt: Runtime, own: tuple[int, int] | None, least: int, held_out: HeldOut, *, both: bool = False
) -> tuple[int, int]:
    """Agree on the number of aligned rows left and held out; those used must be enough for each owner.

    Args:
        rt: the run.
        own: at an owner, its rows and its minimum.
        least: rows that the computation needs whatever owners ask.
        held_out: rows that it does not take with the others.
        both: the rows held out are used too, so an owner's minimum holds for them.

    Returns:
        How many are left, and held out.

    Raises:
        InputsDisagree: owners with different numbers of aligned rows.
        CohortTooSmall: fewer left than ``least``, or fewer rows than an owner's minimum.
    """
    stated = list(rt.state(own, STATED).values())
    for other in stated:
        if other[0] != stated[0][0]:
            raise InputsDisagree("aligned rows", stated[0][0], other[0])
    asked = max(one[1] for one in stated)
    tested = held_out.size(stated[0][0])
    rows = stated[0][0] - tested
    for count, minimum in ((rows, max(least, asked)), (tested, asked if both else 0)):
        if count < minimum:
            raise CohortTooSmall(minimum, 1)
    return rows, tested


def check_classes(label: _Floats, minimum: int) -> None:
    """Check that neither class of a label of 0 and 1 is so small that what is told of it is about few people.

    Raises:
        CohortTooSmall: fewer rows of one class, or of both, than the minimum.
    """
    positives = int(np.count_nonzero(label))
    small = sum(count < minimum for count in (positives, len(label) - positives))
    if small:
        raise CohortTooSmall(minimum, small)


def own_share(rt: Runtime, results: Shared) -> NDArray[np.uint64]:
    """This party's share of results, for its release: all of them are needed, and fewer are uniform words."""
    shares = np.zeros(results.shape, dtype=np.uint64)
    return results.shares[0] + rt.zero(shares.shape) if rt.computes else shares


def check_helper(step: Step) -> None:
    """Check that three parties compute: a helper is there with two owners, and with more there is none.

    Raises:
        InvalidRequest: by field.
    """
    at, owners = f"steps.{step.id}", len(step.inputs)
    if (owners == 2) != ("helper-1" in step.parties):
        raise InvalidRequest(f"{at}.parties", "a helper with two owners, none with more", f"{owners} owners")


def check_parties(step: Step) -> None:
    """Check that three parties compute, and that one step has aligned the rows.

    Raises:
        InvalidRequest: by field.
    """
    check_helper(step)
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step that aligned the rows", str(len(step.after)))


def _preparation(context: StepContext) -> Step | None:
    """The step before, where it prepared columns."""
    before = context.before.get(context.step.after[0])
    return before if before is not None and before.component == COMPONENT_NAME else None


def _recipes(step: Step, before: Step) -> dict[str, dict[str, Recipe]]:
    """The recipes of a preparing step by the roles that its owners play in a step after it."""
    recipes = recipes_of(before)
    return {role: recipes[before.role_of(step.parties[role]) or ""] for role in step.inputs}
