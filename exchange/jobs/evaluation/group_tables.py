"""Figures by group as a table, a line for each group that is told, and how fair a model is by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exchange.jobs.evaluation.grouping import By
from exchange.jobs.results import Cell, ResultTable
from federated.fairness import Fairness, fairness
from federated.metrics import Confusion
from federated.vertical import Family
from federated.vertical.by_group import GroupFigures

__all__ = ["GroupLine", "as_facts", "decimal", "group_table", "lines_of"]

_CLASSES = ("group", "rows", "positive rate", "mean score", "stability index", "auc")
_NUMBERS = ("group", "rows", "mean label", "mean score", "stability index", "mean squared error")
_AT_CUTOFF = ("selected", "true positive rate", "false positive rate", "precision")


@dataclass(frozen=True)
class GroupLine:
    """What is told of one group; NaN where a figure is not.

    Attributes:
        label: of the group.
        rows: how many it has.
        mean_label, mean_score: of them.
        stability: the stability index.
        auc: of a logistic model; the group's rows among themselves.
        mse: of a model of numbers.
        selected: at each cutoff, how many rows score as much.
        counts: at each cutoff, of which label they are; None where that is not told.
    """

    label: str
    rows: int
    mean_label: float
    mean_score: float
    stability: float
    auc: float
    mse: float
    selected: tuple[int, ...]
    counts: tuple[Confusion, ...] | None


def lines_of(by: By, groups: GroupFigures) -> list[GroupLine]:
    """The groups that are told, in the order in which they were declared."""
    return [
        GroupLine(
            by.labels[place],
            int(groups.rows[place]),
            float(groups.labels[place] / groups.rows[place]),
            float(groups.scores[place] / groups.rows[place]),
            float(groups.stability[place]),
            float(groups.auc[place]),
            float(groups.mse[place]),
            tuple(groups.selected[place].tolist()),
            tuple(_counts(groups, place)) if groups.told[place] else None,
        )
        for place in np.flatnonzero(groups.rows).tolist()
    ]


def group_table(family: Family, by: By, groups: GroupFigures) -> ResultTable:
    """A line for each group that is told; at each cutoff, parts of its rows, and of those of either label."""
    is_logistic = family is Family.LOGISTIC
    header = (*_CLASSES, *(f"{name} at {cutoff}" for cutoff in by.cutoffs for name in _AT_CUTOFF))
    found = lines_of(by, groups)
    rows = tuple(
        (
            line.label,
            line.rows,
            *map(decimal, (line.mean_label, line.mean_score, line.stability)),
            decimal(line.auc if is_logistic else line.mse),
            *_at_cutoffs(line),
        )
        for line in found
    )
    return ResultTable(header if is_logistic else _NUMBERS, rows)


def as_facts(family: Family, by: By, groups: GroupFigures) -> dict[str, object]:
    """The same for ``result.json``, the number of groups that are too small and, of no periods, fairness."""
    table = group_table(family, by, groups)
    facts: dict[str, object] = {
        "owner": by.owner,
        "column": by.column,
        "order": by.order,
        "suppressed": len(by.labels) - len(table.rows),
        "columns": list(table.columns),
        "groups": [list(row) for row in table.rows],
    }
    if not by.is_over_time and by.cutoffs:
        found = lines_of(by, groups)
        facts["fairness"] = [
            {"cutoff": cutoff, **_written(_fairness(found, place))} for place, cutoff in enumerate(by.cutoffs)
        ]
    return facts


def decimal(number: float | None) -> str | None:
    """A number as results write it; None where there is none."""
    return None if number is None or number != number else f"{number:.6g}"


def _fairness(lines: list[GroupLine], place: int) -> Fairness:
    selected = [(line.selected[place], line.rows) for line in lines]
    return fairness(selected, [line.counts[place] for line in lines if line.counts is not None])


def _written(found: Fairness) -> dict[str, object]:
    return {
        "demographic_parity_difference": decimal(found.parity_difference),
        "demographic_parity_ratio": decimal(found.parity_ratio),
        "equal_opportunity_difference": decimal(found.opportunity_difference),
        "equalised_odds_difference": decimal(found.odds_difference),
        "predictive_parity_difference": decimal(found.predictive_difference),
    }


def _counts(groups: GroupFigures, place: int) -> Iterator[Confusion]:
    rows, positives = int(groups.rows[place]), int(groups.labels[place])
    for selected, hits in zip(
        groups.selected[place].tolist(), groups.true_positives[place].tolist(), strict=True
    ):
        false = selected - hits
        yield Confusion(hits, false, positives - hits, rows - positives - false)


def _at_cutoffs(line: GroupLine) -> Iterator[Cell]:
    for place, selected in enumerate(line.selected):
        yield decimal(selected / line.rows)
        if line.counts is None:
            yield from (None, None, None)
            continue
        counts = line.counts[place]
        yield decimal(counts.recall)
        yield decimal(counts.fall_out)
        yield decimal(counts.precision if selected else None)
