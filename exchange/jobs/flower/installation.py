"""What of Flower a node has: a Python with flwr, and the files of apps that its steward has put there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exchange.jobs.engines import Engine
from mpc.engines import flower

__all__ = ["MAX_APP_BYTES", "Flower"]

MAX_APP_BYTES: Final = 1_048_576


@dataclass(frozen=True)
class Flower:
    """What a node's settings name.

    Attributes:
        python: an interpreter that has flwr; None: there is none.
        apps: a folder with files of apps, each named by its SHA-256: ``<64 hexadecimal digits>.py``.
    """

    python: Path | None = None
    apps: Path | None = None

    def engine(self) -> Engine:
        """The engine as declarations, approvals and receipts state it."""
        return Engine(flower.NAME, "flwr", flower.INSTALL, self.version)

    def version(self) -> str | None:
        """The version of flwr that starts here, enclosed; None where none does."""
        return None if self.python is None else flower.version(self.python)

    def source(self, digest: str) -> bytes | None:
        """The file of an app, if there is exactly that one.

        Args:
            digest: SHA-256 in hexadecimal, of a form that was checked.
        """
        if self.apps is None:
            return None
        try:
            with (self.apps / f"{digest}.py").open("rb") as file:
                source = file.read(MAX_APP_BYTES + 1)
        except OSError:
            return None
        fits = len(source) <= MAX_APP_BYTES and hashlib.sha256(source).hexdigest() == digest
        return source if fits else None
