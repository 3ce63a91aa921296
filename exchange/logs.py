"""What a daemon writes to its log: our own words at INFO, those of libraries from WARNING on."""

from __future__ import annotations

import logging

__all__ = ["configure"]

_TALKATIVE = ("alembic", "httpcore", "httpx", "matplotlib")


def configure() -> None:
    """Log to standard error. Libraries that would log every request or migration keep to warnings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
