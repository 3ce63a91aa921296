"""Component ``model/fedboost``: boosted trees over the rows of many owners that have the same columns.

Owners enter sums of gradients by node and bin into a secure aggregation with drop-outs, level by level;
owners that fail or vanish are absent, as long as the threshold stays. Aggregator and owners learn the trees;
they go to the recipients too, or these learn only how training went. The aggregator releases them, and every
owner in the last round the digest of what it has itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import numpy as np

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.boosting.settings import GROWING, grown_by
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    one_of,
    text_like,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.fedboost.model import MAX_NODES, JointTrees
from exchange.jobs.horizontal import (
    ABSENCES,
    AGGREGATOR,
    TAKING_PART,
    Held,
    Traffic,
    attendance,
    check_bounds,
    check_held,
    check_owners,
    check_shown,
    estimates_of,
    label_last,
    labelled_ranges,
    others_of,
    own_rows,
    owners_of,
    terms_of,
    united,
)
from exchange.jobs.privacy import Bounds
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from federated import horizontal
from federated.boosting import Objective
from federated.boosting.settings import MAX_TREES
from federated.horizontal import Boosting, Table, costs
from federated.horizontal.boosting import SPEC
from federated.horizontal.settings import MAX_OWNERS, MIN_OWNERS
from federated.horizontal.trees import MAX_SUMS, sums_at_most
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["COMPONENT", "agreed_by"]

_CELL_NS: Final = 15
_WORD_NS: Final = 12
_OWNER_NS: Final = 400_000
"""A row and column of a level; a number and owner of a round; agreeing on keys with an owner."""


def agreed_by(step: Step) -> Boosting:
    """What the parameters of a step say."""
    at, settings = f"steps.{step.id}.params.bounds", grown_by(step)
    lower, upper = labelled_ranges(
        step,
        read_as(dict[str, Bounds], step.params["bounds"], at),
        at,
        is_class=settings.objective is Objective.LOGISTIC,
    )
    return Boosting(
        settings,
        label_last(step),
        lower,
        upper,
        least=cast(int, step.params["min_cohort"]),
        percent=cast(int, step.params.get("columns_percent", 100)),
    )


def _run(context: StepContext) -> Outcome:
    step, terms, others = context.step, terms_of(context, SPEC), others_of(context)
    agreed, roles, rows = agreed_by(step), owners_of(step), 0
    if context.role == AGGREGATOR:
        boosted = horizontal.aggregate_trees(others, terms, agreed, context.progress)
    else:
        check_shown(context, agreed.least, "trees")
        own, number = own_rows(context, agreed.names), roles.index(context.role) + 1
        rows, table = len(own), Table(agreed.names[:-1], own[:, :-1], agreed.names[-1], own[:, -1])
        boosted = horizontal.boost(
            context.channel(AGGREGATOR), others, terms, number, agreed, table, context.rng, context.progress
        )
    trees = JointTrees.of(agreed, boosted, roles)
    shown = (trees if _is_shown(step) else trees.without_trees()).encode()
    is_owner = context.role != AGGREGATOR
    return Outcome(
        local=trees.encode() if is_owner else b"",
        release=Held.of(shown).encode() if is_owner else shown,
        cohort=min(trees.counts),
        figures=1,
        rows=np.arange(rows, dtype=np.int64) if is_owner else None,
        groups=np.zeros(rows, dtype=np.int64) if is_owner else None,
        absent=tuple(role for role in roles if role not in trees.present),
    )


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    """Read the trees, of which every owner in the last round and nobody else must have released the digest.

    Raises:
        JobFailed: the releases do not fit each other or the step.
    """
    trees = JointTrees.decode(releases[AGGREGATOR])
    check_held(step, releases, trees.present)
    if trees.columns != label_last(step) or bool(trees.nodes) != _is_shown(step):
        raise JobFailed(f"step {step.id}: the aggregator's release has other figures than were asked for")
    found = trees.table()
    return ResultTable(found.columns, found.rows, {**found.facts, **attendance(step, trees.present)})


def _is_shown(step: Step) -> bool:
    return step.params["model"] == "recipients"


def _check(step: Step) -> None:
    at, names, settings = f"steps.{step.id}", check_owners(step), grown_by(step)
    if step.params["label"] not in names:
        raise InvalidRequest(f"{at}.params.label", f"one of {', '.join(names)}", "another column")
    if not step.recipients and _is_shown(step):
        raise InvalidRequest(f"{at}.recipients", "who receives the trees", "nobody")
    nodes, sums = settings.trees * (2 ** (settings.depth + 1) - 1), sums_at_most(settings, len(names) - 1)
    if nodes > MAX_NODES:
        raise InvalidRequest(f"{at}.params.trees", f"at most {MAX_NODES} nodes of all trees", str(nodes))
    if sums > MAX_SUMS:
        raise InvalidRequest(f"{at}.params.bins", f"at most {MAX_SUMS} sums of a level", str(sums))
    agreed_by(step)


def _plan(step: Step) -> Plan:
    """A fit over the rows of all owners, and how many rows are where in each column's bounds."""
    operators, rows = united(step)
    every = label_last(step)
    told = [("rows", "count", ()), ("losses", "fit", every)]
    fitted = [
        ("trees", "fit", every),
        (f"mean {every[-1]}", "mean", every[-1:]),
        *((f"cells {name}", "histogram", (name,)) for name in every[:-1]),
    ]
    learners = dict.fromkeys([step.parties[role] for role in (AGGREGATOR, *owners_of(step))])
    if _is_shown(step):
        learners |= dict.fromkeys(step.recipients)
    return (
        *operators,
        Aggregate(step.id, rows, (), (*told, *fitted)),
        Reveal(step.id, tuple(name for name, _, _ in (*told, *fitted)), tuple(learners)),
        Reveal(step.id, tuple(name for name, _, _ in told), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    agreed, count = agreed_by(step), len(step.inputs)
    settings, features = agreed.settings, agreed.features
    bins = agreed.drawn * settings.bins + features - agreed.drawn
    asked = [(1 << level, bins) for level in range(settings.depth)] * settings.trees
    traffic = Traffic(
        sent=costs.boosting_sent("owner", count, agreed, asked),
        told=costs.boosting_sent(AGGREGATOR, count, agreed, asked),
        compared=costs.boosting_compared(count, asked),
        owner_phases=costs.boosting_receiving_phases("owner", count, asked),
        aggregator_phases=costs.boosting_receiving_phases(AGGREGATOR, count, asked),
    )
    numbers = 3 * bins * sum(nodes for nodes, _ in asked)
    return estimates_of(
        step,
        traffic,
        work_ns=(_WORD_NS * numbers + _OWNER_NS * (len(asked) + 2)) * count,
        memory_bytes=8 * agreed.sums * (count + 4),
        own={
            role: (
                _CELL_NS * features * rows.get(role, 0) * len(asked),
                rows.get(role, 0) * (10 * features + 80) + 32 * agreed.sums,
            )
            for role in step.inputs
        },
        assumes="that all trees grow to their depth, all columns have all bins and no owner is absent",
    )


COMPONENT = Component(
    name="model/fedboost",
    version=1,
    summary="Gradient boosted trees over the rows of many owners with the same columns; some may vanish.",
    roles={
        AGGREGATOR: None,
        "owner": RoleInput(2, 257, frozenset({"feature", "measure", "label"}), Level.AFTER_AGGREGATE),
    },
    params={
        "label": Param("the column that is explained, at every owner", text_like(".{1,128}")),
        "bounds": Param(
            "of every column but a label of 0 and 1 lower and upper, between which bins are and to which "
            "values are clipped",
            check_bounds,
        ),
        "model": Param(
            "who learns the trees besides the aggregator and the owners: owners, nobody, and the recipients "
            "only how training went; recipients, they do",
            one_of("owners", "recipients"),
        ),
        **TAKING_PART,
        "min_cohort": Param(
            "fewest rows with which an owner takes part, and of a bin and a leaf over all owners",
            whole_number(2, 2**31),
        ),
        "objective": Param(
            "logistic, the label is 0 or 1; squared, it is a number; logistic",
            one_of(Objective.LOGISTIC, Objective.SQUARED),
            optional=True,
        ),
        "trees": Param("how many; 20", whole_number(1, MAX_TREES), optional=True),
        **GROWING,
        "columns_percent": Param(
            "of the columns that a tree may split, drawn from the session; 100",
            whole_number(1, 100),
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=frozenset(),
    protocol=SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    repeated={"owner": (MIN_OWNERS, MAX_OWNERS)},
    helpers=frozenset({AGGREGATOR}),
    tells_parties=True,
    absences=ABSENCES,
    open_result=_open,
)
