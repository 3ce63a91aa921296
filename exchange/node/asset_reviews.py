"""The steward's review of a version: what was suggested for each column, what was chosen or overridden.

It stays at the owner's node, because it names a person; the ledger has a salted commitment to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from exchange.node.asset_requests import ColumnRequest
from ledger import canonical
from ledger.times import format_time

__all__ = ["CHOSEN", "write"]

CHOSEN = ("role", "sensitivity", "control")


def write(
    asset: str,
    version: int,
    columns: Sequence[ColumnRequest],
    suggestions: Sequence[Mapping[str, Any]],
    by: str,
    now: datetime,
    drafted: Mapping[str, Any] | None,
) -> bytes:
    """Write the review in canonical form.

    Args:
        asset: its id.
        version: the one that is published.
        columns: as they are published.
        suggestions: what was suggested, as JSON.
        by: the steward who confirms.
        now: the time.
        drafted: the draft that the steward had seen; None: roles and grades came with the request.
    """
    suggested = {str(one["name"]): one for one in suggestions}
    written = []
    for column in columns:
        chosen = {name: getattr(column, name) for name in CHOSEN}
        proposal = suggested[column.name]
        written.append(
            {
                "name": column.name,
                "chosen": chosen,
                "suggested": {name: proposal[name] for name in CHOSEN},
                "reasons": [reason["text"] for reason in proposal["reasons"]],
                "overridden": [name for name in CHOSEN if chosen[name] != proposal[name]],
            }
        )
    return canonical.encode(
        {
            "v": 1,
            "asset": asset,
            "version": version,
            "confirmed_by": by,
            "confirmed": format_time(now),
            "drafted_by": None if drafted is None else drafted["by"],
            "columns": written,
        }
    )
