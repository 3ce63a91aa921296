"""Component ``model/kmeans``: clusters of the rows of many owners that have the same columns.

Owners enter counts and sums by cluster into a secure aggregation with drop-outs, step by step; owners that
fail or vanish are absent, as long as the threshold stays. Clusters with fewer rows than the minimum are
neither added up nor shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Final, cast

import numpy as np

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.cohorts import LEFT_OUT
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, whole_number
from exchange.jobs.estimates import Estimate
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
    others_of,
    own_rows,
    owners_of,
    scaled_ranges,
    terms_of,
    united,
)
from exchange.jobs.privacy import Bounds
from exchange.jobs.regression.part import text
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from exchange.web.kinds import Rule, read_as
from federated import horizontal
from federated.horizontal import Clustered, Clusters, costs
from federated.horizontal.clusters import MAX_CLUSTERS
from federated.horizontal.kmeans import SPEC
from federated.horizontal.settings import MAX_OWNERS, MIN_OWNERS
from ledger import canonical
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["COMPONENT", "agreed_by"]

_MAX_ROUNDS: Final = 300
_MAX_COLUMNS: Final = 256
_ROUNDS: Final = 50
_CELL_NS: Final = 6
_WORD_NS: Final = 12
_OWNER_NS: Final = 400_000
"""A row, cluster and column of a step; a number of a cluster and an owner; agreeing on keys with an owner."""
_USUAL_STEPS: Final = 15
"""What an estimate takes before a step has run: how often centres move depends on the rows."""


def agreed_by(step: Step) -> Clusters:
    """What the parameters of a step say."""
    at, columns = f"steps.{step.id}.params.bounds", step.inputs["owner-1"].columns
    lower, upper = scaled_ranges(read_as(dict[str, Bounds], step.params["bounds"], at), columns, at)
    return Clusters(
        names=tuple(column.name for column in columns),
        lower=lower,
        upper=upper,
        count=cast(int, step.params["clusters"]),
        seed=cast(int, step.params["seed"]),
        least=cast(int, step.params["min_cohort"]),
        rounds=_rounds(step),
    )


@dataclass(frozen=True)
class _Found:
    """The clusters as they are released: those with enough rows, by number from 1.

    Attributes:
        columns: names.
        numbers, rows, inertia: of each cluster.
        centres: of each cluster the columns' values, one cluster after another.
        steps: by which centres moved.
        settled: fewer rows than the minimum would have changed their cluster.
        present: roles of the owners in the last round.
    """

    columns: tuple[str, ...]
    numbers: tuple[int, ...]
    rows: tuple[int, ...]
    inertia: tuple[str, ...]
    centres: Annotated[tuple[str, ...], Rule("numbers", maximum=MAX_CLUSTERS * _MAX_COLUMNS)]
    steps: int
    settled: bool
    present: tuple[str, ...]

    @staticmethod
    def of(step: Step, names: tuple[str, ...], found: Clustered) -> _Found:
        shown, roles = np.flatnonzero(found.rows > 0), owners_of(step)
        return _Found(
            columns=names,
            numbers=tuple((shown + 1).tolist()),
            rows=tuple(map(int, found.rows[shown].tolist())),
            inertia=tuple(map(text, found.inertia[shown].tolist())),
            centres=tuple(map(text, found.centres[shown].ravel().tolist())),
            steps=found.steps,
            settled=found.is_settled,
            present=tuple(roles[number - 1] for number in found.owners),
        )

    def encode(self) -> bytes:
        return canonical.encode(asdict(self))


def _run(context: StepContext) -> Outcome:
    step, terms, others = context.step, terms_of(context, SPEC), others_of(context)
    agreed = agreed_by(step)
    if context.role == AGGREGATOR:
        found = horizontal.aggregate_clusters(others, terms, agreed, context.progress, context.checkpoints)
    else:
        check_shown(context, agreed.least, "clusters")
        rows, number = own_rows(context, agreed.names), owners_of(step).index(context.role) + 1
        found = horizontal.cluster(
            context.channel(AGGREGATOR),
            others,
            terms,
            number,
            agreed,
            rows,
            context.rng,
            context.progress,
            context.checkpoints,
        )
    release = _Found.of(step, agreed.names, found)
    is_owner = context.role != AGGREGATOR
    return Outcome(
        local=b"",
        release=Held.of(release.encode()).encode() if is_owner else release.encode(),
        cohort=min(release.rows),
        figures=len(release.rows),
        rows=np.arange(len(found.codes), dtype=np.int64) if is_owner else None,
        groups=np.where(found.rows[found.codes] > 0, found.codes, LEFT_OUT) if is_owner else None,
        absent=tuple(role for role in owners_of(step) if role not in release.present),
    )


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    """Read the clusters, of which every owner in the last round must have released the digest.

    Raises:
        JobFailed: the releases do not fit each other or the step.
    """
    found = read_as(_Found, canonical.decode(releases[AGGREGATOR]), "release")
    check_held(step, releases, found.present)
    names = tuple(column.name for column in step.inputs["owner-1"].columns)
    count = len(found.numbers)
    lengths = (len(found.rows), len(found.inertia), len(found.centres))
    if found.columns != names or lengths != (count, count, count * len(names)):
        raise JobFailed(f"step {step.id}: the aggregator's release has other figures than were asked for")
    centres = iter(found.centres)
    lines: list[tuple[Cell, ...]] = [
        (number, rows, inertia, name, next(centres))
        for number, rows, inertia in zip(found.numbers, found.rows, found.inertia, strict=True)
        for name in names
    ]
    facts = {
        "rows": sum(found.rows),
        "inertia": text(sum(map(float, found.inertia))),
        "suppressed": cast(int, step.params["clusters"]) - count,
        "steps": found.steps,
        "settled": found.settled,
        **attendance(step, found.present),
    }
    return ResultTable(("cluster", "rows", "inertia", "column", "centre"), tuple(lines), facts)


def _check(step: Step) -> None:
    check_owners(step)
    agreed_by(step)
    if not step.recipients:
        raise InvalidRequest(f"steps.{step.id}.recipients", "who receives the clusters", "nobody")


def _rounds(step: Step) -> int:
    return cast(int, step.params.get("rounds", _ROUNDS))


def _plan(step: Step) -> Plan:
    """Means and squared distances by cluster, which aggregator, owners and recipients learn."""
    operators, rows = united(step)
    every = tuple(column.name for column in step.inputs["owner-1"].columns)
    figures = (("rows", "count", ()), ("inertia", "fit", every), ("centres", "fit", every))
    viewers = (step.parties[AGGREGATOR], *(step.parties[role] for role in owners_of(step)), *step.recipients)
    shown = Reveal(step.id, tuple(name for name, _, _ in figures), tuple(dict.fromkeys(viewers)))
    return (*operators, Aggregate(step.id, rows, (), figures), shown)


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    agreed, count = agreed_by(step), len(step.inputs)
    steps = min(_USUAL_STEPS, agreed.rounds)
    numbers = agreed.count * len(agreed.names)
    traffic = Traffic(
        sent=costs.kmeans_sent("owner", count, agreed, steps),
        told=costs.kmeans_sent(AGGREGATOR, count, agreed, steps),
        compared=costs.kmeans_compared(count, steps),
        owner_phases=costs.kmeans_receiving_phases("owner", count, steps),
        aggregator_phases=costs.kmeans_receiving_phases(AGGREGATOR, count, steps),
    )
    return estimates_of(
        step,
        traffic,
        work_ns=(_WORD_NS * numbers + _OWNER_NS) * count * (2 * steps + 2),
        memory_bytes=24 * numbers * (count + 4),
        own={
            role: (
                _CELL_NS * numbers * rows.get(role, 0) * (steps + 1),
                rows.get(role, 0) * (24 * len(agreed.names) + 8 * agreed.count),
            )
            for role in step.inputs
        },
        assumes=f"that centres move {steps} times and that no owner is absent",
    )


COMPONENT = Component(
    name="model/kmeans",
    version=1,
    summary="Clusters of the rows of many owners by k-means; some may vanish, small clusters stay unsaid.",
    roles={
        AGGREGATOR: None,
        "owner": RoleInput(1, _MAX_COLUMNS, frozenset({"feature", "measure"}), Level.AFTER_AGGREGATE),
    },
    params={
        "clusters": Param("how many, at most", whole_number(2, MAX_CLUSTERS)),
        "bounds": Param(
            "of every column lower and upper, by which it is scaled and to which values are clipped",
            check_bounds,
        ),
        "seed": Param("of the first centres, drawn within the bounds", whole_number(0, 2**31 - 1)),
        **TAKING_PART,
        "min_cohort": Param(
            "fewest rows with which an owner takes part, and of a cluster that is added up and shown",
            whole_number(2, 2**31),
        ),
        "rounds": Param(f"most steps; {_ROUNDS}", whole_number(1, _MAX_ROUNDS), optional=True),
    },
    output_type="aggregate",
    needs=frozenset(),
    resumes=True,
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
