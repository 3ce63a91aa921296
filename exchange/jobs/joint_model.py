"""Component ``model/joint``: an owner reads the model that it trained with others over their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from exchange.errors import InvalidRequest
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.fedavg.model import JointModel
from exchange.jobs.fedboost.model import JointTrees
from exchange.jobs.flower.model import JointArrays
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from policies.plans import Plan

__all__ = ["READER"]

_TABLES: Final[Mapping[str, Callable[[bytes], ResultTable]]] = {
    "bridge/flower": lambda raw: JointArrays.decode(raw).table(),
    "model/fedavg": lambda raw: JointModel.decode(raw).table(),
    "model/fedboost": lambda raw: JointTrees.decode(raw).table(),
}
"""By the component that trained."""


def _run(context: StepContext) -> Outcome:
    trained = context.before[context.step.after[0]]
    return Outcome(local=b"", files=_TABLES[trained.component](context.earlier[trained.id]).files())


def _check(step: Step) -> None:
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step that trained", str(len(step.after)))


def _plan(step: Step) -> Plan:
    """Nothing is shown that the reader did not get when the model was trained."""
    return ()


READER = Component(
    name="model/joint",
    version=1,
    summary="The owner who asked reads the model that it trained with others.",
    roles={"reader": None},
    params={},
    output_type="report",
    needs=frozenset(_TABLES),
    protocol=None,
    run=_run,
    plan=_plan,
    check_step=_check,
)
