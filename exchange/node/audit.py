"""The auditor's view: search the trail, compare the hub's log with this node's copy, export evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exchange.errors import NotFound
from exchange.node.services import NodeServices
from ledger import bundle
from ledger.entries import subjects
from ledger.state import SEAL
from ledger.store import Record

__all__ = ["Audit", "Selection"]

_PAGE = 500


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
        concerning: Sequence[str] = (),
        entry_type: str | None = None,
        after: int = -1,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Final entries in log order, as an auditor reads them."""
        wanted = frozenset(self._resolved(subject) for subject in concerning)
        found = self._matching(wanted, entry_type, after, limit)
        names = self._names()
        return [
            {
                "index": record.index,
                "txid": record.txid,
                "type": record.type,
                "actor": record.actor,
                "name": names.get(record.actor, "hub"),
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
        size = mirror.final_size
        named = [self._resolved(subject) for subject in selection.subjects()]
        chosen: list[str] = []
        after = -1
        while page := mirror.search(subjects=named, after=after, limit=_PAGE):
            chosen += [record.txid for record in page if record.index < size and record.type != SEAL]
            after = page[-1].index
        if not chosen:
            raise NotFound("no final entry concerns what was asked for")
        return bundle.export(
            mirror.store, size, chosen, did=services.keys.did, kid=services.keys.kid, key=services.keys.tx
        )

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

    def _matching(
        self, wanted: frozenset[str], entry_type: str | None, after: int, limit: int
    ) -> list[Record]:
        """Entries that concern all of ``wanted``; the store finds those that concern any."""
        mirror = self._services.ledger.mirror
        found: list[Record] = []
        while len(found) < limit:
            page = mirror.search(subjects=sorted(wanted), type=entry_type, after=after, limit=_PAGE)
            if not page:
                break
            found += [record for record in page if wanted <= subjects(record.entry)]
            after = page[-1].index
        return found[:limit]

    def _resolved(self, subject: str) -> str:
        """A participant may be named by its name; the trail has its DID."""
        by_name = {name: did for did, name in self._names().items()}
        return by_name.get(subject, subject)

    def _names(self) -> Mapping[str, str]:
        return {member["did"]: member["name"] for member in self._services.ledger.final_rows("members")}
