"""Component ``model/bins``: an owner reads the bins of its own columns, and their points, at its own node."""

from __future__ import annotations

from exchange.errors import InvalidRequest
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.scorecard.tables import OwnBins, OwnCard
from exchange.jobs.spec import Step
from policies.plans import Plan

__all__ = ["COMPONENT"]


def _run(context: StepContext) -> Outcome:
    (name,) = context.step.after
    is_card = context.before[name].component == "model/scorecard"
    table = (_card if is_card else _bins)(context.earlier[name])
    return Outcome(local=b"", files=table.files())


def _bins(raw: bytes) -> ResultTable:
    own = OwnBins.decode(raw)
    lines: list[tuple[Cell, ...]] = [
        (column.name, *line)
        for column in own.columns
        for line in zip(column.bins.names(), column.rows, column.events, column.woe, strict=True)
    ]
    facts = {"iv": {column.name: column.iv for column in own.columns}}
    return ResultTable(("column", "bin", "rows", "events", "woe"), tuple(lines), facts)


def _card(raw: bytes) -> ResultTable:
    own = OwnCard.decode(raw)
    lines: list[tuple[Cell, ...]] = [
        (column.binned.name, *line)
        for column in own.columns
        for line in zip(column.binned.bins.names(), column.binned.woe, column.points, strict=True)
    ]
    facts = {"base": own.base, "epochs": own.epochs}
    return ResultTable(("column", "bin", "woe", "points"), tuple(lines), facts)


def _check(step: Step) -> None:
    if len(step.after) != 1:
        raise InvalidRequest(
            f"steps.{step.id}.after", "one step that made bins or points", str(len(step.after))
        )


def _check_follows(step: Step, before: Step) -> None:
    reader = step.parties["reader"]
    if before.role_of(reader) not in before.inputs:
        raise InvalidRequest(f"steps.{step.id}.parties.reader", f"an owner in step {before.id}", reader)
    if before.params.get("coefficients", "split") != "split":
        at = f"steps.{before.id}.params.coefficients"
        raise InvalidRequest(at, f"split, as step {step.id} reads an owner's own points", "recipients")


def _plan(step: Step) -> Plan:
    """Nothing is shown that the reader did not get when events were counted or points were made."""
    return ()


COMPONENT = Component(
    name="model/bins",
    version=1,
    summary="The owner who asked reads the bins of its own columns: rows, events, weight of evidence, "
    "information value; or the points of a scorecard.",
    roles={"reader": None},
    params={},
    output_type="report",
    needs=frozenset({"model/scorecard", "model/woe"}),
    protocol=None,
    run=_run,
    plan=_plan,
    check_step=_check,
    check_follows=_check_follows,
)
