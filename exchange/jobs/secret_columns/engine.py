"""Components ``compute/expression-aby3`` and ``-cheetah``: ``compute/expression`` on SPU's runtime.

Same parameters, same answer, another engine: with a helper or a third owner by ABY3, between two owners alone
by CHEETAH. Quotients of several owners' columns and quantiles are the own component's alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from exchange.errors import InvalidRequest
from exchange.jobs.component import Component, Outcome, Run, StepContext
from exchange.jobs.engines import SPU
from exchange.jobs.intersection import rows_of
from exchange.jobs.secret_columns import component, figures, hidden
from exchange.jobs.secret_columns.component import FORMAT, own_columns
from exchange.jobs.secret_columns.programs import lower, without_program
from exchange.jobs.secret_columns.query import Query
from exchange.jobs.spec import Step
from mpc import wire
from mpc.engines.shares import Sharing, evaluate, stated
from mpc.errors import InputsDisagree

__all__ = ["ABY3", "CHEETAH"]

_OWN: Final = component.COMPONENT


def _player(kind: Sharing) -> Run:
    def run(context: StepContext) -> Outcome:
        query = Query.of(context.step)
        is_owner = context.role in context.step.inputs
        own = own_columns(context, query) if is_owner else {}
        rows = rows_of(context.earlier[context.step.after[0]]) if is_owner else None
        smallest = max(context.minimum_cohort, context.number("min_cohort"))
        said = None if rows is None else (len(rows), smallest, int(context.rules.complementary))
        mesh = context.mesh()
        all_said = stated(mesh, kind, said)
        for other in all_said:
            if other[0] != all_said[0][0]:
                raise InputsDisagree("aligned rows", all_said[0][0], other[0])
        minimum = figures.Minimum(max(one[1] for one in all_said), any(one[2] for one in all_said))
        figures.check_sums(query, all_said[0][0])
        ranks = {role: rank for rank, role in enumerate(context.ranks)}
        lowered = lower(query, ranks, all_said[0][0], minimum, kind)
        summand = evaluate(
            mesh,
            lowered.program,
            lowered.own(mesh.rank, own),
            kind,
            context.hand_over.spool,
            context.rng,
        )
        return Outcome(
            local=b"",
            release=wire.encode_uint64(FORMAT) + wire.encode_array(summand),
            cohort=minimum.rows,
            figures=query.cells,
            rows=rows,
            groups=None if rows is None else np.zeros(len(rows), dtype=np.int64),
        )

    return run


def _check(step: Step) -> None:
    _OWN.check_step(step)
    _check_operations(step)


def _check_two(step: Step) -> None:
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step that aligned the rows", str(len(step.after)))
    _check_operations(step)


def _check_operations(step: Step) -> None:
    absent = without_program(Query.of(step))
    if absent is not None:
        expected = f"what {step.component} computes; compute/expression computes the rest"
        raise InvalidRequest(f"steps.{step.id}.params", expected, absent)


_ALIGNING: Final = _OWN.needs - {hidden.COMPONENT_NAME}
"""An engine takes columns from their owners, not shares of hidden rows."""

ABY3: Final = Component(
    name="compute/expression-aby3",
    version=1,
    summary="As compute/expression, played by SPU among three computing parties; no quotients, no quantiles.",
    roles=_OWN.roles,
    repeated=_OWN.repeated,
    helpers=_OWN.helpers,
    params=_OWN.params,
    output_type=_OWN.output_type,
    needs=_ALIGNING,
    takes_rows=True,
    protocol=Sharing.ABY3.spec,
    run=_player(Sharing.ABY3),
    plan=_OWN.plan,
    check_step=_check,
    open_result=_OWN.open_result,
    engine=SPU,
)

CHEETAH: Final = Component(
    name="compute/expression-cheetah",
    version=1,
    summary="As compute/expression, played by SPU between two owners alone; no quotients, no quantiles.",
    roles={"owner": _OWN.roles["owner"]},
    repeated={"owner": (2, 2)},
    params=_OWN.params,
    output_type=_OWN.output_type,
    needs=_ALIGNING,
    takes_rows=True,
    protocol=Sharing.CHEETAH.spec,
    run=_player(Sharing.CHEETAH),
    plan=_OWN.plan,
    check_step=_check_two,
    open_result=_OWN.open_result,
    engine=SPU,
)
