"""What the roles of ``stats/aggregate`` release, and how it becomes the table that the reader sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Final

from exchange.errors import JobFailed
from exchange.jobs.aggregate_question import OTHER, Question
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from exchange.jobs.statistics_result import exact, rounded
from exchange.web.kinds import Rule, read_as
from ledger import canonical

__all__ = ["AGGREGATOR", "Present", "Totals", "open_result"]

AGGREGATOR: Final = "aggregator"


@dataclass(frozen=True)
class Totals:
    """What the aggregator releases: the roles in it, and each cell's figures; none where it is closed."""

    present: tuple[str, ...]
    cells: tuple[tuple[Annotated[str, Rule("an integer", pattern="-?[0-9]{1,60}")], ...], ...]

    def encode(self) -> bytes:
        """Encode, for sealing."""
        return canonical.encode({"present": list(self.present), "cells": [list(cell) for cell in self.cells]})

    @classmethod
    def decode(cls, release: bytes) -> Totals:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(release), "release")


@dataclass(frozen=True)
class Present:
    """What an owner releases: the roles in the totals, as it was told before it let them be opened."""

    present: tuple[str, ...]

    def encode(self) -> bytes:
        """Encode, for sealing."""
        return canonical.encode({"present": list(self.present)})

    @classmethod
    def decode(cls, release: bytes) -> Present:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(release), "release")


def open_result(step: Step, released: Mapping[str, bytes]) -> ResultTable:
    """Read the totals, which the owners in them and nobody else must have released too.

    Raises:
        JobFailed: the releases do not fit each other or the step.
    """
    question, totals = Question.of(step), Totals.decode(released[AGGREGATOR])
    said = {role: Present.decode(release).present for role, release in released.items() if role != AGGREGATOR}
    if set(said) != set(totals.present) or any(present != totals.present for present in said.values()):
        raise JobFailed(f"step {step.id}: the owners and the aggregator state different owners as present")
    shown = [cell for cell in totals.cells if cell]
    fits = len(totals.cells) == question.cells and {len(cell) for cell in shown} <= {question.figures}
    if not fits or any(int(rows) < 2 for _, rows, *_ in shown):
        raise JobFailed(f"step {step.id}: the aggregator's release has other figures than were asked for")
    labels = (None,) if question.groups is None else (*question.groups.labels, OTHER)
    rows = tuple(
        (*(() if label is None else (label,)), *_cells(question, cell))
        for label, cell in zip(labels, totals.cells, strict=True)
    )
    facts = {
        "owners": len(step.inputs),
        "threshold": step.params["threshold"],
        "present": sorted(step.parties[role] for role in totals.present),
        "absent": sorted(step.parties[role] for role in set(step.inputs) - set(totals.present)),
        "suppressed": sum(not cell for cell in totals.cells),
    }
    return ResultTable(_header(question), rows, facts)


def _header(question: Question) -> tuple[str, ...]:
    by = () if question.groups is None else (question.groups.column,)
    named = (f"{figure} {one.name}" for one in question.measures for figure in ("sum", "mean", "variance"))
    return (*by, "owners", "rows", *named)


def _cells(question: Question, cell: Sequence[str]) -> tuple[Cell, ...]:
    """Owners, rows, and of each measure its sum, its mean and the variance of the sample."""
    if not cell:
        return (None,) * (2 + 3 * len(question.measures))
    entered, rows, *figures = map(int, cell)
    shown: list[Cell] = [entered, rows]
    for measure, total, squares in zip(question.measures, figures[::2], figures[1::2], strict=True):
        scale = 10**measure.decimals
        spread = Fraction(squares * rows - total * total, scale * scale * rows * (rows - 1))
        shown += [
            exact(Fraction(total, scale), measure.decimals),
            rounded(Fraction(total, scale * rows)),
            rounded(spread),
        ]
    return tuple(shown)
