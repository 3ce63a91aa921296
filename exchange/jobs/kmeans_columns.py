"""Component ``model/kmeans-columns``: clusters by columns of several owners on secret shares.

The columns are those of aligned rows. Three parties compute: the first three owners, or two owners and a
helper that enters nothing. The centres stay split, each owner with those of its own columns, or go to the
recipients as shares that they alone can put together. Clusters with fewer rows than the minimum stay closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import aligned_columns
from exchange.jobs.boosting.part import text
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    one_of,
    source,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.horizontal import scaled_ranges
from exchange.jobs.own_clusters import OwnClusters
from exchange.jobs.privacy import Bounds
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.secret_columns.encoding import check_rules
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from federated import shared_kmeans
from federated.horizontal.clusters import MAX_CLUSTERS, Clusters
from federated.shared_kmeans import Centres, Trained, costs
from federated.shared_kmeans.settings import MAX_COLUMNS, MAX_ROWS
from federated.shared_kmeans.training import places_of
from federated.vertical import Layout
from mpc import replicated, wire
from mpc.errors import InvalidInput
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Select

__all__ = ["COMPONENT", "FORMAT", "agreed_by"]

FORMAT: Final = 1
_MAX_ROUNDS: Final = 100
_ROUNDS: Final = 20
_USUAL_STEPS: Final = 10
"""What an estimate takes where the run ends early: when it does depends on the rows."""
_BASE_BYTES: Final = 200 * 2**20
_PAIR_NS: Final = 400
_CELL_NS: Final = 8
"""Work of a party on a row and cluster of a step, and on a row, cluster and column."""
_Floats = NDArray[np.float64]


def agreed_by(step: Step) -> Clusters:
    """What the parameters of a step say; columns are those of all owners, by role.

    Raises:
        InvalidRequest: bounds of other owners or columns, or that are no ranges; by field.
    """
    at, roles = f"steps.{step.id}.params.bounds", aligned_columns.owners_of(step)
    bounds = read_as(dict[str, dict[str, Bounds]], step.params["bounds"], at)
    if set(bounds) != set(roles):
        raise InvalidRequest(at, f"the bounds of {', '.join(roles)}", ", ".join(sorted(bounds)) or "none")
    names, lower, upper = list[str](), list[float](), list[float]()
    for role in roles:
        columns = step.inputs[role].columns
        low, high = scaled_ranges(bounds[role], columns, f"{at}.{role}")
        names += [f"{role}.{column.name}" for column in columns]
        lower += low
        upper += high
    return Clusters(
        names=tuple(names),
        lower=tuple(lower),
        upper=tuple(upper),
        count=cast("int", step.params["clusters"]),
        seed=cast("int", step.params["seed"]),
        least=cast("int", step.params["min_cohort"]),
        rounds=cast("int", step.params.get("rounds", _ROUNDS)),
    )


def _run(context: StepContext) -> Outcome:
    step, agreed = context.step, agreed_by(context.step)
    is_owner = context.role in step.inputs
    rows = aligned_columns.aligned_rows(context) if is_owner else None
    with replicated.run(context.mesh(), shared_kmeans.SPEC, context.rng) as rt:
        stated = None if rows is None else (len(rows), agreed.least)
        count = aligned_columns.agreed_rows(rt, stated, agreed.least_rows)
        layout = Layout(count, aligned_columns.widths_of(step))
        columns = _own_columns(context, agreed, places_of(layout, rt.rank)) if is_owner else None
        trained = shared_kmeans.train(
            rt,
            layout,
            agreed,
            columns,
            context.progress,
            ends_early=_ends_early(step),
            checkpoints=context.checkpoints,
        )
        local, shares = b"", np.zeros((0, 0), dtype=np.uint64)
        if _is_split(step):
            opened = shared_kmeans.own_centres(rt, layout, trained)
            if opened is not None:
                found = Centres.of(opened, agreed, places_of(layout, rt.rank))
                names = tuple(column.name for column in step.inputs[context.role].columns)
                local = OwnClusters.of(
                    names, found, agreed.count, trained.steps, settled=trained.is_settled
                ).encode()
        else:
            shares = aligned_columns.own_share(rt, trained.clusters)
    return Outcome(
        local=local,
        release=_released(trained, shares),
        cohort=agreed.least,
        figures=agreed.count,
        rows=rows,
        # Which cluster a row is in nobody knows: the figures are about all of them.
        groups=None if rows is None else np.zeros(len(rows), dtype=np.int64),
    )


def _own_columns(context: StepContext, agreed: Clusters, places: slice) -> _Floats:
    """This owner's columns, scaled by the agreed bounds.

    Raises:
        JobFailed: an output rule that nobody can check on shares, or a minimum of this owner above that of
            a cluster.
        MissingValues, WrongColumnType: from the source.
        ValueOutOfRange: values that are not finite, counted.
        InvalidInput: a column that has one value only within its bounds.
    """
    check_rules(context)
    if context.minimum_cohort > agreed.least:
        raise JobFailed(
            f"step {context.step.id}: expected min_cohort of at least this owner's minimum of "
            f"{context.minimum_cohort} rows in every cluster, got {agreed.least}"
        )
    names = [column.name for column in context.step.inputs[context.role].columns]
    values = [aligned_columns.aligned_column(context, name) for name in names]
    return shared_kmeans.own_columns(agreed, places, values)


def _released(trained: Trained, shares: NDArray[np.uint64]) -> bytes:
    """Steps and whether they settled, which every party states alike, and its share; none where split."""
    return b"".join(
        (
            wire.encode_uint64(FORMAT),
            wire.encode_uint64(trained.steps),
            wire.encode_uint64(trained.is_settled),
            wire.encode_array(shares),
        )
    )


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    if set(releases) != set(step.parties):
        raise JobFailed(f"step {step.id}: expected the shares of {len(step.parties)} parties")
    agreed = agreed_by(step)
    shape = (0, 0) if _is_split(step) else (agreed.count, 2 + len(agreed.names))
    stated, total = list[tuple[int, int]](), np.zeros(shape, dtype=np.uint64)
    for role in sorted(releases):
        reader = wire.Reader(f"release of {role}", releases[role])
        if (version := reader.uint64("format")) != FORMAT:
            raise JobFailed(f"release of {role}: expected format {FORMAT}, got {version}")
        stated.append((reader.uint64("steps"), reader.uint64("settled")))
        total += reader.array("shares", "<u8", shape)
        reader.finish()
    if any(one != stated[0] for one in stated):
        raise JobFailed(f"step {step.id}: the shares of the parties are not of one run")
    facts: dict[str, object] = {"steps": stated[0][0], "settled": bool(stated[0][1])}
    header = ("cluster", "rows", "inertia", "party", "column", "centre")
    if _is_split(step):
        return ResultTable(header, (), facts)
    try:
        # Shares of different runs sum to uniform words, which are no clusters.
        found = Centres.of(total.view(np.int64), agreed)
    except InvalidInput as error:
        raise JobFailed(f"step {step.id}: the shares of the parties are not of one run") from error
    named = [name.split(".", 1) for name in agreed.names]
    lines: list[tuple[Cell, ...]] = [
        (number, rows, text(inertia), *name, text(value))
        for number, rows, inertia, values in zip(
            *(one.tolist() for one in (found.numbers, found.rows, found.inertia, found.values)), strict=True
        )
        for name, value in zip(named, values, strict=True)
    ]
    whole = {
        "rows": int(found.rows.sum()),
        "inertia": text(float(found.inertia.sum())),
        "suppressed": agreed.count - len(found.numbers),
    }
    return ResultTable(header, tuple(lines), whole | facts)


def _is_split(step: Step) -> bool:
    return step.params.get("centres", "recipients") == "split"


def _ends_early(step: Step) -> bool:
    return step.params.get("end", "rounds") == "settled"


def _check(step: Step) -> None:
    aligned_columns.check_parties(step)
    if (columns := sum(aligned_columns.widths_of(step))) > MAX_COLUMNS:
        expected = f"at most {MAX_COLUMNS} columns of all owners"
        raise InvalidRequest(f"steps.{step.id}.inputs", expected, str(columns))
    agreed_by(step)
    if not step.recipients and not _is_split(step):
        raise InvalidRequest(f"steps.{step.id}.recipients", "who receives the clusters", "nobody")


def _plan(step: Step) -> Plan:
    """Means by cluster to the recipients, or to the owners, each of its own columns."""
    sources = {role: source(step, role) for role in aligned_columns.owners_of(step)}
    together = f"{step.id}.together"
    every = tuple(f"{one.id}.{name}" for one in sources.values() for name in one.columns)
    owners = tuple(one.owner for one in sources.values())
    figures = (
        ("rows", "count", ()),
        ("inertia", "fit", every),
        ("centres", "fit", every),
        ("steps", "fit", every),
    )
    return (
        *sources.values(),
        Select(together, tuple(one.id for one in sources.values()), rows=step.after[0]),
        Aggregate(step.id, together, (), figures),
        Reveal(step.id, ("rows", "inertia", "centres"), owners if _is_split(step) else step.recipients),
        Reveal(step.id, ("steps",), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    agreed, roles, ends_early = agreed_by(step), COMPONENT.ranks(step), _ends_early(step)
    # Of fewer rows there is no run, so no cost.
    layout, parties = (
        Layout(max(min(rows.values()), agreed.least_rows), aligned_columns.widths_of(step)),
        len(roles),
    )
    steps = min(_USUAL_STEPS, agreed.rounds) if ends_early else agreed.rounds
    cost = costs.training(layout, agreed, parties, steps, ends_early=ends_early)
    cost += runtime_costs.stated(parties, 0)
    if _is_split(step):
        cost += costs.own_centres(layout, agreed)
    whole, told = runtime_costs.run(parties), runtime_costs.stated(parties, aligned_columns.STATED).outside
    sent = {
        role: costs.sent(layout, cost, rank)
        + (whole.sent[rank] if rank < len(whole.sent) else whole.outside)
        + (told if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    pairs, columns = layout.rows * agreed.count, len(agreed.names)
    assumed = "that the intersection is the smallest input"
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sum(sent.values()) // parties,
            rounds=cost.rounds + whole.rounds,
            work_ns=steps * pairs * (_PAIR_NS + _CELL_NS * columns),
            memory_bytes=_BASE_BYTES + 48 * layout.rows * (columns + agreed.count),
            assumes=f"{assumed}, and that centres move {steps} times" if ends_early else assumed,
        )
        for role in roles
    }


def _check_bounds(value: object, at: str) -> None:
    read_as(dict[str, dict[str, Bounds]], value, at)


COMPONENT = Component(
    name="model/kmeans-columns",
    version=1,
    summary="Clusters by columns of several owners on secret shares, by k-means; nobody sees a distance, a "
    "sum or which cluster a row is in, and small clusters stay unsaid.",
    roles={
        "owner": RoleInput(1, MAX_COLUMNS, frozenset({"feature", "measure"}), Level.AFTER_AGGREGATE),
        "helper": None,
    },
    repeated={"owner": (2, 16), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    params={
        "clusters": Param("how many, at most", whole_number(2, MAX_CLUSTERS)),
        "bounds": Param(
            "by owner, of every column lower and upper, by which it is scaled and to which values are "
            "clipped",
            _check_bounds,
        ),
        "seed": Param("of the first centres, drawn within the bounds", whole_number(0, 2**31 - 1)),
        "min_cohort": Param(
            "fewest rows of a cluster that is told; there must be so many for each cluster",
            whole_number(2, MAX_ROWS),
        ),
        "rounds": Param(f"how many steps, at most; {_ROUNDS}", whole_number(1, _MAX_ROUNDS), optional=True),
        "end": Param(
            "when the run ends: rounds, after all of them; settled, also after a step in which fewer rows "
            "than min_cohort changed their cluster, so all parties learn after how many; rounds",
            one_of("rounds", "settled"),
            optional=True,
        ),
        "centres": Param(
            "who learns them: recipients, the recipients all of them; split, each owner those in its own "
            "columns, and rows and inertia of every cluster, and the recipients only how many steps it took; "
            "recipients",
            one_of("recipients", "split"),
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=aligned_columns.ALIGNING,
    takes_rows=True,
    resumes=True,
    protocol=shared_kmeans.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    open_result=_open,
)
