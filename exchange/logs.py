"""What a daemon writes to its log: our own words at INFO, those of libraries from WARNING on.

The text of an unforeseen exception is never logged: a library's message may quote a row.
"""

from __future__ import annotations

import logging
import traceback

__all__ = ["configure", "whereabouts"]

_TALKATIVE = ("alembic", "httpcore", "httpx", "matplotlib")


def configure() -> None:
    """Log to standard error. Libraries that would log every request or migration keep to warnings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def whereabouts(error: BaseException) -> str:
    """Say what kind of exception this is and where it was raised, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return "\n  ".join([type(error).__name__, *places])
