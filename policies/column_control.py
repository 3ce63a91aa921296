"""Column control: in which form, at most, a participant may come to see what a job makes of a column.

Seven levels, after the column control lists of SecretFlow's SCQL 1.x. A level names what must have happened
to a column's values before what is left of them may be seen:

    PLAINTEXT          nothing: the values themselves
    AFTER_JOIN         it was compared as a join key, so that one sees which rows match
    AS_JOIN_PAYLOAD    a join kept only the rows that match; their values may be seen
    AFTER_GROUP_BY     rows were grouped by it, so that one sees the labels of the groups
    AFTER_COMPARE      it was compared with something, so that one sees the outcome
    AFTER_AGGREGATE    it went into a figure over many rows
    ENCRYPTED_ONLY     never: it may only be computed on

They form a lattice, not a line: ``PLAINTEXT`` admits every use, every level admits a use that nobody sees,
and the five in between admit themselves alone (seeing a sum says nothing about being allowed to see a
label). An owner states one level per column and may state others for single participants. What a job makes
of a column is derived from its compiled plan (``plans``); this module only compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from policies.errors import ColumnControlExceeded

__all__ = ["ANYONE", "ColumnUse", "Level", "Levels", "admits", "check", "levels_of"]

ANYONE: Final = "*"

Levels = Mapping[str, Mapping[str, str]]
"""Column to participant to level; ``ANYONE`` stands for every participant without an own entry."""


class Level(StrEnum):
    """What must have happened to a column before what is left of it may be seen."""

    PLAINTEXT = "PLAINTEXT"
    AFTER_JOIN = "AFTER_JOIN"
    AS_JOIN_PAYLOAD = "AS_JOIN_PAYLOAD"
    AFTER_GROUP_BY = "AFTER_GROUP_BY"
    AFTER_COMPARE = "AFTER_COMPARE"
    AFTER_AGGREGATE = "AFTER_AGGREGATE"
    ENCRYPTED_ONLY = "ENCRYPTED_ONLY"


@dataclass(frozen=True)
class ColumnUse:
    """What one participant comes to see of one column.

    Attributes:
        asset: the column's asset.
        column: its name.
        viewer: who sees what is left of it; empty where nobody does.
        after: everything that has happened to it on the way, as the levels that ask for it.
    """

    asset: str
    column: str
    viewer: str = ""
    after: frozenset[Level] = frozenset()

    @property
    def needed(self) -> tuple[Level, ...]:
        """The levels that admit this use, besides ``PLAINTEXT`` which admits every one."""
        if not self.viewer:
            return (Level.ENCRYPTED_ONLY,)
        return tuple(level for level in Level if level in self.after) or (Level.PLAINTEXT,)


def admits(level: Level, use: ColumnUse) -> bool:
    """Whether a column at ``level`` may be used like this."""
    return not use.viewer or level is Level.PLAINTEXT or level in use.after


def levels_of(schema: Iterable[Mapping[str, Any]]) -> Levels:
    """Read the levels out of the columns of an asset: ``control``, and ``controls`` by participant."""
    return {column["name"]: {ANYONE: column["control"], **column.get("controls", {})} for column in schema}


def check(uses: Sequence[ColumnUse], levels: Levels) -> None:
    """Check that every use stays within the level its column's owner set for who sees it.

    Args:
        uses: what a job does with the columns of one asset.
        levels: the owner's levels.

    Raises:
        ColumnControlExceeded: listing every use of an unknown column, of a column with an unknown level, or
            beyond the level.
    """
    violations: list[str] = []
    for use in uses:
        stated = levels.get(use.column, {})
        given = stated.get(use.viewer, stated.get(ANYONE))
        if given is None:
            violations.append(f"{use.column} has no control level")
        elif given not in set(Level):
            violations.append(f"{use.column} has the unknown control level {given[:32]!r}")
        elif not admits(Level(given), use):
            needed = " or ".join(use.needed)
            to = f" for {use.viewer}" if use.viewer in stated else ""
            violations.append(f"{use.column} is {given}{to}, but the job needs {needed}")
    if violations:
        raise ColumnControlExceeded(tuple(dict.fromkeys(violations)))
