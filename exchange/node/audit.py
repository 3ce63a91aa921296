"""The auditor's view: search the trail, compare the hub's log with this node's copy, export evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exchange.errors import NotFound
from exchange.node.services import NodeServices
from ledger import bundle

__all__ = ["Audit", "Selection"]

_EXPORT_LIMIT = 10_000


@dataclass(frozen=True)
class Selection:
    """What to look for; all empty means everything. Subjects are joined by "or"."""

    assets: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    agreements: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()

    def subjects(self) -> tuple[str, ...]:
        """All ids and DIDs named."""
        return self.assets + self.participants + self.agreements + self.jobs


class Audit:
    """Search, compare and export over this node's own copy of the log."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services

    def entries(
        self,
        *,
        subjects: Sequence[str] = (),
        entry_type: str | None = None,
        after: int = -1,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Final entries in log order, as an auditor reads them."""
        found = self._services.ledger.mirror.search(
            subjects=[self._resolved(subject) for subject in subjects],
            type=entry_type,
            after=after,
            limit=limit,
        )
        return [
            {
                "index": record.index,
                "txid": record.entry.txid,
                "type": record.entry.type,
                "actor": record.entry.actor,
                "name": self._names().get(record.entry.actor, "hub"),
                "code": record.code,
                "body": record.entry.body,
            }
            for record in found
        ]

    def export(self, selection: Selection) -> bytes:
        """An evidence bundle of every final entry that concerns the selection.

        Raises:
            NotFound: nothing on the ledger concerns it.
        """
        services = self._services
        mirror = services.ledger.mirror
        chosen: set[str] = set()
        for subjects in [[self._resolved(subject)] for subject in selection.subjects()] or [[]]:
            found = mirror.search(subjects=subjects, limit=_EXPORT_LIMIT)
            chosen |= {record.entry.txid for record in found if record.entry.type != "seal"}
        if not chosen:
            raise NotFound("no final entry concerns what was asked for")
        return bundle.export(mirror, sorted(chosen), services.keys.kid, services.keys.tx)

    def compare(self) -> dict[str, Any]:
        """Fetch the hub's whole log again and compare it with this node's copy, entry by entry."""
        mirror = self._services.ledger.mirror
        differences = mirror.compare(self._services.hub)
        return {"checked": mirror.final_size, "differences": [str(difference) for difference in differences]}

    def status(self) -> dict[str, Any]:
        """Sizes, genesis and whether this node trusts the hub's log."""
        services = self._services
        return {
            "net": services.net,
            "genesis": services.genesis,
            "size": services.ledger.mirror.size,
            "final_size": services.ledger.final_size,
            "divergence": services.ledger.divergence,
        }

    def _resolved(self, subject: str) -> str:
        """A participant may be named by its name; the trail has its DID."""
        by_name = {name: did for did, name in self._names().items()}
        return by_name.get(subject, subject)

    def _names(self) -> Mapping[str, str]:
        return {member["did"]: member["name"] for member in self._services.ledger.final_rows("members")}
