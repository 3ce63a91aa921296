"""What every step works with: the consortium, the data, the people at their nodes, and the account."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from exchange.demo.dataset import Parts
from exchange.demo.report import Report
from exchange.errors import TimedOut
from exchange.local.processes import child_environment, parley

if TYPE_CHECKING:
    from exchange.demo.outside import Outside
    from exchange.local import Consortium
    from exchange.sdk import NodeClient

__all__ = ["ANALYST", "BUREAU", "INCOME", "LENDER", "LOANS", "REGULATOR", "Stage", "Watch"]

LENDER, BUREAU, ANALYST, REGULATOR = "lender", "bureau", "analyst", "regulator"
LOANS, INCOME = f"{LENDER}/loans", f"{BUREAU}/income"
SETTLE_S = 60.0
_POLL_S = 0.05


class Watch(Protocol):
    """Told how far the demonstration is."""

    def step(self, number: int) -> None:
        """A step begins."""

    def part(self, done: int, total: int, text: str) -> None:
        """A part of the step is done."""


@dataclass
class Stage:
    """One run of the demonstration."""

    work: Path
    out: Path | None
    rows: int
    watch: Watch
    report: Report
    before_audit: Callable[[Consortium], None] | None
    keep_running: bool
    database_url: str | None = None
    parts: Parts | None = None
    consortium: Consortium | None = None
    services: Outside | None = None
    dids: dict[str, str] = field(default_factory=dict)
    agreements: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    bundle: Path | None = None
    open: ExitStack = field(default_factory=ExitStack)
    _clients: dict[str, NodeClient] = field(default_factory=dict)

    @property
    def here(self) -> Consortium:
        """The running consortium."""
        if self.consortium is None:
            raise RuntimeError("the consortium is formed in step 1")
        return self.consortium

    @property
    def outside(self) -> Outside:
        """The services outside the consortium."""
        if self.services is None:
            raise RuntimeError("the services are started in step 1")
        return self.services

    @property
    def data(self) -> Parts:
        """The split data."""
        if self.parts is None:
            raise RuntimeError("the data is written in step 2")
        return self.parts

    def at(self, org: str) -> NodeClient:
        """Return a client of an organisation's node, as its own people have it."""
        if org not in self._clients:
            self._clients[org] = self.open.enter_context(self.here.client(org))
        return self._clients[org]

    def settle(self) -> None:
        """Wait until every member's copy of the ledger holds, as final, all that any of them has seen.

        What is final at the node that wrote it reaches the others a moment later.

        Raises:
            TimedOut: a member stays behind.
        """
        target = max(int(self.at(org).node()["size"]) for org in self.here.members)
        deadline = time.monotonic() + SETTLE_S
        for org in self.here.members:
            while (reached := int(self.at(org).node()["final_size"])) < target:
                if time.monotonic() > deadline:
                    raise TimedOut(f"expected {target} final entries at {org}'s node, found {reached}")
                time.sleep(_POLL_S)

    def data_directory(self, org: str) -> Path:
        """Return the directory in which an organisation keeps the tables that its node may read."""
        return self.work / "data" / org


def run_parley(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, in a process of its own that can reach no profile."""
    return subprocess.run(  # noqa: S603  # our own command line, no shell
        parley(*arguments),
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
