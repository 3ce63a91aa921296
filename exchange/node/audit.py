"""The auditor's view: search the trail, compare the hub's log with this node's copy, export evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exchange.errors import NotFound
from exchange.node.services import NodeServices
from ledger import bundle
from ledger.search import Query
from ledger.state import SEAL
from ledger.timestamp_store import TimestampStore

__all__ = ["Audit", "Selection"]


@dataclass(frozen=True)
class Selection:
    """What to look for; all empty means everything. Subjects are joined by "or".

    ``entries`` are shown too, by txid; those of ``disclose`` with their private content. ``earlier`` are
    sizes of checkpoints that the bundle proves prefixes of its own. ``everything`` adds the whole log, so
    that a reader can replay it. ``since`` and ``until``, Unix times, narrow what concerns the subjects.
    """

    assets: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    agreements: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    negotiations: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    disclose: tuple[str, ...] = ()
    earlier: tuple[int, ...] = ()
    everything: bool = False
    since: int | None = None
    until: int | None = None

    @property
    def is_timed(self) -> bool:
        """Whether it names a time."""
        return self.since is not None or self.until is not None

    def subjects(self) -> tuple[str, ...]:
        """All ids and DIDs named."""
        named = (self.assets, self.participants, self.agreements, self.jobs, self.negotiations)
        return tuple(one for some in (*named, self.proposals) for one in some)


class Audit:
    """Search, compare and export over this node's own copy of the log."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services

    def export(self, selection: Selection) -> bytes:
        """An evidence bundle of every final entry that concerns the selection.

        Raises:
            NotFound: nothing on the ledger concerns it.
            NotKept: private content is to be disclosed that was erased, or is not this participant's.
        """
        services = self._services
        mirror = services.ledger.mirror
        size, state = mirror.final
        named = [self._resolved(subject) for subject in selection.subjects()]
        chosen = [*selection.entries, *selection.disclose]
        if named or selection.is_timed or not chosen:
            chosen += self._concerning(named, selection, size)
        if not chosen:
            raise NotFound("no final entry concerns what was asked for")
        return bundle.export(
            mirror.store,
            size,
            chosen,
            tree=mirror.tree,
            state=state,
            did=services.keys.did,
            kid=services.keys.kid,
            key=services.keys.tx,
            disclosed={txid: services.payloads.opening(txid) for txid in selection.disclose},
            earlier=selection.earlier,
            timestamps=TimestampStore(mirror.store).all(),
            everything=selection.everything,
        )

    def compare(self) -> dict[str, Any]:
        """Fetch the hub's whole log again and compare it with this node's copy, entry by entry."""
        mirror = self._services.ledger.mirror
        differences = mirror.compare(self._services.hub)
        return {"checked": mirror.final_size, "differences": [str(difference) for difference in differences]}

    def _concerning(self, named: Sequence[str], selection: Selection, size: int) -> list[str]:
        """Txids of the entries below ``size`` that concern any of ``named``; of all if that is empty."""
        timed = Query(since=selection.since, until=selection.until)
        queries = [replace(timed, concerning=(subject,)) for subject in named] or [timed]
        found = {
            record.index: record.txid
            for query in queries
            for record in self._services.ledger.mirror.found(query)
            if record.index < size and record.type != SEAL
        }
        return [found[index] for index in sorted(found)]

    def _resolved(self, subject: str) -> str:
        """A participant may be named by its name; the trail has its DID."""
        by_name = {name: did for did, name in self._names().items()}
        return by_name.get(subject, subject)

    def _names(self) -> Mapping[str, str]:
        return {member["did"]: member["name"] for member in self._services.ledger.final_rows("members")}
