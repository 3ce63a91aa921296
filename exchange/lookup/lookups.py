"""Everything about lookups at one node, built once by the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from exchange.lookup.admission import Admission
from exchange.lookup.asking import Asking
from exchange.lookup.hints import Hints
from exchange.lookup.publishing import Publishing
from exchange.lookup.reporting import Reporter
from exchange.lookup.serving import Desk, Folders
from exchange.node.services import NodeServices
from exchange.rpc.lookups import LookupLinks
from exchange.store import Question
from ledger.rules.lookups import account

__all__ = ["Lookups"]

_KEY = b"lookup services"


class Lookups:
    """One participant's lookups, as an owner of services and as a member that asks.

    Args:
        services: the node's parts.
        wake: called when a service is to be built.
    """

    def __init__(self, services: NodeServices, wake: Callable[[], None]) -> None:
        ledger, kept, clock = services.ledger, services.store.lookups, services.clock
        me, seed = services.keys.did, services.keys.storage_key(_KEY)
        root = services.settings.directory
        folders = Folders(root / "lookups")
        self._services = services
        self.links = LookupLinks(services.keys, services.settings.step_timeout_s)
        self.publishing = Publishing(ledger, services.assets, kept, folders, me, seed, wake)
        self.desk = Desk(ledger, Admission(ledger, kept, me, clock), folders, me, seed)
        self.reporter = Reporter(ledger, kept)
        hints = Hints(Folders(root / "hints"), self.links)
        self.asking = Asking(ledger, kept, hints, self.links, services.keys, services.net, clock)

    def stop(self) -> None:
        """Ask, and report, nothing more."""
        self.publishing.stop()
        self.reporter.stop()
        self.asking.stop()
        self.links.close()

    def services(self) -> list[Mapping[str, Any]]:
        """Every service on the ledger."""
        return self._services.ledger.final_rows("lookups")

    def covered(self) -> list[tuple[Mapping[str, Any], tuple[str, ...]]]:
        """Open services of others that an agreement of this member covers, each with the purposes agreed."""
        found = []
        for row in self.services():
            if row["status"] == "open" and row["owner"] != self._services.keys.did:
                agreed = [terms for _, terms in self.asking.agreements(str(row["asset"]))]
                purposes = {purpose for terms in agreed if terms is not None for purpose in terms.purposes}
                if agreed:
                    found.append((row, tuple(sorted(purposes or row["purposes"]))))
        return found

    def questions(self, limit: int) -> list[Question]:
        """The latest questions of this member's people, the newest first."""
        return self._services.store.lookups.questions(limit)

    def statement(self) -> list[dict[str, Any]]:
        """What was asked and is owed, account by account, of this member's services and by its questions.

        ``queries``, ``fee`` and ``receipts`` are on the ledger. Of its own questions ``signed`` and ``owed``
        are what this member has signed for; of its services they are the same and what waits for a receipt.
        """
        me, kept = self._services.keys.did, self._services.store.lookups
        rows = {account(row): row for row in self._services.ledger.final_rows("lookup_accounts")}
        found = []
        for name in sorted({*rows, *kept.accounts()}):
            agreement, service, purpose = name.split(" ", 2)
            row = rows.get(name, {"queries": 0, "fee": 0, "receipts": 0})
            sides = self._services.ledger.final("agreements", agreement)
            if sides is None or me not in (sides["provider"], sides["consumer"]):
                continue
            line = {"agreement": agreement, "service": service, "purpose": purpose}
            line |= {side: sides[side] for side in ("provider", "consumer")}
            line |= {count: row[count] for count in ("queries", "fee", "receipts")}
            if me == sides["consumer"]:
                signed, owed = kept.signed_for(name)
            else:
                waiting, fee = kept.waiting(name)
                signed, owed = row["queries"] + waiting, row["fee"] + fee
            found.append({**line, "signed": signed, "owed": owed})
        return found
