"""The figures of an evaluation as a table: a line for each bin of rows, and the measures of all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate

from exchange.jobs.evaluation.group_tables import as_facts, decimal
from exchange.jobs.evaluation.grouping import By
from exchange.jobs.evaluation.release import combined
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from federated.metrics import Binned, Regression
from federated.vertical import Family
from federated.vertical.evaluation import Evaluation, Sizes

__all__ = ["open_result", "table"]

_CLASSES = (
    "bin",
    "rows",
    "positives",
    "mean score",
    "positive rate",
    "flagged",
    "gain",
    "lift",
    "true positives",
    "false positives",
    "false negatives",
    "true negatives",
    "precision",
    "recall",
)
_NUMBERS = ("bin", "rows", "mean score", "mean label")


def open_result(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    """Put the releases of a step together and write them as a table."""
    return table(By.of(step), *combined(step, releases))


def table(by: By | None, sizes: Sizes, evaluation: Evaluation) -> ResultTable:
    """Bins from the highest scores on; from ``flagged`` on, of a bin and all above it, which count as 1.

    Figures by group are under ``by`` of the facts.
    """
    of_rows = _of_rows(sizes, evaluation)
    if by is None or evaluation.groups is None:
        return of_rows
    return replace(of_rows, facts={**of_rows.facts, "by": as_facts(sizes.family, by, evaluation.groups)})


def _of_rows(sizes: Sizes, evaluation: Evaluation) -> ResultTable:
    if evaluation.errors is not None:
        return _of_numbers(sizes.family, evaluation.binned, evaluation.errors)
    binned, calibration = evaluation.binned, evaluation.binned.calibration()
    lines: list[tuple[Cell, ...]] = []
    for place, (flagged, gain, lift) in enumerate(
        zip(accumulate(binned.rows.tolist()), binned.gain().tolist(), binned.lift().tolist(), strict=True)
    ):
        counts = binned.confusion(place + 1)
        own = (int(binned.rows[place]), int(binned.labels[place]))
        means = (float(calibration.predicted[place]), float(calibration.observed[place]))
        cells = (
            counts.true_positives,
            counts.false_positives,
            counts.false_negatives,
            counts.true_negatives,
        )
        rates = (counts.precision, counts.recall)
        lines.append(
            (
                place + 1,
                *own,
                *map(decimal, means),
                flagged,
                decimal(gain),
                decimal(lift),
                *cells,
                *map(decimal, rates),
            )
        )
    positives = int(binned.positives)
    facts: dict[str, object] = {
        "family": "logistic",
        "rows": int(binned.rows.sum()),
        "positives": positives,
        "auc": decimal(evaluation.auc),
        "ks": decimal(evaluation.ks),
        "brier": decimal(evaluation.brier),
        "calibration_error": decimal(calibration.expected_error),
    }
    return ResultTable(_CLASSES, tuple(lines), facts)


def _of_numbers(family: Family, binned: Binned, errors: Regression) -> ResultTable:
    means = binned.calibration()
    cells = zip(binned.rows.tolist(), means.predicted.tolist(), means.observed.tolist(), strict=True)
    lines = tuple(
        (place, rows, decimal(score), decimal(label)) for place, (rows, score, label) in enumerate(cells, 1)
    )
    facts: dict[str, object] = {
        "family": family.value,
        "rows": int(binned.rows.sum()),
        "mean_squared_error": decimal(errors.mse),
        "mean_absolute_error": decimal(errors.mae),
        "r2": decimal(errors.r2),
    }
    return ResultTable(_NUMBERS, lines, facts)
