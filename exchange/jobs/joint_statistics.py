"""Component ``stats/group-sums``: counts and sums by group over the people matched before.

The measure stands at one owner and the group at the other. Each owner ends with an additive share of the sums
and releases it, sealed, to the recipients; neither owner can open the result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectors import columns
from exchange.errors import JobFailed
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, whole_number
from exchange.jobs.intersection import rows_of
from exchange.jobs.releases import GroupRelease, Measure, MeasureRelease
from exchange.jobs.spec import ColumnInput
from mpc import fixed_point
from mpc.stats import group_sums
from policies.column_control import Level

__all__ = ["COMPONENT"]

_MAX_GROUPS = 256


def _run(context: StepContext) -> Outcome:
    rows = rows_of(context.earlier[context.step.after[0]])
    minimum = max(context.minimum_cohort, context.number("min_cohort"))
    play = _group_holder if context.role == "group_holder" else _measure_holder
    release = play(context, rows, minimum)
    released = release.shares.counts[release.shares.counts >= 0]
    if not len(released):
        raise JobFailed(f"step {context.step.id}: every group is smaller than the minimum cohort {minimum}")
    return Outcome(local=b"", release=release.encode(), cohort=int(released.min()))


def _group_holder(context: StepContext, rows: NDArray[np.int64], minimum: int) -> GroupRelease:
    name = context.step.inputs[context.role].columns[0].name
    groups = columns.group_codes(context.read(name), name)
    if len(groups.labels) > _MAX_GROUPS:
        raise JobFailed(f"column {name}: expected at most {_MAX_GROUPS} groups, found {len(groups.labels)}")
    shares = group_sums.group_holder(
        context.channel("measure_holder"),
        groups.codes[rows],
        len(groups.labels),
        min_cohort=minimum,
        rng=context.rng,
        progress=context.progress,
    )
    return GroupRelease(name, groups.labels, shares)


def _measure_holder(context: StepContext, rows: NDArray[np.int64], minimum: int) -> MeasureRelease:
    wanted = context.step.inputs[context.role].columns
    encoded = [_encoded(context, column)[rows] for column in wanted]
    shares = group_sums.measure_holder(
        context.channel("group_holder"),
        np.stack(encoded, axis=1),
        min_cohort=minimum,
        rng=context.rng,
        progress=context.progress,
    )
    return MeasureRelease(tuple(Measure(column.name, column.decimals) for column in wanted), shares)


def _encoded(context: StepContext, column: ColumnInput) -> NDArray[np.int64]:
    values = columns.measure_array(context.read(column.name), column.name)
    return fixed_point.encode(list(values) if values.dtype == object else values, column.decimals)


COMPONENT = Component(
    name="stats/group-sums",
    version=1,
    summary="Counts, sums and means by group; the measure at one owner, the group at the other.",
    roles={
        "measure_holder": RoleInput(1, 16, frozenset({"measure", "label", "feature"}), Level.AFTER_AGGREGATE),
        "group_holder": RoleInput(1, 1, frozenset({"group", "feature"}), Level.AFTER_GROUP_BY),
    },
    params={
        "min_cohort": Param("smallest group that may be released", whole_number(1, 2**31)),
    },
    output_type="aggregate",
    needs=frozenset({"psi/ecdh"}),
    protocol=group_sums.SPEC,
    run=_run,
)
