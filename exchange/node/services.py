"""The objects a node is made of, built once by the daemon and handed to everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from exchange.config import NodeSettings
from exchange.identity import NodeKeys
from exchange.jobs.registry import Registry
from exchange.node.approvals import Approvals
from exchange.node.assets import Assets
from exchange.node.costs import Costs
from exchange.node.hub_client import HubClient
from exchange.node.ledger_client import LedgerClient
from exchange.node.notices import Notices
from exchange.node.papers import Papers
from exchange.node.permissions import Permissions
from exchange.node.sessions import Sessions
from exchange.node.stops import JobRuns
from exchange.rpc.channel import Observer, PartyListener
from exchange.store import NodeStore
from ledger.payloads import PayloadStore

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
    payloads: PayloadStore
    assets: Assets
    papers: Papers
    registry: Registry
    listener: PartyListener
    sessions: Sessions
    notices: Notices
    approvals: Approvals
    permissions: Permissions
    costs: Costs
    runs: JobRuns
    clock: Callable[[], datetime]
    observer: Observer | None
