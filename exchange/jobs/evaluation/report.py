"""Component ``report/evaluation``: who asked puts an evaluation together and gets tables and plots.

Runs at the node of the participant who asked. Its files never leave that node except to the person who
fetches them.
"""

from __future__ import annotations

from exchange.errors import InvalidRequest
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.evaluation.group_plots import drawn_groups
from exchange.jobs.evaluation.group_tables import group_table
from exchange.jobs.evaluation.grouping import By
from exchange.jobs.evaluation.plots import drawn
from exchange.jobs.evaluation.release import combined
from exchange.jobs.evaluation.tables import table
from exchange.jobs.spec import Step
from policies.plans import Plan

__all__ = ["COMPONENT"]


def _run(context: StepContext) -> Outcome:
    (name,) = context.step.after
    evaluated = context.before[name]
    sizes, evaluation = combined(evaluated, context.released[name])
    by = By.of(evaluated)
    files = table(by, sizes, evaluation).files() | drawn(evaluation)
    if by is not None and evaluation.groups is not None:
        lines = group_table(sizes.family, by, evaluation.groups).files()["table.csv"]
        files |= {"groups.csv": lines} | drawn_groups(by, sizes.family, evaluation.groups)
    return Outcome(local=b"", files=files)


def _check(step: Step) -> None:
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step of model/evaluate", str(len(step.after)))


def _plan(step: Step) -> Plan:
    """Nothing is read and nothing shown that was not released to the reader before."""
    return ()


COMPONENT = Component(
    name="report/evaluation",
    version=1,
    summary="Who asked reads how good a model is: a table, and plots of ROC, KS, gain, lift and calibration; "
    "by group how fair, or over time how steady.",
    roles={"reader": None},
    params={},
    output_type="report",
    needs=frozenset({"model/evaluate"}),
    protocol=None,
    run=_run,
    plan=_plan,
    check_step=_check,
)
