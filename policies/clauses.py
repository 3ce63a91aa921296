"""The values a clause of terms may have, each checked by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from policies.column_control import Level
from policies.errors import InvalidTerms
from policies.odrl import MAX_INTEGER, MAX_ITEMS, MAX_TEXT

__all__ = [
    "APPROVALS",
    "MAX_DELTA_EXPONENT",
    "column_level",
    "digests",
    "levels",
    "positive",
    "rate",
    "texts",
    "whole",
    "write_instant",
]

APPROVALS: Final = ("once", "per-job")
MAX_DELTA_EXPONENT: Final = 18
MAX_RATE_JOBS: Final = 1024
MAX_RATE_SECONDS: Final = 366 * 86_400
_DIGEST = re.compile(r"[0-9a-f]{64}")


def texts(field: str, value: object) -> tuple[str, ...]:
    """Read a list of texts, sorted and without repetition."""
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise InvalidTerms(field, "a list of texts", type(value).__name__)
    if not 1 <= len(value) <= MAX_ITEMS:
        raise InvalidTerms(field, f"1 to {MAX_ITEMS} texts", f"{len(value)}")
    read: set[str] = set()
    for item in value:
        if not isinstance(item, str) or not 1 <= len(item) <= MAX_TEXT:
            raise InvalidTerms(field, f"texts of 1 to {MAX_TEXT} characters", "another value")
        read.add(item)
    return tuple(sorted(read))


def digests(field: str, value: object) -> tuple[str, ...]:
    """Read a list of SHA-256 digests."""
    read = texts(field, value)
    for item in read:
        if not _DIGEST.fullmatch(item):
            raise InvalidTerms(field, "SHA-256 digests in lower-case hex", "another text")
    return read


def column_level(text: str) -> tuple[str, Level] | None:
    """Split ``column:LEVEL``, or None for any other form."""
    column, _, level = text.rpartition(":")
    return (column, Level(level)) if column and level in set(Level) else None


def levels(field: str, value: object, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Read ``column:LEVEL`` texts, one for each of ``columns``."""
    read = texts(field, value)
    named = []
    for item in read:
        split = column_level(item)
        if split is None:
            raise InvalidTerms(field, f"texts like COLUMN:LEVEL, levels {', '.join(Level)}", "another text")
        named.append(split[0])
    if sorted(named) != sorted(columns):
        raise InvalidTerms(field, f"one level for each of {', '.join(columns)}", ", ".join(named))
    return read


def whole(field: str, value: object, least: int, most: int = MAX_INTEGER) -> int:
    """Read a whole number in a closed range."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        upper = f" to {most}" if most < MAX_INTEGER else " or more"
        raise InvalidTerms(field, f"a whole number, {least}{upper}", repr(value)[:32])
    return value


def positive(field: str, value: object) -> int:
    """Read a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_INTEGER:
        raise InvalidTerms(field, "a whole number of at least 1", repr(value)[:32])
    return value


def rate(field: str, value: object) -> tuple[int, int]:
    """Read a rate, as the pair (jobs, seconds) or as an object with these names."""
    if isinstance(value, Mapping):
        if set(value) != {"jobs", "seconds"}:
            raise InvalidTerms(field, "jobs and seconds", ", ".join(sorted(map(str, value)))[:64])
        value = (value["jobs"], value["seconds"])
    if not isinstance(value, tuple) or len(value) != 2:
        raise InvalidTerms(field, "jobs and seconds", type(value).__name__)
    jobs = whole(f"{field}.jobs", value[0], 1, MAX_RATE_JOBS)
    return jobs, whole(f"{field}.seconds", value[1], 1, MAX_RATE_SECONDS)


def write_instant(instant: datetime) -> str:
    """Write a time as ``2026-11-23T10:00:00Z``."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
