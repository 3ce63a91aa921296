"""Receipts: what was answered goes to the ledger, account by account, some seconds after.

A ticket is in exactly one receipt, or in none for ever. Between the act and the note about it a node may die:
what the ledger says of an account's total decides which tickets are reported already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, Final

from exchange.errors import ExchangeError, LedgerRefused
from exchange.node.ledger_client import LedgerClient
from exchange.store import KeptTicket, LookupRepository, TicketState
from ledger import canonical
from ledger.errors import LedgerError
from ledger.merkle import leaf_hash, root_of

__all__ = ["Reporter", "receipt"]

_log = logging.getLogger(__name__)

_EVERY_S: Final = 5.0


def receipt(tickets: Sequence[KeptTicket]) -> dict[str, object]:
    """The body of the receipt for tickets of one account, in the order of their totals."""
    last: Any = canonical.decode(tickets[-1].raw)
    return {
        "service": last["service"],
        "agreement": last["agreement"],
        "recipient": tickets[-1].consumer,
        "purpose": last["purpose"],
        "count": sum(kept.count for kept in tickets),
        "fee": sum(kept.fee for kept in tickets),
        "tickets": len(tickets),
        "root": root_of([leaf_hash(kept.raw) for kept in tickets]).hex(),
        "last": last,
    }


class Reporter:
    """Writes receipts in a thread.

    Args:
        ledger: this node's view of the ledger.
        kept: the tickets that were answered.
    """

    def __init__(self, ledger: LedgerClient, kept: LookupRepository) -> None:
        self._ledger, self._kept = ledger, kept
        self._stopping = threading.Event()
        self._once = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lookup-receipts", daemon=True)

    def start(self) -> None:
        """Report from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no other receipt; what waits is reported after the next start."""
        self._stopping.set()

    def report(self) -> None:
        """Report everything that waits.

        Raises:
            TimedOut, HubUnreachable: the ledger does not take it now; it is tried again.
        """
        with self._once:
            for account in self._kept.waiting_accounts():
                self._report(account)

    def _report(self, account: str) -> None:
        total = self._total(account)
        tickets = self._kept.send(account)
        done = [kept for kept in tickets if kept.total <= total]
        self._kept.settle(done, TicketState.REPORTED)
        waiting = tickets[len(done) :]
        if not waiting:
            return
        try:
            self._ledger.write("lookup.receipt", receipt(waiting))
        except LedgerRefused as refused:
            if self._total(account) == total:  # else an entry from before has come first
                _log.error("a receipt of %d tickets is refused: %s", len(waiting), refused.reason)
                self._kept.settle(waiting, TicketState.REFUSED)
            return
        self._kept.settle(waiting, TicketState.REPORTED)

    def _total(self, account: str) -> int:
        row = self._ledger.final("lookup_accounts", account)
        return 0 if row is None else int(row["total"])

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                if self._ledger.is_caught_up:
                    self.report()
            except (ExchangeError, LedgerError) as error:
                _log.warning("receipts of lookups wait: %s", error.code)
