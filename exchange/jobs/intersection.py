"""Component ``psi/ecdh``: which people do two owners both know, kept as aligned rows at each owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Aligned, Component, Outcome, Param, StepContext, one_of, source
from exchange.jobs.estimates import Estimate
from exchange.jobs.psi import keys
from exchange.jobs.spec import Step
from mpc.errors import DuplicateItems
from mpc.psi import ecdh
from mpc.psi.masking import Receivers
from mpc.psi.own_set import Duplicates
from policies.plans import Aggregate, Join, Plan, Reveal

__all__ = ["COMPONENT", "rows_of", "rows_or_missing"]

_HASH_NS: Final = 33_000
_POINT_NS: Final = 28_000
"""Hashing and masking an own row, and masking a row of the peer, as ``mpc.psi.ecdh`` states them."""
_ROW_BYTES: Final = 60
"""Row numbers, places of matches and their sorting; everything else of a large set lies on disk."""
_BASE_BYTES: Final = 128 * 1024 * 1024
_MISSING: Final = -1


def rows_of(local: bytes) -> NDArray[np.int64]:
    """The aligned row numbers, ``int64[matched]``, from the local outcome of a step.

    Raises:
        JobFailed: the step was no inner join, so that some entries have no row here.
    """
    rows = rows_or_missing(local)
    if np.any(rows == _MISSING):
        raise JobFailed("expected the rows of an inner join, got a join that keeps unmatched rows")
    return rows


def rows_or_missing(local: bytes) -> NDArray[np.int64]:
    """The aligned row numbers, ``int64[entries]``; -1 where an entry is a row of the other owner alone."""
    return np.frombuffer(local, dtype="<i8").astype(np.int64)


def _run(context: StepContext) -> Outcome:
    step = context.step
    try:
        matches = ecdh.run_batches(
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
    if matches is None:
        return Outcome(local=b"")
    people = np.unique(matches.rows)
    release, files = keys.shown(step, matches.shared)
    return Outcome(
        local=_joined(context, matches).astype("<i8").tobytes(),
        release=release,
        cohort=matches.shared,
        figures=1,
        rows=people,
        groups=np.zeros(len(people), dtype=np.int64),
        files=files,
    )


def _joined(context: StepContext, matches: ecdh.Matches) -> NDArray[np.int64]:
    """The entries of the join: matched rows, then those of left alone, then those of right alone."""
    kept = {"inner": (), "left": ("left",), "right": ("right",), "full": ("left", "right")}
    parts = [matches.rows]
    for role in kept[str(context.step.params.get("join", "inner"))]:
        missing = np.full(matches.peer_rows - matches.shared, _MISSING, dtype=np.int64)
        parts.append(matches.unmatched if role == context.role else missing)
    return np.concatenate(parts)


def _check(step: Step) -> None:
    keys.check(step)
    if step.params.get("join", "inner") == "inner":
        return
    at = f"steps.{step.id}.params.join"
    if keys.receivers(step) is not Receivers.BOTH:
        raise InvalidRequest(at, "inner, where one owner alone learns the result", "another join")
    if keys.duplicates(step) is Duplicates.GROUPS:
        raise InvalidRequest(at, "inner, where rows are kept as groups", "another join")


def _aligns(step: Step) -> Aligned:
    if step.params.get("join", "inner") != "inner":
        return Aligned(frozenset(), "join", "inner")
    return Aligned(frozenset(keys.told(step)), "receivers", "both")


def _plan(step: Step) -> Plan:
    """Each receiver learns which of its rows the other has too; the recipients learn how many there are."""
    left, right = source(step, "left"), source(step, "right")
    counted = f"{step.id}.count"
    told = tuple(step.parties[step_role] for step_role in keys.told(step))
    return (
        left,
        right,
        Join(step.id, left.id, right.id, tuple(zip(left.columns, right.columns, strict=True))),
        Reveal(step.id, (), told),
        Aggregate(counted, step.id, (), (("count", "count", ()),)),
        Reveal(counted, ("count",), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    left, right = rows["left"], rows["right"]
    told = keys.told(step)
    sent = {
        role: ecdh.bytes_sent(own, peer, tells=other in told)
        for role, other, own, peer in (("left", "right", left, right), ("right", "left", right, left))
    }
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sent[other],
            rounds=ecdh.rounds(own, peer),
            work_ns=max(_HASH_NS * own + _POINT_NS * peer, _HASH_NS * peer + _POINT_NS * own),
            memory_bytes=_BASE_BYTES + _ROW_BYTES * (own + peer),
        )
        for role, other, own, peer in (("left", "right", left, right), ("right", "left", right, left))
    }


def _leaves(step: Step, rows: Mapping[str, int]) -> int:
    """Of rows that are kept as groups, as many as where they repeat at the larger side alone."""
    return (max if keys.duplicates(step) is Duplicates.GROUPS else min)(rows.values())


COMPONENT = Component(
    name="psi/ecdh",
    version=1,
    summary="Private set intersection: two owners find the people both know and align their rows.",
    roles=keys.ROLES,
    params={
        **keys.PARAMS,
        "join": Param(
            "what later steps get: inner, the matched rows; left, right or full, unmatched rows of that "
            "owner or of both besides",
            one_of("inner", "left", "right", "full"),
            optional=True,
        ),
    },
    output_type="cardinality",
    needs=frozenset(),
    protocol=ecdh.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    leaves=_leaves,
    aligns=_aligns,
)
