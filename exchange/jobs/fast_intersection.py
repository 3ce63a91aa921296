"""Component ``psi/rr22``: the intersection of ``psi/ecdh``, played by SPU; for sets of millions of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from exchange.errors import JobFailed
from exchange.jobs import intersection
from exchange.jobs.component import Aligned, Component, Outcome, StepContext
from exchange.jobs.engines import SPU
from exchange.jobs.estimates import Estimate
from exchange.jobs.psi import keys
from exchange.jobs.releases import Cardinality
from exchange.jobs.spec import Step
from mpc.engines import rr22

__all__ = ["COMPONENT"]

_ROW_NS: Final = 5_400
_ROW_BYTES: Final = 900
"""In the engine 650, here the identifier as text and encoded, its fingerprint and its row."""


def _run(context: StepContext) -> Outcome:
    matched = rr22.run(
        context.channel("right" if context.role == "left" else "left"),
        keys.whole(context),
        context.hand_over.spool,
        progress=context.progress,
    )
    size = len(matched.rows)
    floor = max(context.number("minimum_matches"), context.minimum_cohort)
    if size < floor:
        raise JobFailed(f"step {context.step.id}: expected at least {floor} matches, found fewer")
    return Outcome(
        local=matched.rows.astype("<i8").tobytes(),
        release=Cardinality(size).encode(),
        cohort=size,
        figures=1,
        rows=matched.rows,
        groups=np.zeros(size, dtype=np.int64),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    left, right = rows["left"], rows["right"]
    sent = {
        "left": rr22.bytes_sent(left, right, encodes=True),
        "right": rr22.bytes_sent(right, left, encodes=False),
    }
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sent[other],
            rounds=rr22.ROUNDS,
            work_ns=_ROW_NS * max(left, right),
            memory_bytes=_ROW_BYTES * rows[role],
        )
        for role, other in (("left", "right"), ("right", "left"))
    }


COMPONENT = Component(
    name="psi/rr22",
    version=1,
    summary="Fast private set intersection: as psi/ecdh, played by SPU, for sets of millions of rows.",
    roles=intersection.COMPONENT.roles,
    params={name: intersection.COMPONENT.params[name] for name in ("normalise", "minimum_matches")},
    output_type="cardinality",
    needs=frozenset(),
    protocol=rr22.SPEC,
    run=_run,
    plan=intersection.COMPONENT.plan,
    estimate=_estimate,
    engine=SPU,
    aligns=lambda step: Aligned(frozenset(step.parties)),
)
