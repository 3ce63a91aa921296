"""What a node keeps for its own organisation: where assets lie, people, decisions, jobs, the outbox.

It never holds rows of data, keys or tokens; a location that carries credentials is kept sealed. It is trusted
by its own organisation and shown to nobody else.
"""

from exchange.store.node.assets import AssetBinding, AssetRepository
from exchange.store.node.jobs import JobRepository
from exchange.store.node.outbox import Outbox, OutboxEntry
from exchange.store.node.people import DecisionLog, KnownPerson, PeopleRepository
from exchange.store.node.store import NodeStore, open_node_store

__all__ = [
    "AssetBinding",
    "AssetRepository",
    "DecisionLog",
    "JobRepository",
    "KnownPerson",
    "NodeStore",
    "Outbox",
    "OutboxEntry",
    "PeopleRepository",
    "open_node_store",
]
