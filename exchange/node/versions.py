"""The versions of an asset as the ledger tells them, and where an asset is in its life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchange.errors import NotFound
from exchange.node.ledger_client import LedgerClient
from ledger.search import Query
from ledger.times import show_time

__all__ = ["life", "versions"]

_TYPES = ("asset.publish", "asset.twin", "asset.withdraw")


def life(row: Mapping[str, Any]) -> str:
    """``published``, ``updated`` from the second version on, or ``withdrawn``."""
    if row["status"] == "published" and row["version"] > 1:
        return "updated"
    return str(row["status"])


def versions(ledger: LedgerClient, asset: str) -> list[dict[str, Any]]:
    """List every version, oldest first, from this node's own copy of the ledger.

    Only the last one may be current; agreements are on the version they name.

    Raises:
        NotFound: the asset was never published.
    """
    if ledger.final("assets", asset) is None:
        raise NotFound(f"no asset {asset} on the ledger")
    found: list[dict[str, Any]] = []
    for record in ledger.mirror.found(Query(types=_TYPES, concerning=(asset,))):
        body = record.entry.body
        if record.code is not None or body["asset"] != asset:
            continue
        if record.entry.type == "asset.publish":
            for earlier in found:
                earlier["state"] = "replaced" if earlier["state"] == "current" else earlier["state"]
            quality = body.get("quality", {})
            found.append(
                {
                    "version": body["version"],
                    "state": "current",
                    "published": show_time(record.time),
                    "rows": body["rows"],
                    "columns": len(body["schema"]),
                    "root": body["root"],
                    "value": quality.get("value"),
                    "twin": None,
                    "txid": record.txid,
                    "index": record.index,
                }
            )
        elif record.entry.type == "asset.twin":
            found[-1]["twin"] = body["digest"]
        else:
            found[-1]["state"] = "withdrawn"
    return found
