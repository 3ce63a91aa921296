"""Alembic's entry into the hub's migrations."""

from exchange.store import migrate
from exchange.store.hub.models import HubBase

migrate.run(HubBase.metadata, "hub_version")
