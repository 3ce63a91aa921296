"""What the protocols of a component run on: Parley's own code, or a package that has to be installed.

An engine is named in the declaration, the approval and the receipt. Two engines for one purpose are two
components, so nothing is replaced by something else on the way: a node that lacks an engine refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from mpc.engines import spu

__all__ = ["OWN", "SPU", "TENSEAL", "Engine"]


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        name: as declarations, approvals and receipts state it.
        distribution: the package that brings it.
        install: the line that installs it, in a checkout of Parley.
        probe: finds the version by starting the engine, once in the life of this process.
    """

    name: str
    distribution: str
    install: str
    probe: Callable[[], str | None] | None = None

    def version(self) -> str | None:
        """The version that is installed here, and starts if it can be tried; None where it is absent."""
        if self.probe is not None:
            return self.probe()
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None

    def stated(self) -> str:
        """Name and installed version, as a receipt states them."""
        return f"{self.name} {self.version()}"


OWN = Engine("parley", "parley-exchange", "pip install .")
"""The protocols in ``mpc``, written here."""

SPU: Final = Engine(spu.NAME, spu.NAME, spu.INSTALL, spu.version)
"""SecretFlow's library for intersection and for computing on shares, in a process of its own."""

TENSEAL: Final = Engine("tenseal", "tenseal", "pip install '.[tenseal]'")
"""Microsoft SEAL in Python, for encryption under which one can compute."""
