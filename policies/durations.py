"""Durations and rates as policies write them: ``P30D``, ``PT1H``, and ``10/PT1H`` for ten in an hour."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

__all__ = ["parse_duration", "parse_rate", "write_duration", "write_rate"]

# xsd:dayTimeDuration without fractions: months and years have no fixed length.
_DURATION: Final = re.compile(
    r"P(?=[0-9T])(?:(\d{1,6})D)?(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,16})S)?)?"
)
_RATE: Final = re.compile(r"([1-9]\d{0,15})/(P.{1,40})")
_MAX_SECONDS: Final = 2**53 - 1


def parse_duration(text: str) -> timedelta | None:
    """Read a duration of days, hours, minutes and seconds, or None for any other form."""
    seconds = _seconds(text)
    try:
        return None if seconds is None else timedelta(seconds=seconds)
    except OverflowError:
        return None


def parse_rate(text: str) -> tuple[int, int] | None:
    """Read a rate as (uses, seconds), or None for any other form."""
    match = _RATE.fullmatch(text)
    seconds = None if match is None else _seconds(match[2])
    if match is None or not seconds or int(match[1]) > _MAX_SECONDS:
        return None
    return int(match[1]), seconds


def write_duration(seconds: int) -> str:
    """Write seconds as a duration."""
    return f"PT{seconds}S"


def write_rate(uses: int, seconds: int) -> str:
    """Write a rate; ``parse_rate`` reads it back."""
    return f"{uses}/{write_duration(seconds)}"


def _seconds(text: str) -> int | None:
    match = _DURATION.fullmatch(text) if text.isascii() else None
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return total if total <= _MAX_SECONDS else None
