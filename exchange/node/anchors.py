"""Anchoring: this node's ledger offered to another one, and other ledgers taken into this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchange.errors import Conflict, InvalidRequest
from exchange.node.services import NodeServices
from ledger.anchoring import ANCHOR, anchor_body
from ledger.rules.anchors import ANCHORS

__all__ = ["Anchors"]


class Anchors:
    """Makes anchors of this node's copy, and writes those of other ledgers as entries of this member."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services

    def offer(self, after: int) -> dict[str, Any]:
        """The final checkpoint as another ledger takes it.

        Args:
            after: the size that ledger has on record; 0 if it has none.

        Raises:
            Conflict: this node's copy is not that far.
        """
        services = self._services
        mirror = services.ledger.mirror
        size, state = mirror.final
        if not 0 <= after <= size:
            raise Conflict(f"expected a size of at most {size}, which is final here, got {after}")
        return anchor_body(
            mirror.store, size, genesis=services.genesis, tree=mirror.tree, state=state, after=after
        )

    def take(self, body: Mapping[str, object]) -> dict[str, Any]:
        """Write another ledger's checkpoint into this one.

        Raises:
            InvalidRequest: it is this ledger's own.
            LedgerRefused: it is not the next checkpoint of one history, or the log did not sign it.
        """
        if body.get("genesis") == self._services.genesis:
            raise InvalidRequest("genesis", "that of another ledger", "this ledger's own")
        entry = self._services.ledger.write(ANCHOR, body)
        return {"txid": entry.txid, "index": entry.index, "origin": body["origin"], "size": body["size"]}

    def taken(self) -> list[dict[str, Any]]:
        """The latest anchored checkpoint of each other ledger."""
        return [dict(row) for row in self._services.ledger.final_rows(ANCHORS)]
