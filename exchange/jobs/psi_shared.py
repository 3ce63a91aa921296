"""Component ``psi/shared``: an intersection that nobody learns, as shares for a later step.

Left, right and a helper keep shares of the owners' columns over the rows of the left, zeros where the right
has no such row, and the helper keeps which of these shuffled rows matched. ``compute/expression`` among the
same three goes on with them. The helper learns, and tells the recipients, how many rows match.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import numpy as np

from connectors import identifiers
from exchange.errors import InvalidRequest
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, source, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.many_parties import NORMALISE, check_roles, joins, minimum_of, read_identifiers
from exchange.jobs.releases import Cardinality
from exchange.jobs.results import ResultTable
from exchange.jobs.secret_columns.encoding import check_rules, encoded
from exchange.jobs.secret_columns.hidden import COMPONENT_NAME, Part
from exchange.jobs.secret_columns.query import check_columns, declared_columns
from exchange.jobs.spec import Step
from mpc.circuit_psi import protocol
from mpc.circuit_psi.protocol import Size
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["COMPONENT"]

_SIDES: Final = ("left", "right")
_HELPER: Final = "helper"
_ROW_NS: Final = 2_000
_CELL_NS: Final = 100
"""As `mpc.circuit_psi.protocol` states them."""


def _run(context: StepContext) -> Outcome:
    minimum = minimum_of(context, "minimum_matches")
    if context.role == _HELPER:
        shares = protocol.helper(context.mesh(), minimum=minimum)
        members = cast("np.ndarray[tuple[int], np.dtype[np.bool_]]", shares.is_member)
        matched = int(np.count_nonzero(members))
        kept = Part(len(members), 0, shares).encode()
        return Outcome(local=kept, release=Cardinality(matched).encode(), cohort=matched, figures=1)
    check_rules(context)
    declared = declared_columns(context.step, keys=1)
    key, *payload = context.step.inputs[context.role].columns
    items = identifiers.to_bytes(identifiers.check(read_identifiers(context), key.name))
    values = [encoded(context, declared[context.role, column.name]) for column in payload]
    table = np.stack(values, axis=1) if values else np.zeros((len(items), 0), np.int64)
    rows = protocol.owner(context.mesh(), items, table, context.rng, minimum=minimum)
    own = rows.left if context.role == "left" else rows.right
    entries = len(items) if context.role == "left" or own is None else len(own)
    return Outcome(local=Part(entries, len(items), rows).encode())


def _open(step: Step, released: Mapping[str, bytes]) -> ResultTable:
    matched = Cardinality.decode(released[_HELPER]).matched
    return ResultTable(("matched",), ((matched,),))


def _check(step: Step) -> None:
    check_roles(step)
    for (role, name), declared in declared_columns(step, keys=1).items():
        if not declared.lower <= 0 <= declared.upper:
            at = f"steps.{step.id}.params.columns.{role}.{name}"
            raise InvalidRequest(at, "bounds that include 0, which rows without a match hold", "others")


def _plan(step: Step) -> Plan:
    """The helper and the recipients learn how many rows match; nobody learns which, or sees a column."""
    left, right = (source(step, side) for side in _SIDES)
    counted = f"{step.id}.count"
    return (
        left,
        right,
        *joins(step.id, [(one.id, one.columns[0]) for one in (left, right)]),
        Aggregate(counted, step.id, (), (("count", "count", ()),)),
        Reveal(counted, ("count",), (step.parties[_HELPER], *step.recipients)),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    left, right = (Size(rows[side], len(step.inputs[side].columns) - 1, 0) for side in _SIDES)
    sent = [protocol.bytes_sent(rank, left, right) for rank in range(3)]
    cells = sum((left.rows + side.rows) * side.columns for side in (left, right))
    return {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=(sent[0] + sent[1]) if role == _HELPER else sent[2],
            rounds=protocol.rounds(rank, left, right),
            work_ns=_ROW_NS * (left.rows + right.rows) + _CELL_NS * cells,
            memory_bytes=200 * (left.rows + right.rows) + 32 * cells,
            assumes="what left and right send each other as nothing",
        )
        for rank, role in enumerate((*_SIDES, _HELPER))
    }


_INPUT = RoleInput(
    2, 17, frozenset({"identifier", "measure", "label", "feature", "group"}), Level.AFTER_AGGREGATE
)

COMPONENT = Component(
    name=COMPONENT_NAME,
    version=1,
    summary="An intersection that nobody learns: shares of columns over it, for a later compute/expression.",
    roles={"left": _INPUT, "right": _INPUT, "helper": None},
    params={
        "normalise": NORMALISE,
        "columns": Param(
            "of each column but the identifiers, such as left.balance: its kind, number with lower and upper "
            "around 0, category with labels, or truth",
            check_columns,
        ),
        "minimum_matches": Param("fewest matches with which the job goes on", whole_number(1, 2**31)),
    },
    output_type="cardinality",
    needs=frozenset(),
    protocol=protocol.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    leaves=lambda step, rows: rows["left"],
    helpers=frozenset({_HELPER}),
    releasing=frozenset({_HELPER}),
    open_result=_open,
)
