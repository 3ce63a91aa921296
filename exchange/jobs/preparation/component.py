"""Component ``model/prepare``: columns made ready for a model, by each owner at its own node.

No message passes between the owners: which rows train and which test follows from the session, and which
columns are made follows from the declaration. What a recipe learns, a mean, a quantile, it learns from the
training rows and keeps, sealed, at the owner's node; a later ``model/...`` step reads its columns through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import numpy as np

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import aligned_columns
from exchange.jobs.component import (
    Aligned,
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    source,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.intersection import rows_of
from exchange.jobs.preparation.fitting import Fitted, check_varied, fit, made
from exchange.jobs.preparation.prepared import MILLION, Prepared, split
from exchange.jobs.preparation.recipes import (
    COMPONENT_NAME,
    check_columns,
    check_recipes,
    recipes_of,
)
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from ledger import canonical
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Select

__all__ = ["COMPONENT"]

_CELL_NS: Final = 150
_BASE_BYTES: Final = 128 * 2**20


def _run(context: StepContext) -> Outcome:
    step = context.step
    rows = rows_of(context.earlier[step.after[0]])
    sample, test = _parts(step)
    training, testing = split(len(rows), context.session, sample, test)
    parts = (rows[training], rows[testing])
    smallest = max(context.minimum_cohort, context.number("min_cohort"))
    sizes = {"train": len(training)} | ({"test": len(testing)} if test else {})
    for part, size in sizes.items():
        if size < smallest:
            raise JobFailed(f"step {step.id}: expected at least {smallest} rows that {part}, found fewer")
    fitted: dict[str, Fitted] = {}
    for name, recipe in recipes_of(step)[context.role].items():
        values = aligned_columns.read(context, name, recipe)
        fitted[name] = fit(recipe, name, values[parts[0]])
        check_varied(recipe.names(name), made(recipe, fitted[name], name, values[parts[0]]))
        made(recipe, fitted[name], name, values[parts[1]])
        context.progress(len(fitted), len(step.inputs[context.role].columns))
    return Outcome(
        local=Prepared(*parts, fitted).encode(),
        release=canonical.encode({"train": len(training), "test": len(testing)}),
        cohort=min(sizes.values()),
        figures=len(sizes),
        rows=np.concatenate(parts),
        groups=np.repeat(np.arange(2), [len(training), len(testing)]),
    )


def _parts(step: Step) -> tuple[int, int]:
    """The parts of the rows that are used, and of those the part that tests, in millionths."""
    usual = {"sample_micro": MILLION, "test_micro": 0}
    sample, test = (cast("int", step.params.get(name, one)) for name, one in usual.items())
    return sample, test


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    stated = [read_as(dict[str, int], canonical.decode(release), "release") for release in releases.values()]
    if set(releases) != set(step.parties) or any(one != stated[0] for one in stated):
        raise JobFailed(f"step {step.id}: the owners state different parts")
    lines = tuple(
        (role, name, column)
        for role, recipes in recipes_of(step).items()
        for column, recipe in recipes.items()
        for name in recipe.names(column)
    )
    return ResultTable(("party", "made", "column"), lines, stated[0])


def _check(step: Step) -> None:
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step that aligned the rows", str(len(step.after)))
    check_recipes(step)


def _plan(step: Step) -> Plan:
    """The recipients learn how many rows train and test; nobody sees anything of a column."""
    sources = [source(step, role) for role in step.inputs]
    counted = f"{step.id}.count"
    return (
        *sources,
        Select(step.id, tuple(one.id for one in sources), rows=step.after[0]),
        Aggregate(counted, step.id, (), (("rows", "count", ()),)),
        Reveal(counted, ("rows",), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    return {
        role: Estimate(
            sent_bytes=0,
            received_bytes=0,
            rounds=0,
            work_ns=_CELL_NS * rows[role] * len(given.columns),
            memory_bytes=_BASE_BYTES + 64 * rows[role],
        )
        for role, given in step.inputs.items()
    }


COMPONENT = Component(
    name=COMPONENT_NAME,
    version=1,
    summary="Each owner fills, clips, scales and codes its columns at its own node, before a model; a common "
    "draw says which rows train and which test.",
    roles={
        "owner": RoleInput(1, 64, frozenset({"feature", "measure", "label", "group"}), Level.ENCRYPTED_ONLY),
    },
    repeated={"owner": (2, 16)},
    params={
        "columns": Param(
            "by role and column, what is done: kind number with missing (refuse, mean, median, constant with "
            "constant), indicator, clip (lower, upper) or winsorise (lower_permille, upper_permille), scale "
            "(none, standard, range); or kind category with labels, baseline, unseen (refuse, zero, other) "
            "and missing (refuse, zero, indicator)",
            check_columns,
        ),
        "sample_micro": Param(
            "part of the aligned rows that is used, drawn at random, in millionths; 1000000",
            whole_number(1, MILLION),
            optional=True,
        ),
        "test_micro": Param(
            "part of the used rows that no later step trains on, in millionths; 0",
            whole_number(0, MILLION - 1),
            optional=True,
        ),
        "min_cohort": Param("fewest rows that train, and that test where any do", whole_number(1, 2**31)),
    },
    output_type="aggregate",
    needs=aligned_columns.ALIGNING,
    takes_rows=True,
    aligns=lambda step: Aligned(frozenset(step.inputs)),
    protocol=None,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    open_result=_open,
)
