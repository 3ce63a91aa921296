"""Regressions and correlations in plaintext, over the pooled rows; regressions by Newton's method.

A difference is of training, which takes a stated number of steps, more than of fixed point: coefficients that
are beyond the tolerance have not been trained to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.jobs.aligned_columns import owners_of
from exchange.jobs.intersection import rows_of
from exchange.jobs.regression.component import settings_of
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.spec import Step
from exchange.simulated.figures import Figure, Value, beside
from exchange.simulated.parties import PlayedStep
from exchange.simulated.references import NoReference, Reason, Run
from federated.vertical import Family, Settings

__all__ = ["correlation", "regression"]

_STEPS: Final = 50
_DIGITS: Final = 12
"""Behind the point; what is smaller is 0."""
_INTERCEPT: Final = ("owner-1", "(intercept)")
Floats = NDArray[np.float64]


def regression(run: Run, played: PlayedStep) -> list[Figure]:
    """The coefficients of standardised columns, and their standard errors where they were asked for."""
    step, settings = played.step, settings_of(played.step)
    if settings.patience:
        raise NoReference(Reason.PATIENCE)
    rows = _trained_on(run, played)
    label = str(step.params["label"])
    names = [name for name in columns_of(step) if name != ("owner-1", label)]
    x = np.vstack([np.ones(len(rows["owner-1"])), *standardised(run, step, names, rows)])
    y = run.plain.numbers(step, "owner-1", label, rows["owner-1"])
    unit = float(y.mean()) if settings.family is Family.POISSON else 1.0
    y = _scaled(y) if settings.family is Family.LINEAR else y / unit
    weights = _fitted(settings, x, y)
    figures = [weights, _errors(settings, x, y, weights, unit)] if settings.standard_errors else [weights]
    told = np.round(np.stack(figures, axis=1), _DIGITS).tolist()
    plain: dict[tuple[str, ...], list[Value]] = dict(zip([_INTERCEPT, *names], told, strict=True))
    return beside(_private(run, played), plain, ["coefficient", "standard error"][: len(figures)])


def correlation(run: Run, played: PlayedStep) -> list[Figure]:
    """Inflation factors and correlations; those that stay closed are not compared."""
    step = played.step
    names = columns_of(step)
    columns = standardised(run, step, names, run.rows(step))
    matrix = np.corrcoef(columns)
    try:
        factors = np.diag(np.linalg.inv(matrix))
    except np.linalg.LinAlgError:
        raise NoReference(Reason.NO_FIT) from None
    private: dict[tuple[str, ...], list[Value]] = {
        (str(row[0]), str(row[1])): [None if one is None else float(str(one)) for one in row[2:]]
        for row in run.result(played).rows
    }
    plain: dict[tuple[str, ...], list[Value]] = {
        name: [
            None if one is None else other
            for one, other in zip(private.get(name, [None]), [factor, *line], strict=False)
        ]
        for name, factor, line in zip(names, factors.tolist(), matrix.tolist(), strict=True)
    }
    return beside(private, plain, ["inflation", *(f"correlation with {one}" for _, one in names)])


def columns_of(step: Step) -> list[tuple[str, str]]:
    """Role and name of every column that owners read in a step, in the order of its result."""
    return [(role, column.name) for role in owners_of(step) for column in step.inputs[role].columns]


def standardised(
    run: Run, step: Step, names: Sequence[tuple[str, str]], rows: Mapping[str, NDArray[np.int64]]
) -> list[Floats]:
    """Columns at the rows of each role, with mean 0 and standard deviation 1."""
    return [_scaled(run.plain.numbers(step, role, name, rows[role])) for role, name in names]


def _scaled(values: Floats) -> Floats:
    """With mean 0 and (population) standard deviation 1."""
    scaled: Floats = (values - values.mean()) / values.std()
    return scaled


def _trained_on(run: Run, played: PlayedStep) -> dict[str, NDArray[np.int64]]:
    """The rows that were not held out, matched in plaintext, by role.

    Which they are is drawn over the order in which the parties have them; the first owner's rows tell it.
    """
    step, rows = played.step, run.rows(played.step)
    before = run.parties.played(step.after[0])
    private = rows_of(before.outcomes[before.step.role_of(step.parties["owner-1"]) or ""].local)
    trained = private[HeldOut.of(played.session, step).train(len(private))]
    kept = np.isin(rows["owner-1"], trained)
    return {role: one[kept] for role, one in rows.items()}


def _private(run: Run, played: PlayedStep) -> dict[tuple[str, ...], list[Value]]:
    """What was trained: opened, or put together from the parts of all owners."""
    step = played.step
    if step.params["coefficients"] != "split":
        return {
            (str(role), str(name)): [float(str(one)) for one in told]
            for role, name, *told in run.result(played).rows
        }
    found: dict[tuple[str, ...], list[Value]] = {}
    for role in owners_of(step):
        part = ModelPart.decode(played.outcomes[role].local)
        told = [(part.intercept, *part.coefficients), *([part.errors] if part.errors else [])]
        figures = [[float(one) for one in each] for each in zip(*told, strict=True)]
        if role == "owner-1":
            found[_INTERCEPT] = [*figures[0]]
        found |= {(role, name): [*each] for name, each in zip(part.columns, figures[1:], strict=True)}
    return found


def _spread(settings: Settings, mean: Floats) -> Floats:
    """The variance function of the family at what the model says of rows."""
    if settings.family is Family.LOGISTIC:
        return mean * (1 - mean)
    return mean if settings.family is Family.POISSON else np.ones(len(mean))


def _information(settings: Settings, x: Floats, weights: Floats) -> Floats:
    """The second derivative of the mean loss, without the penalty: float64[coefficients, coefficients]."""
    spread = _spread(settings, settings.family.mean_of(weights @ x))
    information: Floats = (x * spread) @ x.T / x.shape[1]
    return information


def _fitted(settings: Settings, x: Floats, y: Floats) -> Floats:
    """The coefficients with the least penalised loss, of columns float64[coefficients, rows]."""
    penalties = np.full(len(x), settings.l2)
    penalties[0] = 0
    weights = np.zeros(len(x))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_STEPS):
            residuals = settings.family.mean_of(weights @ x) - y
            gradient = x @ residuals / x.shape[1] + penalties * weights
            try:
                step = np.linalg.solve(_information(settings, x, weights) + np.diag(penalties), gradient)
            except np.linalg.LinAlgError:
                raise NoReference(Reason.NO_FIT) from None
            weights = weights - step
    if not np.isfinite(weights).all():
        raise NoReference(Reason.NO_FIT)
    return weights


def _errors(settings: Settings, x: Floats, y: Floats, weights: Floats, unit: float) -> Floats:
    """Standard errors; of a label that counts in a unit, of a linear one with n - d degrees of freedom."""
    size, rows = x.shape
    dispersion = 1.0 / unit
    if settings.family is Family.LINEAR:
        dispersion = float(np.sum((weights @ x - y) ** 2)) / (rows - size)
    inverse = np.linalg.inv(_information(settings, x, weights))
    errors: Floats = np.sqrt(dispersion * np.diag(inverse) / rows)
    return errors
