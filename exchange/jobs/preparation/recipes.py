"""What a step declares is to be done to each column before a model, and which columns come of it.

Which columns are made follows from the declaration alone, never from values: categories have declared labels.
So every party knows the sizes of what is trained, and no name tells of data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final, Literal, cast

from exchange.errors import InvalidRequest
from exchange.jobs.spec import Step
from exchange.web.kinds import Rule, read_as

__all__ = [
    "AS_IS",
    "COMPONENT_NAME",
    "CategoryRecipe",
    "Clip",
    "NumberRecipe",
    "Recipe",
    "Winsorise",
    "check_columns",
    "check_recipes",
    "recipes_of",
]

COMPONENT_NAME: Final = "model/prepare"
_NUMBER: Final = Rule("a decimal number", pattern=r"-?[0-9]{1,15}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class Clip:
    """Values beyond declared bounds become the bound."""

    lower: Annotated[str, _NUMBER]
    upper: Annotated[str, _NUMBER]


@dataclass(frozen=True)
class Winsorise:
    """Values beyond two quantiles of the training rows become the quantile (Dixon, Tukey 1968)."""

    lower_permille: Annotated[int, Rule("0 to 499", minimum=0, maximum=499)]
    upper_permille: Annotated[int, Rule("501 to 1000", minimum=501, maximum=1000)]


@dataclass(frozen=True)
class NumberRecipe:
    """What is done to a column of numbers, in this order: clip, fill, scale.

    Attributes:
        missing: what stands for a missing value: the mean or median of the training rows, or ``constant``.
        constant: not clipped; of no meaning where ``missing`` is another.
        indicator: one more column, 1 where the value is missing.
        clip, winsorise: bounds; at most one of the two.
        scale: standard, by mean and (population) standard deviation; range, from 0 to 1; of training rows.
    """

    kind: Literal["number"] = "number"
    missing: Literal["refuse", "mean", "median", "constant"] = "refuse"
    constant: Annotated[str, _NUMBER] = "0"
    indicator: bool = False
    clip: Clip | None = None
    winsorise: Winsorise | None = None
    scale: Literal["none", "standard", "range"] = "none"

    def names(self, column: str) -> tuple[str, ...]:
        """The columns that are made of a column."""
        return (column, f"{column}=(missing)") if self.indicator else (column,)


@dataclass(frozen=True)
class CategoryRecipe:
    """A column of 0 and 1 for each label of a category (one-hot coding).

    Attributes:
        labels: as texts.
        baseline: the label that gets no column; where there is one, its rows are 0 in all others.
        unseen: of a value that is no label: refuse, zero in all columns, or a column for all others.
        missing: of a missing value: refuse, zero in all columns, or an indicator column.
    """

    kind: Literal["category"]
    labels: Annotated[tuple[Annotated[str, Rule("a label", maximum=60)], ...], Rule(minimum=1, maximum=64)]
    baseline: str | None = None
    unseen: Literal["refuse", "zero", "other"] = "refuse"
    missing: Literal["refuse", "zero", "indicator"] = "refuse"

    def names(self, column: str) -> tuple[str, ...]:
        """The columns that are made of a column."""
        made = [label for label in self.labels if label != self.baseline]
        made += ["(other)"] * (self.unseen == "other") + ["(missing)"] * (self.missing == "indicator")
        return tuple(f"{column}={label}" for label in made)


Recipe = NumberRecipe | CategoryRecipe

AS_IS: Final = NumberRecipe()
"""Of a column without a recipe: numbers, none missing, taken as they are."""


def recipes_of(step: Step) -> dict[str, dict[str, Recipe]]:
    """The recipe of every column that a step prepares, by role and name."""
    declared = cast("Mapping[str, Mapping[str, object]]", step.params.get("columns", {}))
    return {
        role: {
            column.name: _recipe(declared[role][column.name], "columns")
            if column.name in declared.get(role, {})
            else AS_IS
            for column in given.columns
        }
        for role, given in step.inputs.items()
    }


def check_columns(value: object, at: str) -> None:
    """Check the form of the declarations, by role and column.

    Raises:
        InvalidRequest: the first that does not fit, by its place.
    """
    for role, columns in read_as(dict[str, dict[str, object]], value, at).items():
        for name, declared in columns.items():
            _check_recipe(_recipe(declared, f"{at}.{role}.{name}"), f"{at}.{role}.{name}")


def check_recipes(step: Step) -> None:
    """Check that recipes are of columns that the step reads, and that no two columns of a name are made.

    Raises:
        InvalidRequest: by field.
    """
    at = f"steps.{step.id}.params.columns"
    declared = cast("Mapping[str, Mapping[str, object]]", step.params.get("columns", {}))
    for role, columns in declared.items():
        if role not in step.inputs:
            raise InvalidRequest(f"{at}.{role}", f"one of {', '.join(sorted(step.inputs))}", "another role")
        read = [column.name for column in step.inputs[role].columns]
        for name in columns:
            if name not in read:
                raise InvalidRequest(f"{at}.{role}.{name}", f"one of {', '.join(read)}", "another column")
    for role, recipes in recipes_of(step).items():
        made = [name for column, recipe in recipes.items() for name in recipe.names(column)]
        twice = {name for name in made if made.count(name) > 1}
        if twice:
            raise InvalidRequest(f"{at}.{role}", "columns of different names", f"{min(twice)} twice")


def _recipe(declared: object, at: str) -> Recipe:
    if isinstance(declared, Mapping) and declared.get("kind") == "category":
        return read_as(CategoryRecipe, declared, at)
    return read_as(NumberRecipe, declared, at)


def _check_recipe(recipe: Recipe, at: str) -> None:
    if isinstance(recipe, CategoryRecipe):
        if len(set(recipe.labels)) != len(recipe.labels):
            raise InvalidRequest(f"{at}.labels", "labels that differ", "one twice")
        if recipe.baseline is not None and recipe.baseline not in recipe.labels:
            raise InvalidRequest(f"{at}.baseline", f"one of {', '.join(recipe.labels)}", "another label")
        if not recipe.names(""):
            raise InvalidRequest(f"{at}.labels", "a label besides the baseline", "none")
        return
    if recipe.clip is not None and recipe.winsorise is not None:
        raise InvalidRequest(f"{at}.winsorise", "one of clip and winsorise", "both")
    if recipe.clip is not None and not Decimal(recipe.clip.lower) < Decimal(recipe.clip.upper):
        raise InvalidRequest(f"{at}.clip.upper", f"a number above {recipe.clip.lower}", recipe.clip.upper)
