"""Component ``stats/group-sums``: counts and sums by group over the people matched before.

The measure stands at one owner and the group at the other. Each owner ends with an additive share of the sums
and releases it, sealed, to the recipients; neither owner can open the result.

With ``privacy`` each owner adds the whole of the stated noise to its own share of every open group, so that
the sums stay private even towards a recipient that knows all but one owner's noise; their variance is twice
that of one party's noise. Counts carry the group holder's noise alone: it knows its groups anyway. Which
groups reach the minimum is decided by the true counts and is not covered by epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors import columns
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import cohorts, disclosure
from exchange.jobs.component import (
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
from exchange.jobs.noise import draw, require_noise
from exchange.jobs.privacy import Privacy, check_privacy, noise_as_json
from exchange.jobs.releases import GroupRelease, Measure, MeasureRelease
from exchange.jobs.spec import ColumnInput, Step
from mpc import fixed_point
from mpc.stats import group_sums
from mpc.stats.shares import GroupShares
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Select

__all__ = ["COMPONENT"]

_MAX_GROUPS = 256
_USUAL_GROUPS: Final = 16
"""What an estimate takes before a step has run: the number of groups is the group holder's own."""
_BASE_NS: Final = 40_000_000
_CELL_NS: Final = 400
"""The base transfers, and a row and group at four measures, as ``mpc`` states them."""
_MAX_SCALE = 2.0**56
"""Noise beyond 64 bits has a chance of e^-128 and less."""


def _run(context: StepContext) -> Outcome:
    rows = rows_of(context.earlier[context.step.after[0]])
    privacy = Privacy.of(context.step)
    if privacy is not None:
        require_noise()
    play = _group_holder if context.role == "group_holder" else _measure_holder
    return play(context, rows, max(context.minimum_cohort, context.number("min_cohort")), privacy)


def _group_holder(
    context: StepContext, rows: NDArray[np.int64], minimum: int, privacy: Privacy | None
) -> Outcome:
    name = context.step.inputs[context.role].columns[0].name
    groups = columns.group_codes(context.read(name), name)
    if len(groups.labels) > _MAX_GROUPS:
        raise JobFailed(f"column {name}: expected at most {_MAX_GROUPS} groups, found {len(groups.labels)}")
    codes, count = groups.codes[rows], len(groups.labels)
    noise = _noise(context.step, privacy, count)
    stated = _stated(context, codes, count, minimum, noise)
    shares = group_sums.group_holder(
        context.channel("measure_holder"),
        codes,
        count,
        min_cohort=minimum,
        rng=context.rng,
        progress=context.progress,
        stated=stated,
    )
    noised = _with_noise(shares, noise)
    release = GroupRelease(name, groups.labels, noised, _described(context.step, privacy))
    open_groups = np.where(stated[codes] >= 0, codes, cohorts.LEFT_OUT)
    return _outcome(context, release.encode(), noised, minimum, rows, open_groups)


