"""Scores and evaluations in plaintext, of the model that the parties have trained.

What training itself differs by is the training step's; here the same coefficients are applied and judged.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from exchange.jobs.aligned_columns import owners_of
from exchange.jobs.evaluation.grouping import By
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.scoring.part import ScorePart
from exchange.jobs.spec import Step
from exchange.simulated.figures import Figure
from exchange.simulated.parties import PlayedStep
from exchange.simulated.references import Run
from federated import metrics
from federated.vertical import Family, scoring

__all__ = ["evaluation", "scores"]

Floats = NDArray[np.float64]


def scores(run: Run, played: PlayedStep) -> list[Figure]:
    """How many rows are scored, and by how much the fitted value of any is off."""
    step = played.step
    parts = {role: ScorePart.decode(played.outcomes[role].local) for role in owners_of(step)}
    private = np.sum([part.parts for part in parts.values()], axis=0) * 2.0**-scoring.SCORE_FRACTION
    rows, plain = _parts(run, step)
    known = dict(zip(rows.tolist(), plain.sum(axis=0).tolist(), strict=True))
    expected = np.array([known.get(row, np.inf) for row in parts["owner-1"].rows.tolist()])
    wanted = _scored(run, step, len(rows))
    return [
        Figure("rows", len(private), wanted),
        Figure("largest error of a fitted value", float(np.max(np.abs(private - expected))), 0.0),
    ]


def evaluation(run: Run, played: PlayedStep) -> list[Figure]:
    """The measures of all rows that were scored, to the digits that each owner's part is kept with."""
    step = played.step
    scored = run.parties.played(step.after[0])
    part = ScorePart.decode(scored.outcomes["owner-1"].local)
    rows, parts = _parts(run, scored.step)
    kept, unit = np.isin(rows, part.rows), 2.0**-scoring.SCORE_FRACTION
    fitted = (np.rint(parts[:, kept] / unit) * unit).sum(axis=0)
    label = run.plain.numbers(step, "owner-1", str(step.params["label"]), rows[kept])
    told = part.family.mean_of(fitted)
    if part.family is Family.LOGISTIC:
        plain = {
            "auc": metrics.auc(fitted, label),
            "ks": metrics.ks(fitted, label),
            "brier": metrics.brier(told, label),
        }
    else:
        told = told * float(part.unit.label_deviation) + float(part.unit.label_mean)
        errors = metrics.regression(told, label)
        plain = {"mean_squared_error": errors.mse, "mean_absolute_error": errors.mae, "r2": errors.r2}
    facts = run.result(played).facts
    found = [Figure(name, float(str(facts[name])), value) for name, value in plain.items()]
    by = By.of(step)
    if by is None:
        return found
    placed = run.rows(scored.step)[by.owner][kept]
    codes = run.plain.codes(step, by.owner, by.column, by.labels, placed)
    return [*found, *_by_group(by, codes, told, label, cast("dict[str, list[Any]]", facts["by"]))]


def _by_group(
    by: By, codes: NDArray[np.int64], told: Floats, label: Floats, facts: dict[str, list[Any]]
) -> list[Figure]:
    """Rows, mean label and mean score of each group that is told."""
    figures = []
    for name, rows, mean_label, mean_score, *_ in facts["groups"]:
        inside = codes == by.labels.index(name)
        for figure, private, plain in (
            ("rows", rows, np.count_nonzero(inside)),
            ("mean label", float(mean_label), label[inside].mean()),
            ("mean score", float(mean_score), told[inside].mean()),
        ):
            figures.append(Figure(f"{name}: {figure}", private, float(plain)))
    return figures


def _parts(run: Run, step: Step) -> tuple[NDArray[np.int64], Floats]:
    """The first owner's matched rows, and each owner's part of their fitted values: float64[owners, rows]."""
    trained, matched = run.parties.played(step.after[1]), run.rows(step)
    parts = []
    for role in owners_of(step):
        part = ModelPart.decode(trained.outcomes[role].local)
        parts.append(np.full(len(matched[role]), float(part.intercept)))
        for name, *texts in zip(part.columns, part.means, part.deviations, part.coefficients, strict=True):
            mean, deviation, coefficient = map(float, texts)
            parts[-1] += (run.plain.numbers(step, role, name, matched[role]) - mean) / deviation * coefficient
    return matched["owner-1"], np.stack(parts)


def _scored(run: Run, step: Step, matched: int) -> int:
    """How many of so many matched rows are scored."""
    trained = run.parties.played(step.after[1])
    held_out = ModelPart.decode(trained.outcomes["owner-1"].local).held_out
    return len(held_out.chosen(matched, str(step.params.get("part", "all"))))
