"""What lies in a hub's data directory besides the settings and the database."""

from __future__ import annotations

__all__ = ["GENESIS_FILE", "HUB_NAME", "KEYS_FILE", "RECORD_FILE"]

HUB_NAME = "hub"
KEYS_FILE = "keys"
RECORD_FILE = "hub.json"
GENESIS_FILE = "genesis.json"