def _stated(
    context: StepContext,
    codes: NDArray[np.int64],
    count: int,
    minimum: int,
    noise: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """The counts that leave this owner: small groups suppressed, then noise or rounding as is asked for."""
    step = context.rules.round_counts
    least = -(-minimum // step) * step
    counts = group_sums.count_cohorts(codes, count, least, complementary=context.rules.complementary)
    shown = counts if noise is None else np.clip(counts + noise[:, 0], least, max(len(codes), least))
    return np.where(counts >= 0, shown // step * step, counts)


def _measure_holder(
    context: StepContext, rows: NDArray[np.int64], minimum: int, privacy: Privacy | None
) -> Outcome:
    wanted = context.step.inputs[context.role].columns
    encoded = [_contributions(context, column, privacy)[rows] for column in wanted]
    shares = group_sums.measure_holder(
        context.channel("group_holder"),
        np.stack(encoded, axis=1),
        min_cohort=minimum,
        rng=context.rng,
        progress=context.progress,
        noised=privacy is not None,
    )
    if privacy is None:
        _check_disclosure(context, encoded, shares.counts, len(rows), minimum)
    noised = _with_noise(shares, _noise(context.step, privacy, len(shares.counts)))
    measures = tuple(
        Measure(one.name, one.decimals, context.rules.base_of(one.name, one.decimals)) for one in wanted
    )
    release = MeasureRelease(measures, noised, _described(context.step, privacy))
    return _outcome(context, release.encode(), noised, minimum, rows, np.zeros(len(rows), dtype=np.int64))


def _contributions(context: StepContext, column: ColumnInput, privacy: Privacy | None) -> NDArray[np.int64]:
    """What each row adds to a sum: fixed-point, rounded by the owner's rules, clipped as the step states."""
    values = columns.measure_array(context.read(column.name), column.name)
    encoded = fixed_point.encode(list(values) if values.dtype == object else values, column.decimals)
    encoded = disclosure.rounded(encoded, context.rules.base_of(column.name, column.decimals))
    if privacy is None:
        return encoded
    low, high = privacy.bounds[column.name].encoded(column.decimals, "privacy.bounds")
    return np.clip(encoded, low, high)


def _check_disclosure(
    context: StepContext,
    encoded: list[NDArray[np.int64]],
    counts: NDArray[np.int64],
    rows: int,
    minimum: int,
) -> None:
    released = counts[counts > 0]
    if not len(released):
        return
    if context.rules.complementary:
        disclosure.check_suppressed(rows, counts, minimum)
    for column, values in zip(context.step.inputs[context.role].columns, encoded, strict=True):
        disclosure.check_dominance(context.rules, values, int(released.min()), column.name)


def _outcome(
    context: StepContext,
    release: bytes,
    shares: GroupShares,
    minimum: int,
    rows: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> Outcome:
    released = shares.counts[shares.counts >= 0]
    if not len(released):
        raise JobFailed(f"step {context.step.id}: every group is smaller than the minimum cohort {minimum}")
    return Outcome(
        local=b"",
        release=release,
        cohort=int(released.min()),
        figures=len(released),
        rows=rows,
        groups=groups,
        is_exact="privacy" not in context.step.params,
    )


def _noise(step: Step, privacy: Privacy | None, groups: int) -> NDArray[np.int64] | None:
    """This party's own full noise, int64[groups, 1 + measures]: of the counts, then of each measure."""
    if privacy is None:
        return None
    return draw(privacy, privacy.sensitivities(step.inputs["measure_holder"].columns), groups)


def _with_noise(shares: GroupShares, noise: NDArray[np.int64] | None) -> GroupShares:
    """Add the noise of the measures to this party's share of the groups that are open."""
    if noise is None:
        return shares
    added = np.where(shares.counts[:, None] >= 0, noise[:, 1:], 0).astype(np.int64)
    return GroupShares(shares.counts, shares.shares + added.view(np.uint64))


def _described(step: Step, privacy: Privacy | None) -> dict[str, object]:
    """What the release says of its noise; both owners add theirs to a sum, the group holder to a count."""
    if privacy is None:
        return {}
    measures = step.inputs["measure_holder"].columns
    count, *sums = (privacy.deviation(one) for one in privacy.scales(privacy.sensitivities(measures)))
    units = [10**column.decimals for column in measures]
    deviations = {"count": count} | {
        column.name: math.sqrt(2) * one / unit
        for column, one, unit in zip(measures, sums, units, strict=True)
    }
    return noise_as_json(privacy.mechanism, deviations)


def _spends(step: Step) -> tuple[int, ...] | None:
    privacy = Privacy.of(step)
    return None if privacy is None else privacy.loss(1 + len(step.inputs["measure_holder"].columns))


def _check(step: Step) -> None:
    privacy = Privacy.of(step)
    if privacy is not None:
        scales = privacy.scales(privacy.sensitivities(step.inputs["measure_holder"].columns))
        if max(scales) > _MAX_SCALE:
            at = f"steps.{step.id}.params.privacy"
            raise InvalidRequest(at, "noise of a scale below 2^56 units", f"{max(scales):.3g}")


def _plan(step: Step) -> Plan:
    """Sums by group go to the recipients; the measure holder learns how many rows each group has."""
    measures, groups = source(step, "measure_holder"), source(step, "group_holder")
    together = f"{step.id}.together"
    group = f"{groups.id}.{groups.columns[0]}"
    sums = tuple(f"{measures.id}.{name}" for name in measures.columns)
    return (
        measures,
        groups,
        Select(together, (measures.id, groups.id), rows=step.after[0]),
        Aggregate(
            step.id,
            together,
            (group,),
            (("rows", "count", ()), *((name, "sum", (name,)) for name in sums)),
        ),
        Reveal(step.id, ("rows",), (measures.owner,)),
        Reveal(step.id, (group, "rows", *sums), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    left, measures = min(rows.values()), len(step.inputs["measure_holder"].columns)
    sent = [group_sums.bytes_sent(rank, left, _USUAL_GROUPS, measures) for rank in (0, 1)]
    return {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=sent[1 - rank],
            rounds=group_sums.rounds(rank, left, _USUAL_GROUPS, measures),
            work_ns=_BASE_NS + _CELL_NS * left * _USUAL_GROUPS * -(-measures // 4),
            memory_bytes=8 * left * (measures + 1) + 48 * group_sums.CHUNK_TRANSFERS * measures,
            assumes=f"{_USUAL_GROUPS} groups, and that the intersection is the smaller input",
        )
        for rank, role in enumerate(("measure_holder", "group_holder"))
    }


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
        "privacy": Param(
            "noise for differential privacy: mechanism laplace or gaussian, epsilon_micro, "
            "delta_exponent, and bounds (lower, upper) by measure",
            check_privacy,
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=frozenset({"psi/ecdh", "psi/rr22"}),
    takes_rows=True,
    protocol=group_sums.SPEC,
    run=_run,
    plan=_plan,
    spends=_spends,
    check_step=_check,
    estimate=_estimate,
)
