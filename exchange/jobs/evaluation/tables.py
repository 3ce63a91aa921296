"""The figures of an evaluation as a table: a line for each bin of rows, and the measures of all rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

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
    return table(*combined(step, releases))


def table(sizes: Sizes, evaluation: Evaluation) -> ResultTable:
    """Bins from the highest scores on; from ``flagged`` on, of a bin and all above it, which count as 1."""
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
                *map(_text, means),
                flagged,
                _text(gain),
                _text(lift),
                *cells,
                *map(_text, rates),
            )
        )
    positives = int(binned.positives)
    facts: dict[str, object] = {
        "family": "logistic",
        "rows": int(binned.rows.sum()),
        "positives": positives,
        "auc": _text(evaluation.auc),
        "ks": _text(evaluation.ks),
        "brier": _text(evaluation.brier),
        "calibration_error": _text(calibration.expected_error),
    }
    return ResultTable(_CLASSES, tuple(lines), facts)


def _of_numbers(family: Family, binned: Binned, errors: Regression) -> ResultTable:
    means = binned.calibration()
    cells = zip(binned.rows.tolist(), means.predicted.tolist(), means.observed.tolist(), strict=True)
    lines = tuple(
        (place, rows, _text(score), _text(label)) for place, (rows, score, label) in enumerate(cells, 1)
    )
    facts: dict[str, object] = {
        "family": family.value,
        "rows": int(binned.rows.sum()),
        "mean_squared_error": _text(errors.mse),
        "mean_absolute_error": _text(errors.mae),
        "r2": _text(errors.r2),
    }
    return ResultTable(_NUMBERS, lines, facts)


def _text(number: float | None) -> str | None:
    return None if number is None or number != number else f"{number:.6g}"
