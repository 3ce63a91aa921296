"""What a step of ``stats/aggregate`` asks for, and how its figures travel as words of 64 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest
from exchange.jobs.spec import ColumnInput, Step
from exchange.web.kinds import read_as

__all__ = ["OTHER", "Groups", "Question", "check_groups", "from_words", "to_words"]

MAX_LABELS: Final = 255
OTHER: Final = "(other)"

_LIMB_BITS: Final = 58
_LIMBS: Final = 3
"""Of a figure: limbs of 58 bits, so that 64 bits hold the sum of those of 30 owners and none is carried."""


@dataclass(frozen=True)
class Groups:
    """The group column and its labels in order; what is none of them is counted under ``(other)``."""

    column: str
    labels: tuple[str, ...]

    @staticmethod
    def of(step: Step) -> Groups | None:
        """The declared groups of a step whose parameters were checked; None: there is one group."""
        stated = cast("dict[str, object] | None", step.params.get("groups"))
        return None if stated is None else read_as(Groups, stated, "groups")


@dataclass(frozen=True)
class Question:
    """What a step asks for: groups and measures."""

    groups: Groups | None
    measures: tuple[ColumnInput, ...]

    @staticmethod
    def of(step: Step) -> Question:
        """The question of a step; its columns are the same at each owner."""
        groups = Groups.of(step)
        asked = next(iter(step.inputs.values())).columns
        by = None if groups is None else groups.column
        return Question(groups, tuple(column for column in asked if column.name != by))

    @property
    def cells(self) -> int:
        """How many groups there are, ``(other)`` included."""
        return 1 if self.groups is None else len(self.groups.labels) + 1

    @property
    def figures(self) -> int:
        """Figures of a cell: 1 if entered, rows, and of each measure its sum and that of its squares."""
        return 2 + 2 * len(self.measures)

    @property
    def words(self) -> int:
        """Words of the vector that an owner enters."""
        return self.cells * self.figures * _LIMBS


def to_words(figures: Sequence[int]) -> NDArray[np.uint64]:
    """Write integers of less than 173 bits, signed, as limbs that may be added up over 32 owners.

    Returns:
        uint64[3 n].
    """
    mask, modulus = 2**_LIMB_BITS - 1, 2 ** (_LIMB_BITS * _LIMBS)
    limbs = [
        (figure % modulus) >> (_LIMB_BITS * place) & mask for figure in figures for place in range(_LIMBS)
    ]
    return np.array(limbs, dtype=np.uint64)


def from_words(words: NDArray[np.uint64]) -> list[int]:
    """Read the sum of what ``to_words`` wrote: n integers."""
    modulus = 2 ** (_LIMB_BITS * _LIMBS)
    read = [
        sum(limb << (_LIMB_BITS * place) for place, limb in enumerate(limbs)) % modulus
        for limbs in words.reshape(-1, _LIMBS).tolist()
    ]
    return [figure - modulus if figure >= modulus // 2 else figure for figure in read]


def check_groups(value: object, at: str) -> None:
    """Check the parameter ``groups``; refuses with ``InvalidRequest``."""
    groups = read_as(Groups, value, at)
    if not 1 <= len(groups.labels) <= MAX_LABELS or len(set(groups.labels)) != len(groups.labels):
        raise InvalidRequest(f"{at}.labels", f"1 to {MAX_LABELS} different labels", str(len(groups.labels)))
    if OTHER in groups.labels:
        raise InvalidRequest(f"{at}.labels", f"labels besides {OTHER}", OTHER)
