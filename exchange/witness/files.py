"""What lies in a witness's data directory besides the settings and the database."""

from __future__ import annotations

__all__ = ["KEYS_FILE", "LOGS_FILE", "RECORD_FILE"]

KEYS_FILE = "keys"
RECORD_FILE = "witness.json"
LOGS_FILE = "logs"
"""The known logs, as the ``log`` lines of a trust policy."""
