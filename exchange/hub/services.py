"""The objects a hub is made of, built once by the daemon and handed to everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from exchange.config import HubSettings
from exchange.hub.members import Members
from exchange.hub.relay import Relay
from ledger.log import Log

__all__ = ["HubServices"]


@dataclass(frozen=True, kw_only=True)
class HubServices:
    """A hub's parts. Each is safe to use from several threads.

    Attributes:
        settings: from ``hub_settings``.
        genesis: hash of the first entry; pins the network.
        log: sequences entries and signs checkpoints.
        members: who calls.
        relay: what members leave for one another.
        clock: aware time in UTC.
    """

    settings: HubSettings
    genesis: str
    log: Log
    members: Members
    relay: Relay
    clock: Callable[[], datetime]
