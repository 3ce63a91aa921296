"""What a hub and a node keep in their databases besides the ledger: two schemas, each with its migrations.

Repositories take and return frozen dataclasses; no row object and no session leaves this package. The hub's
tables are trusted for nothing: whoever uses a row checks it against the ledger. The node's tables are trusted
by its own organisation alone and hold neither keys nor credentials in the clear.
"""

from exchange.store.engine import StoreUnavailable, open_engine, upgrade
from exchange.store.hub import HubStore, Progress, Result, Spec
from exchange.store.node import (
    AssetBinding,
    DecisionLog,
    JobRepository,
    KnownPerson,
    NodeStore,
    Outbox,
    OutboxEntry,
    PeopleRepository,
    open_node_store,
)

__all__ = [
    "AssetBinding",
    "DecisionLog",
    "HubStore",
    "JobRepository",
    "KnownPerson",
    "NodeStore",
    "Outbox",
    "OutboxEntry",
    "PeopleRepository",
    "Progress",
    "Result",
    "Spec",
    "StoreUnavailable",
    "open_engine",
    "open_node_store",
    "upgrade",
]
