"""Alembic's tree for the hub's tables; the version stands in ``hub_version``."""
