"""What steps that score aligned rows have in common: rows, checks, plan, table of scores."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.aligned_columns import ALIGNING
from exchange.jobs.component import Param, StepContext, one_of, source
from exchange.jobs.intersection import rows_of
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.results import ResultTable
from exchange.jobs.scoring.part import Unit
from exchange.jobs.spec import Step
from federated.vertical import Family
from policies.plans import Compute, Plan, Reveal, Select

__all__ = [
    "ALIGNING",
    "PART",
    "check_after",
    "check_before",
    "check_split",
    "check_told",
    "files_of",
    "plan_of_scores",
    "scored_rows",
]

PART: Final = Param(
    "which of the aligned rows: all, or those that the model was trained on, train, or was not, test",
    one_of("all", "train", "test"),
    optional=True,
)


def scored_rows(context: StepContext, held_out: HeldOut) -> NDArray[np.int64]:
    """The numbers of this owner's rows that are scored, in the order common to all owners.

    Raises:
        JobFailed: fewer than the agreed minimum.
    """
    step = context.step
    rows = rows_of(context.earlier[step.after[0]])
    chosen = held_out.chosen(len(rows), str(step.params.get("part", "all")))
    fewest = max(context.minimum_cohort, context.number("min_cohort"))
    if len(chosen) < fewest:
        raise JobFailed(f"step {step.id}: expected at least {fewest} rows to score, found fewer")
    return rows[chosen]


def check_after(step: Step) -> None:
    """Check that a step follows one that aligned rows and one that trained."""
    if len(step.after) != 2:
        raise InvalidRequest(
            f"steps.{step.id}.after",
            "the step that aligned the rows, then the one that trained",
            str(len(step.after)),
        )


def check_told(step: Step) -> None:
    """Check `check_after`, and that the label's owner alone gets the scores."""
    check_after(step)
    holder = step.parties["owner-1"]
    if step.recipients != (holder,):
        got = ", ".join(step.recipients) or "nobody"
        raise InvalidRequest(f"steps.{step.id}.recipients", "owner-1, who alone gets scores", got)


def check_split(step: Step, before: Step) -> None:
    """Check that what a step trained has stayed with its owners."""
    if before.params["coefficients"] != "split":
        expected = f"split, for {step.component}"
        raise InvalidRequest(f"steps.{before.id}.params.coefficients", expected, "recipients")


def plan_of_scores(step: Step) -> Plan:
    """Scores are computed row by row from all columns and shown to the label's owner, or to nobody."""
    sources = [source(step, f"owner-{number}") for number in range(1, len(step.inputs) + 1)]
    together = f"{step.id}.together"
    every = tuple(f"{one.id}.{name}" for one in sources for name in one.columns)
    return (
        *sources,
        Select(together, tuple(one.id for one in sources), rows=step.after[0]),
        Compute(step.id, together, "score", every),
        Reveal(step.id, ("score",), step.recipients),
    )


def files_of(unit: Unit, rows: NDArray[np.int64], fitted: NDArray[np.float64]) -> dict[str, bytes]:
    """Scores by number of the label holder's rows: probabilities, or expected values of the label.

    The table has a name of its own, for a report on an evaluation in the same job to leave it there.
    """
    mean_of = Family(unit.family).mean_of
    scores = mean_of(fitted) * float(unit.label_deviation) + float(unit.label_mean)
    order = np.argsort(rows)
    lines = zip(rows[order].tolist(), (f"{score:.6f}" for score in scores[order].tolist()), strict=True)
    facts = {"family": unit.family, "rows": len(fitted)}
    files = ResultTable(("row", "score"), tuple(lines), facts).files()
    return {"result.json": files["result.json"], "scores.csv": files["table.csv"]}


def check_before(step: Step, before: Step, training: frozenset[str]) -> None:
    """Check one of the two steps that a step follows; of the one that trained, owners, columns and rows."""
    at, place = f"steps.{step.id}", step.after.index(before.id)
    expected = (ALIGNING, training)[place]
    if before.component not in expected:
        raise InvalidRequest(
            f"{at}.after[{place}]", f"a step of {', '.join(sorted(expected))}", before.component
        )
    if before.component in training:
        _check_model(step, before, at)


def _check_model(step: Step, model: Step, at: str) -> None:
    for role, given in model.inputs.items():
        if step.parties.get(role) != model.parties[role]:
            raise InvalidRequest(
                f"{at}.parties.{role}", f"{model.parties[role]}, as in {model.id}", "another"
            )
        label = model.params.get("label") if role == "owner-1" else None
        wanted = {column.name for column in given.columns} - {label}
        named = {column.name for column in step.inputs[role].columns}
        if named - {label} != wanted:
            expected = f"the columns of step {model.id}: {', '.join(sorted(wanted)) or 'the label'}"
            raise InvalidRequest(f"{at}.inputs.{role}.columns", expected, ", ".join(sorted(named)))
    if len(step.inputs) != len(model.inputs):
        raise InvalidRequest(f"{at}.parties", f"the {len(model.inputs)} owners of {model.id}", "others")
    if step.params.get("part", "all") != "all":
        if not model.params.get("test_percent", 0):
            raise InvalidRequest(
                f"{at}.params.part", f"all, as step {model.id} held no rows out", "another part"
            )
        if step.after[0] != model.after[0]:
            raise InvalidRequest(
                f"{at}.after[0]", f"{model.after[0]}, as the model was trained", step.after[0]
            )
