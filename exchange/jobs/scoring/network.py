"""Component ``model/score-network``: scores of aligned rows by a split network, for the label's owner.

Follows the step that aligned the rows and the one that trained. The owners' columns and weights enter as
shares; ``owner-1``, which has to have asked itself, learns the score of each row and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import JobFailed
from exchange.jobs import aligned_columns
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.network.component import settings_of
from exchange.jobs.network.part import NetworkPart
from exchange.jobs.regression.component import columns_of
from exchange.jobs.scoring.part import Unit
from exchange.jobs.scoring.rows import (
    ALIGNING,
    PART,
    check_before,
    check_split,
    check_told,
    files_of,
    plan_of_scores,
    scored_rows,
)
from exchange.jobs.spec import Step
from federated import network
from federated.network import costs
from federated.network.scoring import PIECE_ROWS
from federated.vertical import Layout, Standardised
from mpc import replicated
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level

__all__ = ["COMPONENT"]

_TRAINING: Final = frozenset({"model/network"})
_MODEL: Final = 1
"""Which of the steps in ``after`` trained."""
_CELL_NS: Final = 700
_BASE_BYTES: Final = 200 * 2**20
_CELL_BYTES: Final = 400


def _run(context: StepContext) -> Outcome:
    step, model = context.step, context.before[context.step.after[_MODEL]]
    settings = settings_of(model)
    every = aligned_columns.names_of(context, str(model.params["label"]))
    part = rows = features = None
    if context.role in step.inputs:
        part = NetworkPart.decode(context.earlier[model.id])
        own = [name for role, name in every if role == context.role]
        if sorted(part.columns) != sorted(own):
            raise JobFailed(f"step {step.id}: expected a model of columns as they are, got another")
        rows = scored_rows(context, part.held_out)
        features = _features(context, part, rows) if own else None
    with replicated.run(context.mesh(), network.SCORING, context.rng) as rt:
        smallest = max(context.minimum_cohort, context.number("min_cohort"))
        stated = None if rows is None else (len(rows), smallest)
        count = aligned_columns.agreed_rows(rt, stated, 1)
        layout = Layout(count, aligned_columns.sizes_of(step, every))
        fitted = network.score(
            rt, layout, settings, features, None if part is None else part.own, context.progress
        )
    if fitted is None or part is None or rows is None:
        return Outcome(local=b"")
    unit = Unit(part.family, part.label_mean, part.label_deviation)
    return Outcome(local=b"", files=files_of(unit, rows, fitted))


def _features(context: StepContext, part: NetworkPart, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """This owner's columns in the unit of the rows trained on: float64[columns, rows].

    Raises:
        MissingValues, WrongColumnType: from the source; nothing was sent.
    """
    values = [
        connected.measure_array(context.read(name), name)[rows].astype(np.float64) for name in part.columns
    ]
    means, deviations = (np.array([float(one) for one in texts]) for texts in (part.means, part.deviations))
    return Standardised(np.empty((len(values), 0)), means, deviations).of(values)


def _check(step: Step) -> None:
    aligned_columns.check_helper(step)
    check_told(step)


def _check_follows(step: Step, before: Step) -> None:
    check_before(step, before, _TRAINING)
    if before.component in _TRAINING:
        check_split(step, before)


def _estimate(step: Step, before: Sequence[Step], rows: Mapping[str, int]) -> dict[str, Estimate]:
    model, roles = before[_MODEL], COMPONENT.ranks(step)
    settings, parties = settings_of(model), len(roles)
    layout = Layout(min(rows.values()), columns_of(model))
    cost = costs.scoring(layout, settings) + runtime_costs.stated(parties, 0)
    whole, told = runtime_costs.run(parties), runtime_costs.stated(parties, aligned_columns.STATED).outside
    sent = {
        role: costs.scoring_sent(layout, settings, cost, rank)
        + (whole.sent[rank] if rank < len(whole.sent) else whole.outside)
        + (told if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sum(sent.values()) // parties,
            rounds=cost.rounds + whole.rounds,
            work_ns=_CELL_NS * layout.rows * settings.units,
            memory_bytes=_BASE_BYTES
            + 32 * layout.rows * layout.coefficients
            + _CELL_BYTES * settings.units * min(layout.rows, PIECE_ROWS),
            assumes="that the intersection is the smallest input, and that all its rows are scored",
        )
        for role in roles
    }


COMPONENT = Component(
    name="model/score-network",
    version=1,
    summary="Scores of aligned rows by a split network on secret shares, told to the label's owner alone.",
    roles={
        "owner": RoleInput(
            1, 256, frozenset({"feature", "measure", "label", "group"}), Level.AS_JOIN_PAYLOAD
        ),
        "helper": None,
    },
    repeated={"owner": (2, 16), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    params={
        "part": PART,
        "min_cohort": Param("fewest rows that are scored", whole_number(1, 2**31)),
    },
    output_type="scores",
    needs=ALIGNING | _TRAINING,
    takes_rows=True,
    releasing=frozenset(),
    protocol=network.SCORING,
    run=_run,
    plan=plan_of_scores,
    check_step=_check,
    check_follows=_check_follows,
    estimate_after=_estimate,
)
