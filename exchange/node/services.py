"""The objects a node is made of, built once by the daemon and handed to everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from exchange.config import NodeSettings
from exchange.identity import NodeKeys
from exchange.jobs.registry import Registry
from exchange.node.assets import Assets
from exchange.node.hub_client import HubClient
from exchange.node.ledger_client import LedgerClient
from exchange.node.sessions import Sessions
from exchange.rpc.channel import Observer, PartyListener
from exchange.store import NodeStore

__all__ = ["NodeServices"]


@dataclass(frozen=True, kw_only=True)
class NodeServices:
    """A node's parts, each safe to use from several threads. ``observer`` sees all frames between parties."""

    settings: NodeSettings
    net: str
    genesis: str
    keys: NodeKeys
    store: NodeStore
    hub: HubClient
    ledger: LedgerClient
    assets: Assets
    registry: Registry
    listener: PartyListener
    sessions: Sessions
    clock: Callable[[], datetime]
    observer: Observer | None
