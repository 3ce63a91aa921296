"""Component ``psi/cardinality``: how many people do two owners both know; nobody learns which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from exchange.errors import JobFailed
from exchange.jobs.component import Component, Outcome, StepContext, source
from exchange.jobs.estimates import Estimate
from exchange.jobs.psi import keys
from exchange.jobs.releases import Cardinality
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from mpc.errors import DuplicateItems
from mpc.psi import cardinality
from policies.plans import Aggregate, Join, Plan, Reveal

__all__ = ["COMPONENT"]

_HASH_NS: Final = 33_000
_POINT_NS: Final = 28_000
_ROW_BYTES: Final = 60
_BASE_BYTES: Final = 128 * 1024 * 1024


def _run(context: StepContext) -> Outcome:
    step = context.step
    try:
        counted = cardinality.run(
            context.channel("right" if context.role == "left" else "left"),
            keys.batches(context),
            context.rng,
            receivers=keys.receivers(step),
            duplicates=keys.duplicates(step),
            limits=keys.limits(step, context.minimum_cohort),
            folder=context.hand_over.spool,
            progress=context.progress,
        )
    except DuplicateItems as error:
        raise keys.refused(context, error.count) from error
    if counted is None:
        return Outcome(local=b"")
    release, files = keys.shown(step, counted.shared)
    return Outcome(
        local=b"",
        release=release,
        cohort=counted.shared,
        figures=1,
        files=files,
    )


def _open(step: Step, released: Mapping[str, bytes]) -> ResultTable:
    counts = {Cardinality.decode(release).matched for release in released.values()}
    if len(counts) != 1:
        raise JobFailed("the two owners state different numbers of matches")
    return ResultTable(("matched",), ((counts.pop(),),))


def _plan(step: Step) -> Plan:
    """Receivers and recipients learn how many rows both have; nobody learns which."""
    left, right = source(step, "left"), source(step, "right")
    together = f"{step.id}.together"
    told = tuple(step.parties[role] for role in keys.told(step))
    return (
        left,
        right,
        Join(together, left.id, right.id, tuple(zip(left.columns, right.columns, strict=True))),
        Aggregate(step.id, together, (), (("count", "count", ()),)),
        Reveal(step.id, ("count",), tuple(dict.fromkeys((*told, *step.recipients)))),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    told, sides = keys.told(step), (("left", "right"), ("right", "left"))
    sent = {
        role: cardinality.bytes_sent(rows[role], rows[other], told=role in told, tells=other in told)
        for role, other in sides
    }
    slowest = max(_HASH_NS * rows[role] + _POINT_NS * rows[other] for role, other in sides)
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sent[other],
            rounds=cardinality.rounds(rows[role], rows[other], told=role in told, tells=other in told),
            work_ns=slowest,
            memory_bytes=_BASE_BYTES + _ROW_BYTES * (rows[role] + rows[other]),
        )
        for role, other in sides
    }


COMPONENT = Component(
    name="psi/cardinality",
    version=1,
    summary="Private set intersection cardinality: two owners learn how many people both know, not which.",
    roles=keys.ROLES,
    params=keys.PARAMS,
    output_type="cardinality",
    needs=frozenset(),
    protocol=cardinality.SPEC,
    run=_run,
    plan=_plan,
    check_step=keys.check,
    estimate=_estimate,
    open_result=_open,
)
