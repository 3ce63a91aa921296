"""Component ``model/assign-clusters``: which cluster each aligned row is nearest to, for ``owner-1``.

Follows the step that aligned the rows and one of ``model/kmeans-columns`` whose centres are split. Each owner
computes its own part of the distances at its own node; three parties add these up on shares and find the
nearest there. ``owner-1``, which has to have asked itself, learns the numbers of the clusters of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import aligned_columns
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, source, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.kmeans_columns import agreed_by
from exchange.jobs.own_clusters import OwnClusters
from exchange.jobs.results import ResultTable
from exchange.jobs.scoring.rows import ALIGNING, check_after, check_before
from exchange.jobs.spec import Step
from federated import shared_kmeans
from federated.horizontal.standardise import in_unit
from federated.shared_kmeans.settings import MAX_COLUMNS
from federated.shared_kmeans.training import places_of
from federated.vertical import Layout
from mpc import replicated
from mpc.errors import InputsDisagree
from mpc.replicated import Runtime
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level
from policies.plans import Compute, Plan, Reveal, Select

__all__ = ["COMPONENT"]

_HOLDER: Final = "owner-1"
_CLUSTERING: Final = frozenset({"model/kmeans-columns"})
_USUAL_CLUSTERS: Final = 8
"""What an estimate takes: how many clusters are told depends on the rows."""
_PAIR_NS: Final = 300
_BASE_BYTES: Final = 100 * 2**20


def _run(context: StepContext) -> Outcome:
    step = context.step
    part = rows = None
    if context.role in step.inputs:
        part = OwnClusters.decode(context.earlier[step.after[1]])
        rows = aligned_columns.aligned_rows(context)
        if not part.numbers:
            raise JobFailed(f"step {step.id}: expected a cluster that step {step.after[1]} tells, got none")
    smallest = max(context.minimum_cohort, context.number("min_cohort"))
    with replicated.run(context.mesh(), shared_kmeans.ASSIGNMENT, context.rng) as rt:
        count = aligned_columns.agreed_rows(rt, None if rows is None else (len(rows), smallest), smallest)
        clusters = _agreed_clusters(rt, part)
        layout = Layout(count, aligned_columns.widths_of(step))
        own = None if part is None else _own_nearness(context, part, layout, rt.rank)
        found = shared_kmeans.assign(rt, layout, clusters, own, context.progress)
    if found is None or part is None or rows is None:
        return Outcome(local=b"")
    return Outcome(local=b"", files=_files(rows, np.array(part.numbers)[found], clusters))


def _agreed_clusters(rt: Runtime, part: OwnClusters | None) -> int:
    """How many clusters are told, the same at all owners.

    Raises:
        InputsDisagree: owners with different numbers of them.
    """
    stated = [one for (one,) in rt.state(None if part is None else (len(part.numbers),), 1).values()]
    for other in stated:
        if other != stated[0]:
            raise InputsDisagree("clusters", stated[0], other)
    return stated[0]


def _own_nearness(context: StepContext, part: OwnClusters, layout: Layout, rank: int) -> NDArray[np.float64]:
    """This owner's part of how near its rows are to the centres: float64[rows, clusters].

    Raises:
        MissingValues, WrongColumnType: from the source.
        ValueOutOfRange: values that are not finite, counted.
    """
    agreed, places = agreed_by(context.before[context.step.after[1]]), places_of(layout, rank)
    centres = np.array([float(one) for one in part.centres]).reshape(len(part.numbers), len(part.columns))
    values = [aligned_columns.aligned_column(context, name) for name in part.columns]
    return shared_kmeans.nearness(
        in_unit(centres, agreed.lower[places], agreed.upper[places]),
        shared_kmeans.scaled(agreed, places, values),
    )


def _files(rows: NDArray[np.int64], numbers: NDArray[np.int64], clusters: int) -> dict[str, bytes]:
    """Numbers of clusters by number of owner-1's rows."""
    order = np.argsort(rows)
    lines = tuple(zip(rows[order].tolist(), numbers[order].tolist(), strict=True))
    files = ResultTable(("row", "cluster"), lines, {"rows": len(rows), "clusters": clusters}).files()
    return {"result.json": files["result.json"], "clusters.csv": files["table.csv"]}


def _check(step: Step) -> None:
    aligned_columns.check_helper(step)
    check_after(step)
    if step.recipients != (step.parties[_HOLDER],):
        got = ", ".join(step.recipients) or "nobody"
        raise InvalidRequest(f"steps.{step.id}.recipients", f"{_HOLDER}, who alone gets the clusters", got)


def _check_follows(step: Step, before: Step) -> None:
    check_before(step, before, _CLUSTERING)
    if before.component in _CLUSTERING and before.params.get("centres") != "split":
        at = f"steps.{before.id}.params.centres"
        raise InvalidRequest(at, f"split, for {COMPONENT.name}", "recipients")


def _plan(step: Step) -> Plan:
    """A number is computed row by row from all columns and shown to owner-1."""
    sources = [source(step, role) for role in aligned_columns.owners_of(step)]
    together = f"{step.id}.together"
    every = tuple(f"{one.id}.{name}" for one in sources for name in one.columns)
    return (
        *sources,
        Select(together, tuple(one.id for one in sources), rows=step.after[0]),
        Compute(step.id, together, "cluster", every),
        Reveal(step.id, ("cluster",), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    roles, clusters = COMPONENT.ranks(step), _USUAL_CLUSTERS
    layout, parties = Layout(min(rows.values()), aligned_columns.widths_of(step)), len(roles)
    cost = shared_kmeans.assignment_cost(layout, clusters) + runtime_costs.stated(parties, 0) * 2
    whole = runtime_costs.run(parties)
    told = runtime_costs.stated(parties, aligned_columns.STATED + 1).outside
    sent = {
        role: shared_kmeans.assignment_sent(layout, clusters, cost, rank)
        + (whole.sent[rank] if rank < len(whole.sent) else whole.outside)
        + (told if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    pairs = layout.rows * clusters
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sum(sent.values()) // parties,
            rounds=cost.rounds + whole.rounds,
            work_ns=_PAIR_NS * pairs,
            memory_bytes=_BASE_BYTES + 64 * pairs + 16 * layout.rows * len(layout.columns),
            assumes=f"that the intersection is the smallest input, and that {clusters} clusters are told",
        )
        for role in roles
    }


COMPONENT = Component(
    name="model/assign-clusters",
    version=1,
    summary="Which of the clusters found by columns of several owners each aligned row is nearest to, told "
    "to one of the owners; nobody sees a distance.",
    roles={
        "owner": RoleInput(1, MAX_COLUMNS, frozenset({"feature", "measure"}), Level.AS_JOIN_PAYLOAD),
        "helper": None,
    },
    repeated={"owner": (2, 16), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    params={"min_cohort": Param("fewest rows that are assigned", whole_number(1, 2**31))},
    output_type="scores",
    needs=ALIGNING | _CLUSTERING,
    takes_rows=True,
    releasing=frozenset(),
    protocol=shared_kmeans.ASSIGNMENT,
    run=_run,
    plan=_plan,
    check_step=_check,
    check_follows=_check_follows,
    estimate=_estimate,
)
