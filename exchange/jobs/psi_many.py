"""Component ``psi/many``: which people do three and more owners all know, kept as aligned rows at each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from connectors import identifiers
from exchange.jobs.component import (
    Aligned,
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
from exchange.jobs.many_parties import (
    NORMALISE,
    agreed_count,
    check_roles,
    joins,
    minimum_of,
    read_identifiers,
)
from exchange.jobs.releases import Cardinality
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from ledger import canonical
from mpc.psi_many import protocol
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["COMPONENT"]

_LEADER: Final = "leader"
_TAKING_PART: Final = canonical.encode({"taking_part": True})
_HASH_NS: Final = 48_000
_POINT_NS: Final = 40_000
"""Hashing and masking an own row, and a point, as ``mpc.psi_many`` states them."""
_ROW_BYTES: Final = 200
_POINT_BYTES: Final = 56


def _everyone(step: Step) -> bool:
    return step.params["receivers"] == "all"


def _aligns(step: Step) -> Aligned:
    if _everyone(step):
        return Aligned(frozenset(step.parties))
    return Aligned(frozenset({_LEADER}), "receivers", "all")


def _run(context: StepContext) -> Outcome:
    column = context.step.inputs[context.role].columns[0].name
    items = identifiers.to_bytes(identifiers.check(read_identifiers(context), column))
    minimum = minimum_of(context, "minimum_matches")
    play = protocol.leader if context.role == _LEADER else protocol.party
    found = play(
        context.mesh(),
        items,
        context.rng,
        everyone=_everyone(context.step),
        minimum=minimum,
        progress=context.progress,
    )
    rows = found.rows
    if rows is None:
        # The leader alone knows which; what it releases is about at least so many of these.
        about = np.arange(len(items), dtype=np.int64)
        return Outcome(b"", _TAKING_PART, minimum, figures=1, rows=about, groups=np.zeros_like(about))
    return Outcome(
        local=rows.astype("<i8").tobytes(),
        release=Cardinality(len(rows)).encode(),
        cohort=len(rows),
        figures=1,
        rows=rows,
        groups=np.zeros(len(rows), dtype=np.int64),
    )


def _open(step: Step, released: Mapping[str, bytes]) -> ResultTable:
    knowing = list(released.values()) if _everyone(step) else [released[_LEADER]]
    return ResultTable(("matched",), ((agreed_count(step, knowing),),), {"parties": len(step.parties)})


def _plan(step: Step) -> Plan:
    """The leader, or every owner, learns which of its rows all have; the recipients how many there are."""
    sources = [source(step, role) for role in COMPONENT.ranks(step)]
    counted = f"{step.id}.count"
    viewers = tuple(one.owner for one in sources) if _everyone(step) else (step.parties[_LEADER],)
    return (
        *sources,
        *joins(step.id, [(one.id, one.columns[0]) for one in sources]),
        Reveal(step.id, (), viewers),
        Aggregate(counted, step.id, (), (("count", "count", ()),)),
        Reveal(counted, ("count",), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    roles, everyone = COMPONENT.ranks(step), _everyone(step)
    sizes = [rows[role] for role in roles]
    common = min(sizes)
    sent = [
        protocol.bytes_sent(rank, len(roles), sizes, common, everyone=everyone) for rank in range(len(roles))
    ]
    estimates = {}
    for rank, role in enumerate(roles):
        is_leader = role == _LEADER
        points = sizes[0] * (len(roles) - 1 if is_leader else 1)
        estimates[role] = Estimate(
            sent_bytes=sent[rank],
            received_bytes=sum(sent[1:]) if is_leader else sent[0] // (len(roles) - 1),
            rounds=protocol.rounds(rank, len(roles), sizes[0], everyone=everyone),
            work_ns=_HASH_NS * sizes[rank] + _POINT_NS * points,
            memory_bytes=_ROW_BYTES * sizes[rank] + _POINT_BYTES * points,
            assumes="that all rows of the smallest input match",
        )
    return estimates


COMPONENT = Component(
    name="psi/many",
    version=1,
    summary="Which people three to thirty owners all know; the rows stay at the owners, aligned.",
    roles={
        "leader": RoleInput(1, 1, frozenset({"identifier"}), Level.AFTER_JOIN),
        "party": RoleInput(1, 1, frozenset({"identifier"}), Level.AFTER_JOIN),
    },
    params={
        "normalise": NORMALISE,
        "minimum_matches": Param("fewest matches with which the job goes on", whole_number(1, 2**31)),
        "receivers": Param("who learns which of its rows match: all, or leader", one_of("all", "leader")),
    },
    output_type="cardinality",
    needs=frozenset(),
    protocol=protocol.SPEC,
    run=_run,
    plan=_plan,
    check_step=check_roles,
    estimate=_estimate,
    repeated={"party": (protocol.MIN_PARTIES - 1, protocol.MAX_PARTIES - 1)},
    aligns=_aligns,
    open_result=_open,
)
