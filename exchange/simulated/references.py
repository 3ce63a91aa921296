"""The components whose results are known in plaintext, how they are computed there, and what may differ."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.jobs import report
from exchange.jobs.intersection import rows_or_missing
from exchange.jobs.registry import Registry
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import JobSpec, Step
from exchange.simulated.figures import Figure, Tolerance, Value, beside
from exchange.simulated.parties import PlayedStep, SimulatedParties
from exchange.simulated.plaintext import Plaintext, decimals

__all__ = [
    "MATCHING",
    "Compare",
    "NoReference",
    "Reason",
    "Reference",
    "Run",
    "group_sums",
    "matching",
    "sums_of_matched",
]

MATCHING: Final = frozenset({"psi/ecdh", "psi/many"})
"""Components after which rows can be matched in plaintext."""


class Reason(StrEnum):
    """Why a step was not compared or not played."""

    UNKNOWN = "unknown"
    """The component has no reference."""
    READER = "reader"
    """The step shows what steps before have come to."""
    AFTER = "after"
    """A step before was not played, or failed."""
    OUTSIDE = "outside"
    """The component hands data over, or an outside engine plays it."""
    NOISE = "noise"
    PREPARED = "prepared"
    """The columns were prepared by another step."""
    GROUPS = "groups"
    """Rows of one person are kept as a group."""
    PATIENCE = "patience"
    """Training ends before its end on purpose."""
    NO_FIT = "no-fit"
    """Nothing fits best: columns are sums of others, or tell the label fully."""
    ROWS = "rows"
    """A query shows rows, or only some of its groups."""
    UNNAMED = "unnamed"
    """A query does not show what its groups are."""


class NoReference(Exception):
    """A step of a component with a reference asks for what this does not have."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Run:
    """A job that simulated parties play, and its tables in plaintext."""

    spec: JobSpec
    registry: Registry
    parties: SimulatedParties
    plain: Plaintext

    def result(self, played: PlayedStep) -> ResultTable:
        """What a recipient reads of a step."""
        opened = self.registry.get(played.step.component).open_result
        if opened is None:
            raise JobFailed(f"{played.step.component}: expected a result that is read, there is none")
        return opened(played.step, played.released())

    def rows(self, step: Step) -> dict[str, NDArray[np.int64]]:
        """The rows that a step reads by role, matched in plaintext as the step before has to match them.

        Raises:
            NoReference: another step before has made something else of them.
        """
        before = self.spec.step(step.after[0])
        if before.component not in MATCHING:
            raise NoReference(Reason.PREPARED)
        matched = self.plain.matched(before)
        return {role: matched[before.role_of(step.parties[role]) or ""] for role in step.inputs}


Compare = Callable[[Run, PlayedStep], list[Figure]]
"""Computes in plaintext what a step has computed, and puts both beside each other."""


@dataclass(frozen=True)
class Reference:
    """A component's reference.

    Attributes:
        compare: raises ``NoReference`` for what it does not know.
        tolerance: of each figure.
    """

    compare: Compare
    tolerance: Tolerance


def matching(run: Run, played: PlayedStep) -> list[Figure]:
    """How many people are matched, and how many rows are matched that are not of one person."""
    step = played.step
    if step.params.get("duplicates") == "groups":
        raise NoReference(Reason.GROUPS)
    expected = run.plain.matched(step)
    size = len(next(iter(expected.values())))
    figures = [Figure("matched", _counted(run, played), size)]
    rows = {role: rows_or_missing(played.outcomes[role].local) for role in step.inputs}
    if min(map(len, rows.values())) and step.params.get("join", "inner") == "inner":
        found = set(zip(*(one.tolist() for one in rows.values()), strict=True))
        wanted = set(zip(*(expected[role].tolist() for role in rows), strict=True))
        figures.append(Figure("matched wrongly", len(found - wanted), 0))
    return figures


def _counted(run: Run, played: PlayedStep) -> int:
    """How many matches a step states: in a file of who alone learns it, or in releases."""
    for outcome in played.outcomes.values():
        if "result.json" in outcome.files:
            return int(json.loads(outcome.files["result.json"])["rows"][0][0])
    if run.registry.get(played.step.component).open_result is not None:
        return int(str(run.result(played).rows[0][0]))
    return report.opened(played.released()).matched


def sums_of_matched(run: Run, played: PlayedStep) -> list[Figure]:
    """Sums, means and variances of the people whom both know."""
    step, opened = played.step, run.result(played)
    rows = run.plain.matched(step, keys=1)
    plain: dict[tuple[str, ...], list[Value]] = {}
    for side, given in step.inputs.items():
        for column in given.columns[1:]:
            every = decimals(run.plain.table(step, side), column)
            values = [every[row] for row in rows[side].tolist()]
            figures = [sum(values), statistics.mean(values), statistics.variance(values)]
            plain[side, column.name] = [*figures[: len(opened.columns) - 2]]
    private: dict[tuple[str, ...], list[Value]] = {
        (str(side), str(name)): [Decimal(str(one)) for one in told] for side, name, *told in opened.rows
    }
    matched = Figure("matched", int(str(opened.facts["matched"])), len(next(iter(rows.values()))))
    return [matched, *beside(private, plain, opened.columns[2:])]


def group_sums(run: Run, played: PlayedStep) -> list[Figure]:
    """Counts, sums and means of the groups that are large enough."""
    step = played.step
    if "privacy" in step.params:
        raise NoReference(Reason.NOISE)
    rows = run.rows(step)
    wanted, table = step.inputs["measure_holder"].columns, run.plain.table(step, "measure_holder")
    names = [column.name for column in wanted]
    group = step.inputs["group_holder"].columns[0].name
    labels = run.plain.table(step, "group_holder").column(group).cast("string").to_pylist()
    measures = [decimals(table, column) for column in wanted]
    sums: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * (1 + len(names)))
    for own, other in zip(rows["measure_holder"].tolist(), rows["group_holder"].tolist(), strict=True):
        added = (Decimal(1), *(measure[own] for measure in measures))
        sums[labels[other]] = [total + one for total, one in zip(sums[labels[other]], added, strict=True)]
    minimum = Decimal(str(step.params["min_cohort"]))
    plain: Mapping[tuple[str, ...], list[Value]] = {
        (label,): [*totals, *(round(total / totals[0], 6) for total in totals[1:])]
        for label, totals in sums.items()
        if totals[0] >= minimum
    }
    private: Mapping[tuple[str, ...], list[Value]] = {
        (one.group,): [
            one.count,
            *(Decimal(one.sums[name]) for name in names),
            *(Decimal(one.means[name]) for name in names),
        ]
        for one in report.opened(played.released()).groups
    }
    return beside(private, plain, ["count", *(f"sum {n}" for n in names), *(f"mean {n}" for n in names)])
