"""Suggested role, sensitivity grade and control level of each column, with the reasons, for a steward.

A suggestion decides nothing: a steward confirms it or overrides it, and what was overridden is kept. Reasons
name shares, counts and kinds; never a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from connectors.profiles import ColumnProfile, Profile, Role
from exchange.publishing.content import Content, Tally, is_numeric, is_temporal
from exchange.publishing.quality import WHOLE, Survey
from policies.approvals import Sensitivity
from policies.column_control import Level

__all__ = ["CONTENT_WORDS", "Reason", "Suggestion", "suggest"]

_SURE: Final = 800_000
"""Share of valid values from which the content alone speaks for a kind."""
_NAMES_SURE: Final = 900_000
_HINTED: Final = 300_000
"""Share that is enough where the name speaks for the kind too."""
_NEARLY_UNIQUE: Final = 990_000

_BY_NAME: Final = frozenset({Content.PERSON_NAME, Content.ADDRESS})
_IDENTIFYING: Final = frozenset(
    {Content.RESIDENT_IDENTITY, Content.CREDIT_CODE, Content.BANK_CARD, Content.PHONE, Content.EMAIL}
)
_GRADES: Final[Mapping[Content, Sensitivity]] = MappingProxyType(
    {
        Content.RESIDENT_IDENTITY: Sensitivity.SECRET,
        Content.BANK_CARD: Sensitivity.SECRET,
        Content.PHONE: Sensitivity.CONFIDENTIAL,
        Content.EMAIL: Sensitivity.CONFIDENTIAL,
        Content.PERSON_NAME: Sensitivity.CONFIDENTIAL,
        Content.ADDRESS: Sensitivity.CONFIDENTIAL,
        Content.BIRTH_DATE: Sensitivity.CONFIDENTIAL,
        Content.AMOUNT: Sensitivity.CONFIDENTIAL,
        Content.CREDIT_CODE: Sensitivity.INTERNAL,
    }
)
_ROLE_GRADES: Final[Mapping[Role, Sensitivity]] = MappingProxyType(
    {Role.IDENTIFIER: Sensitivity.CONFIDENTIAL, Role.TEXT: Sensitivity.CONFIDENTIAL}
)
_CONTROLS: Final[Mapping[Role, Level]] = MappingProxyType(
    {
        Role.IDENTIFIER: Level.AFTER_JOIN,
        Role.FEATURE: Level.AFTER_AGGREGATE,
        Role.LABEL: Level.AFTER_AGGREGATE,
        Role.MEASURE: Level.AFTER_AGGREGATE,
        Role.GROUP: Level.AFTER_GROUP_BY,
        Role.TIME: Level.ENCRYPTED_ONLY,
        Role.TEXT: Level.ENCRYPTED_ONLY,
    }
)

CONTENT_WORDS: Final[Mapping[Content, str]] = MappingProxyType(
    {
        Content.RESIDENT_IDENTITY: "resident identity numbers (GB 11643)",
        Content.CREDIT_CODE: "unified social credit codes (GB 32100)",
        Content.BANK_CARD: "card numbers (Luhn)",
        Content.PHONE: "telephone numbers",
        Content.EMAIL: "e-mail addresses",
        Content.PERSON_NAME: "personal names",
        Content.ADDRESS: "postal addresses",
        Content.BIRTH_DATE: "dates of birth",
        Content.AMOUNT: "amounts of money",
    }
)


@dataclass(frozen=True)
class Reason:
    """Why something is suggested.

    Attributes:
        code: ``valid-share``, ``column-name``, ``every-row-differs``, ``few-values``, ``data-type``.
        content: the kind it is about, if any.
        share: valid values of that kind among those looked at, in millionths.
        count: different values.
    """

    code: str
    content: Content | None = None
    share: int | None = None
    count: int | None = None

    @property
    def text(self) -> str:
        """The reason as an English sentence."""
        kind = CONTENT_WORDS[self.content] if self.content else ""
        match self.code:
            case "valid-share":
                return f"{(self.share or 0) // 1000 / 10:.1f} % of the sample are valid {kind}"
            case "column-name":
                return f"the column's name speaks of {kind}"
            case "every-row-differs":
                return "every row has another value"
            case "few-values":
                return f"it has {self.count} different values"
            case _:
                return "by its data type"

    def as_json(self) -> dict[str, object]:
        """Write it as JSON without floats."""
        content = None if self.content is None else self.content.value
        named = {"code": self.code, "content": content, "share": self.share, "count": self.count}
        return {**{name: value for name, value in named.items() if value is not None}, "text": self.text}


@dataclass(frozen=True)
class Suggestion:
    """What is suggested for one column."""

    column: str
    type: str
    role: Role
    sensitivity: Sensitivity
    control: Level
    content: Content | None
    reasons: tuple[Reason, ...]

    def as_json(self) -> dict[str, object]:
        """Write it as JSON."""
        return {
            "name": self.column,
            "type": self.type,
            "role": self.role.value,
            "sensitivity": self.sensitivity.value,
            "control": self.control.value,
            "content": None if self.content is None else self.content.value,
            "reasons": [reason.as_json() for reason in self.reasons],
        }


def suggest(profile: Profile, surveyed: Survey) -> tuple[Suggestion, ...]:
    """Suggest role, grade and level for every column that was surveyed."""
    return tuple(
        _suggestion(column, surveyed.tallies[column.name], surveyed.unique(column, profile.rows))
        for column in profile.columns
        if column.name in surveyed.tallies
    )


def _suggestion(column: ColumnProfile, tally: Tally, unique: int) -> Suggestion:
    content, reasons = _content(tally)
    role = column.suggested_role
    if content in _IDENTIFYING:
        role = Role.IDENTIFIER if unique >= _NEARLY_UNIQUE else Role.TEXT
    elif content in _BY_NAME:
        role = Role.TEXT
    elif content is Content.BIRTH_DATE:
        role = Role.TIME if is_temporal(tally.type) else Role.TEXT
    elif content is Content.AMOUNT:
        role = Role.MEASURE
    if role is Role.IDENTIFIER and unique == WHOLE:
        reasons += (Reason("every-row-differs"),)
    elif role is Role.GROUP:
        reasons += (Reason("few-values", count=column.distinct),)
    elif not reasons:
        reasons = (Reason("data-type"),)
    grade = _GRADES[content] if content else _ROLE_GRADES.get(role, Sensitivity.INTERNAL)
    is_closed = grade is Sensitivity.SECRET and role is not Role.IDENTIFIER
    control = Level.ENCRYPTED_ONLY if is_closed else _CONTROLS[role]
    return Suggestion(column.name, column.type, role, grade, control, content, reasons)


def _content(tally: Tally) -> tuple[Content | None, tuple[Reason, ...]]:
    """The kind of a column's content, and what speaks for it."""
    hint = tally.hint
    shares = {kind: tally.share(kind) for kind in tally.valid if kind is not Content.BIRTH_DATE}
    likeliest = max(shares, key=lambda kind: shares[kind], default=None)
    if likeliest is not None:
        needed = _NAMES_SURE if likeliest in _BY_NAME else _SURE
        if shares[likeliest] >= needed or (likeliest is hint and shares[likeliest] >= _HINTED):
            reasons = (Reason("valid-share", likeliest, share=shares[likeliest]),)
            return likeliest, reasons + ((Reason("column-name", likeliest),) if likeliest is hint else ())
    if hint is None:
        return None, ()
    named = (Reason("column-name", hint),)
    if hint is Content.BIRTH_DATE and (is_temporal(tally.type) or tally.share(hint) >= _HINTED):
        share = (Reason("valid-share", hint, share=tally.share(hint)),) if tally.looked_at else ()
        return hint, share + named
    if hint is Content.AMOUNT and is_numeric(tally.type):
        return hint, named
    if hint in _BY_NAME and tally.looked_at and not is_numeric(tally.type):
        return hint, named
    if hint in _IDENTIFYING and tally.share(hint) >= _HINTED:
        return hint, (Reason("valid-share", hint, share=tally.share(hint)), *named)
    return None, ()
