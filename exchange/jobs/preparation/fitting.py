"""What a recipe learns of a column from training rows, and what it makes of any rows. Local to an owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.columns import MISSING, UNSEEN
from exchange.errors import JobFailed
from exchange.jobs.preparation.recipes import CategoryRecipe, NumberRecipe, Recipe

__all__ = ["NOTHING", "Fitted", "check_varied", "fit", "made", "refuse_codes"]

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """What was learnt of a column of numbers.

    Attributes:
        lower, upper: values beyond them become the bound.
        fill: stands for a missing value; NaN where none may be missing.
        center, width: what is subtracted and what it is divided by.
    """

    lower: float = -np.inf
    upper: float = np.inf
    fill: float = np.nan
    center: float = 0.0
    width: float = 1.0


NOTHING: Final = Fitted()
"""Of a category, or of numbers taken as they are."""


def fit(recipe: Recipe, name: str, values: NDArray[Any]) -> Fitted:
    """Learn what a recipe needs to know of a column.

    Args:
        recipe: as declared.
        name: of the column, for errors.
        values: of the training rows alone: float64[rows], NaN where missing; of a category int64 codes.

    Raises:
        JobFailed: all values are missing, or all that a scale is to be learnt from are equal.
    """
    if isinstance(recipe, CategoryRecipe) or recipe == NumberRecipe():
        return NOTHING
    known = values[~np.isnan(values)]
    if not len(known):
        raise JobFailed(f"column {name}: all {len(values)} values of the training rows are missing")
    lower, upper = _bounds(recipe, known)
    known = np.clip(known, lower, upper)
    fill = _fill(recipe, known)
    if recipe.scale == "none":
        return Fitted(lower, upper, fill)
    filled = known if np.isnan(fill) else np.append(known, np.full(len(values) - len(known), fill))
    low, high = float(filled.min()), float(filled.max())
    center, width = low, high - low
    if recipe.scale == "standard":
        with np.errstate(over="ignore", invalid="ignore"):
            center, width = float(filled.mean()), float(filled.std())
    if low == high or not 0 < width < np.inf:
        raise JobFailed(
            f"column {name}: expected training rows with different values in the range of floats, to scale by"
        )
    return Fitted(lower, upper, fill, center, width)


def made(recipe: Recipe, fitted: Fitted, name: str, values: NDArray[Any]) -> list[_Floats]:
    """The columns that a recipe makes, in the order of its names: float64[rows] each.

    Raises:
        JobFailed: values that are missing or unseen where the recipe refuses them, or too large; counted.
    """
    if isinstance(recipe, CategoryRecipe):
        return _one_hot(recipe, name, values)
    missing = np.isnan(values)
    if np.isnan(fitted.fill) and missing.any():
        raise _refused(name, missing, "missing")
    filled = np.where(missing, fitted.fill, np.clip(values, fitted.lower, fitted.upper))
    with np.errstate(over="ignore"):
        scaled = (filled - fitted.center) / fitted.width
    if not np.isfinite(scaled).all():
        raise _refused(name, ~np.isfinite(scaled), "too large to scale")
    return [scaled, missing.astype(np.float64)] if recipe.indicator else [scaled]


def check_varied(names: tuple[str, ...], columns: list[_Floats]) -> None:
    """Refuse a made column of which the training rows have one value only: nothing can be learnt from it.

    Raises:
        JobFailed: by name.
    """
    for name, column in zip(names, columns, strict=True):
        if np.all(column == column[0]):
            raise JobFailed(f"column {name}: all {len(column)} values of the training rows are equal")


def _bounds(recipe: NumberRecipe, known: _Floats) -> tuple[float, float]:
    if recipe.clip is not None:
        return float(recipe.clip.lower), float(recipe.clip.upper)
    if recipe.winsorise is not None:
        parts = [recipe.winsorise.lower_permille / 1000, recipe.winsorise.upper_permille / 1000]
        lower, upper = np.quantile(known, parts).tolist()
        return lower, upper
    return -np.inf, np.inf


def _fill(recipe: NumberRecipe, known: _Floats) -> float:
    match recipe.missing:
        case "mean":
            return float(known.mean())
        case "median":
            return float(np.median(known))
        case "constant":
            return float(recipe.constant)
        case _:
            return np.nan


def _one_hot(recipe: CategoryRecipe, name: str, codes: NDArray[np.int64]) -> list[_Floats]:
    refuse_codes(name, codes, unseen=recipe.unseen == "refuse", missing=recipe.missing == "refuse")
    wanted = [place for place, label in enumerate(recipe.labels) if label != recipe.baseline]
    wanted += [UNSEEN] * (recipe.unseen == "other") + [MISSING] * (recipe.missing == "indicator")
    return [(codes == code).astype(np.float64) for code in wanted]


def refuse_codes(name: str, codes: NDArray[np.int64], *, unseen: bool = True, missing: bool = True) -> None:
    """Refuse values of a column with declared labels that are none of them, or missing.

    Raises:
        JobFailed: with how many there are.
    """
    for is_refused, code, words in (
        (unseen, UNSEEN, "none of the declared labels"),
        (missing, MISSING, "missing"),
    ):
        if is_refused and np.any(codes == code):
            raise _refused(name, codes == code, words)


def _refused(name: str, misfits: NDArray[np.bool_], words: str) -> JobFailed:
    return JobFailed(f"column {name}: {np.count_nonzero(misfits)} of {len(misfits)} values are {words}")
