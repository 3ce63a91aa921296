"""What a steward says about an asset: the request to publish it, and the choices on a draft."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from connectors.profiles import Role as ColumnRole
from connectors.spec import SourceSpec
from exchange.errors import InvalidRequest
from policies.approvals import Sensitivity
from policies.column_control import Level
from policies.terms import Terms

__all__ = [
    "KINDS",
    "AssetRequest",
    "ColumnChoice",
    "ColumnRequest",
    "Confirmation",
    "check_columns",
    "check_kind",
    "check_name",
    "check_texts",
    "is_name",
]

KINDS: Final = ("table", "file", "document", "api", "list", "stream")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class ColumnRequest:
    """One column as the steward describes it.

    ``control`` is its level for everybody, ``controls`` the level for single participants, by DID.
    """

    name: str
    role: str
    sensitivity: str
    control: str
    controls: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class AssetRequest:
    """What a steward asks to publish; ``kind`` is told by the source where it is None."""

    name: str
    title: str
    description: str
    keywords: tuple[str, ...]
    source: SourceSpec
    columns: tuple[ColumnRequest, ...]
    terms: Terms
    kind: str | None = None


@dataclass(frozen=True)
class ColumnChoice:
    """A column of a draft that is to be published; what is None is taken as suggested."""

    name: str
    role: str | None = None
    sensitivity: str | None = None
    control: str | None = None
    controls: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class Confirmation:
    """What a steward says to publish a draft; without ``columns``, all of them as suggested."""

    title: str
    description: str
    keywords: tuple[str, ...]
    columns: tuple[ColumnChoice, ...]
    terms: Terms
    kind: str | None = None


def is_name(name: str) -> bool:
    """Whether a text has the form of an asset's name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Check an asset's name.

    Raises:
        InvalidRequest: it has another form.
    """
    if not is_name(name):
        raise InvalidRequest("name", "lower-case letters, digits and hyphens, at most 63", repr(name)[:80])


def check_kind(kind: str | None, source: SourceSpec) -> str:
    """Return the kind of asset: the one that is asked for, or that of the source.

    Raises:
        InvalidRequest: there is no such kind.
    """
    if kind is None:
        # A file that is read is a table, and so is what an installed connector reads.
        return source.kind if source.kind in KINDS and source.kind != "file" else "table"
    if kind not in KINDS:
        raise InvalidRequest("kind", f"one of {', '.join(KINDS)}", repr(kind)[:80])
    return kind


def check_texts(
    title: str, description: str, keywords: Sequence[str], columns: Sequence[ColumnRequest]
) -> None:
    """Check that what people will read holds no control characters; a description may have lines.

    Raises:
        InvalidRequest: naming the field.
    """
    texts = {"title": title, "description": re.sub(r"[\n\t]", " ", description)}
    texts |= {f"keywords[{i}]": word for i, word in enumerate(keywords)}
    texts |= {f"columns[{i}].description": column.description for i, column in enumerate(columns)}
    for name, text in texts.items():
        if text and not text.isprintable():
            raise InvalidRequest(name, "printable characters", "others")


def check_columns(asked: Sequence[ColumnRequest]) -> None:
    """Check roles, grades and levels, and that each column is named once.

    Raises:
        InvalidRequest: naming the first field that is not one of those that exist.
    """
    if not asked:
        raise InvalidRequest("columns", "at least one column", "none")
    for i, column in enumerate(asked):
        if column.role not in set(ColumnRole):
            raise InvalidRequest(f"columns[{i}].role", f"one of {', '.join(ColumnRole)}", repr(column.role))
        if column.sensitivity not in set(Sensitivity):
            expected = f"one of {', '.join(Sensitivity)}"
            raise InvalidRequest(f"columns[{i}].sensitivity", expected, repr(column.sensitivity))
        levels = {"control": column.control}
        levels |= {f"controls.{did}": level for did, level in column.controls.items()}
        for name, level in levels.items():
            if level not in set(Level):
                raise InvalidRequest(f"columns[{i}].{name}", f"one of {', '.join(Level)}", repr(level))
    names = [column.name for column in asked]
    if len(set(names)) != len(names):
        raise InvalidRequest("columns", "each column once", "a column named twice")
