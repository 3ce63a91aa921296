"""How long the next attempt to sign in must wait after several that failed. Pure.

An attempt is counted before it is checked, so that many at once are all counted, and a success takes the
count back. NIST SP 800-63B-4, section 3.2.2, asks for such a limit and allows 100 failures in a row at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exchange.store import Standing

__all__ = ["FORGOTTEN", "Limits", "charged", "taken_back", "wait"]

_FIRST = timedelta(seconds=2)
FORGOTTEN = timedelta(hours=24)
"""Failures longer ago than this do not count."""


@dataclass(frozen=True)
class Limits:
    """How many failures in a row cost nothing, and how long a wait may become."""

    free: int
    longest: timedelta


def wait(standing: Standing | None, now: datetime) -> timedelta:
    """Return how long the next attempt must wait; zero where it need not."""
    return timedelta(0) if standing is None else max(standing.until - now, timedelta(0))


def charged(standing: Standing | None, now: datetime, limits: Limits) -> Standing:
    """Count an attempt that is about to be checked, as one that fails.

    From the first one that is not free the wait doubles: 2 s, 4 s, 8 s and so on, up to the longest.
    """
    failures = 1 if standing is None or now - standing.last > FORGOTTEN else standing.failures + 1
    over = failures - limits.free - 1
    if over < 0:
        return Standing(failures, now, now - FORGOTTEN)  # so that a clock that is set back makes nobody wait
    return Standing(failures, now, now + min(limits.longest, _FIRST * 2 ** min(over, 30)))


def taken_back(standing: Standing | None) -> Standing | None:
    """Take one attempt out of the count, because it succeeded."""
    if standing is None or standing.failures <= 1:
        return None
    return replace(standing, failures=standing.failures - 1, until=standing.last - FORGOTTEN)
