"""The calls about entries on their way to the ledger: the own pending ones, and relaying another member's."""

from __future__ import annotations

from exchange.sdk.connection import Connection, Json
from ledger import base64url

__all__ = ["SubmissionCalls"]


class SubmissionCalls(Connection):
    """For a member whose entries the hub leaves out, and for the member that hands them in instead."""

    def pending_entries(self) -> list[Json]:
        """List the node's own signed entries that are not final; ``entry`` is base64url."""
        return self._list("GET", "/v1/ledger/pending", "entries", role="administrator")

    def submit_entry(self, raw: bytes) -> Json:
        """Hand in a signed entry of any member; returns its place once the hub has sequenced it."""
        body = {"entry": base64url.encode(raw)}
        return self._object("POST", "/v1/ledger/entries", role="administrator", json=body)
