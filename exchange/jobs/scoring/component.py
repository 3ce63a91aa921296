"""Component ``model/score``: fitted values of aligned rows by a model whose coefficients are split.

Follows the step that aligned the rows and the one that trained the model. Each owner computes its own part of
every score and keeps it sealed for ``model/evaluate``; or the label's owner, which has to have asked itself,
learns the scores of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from connectors import columns
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    one_of,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.scoring.part import ScorePart, Unit
from exchange.jobs.scoring.rows import (
    ALIGNING,
    PART,
    check_after,
    check_before,
    check_split,
    files_of,
    plan_of_scores,
    scored_rows,
)
from exchange.jobs.spec import Step
from federated.vertical import Family, scoring
from policies.column_control import Level

__all__ = ["COMPONENT"]

_TRAINING = frozenset(f"model/{family}" for family in Family)
_CELL_NS = 10
_BASE_BYTES = 100 * 2**20


def _run(context: StepContext) -> Outcome:
    step = context.step
    model = ModelPart.decode(context.earlier[step.after[1]])
    if not set(model.columns) <= {column.name for column in step.inputs[context.role].columns}:
        raise JobFailed(f"step {step.id}: expected a model of columns as they are, got another")
    rows = scored_rows(context, model.held_out)
    unit = Unit(model.family, model.label_mean, model.label_deviation)
    part = ScorePart(unit, rows, _parts(context, model, rows))
    if step.params["scores"] == "shared":
        return Outcome(local=part.encode())
    fitted = scoring.open_scores(context.mesh(), part.parts, context.rng)
    return Outcome(local=part.encode(), files={} if fitted is None else files_of(unit, rows, fitted))


def _parts(context: StepContext, model: ModelPart, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    intercept = float(model.intercept)
    if not model.columns:
        return np.full(len(rows), round(intercept * 2**scoring.SCORE_FRACTION), dtype=np.int64)
    read = [
        columns.measure_array(context.read(name), name)[rows].astype(np.float64) for name in model.columns
    ]
    means, deviations, coefficients = (
        np.array([float(one) for one in texts])
        for texts in (model.means, model.deviations, model.coefficients)
    )
    return scoring.part_of_scores(read, model.columns, means, deviations, coefficients, intercept)


def _check(step: Step) -> None:
    check_after(step)
    at = f"steps.{step.id}"
    told = (step.parties["owner-1"],) if step.params["scores"] == "owner-1" else ()
    if step.recipients != told:
        expected = "owner-1, who alone gets scores" if told else "nobody, where scores stay shared"
        raise InvalidRequest(f"{at}.recipients", expected, ", ".join(step.recipients) or "nobody")


def _check_follows(step: Step, before: Step) -> None:
    check_before(step, before, _TRAINING)
    if before.component in _TRAINING:
        check_split(step, before)


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    owners, scored = len(step.inputs), min(rows.values())
    is_told = step.params["scores"] == "owner-1"
    sent = [scoring.bytes_sent(rank, owners, scored) if is_told else 0 for rank in range(owners)]
    return {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=sum(sent) // owners,
            rounds=scoring.rounds(owners) if is_told else 0,
            work_ns=_CELL_NS * scored * len(step.inputs[role].columns),
            memory_bytes=_BASE_BYTES + 8 * scored * (3 + len(step.inputs[role].columns)),
            assumes="that the intersection is the smallest input, and that all its rows are scored",
        )
        for rank, role in enumerate(f"owner-{number}" for number in range(1, owners + 1))
    }


COMPONENT = Component(
    name="model/score",
    version=1,
    summary="Scores of aligned rows by a split model, kept in parts by the owners or told to the label's.",
    roles={
        "owner": RoleInput(1, 256, frozenset({"feature", "measure", "label", "group"}), Level.AS_JOIN_PAYLOAD)
    },
    repeated={"owner": (2, 16)},
    params={
        "scores": Param(
            "who learns them: shared, nobody, for model/evaluate; owner-1, the label's owner, those of its "
            "rows",
            one_of("shared", "owner-1"),
        ),
        "part": PART,
        "min_cohort": Param("fewest rows that are scored", whole_number(1, 2**31)),
    },
    output_type="scores",
    needs=ALIGNING | _TRAINING,
    takes_rows=True,
    releasing=frozenset(),
    protocol=scoring.SCORING,
    run=_run,
    plan=plan_of_scores,
    check_step=_check,
    check_follows=_check_follows,
    estimate=_estimate,
)
