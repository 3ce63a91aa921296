"""Regressions in plaintext: fitted to the pooled rows by Newton's method, beside the coefficients on shares.

A difference is of training, which takes a stated number of steps, more than of fixed point: coefficients that
are beyond the tolerance have not been trained to the end.
"""

from __future__ import annotations

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

__all__ = ["regression"]

_STEPS: Final = 50
_DIGITS: Final = 12
"""Behind the point; what is smaller is 0."""
_INTERCEPT: Final = ("owner-1", "(intercept)")
Floats = NDArray[np.float64]


def regression(run: Run, played: PlayedStep) -> list[Figure]:
    """The coefficients of standardised columns."""
    step, settings = played.step, settings_of(played.step)
    if settings.patience:
        raise NoReference(Reason.PATIENCE)
    rows = _trained_on(run, played)
    label = str(step.params["label"])
    names = [
        (role, column.name)
        for role in owners_of(step)
        for column in step.inputs[role].columns
        if (role, column.name) != ("owner-1", label)
    ]
    columns = [_scaled(run.plain.numbers(step, role, name, rows[role])) for role, name in names]
    x = np.vstack([np.ones(len(rows["owner-1"])), *columns])
    y = run.plain.numbers(step, "owner-1", label, rows["owner-1"])
    if settings.family is Family.LINEAR:
        y = _scaled(y)
    elif settings.family is Family.POISSON:
        y = y / y.mean()
    weights = _fitted(settings, x, y)
    plain: dict[tuple[str, ...], list[Value]] = {
        name: [weight]
        for name, weight in zip([_INTERCEPT, *names], np.round(weights, _DIGITS).tolist(), strict=True)
    }
    return beside(_private(run, played), plain, ["coefficient"])


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
    """The coefficients as trained: opened, or put together from the parts of all owners."""
    step = played.step
    if step.params["coefficients"] != "split":
        return {(str(row[0]), str(row[1])): [float(str(row[2]))] for row in run.result(played).rows}
    found: dict[tuple[str, ...], list[Value]] = {}
    for role in owners_of(step):
        part = ModelPart.decode(played.outcomes[role].local)
        if role == "owner-1":
            found[_INTERCEPT] = [float(part.intercept)]
        found |= _of_part(step, role, part)
    return found


def _of_part(step: Step, role: str, part: ModelPart) -> dict[tuple[str, ...], list[Value]]:
    return {(role, name): [float(value)] for name, value in zip(part.columns, part.coefficients, strict=True)}


def _fitted(settings: Settings, x: Floats, y: Floats) -> Floats:
    """The coefficients with the least penalised loss, of columns float64[coefficients, rows]."""
    rows = x.shape[1]
    penalties = np.full(len(x), settings.l2)
    penalties[0] = 0
    weights = np.zeros(len(x))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_STEPS):
            mean = settings.family.mean_of(weights @ x)
            spread = {
                Family.LOGISTIC: mean * (1 - mean),
                Family.POISSON: mean,
                Family.LINEAR: np.ones(rows),
            }[settings.family]
            information = (x * spread) @ x.T / rows + np.diag(penalties)
            gradient = x @ (mean - y) / rows + penalties * weights
            try:
                weights = weights - np.linalg.solve(information, gradient)
            except np.linalg.LinAlgError:
                raise NoReference(Reason.NO_FIT) from None
    if not np.isfinite(weights).all():
        raise NoReference(Reason.NO_FIT)
    return weights
