"""Alembic's tree for the node's tables; the version stands in ``node_version``."""
