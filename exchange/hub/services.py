"""The objects a hub is made of, built once by the daemon and handed to everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from exchange.config import HubSettings
from exchange.hub.members import Members
from exchange.hub.metrics import HubMetrics
from exchange.hub.relay import Relay
from exchange.hub.witnesses import WitnessFeed
from ledger.log import Log
from ledger.store import LedgerStore

__all__ = ["HubServices"]


@dataclass(frozen=True, kw_only=True)
class HubServices:
    """A hub's parts. Each is safe to use from several threads.

    Attributes:
        settings: from ``hub_settings``.
        genesis: hash of the first entry; pins the network.
        log: sequences entries and signs checkpoints.
        store: the database of the log; only read.
        members: who calls.
        relay: what members leave for one another.
        metrics: what the hub measures.
        witnesses: feeds outside witnesses and mirrors.
        clock: aware time in UTC.
    """

    settings: HubSettings
    genesis: str
    log: Log
    store: LedgerStore
    members: Members
    relay: Relay
    metrics: HubMetrics
    witnesses: WitnessFeed
    clock: Callable[[], datetime]
