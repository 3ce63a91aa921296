"""Component ``report/result``: who asked puts the released parts of a step together and reads the answer.

Runs at the node of the participant who asked. Its files never leave that node except to the person who
fetches them.
"""

from __future__ import annotations

from collections.abc import Iterable

from exchange.errors import InvalidRequest
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.results import OpenResult
from exchange.jobs.spec import Step
from policies.plans import Plan

__all__ = ["reader_of"]


def reader_of(components: Iterable[Component]) -> Component:
    """The reader of the results of those of ``components`` that state how theirs are opened."""
    openers: dict[str, OpenResult] = {
        one.name: one.open_result for one in components if one.open_result is not None
    }

    def run(context: StepContext) -> Outcome:
        (name,) = context.step.after
        step = context.before[name]
        return Outcome(local=b"", files=openers[step.component](step, context.released[name]).files())

    def check_step(step: Step) -> None:
        if len(step.after) != 1:
            raise InvalidRequest(f"steps.{step.id}.after", "one step", str(len(step.after)))

    return Component(
        name="report/result",
        version=1,
        summary="The participant who asked puts the released parts together and reads the answer.",
        roles={"reader": None},
        params={},
        output_type="report",
        needs=frozenset(openers),
        protocol=None,
        run=run,
        plan=_plan,
        check_step=check_step,
    )


def _plan(step: Step) -> Plan:
    """Nothing is read and nothing shown that was not released to the reader before."""
    return ()
