"""Alembic's entry into the node's migrations."""

from exchange.store import migrate
from exchange.store.node.models import NodeBase

migrate.run(NodeBase.metadata, "node_version")
