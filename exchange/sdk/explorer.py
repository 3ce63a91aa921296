"""The calls of the ledger explorer: search, entries, batches, proofs, checkpoint, members, standing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal
from urllib.parse import quote

from exchange.sdk.connection import Connection, Json

__all__ = ["ExplorerCalls"]

_PAGE = 500


class ExplorerCalls(Connection):
    """What can be read of the node's own copy of the ledger."""

    def ledger_status(self) -> Json:
        """Describe how the copy stands: sizes, final checkpoint, who cosigned, engine, divergence."""
        return self._object("GET", "/v1/ledger/status", role="auditor")

    def entries(
        self,
        *,
        asset: str | None = None,
        participant: str | None = None,
        agreement: str | None = None,
        job: str | None = None,
        type_: str | Sequence[str] | None = None,
        actor: str | None = None,
        negotiation: str | None = None,
        proposal: str | None = None,
        subjects: Sequence[str] = (),
        refused: bool = False,
        code: str | None = None,
        since: str | None = None,
        until: str | None = None,
        order: Literal["oldest", "newest"] = "oldest",
    ) -> Iterator[Json]:
        """Search the copy's final entries, page by page; all conditions must hold.

        ``type_`` may be several types, and ``job.*`` is all that begin so. ``participant`` is named by an
        entry or signed it, ``actor`` signed it; both may be names or DIDs. ``since`` is inclusive, ``until``
        is not: times like ``2026-11-23T10:00:00Z``.
        """
        asked = {
            "asset": asset,
            "participant": participant,
            "agreement": agreement,
            "job": job,
            "type": type_,
            "actor": actor,
            "negotiation": negotiation,
            "proposal": proposal,
            "subject": list(subjects),
            "refused": "true" if refused else None,
            "code": code,
            "since": since,
            "until": until,
        }
        params = {name: value for name, value in asked.items() if value}
        cursor: int | None = None
        while True:
            at = {} if cursor is None else {"cursor": cursor}
            page = self._object(
                "GET",
                "/v1/ledger/entries",
                role="auditor",
                params={**params, "order": order, "limit": _PAGE, **at},
            )
            yield from page["entries"]
            if (cursor := page["cursor"]) is None:
                return

    def counts(self, **conditions: str | Sequence[str]) -> list[Json]:
        """Count the final entries by type; ``conditions`` as the API names them."""
        return self._list("GET", "/v1/ledger/counts", "counts", role="auditor", params=conditions)

    def entry(self, place: int | str) -> Json:
        """Show one entry by index or txid, with its batch."""
        return self._object("GET", f"/v1/ledger/entries/{quote(str(place))}", role="auditor")

    def proof(self, place: int | str) -> bytes:
        """Fetch the proof (C2SP tlog-proof) that a final entry is in the log."""
        return self._send("GET", f"/v1/ledger/entries/{quote(str(place))}/proof", role="auditor").content

    def batch(self, height: int) -> Json:
        """Show the batch at a height, as its seal states it."""
        return self._object("GET", f"/v1/ledger/batches/{height}", role="auditor")

    def checkpoint(self) -> bytes:
        """Fetch the final checkpoint with its cosignatures, a signed note."""
        return self._send("GET", "/v1/ledger/checkpoint", role="auditor").content

    def policy(self) -> bytes:
        """Fetch the policy file (C2SP tlog-policy) that says whose signatures make a checkpoint final."""
        return self._send("GET", "/v1/ledger/policy", role="auditor").content

    def ledger_members(self) -> list[Json]:
        """List the members with their keys and since which index these count."""
        return self._list("GET", "/v1/ledger/members", "members", role="auditor")
