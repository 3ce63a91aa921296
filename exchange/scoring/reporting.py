"""Receipts: how many persons were answered goes to the ledger, account by account, some seconds after.

An answer is in exactly one receipt, or in none for ever. What is being sent is kept until the ledger has it,
and what the ledger says of the account decides whether it has.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from exchange.errors import ExchangeError, LedgerRefused
from exchange.node.ledger_client import LedgerClient
from exchange.store import ScoringRepository, Sent
from ledger import canonical
from ledger.errors import LedgerError
from ledger.times import format_time

__all__ = ["Reporter"]

_log = logging.getLogger(__name__)

_EVERY_S: Final = 5.0


class Reporter:
    """Writes receipts in a thread.

    Args:
        ledger: this node's view of the ledger.
        kept: what was answered.
    """

    def __init__(self, ledger: LedgerClient, kept: ScoringRepository) -> None:
        self._ledger, self._kept = ledger, kept
        self._stopping = threading.Event()
        self._once = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="score-receipts", daemon=True)

    def start(self) -> None:
        """Report from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no other receipt; what waits is reported after the next start."""
        self._stopping.set()
        try:
            self._kept.flush()
        except ExchangeError as error:
            _log.warning("who asked for scores is not written: %s", error.code)

    def report(self) -> None:
        """Report everything that waits.

        Raises:
            TimedOut, HubUnreachable: the ledger does not take it now; it is tried again.
        """
        with self._once:
            for account in self._kept.waiting_accounts():
                self._report(account)

    def _report(self, account: str) -> None:
        body: Any = canonical.decode(self._kept.send(account, self._receipt))
        if self._number(account) < body["last"]["number"]:
            try:
                self._ledger.write("model.receipt", body)
            except LedgerRefused as refused:
                _log.error("a receipt of %d scores is refused: %s", body["count"], refused.reason)
        self._kept.settle(account)

    def _receipt(self, sent: Sent) -> bytes:
        last: Any = canonical.decode(sent.last)
        agreement = self._ledger.state.rows("agreements")[last["agreement"]]
        return canonical.encode(
            {
                **{name: last[name] for name in ("model", "version", "agreement", "purpose")},
                "recipient": agreement["consumer"],
                "count": sent.count,
                "calls": sent.calls,
                "since": format_time(sent.since),
                "last": last,
            }
        )

    def _number(self, account: str) -> int:
        row = self._ledger.final("model_accounts", account)
        return 0 if row is None else int(row["number"])

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                self._kept.flush()
                if self._ledger.is_caught_up:
                    self.report()
            except (ExchangeError, LedgerError) as error:
                _log.warning("receipts of scores wait: %s", error.code)
