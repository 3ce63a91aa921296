"""Times on the ledger: UTC, whole seconds, ``2026-11-23T10:00:00Z``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["Clock", "format_time", "parse_time", "show_time", "system_clock"]

Clock = Callable[[], datetime]
"""Returns the present time, aware, in UTC."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def system_clock() -> datetime:
    """Return the machine's time in UTC."""
    return datetime.now(UTC)


def format_time(time: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC, cut to seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Read the one accepted spelling.

    Raises:
        ValueError: another format, or no such moment.
    """
    if _TIME.fullmatch(text) is None:
        raise ValueError("expected a time like 2026-11-23T10:00:00Z")
    return datetime.fromisoformat(text)


def show_time(seconds: int) -> str:
    """Write a Unix time that somebody stated: like ``format_time``, or ``N s`` if no calendar has it."""
    try:
        return format_time(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s"
