"""What publishing finds out about a table before a steward decides: profile, suggestions, quality report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from connectors import profiles
from connectors.connector import Connector
from connectors.profiles import Profile, Role
from exchange.publishing import quality
from exchange.publishing.content import Content
from exchange.publishing.quality import QualityReport, Survey
from exchange.publishing.suggestions import Suggestion, suggest

__all__ = ["Examination", "counts", "examine"]


@dataclass(frozen=True)
class Examination:
    """A table as it was found, reading it twice."""

    profile: Profile
    survey: Survey
    suggestions: tuple[Suggestion, ...]

    def report(self, roles: Mapping[str, str], today: date) -> QualityReport:
        """The quality report of the surveyed columns in these roles."""
        contents: dict[str, Content | None] = {one.column: one.content for one in self.suggestions}
        births = {name for name, content in contents.items() if content is Content.BIRTH_DATE}
        return quality.report(
            self.profile,
            self.survey,
            contents,
            [name for name, role in roles.items() if role == Role.IDENTIFIER],
            [name for name, role in roles.items() if role == Role.TIME and name not in births],
            today,
        )


def examine(
    connector: Connector, names: Sequence[str] | None = None, roles: Mapping[str, str] | None = None
) -> Examination:
    """Profile a table and survey some of its columns, or all.

    Raises:
        EmptyTable: there are no rows.
        MissingColumn: a column does not exist.
    """
    profile = profiles.profile(connector, roles=roles)
    surveyed = quality.survey(connector, profile, list(names or connector.schema().names))
    return Examination(profile, surveyed, suggest(profile, surveyed))


def counts(profile: Mapping[str, Any]) -> dict[str, list[object]]:
    """What two profiles of the same rows agree on, by column, if both read it as the same type.

    The type comes first; the number of rows stands under the empty name.
    """
    found = {
        str(column["name"]): [column[name] for name in ("type", "nulls", "empties", "distinct")]
        for column in profile["columns"]
    }
    return {"": [profile["rows"]], **found}
