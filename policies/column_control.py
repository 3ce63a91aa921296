"""Column control: in which form, at most, a job may bring a column into the open.

Six levels, after the column control lists of SecretFlow's SCQL. A level names the point from which what is
derived from the column may be seen:

    PLAINTEXT          the values themselves
    AFTER_JOIN         which rows match on it
    AFTER_GROUP_BY     its values as group labels
    AFTER_COMPARE      the outcome of comparisons with it
    AFTER_AGGREGATE    aggregates over it
    ENCRYPTED_ONLY     nothing; it may only be computed on

They form a lattice, not a line: ``PLAINTEXT`` admits every use, every level admits a use that reveals
nothing, and the four in between admit themselves alone (seeing a sum says nothing about being allowed to
see a label). Which level a use needs is the component's claim; this module only compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.errors import ColumnControlExceeded

__all__ = ["ColumnUse", "Level", "admits", "check"]


class Level(StrEnum):
    """From where on what is derived from a column may be seen."""

    PLAINTEXT = "PLAINTEXT"
    AFTER_JOIN = "AFTER_JOIN"
    AFTER_GROUP_BY = "AFTER_GROUP_BY"
    AFTER_COMPARE = "AFTER_COMPARE"
    AFTER_AGGREGATE = "AFTER_AGGREGATE"
    ENCRYPTED_ONLY = "ENCRYPTED_ONLY"


@dataclass(frozen=True)
class ColumnUse:
    """One column as one step of a job uses it."""

    column: str
    level_needed: Level


def admits(level: Level, needed: Level) -> bool:
    """Whether a column at ``level`` may be used where ``needed`` is revealed."""
    return needed in {level, Level.ENCRYPTED_ONLY} or level is Level.PLAINTEXT


def check(uses: Sequence[ColumnUse], levels: Mapping[str, str]) -> None:
    """Check that every use stays within the level its column's owner set.

    Args:
        uses: what the steps of a job do, one item per column and step.
        levels: the owner's level of each column, as ``Level`` or its text.

    Raises:
        ColumnControlExceeded: listing every use of an unknown column, of a column with an unknown level, or
            beyond the level.
    """
    violations: list[str] = []
    for use in uses:
        given = levels.get(use.column)
        if given is None:
            violations.append(f"{use.column} has no control level")
        elif given not in set(Level):
            violations.append(f"{use.column} has the unknown control level {given[:32]!r}")
        elif not admits(Level(given), use.level_needed):
            violations.append(f"{use.column} is {given}, but the job needs {use.level_needed}")
    if violations:
        raise ColumnControlExceeded(tuple(dict.fromkeys(violations)))
