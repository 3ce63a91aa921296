"""Ending requests for approval that are over, and telling people of outcomes, in a thread of its own.

Both follow from the clock and from this node's copy of the ledger; neither writes to it.
"""

from __future__ import annotations

import logging
import threading

from exchange.errors import ExchangeError
from exchange.node.approvals import Approvals
from exchange.node.ledger_client import LedgerClient
from exchange.node.outcome_notices import OutcomeNotices
from ledger.errors import LedgerError

__all__ = ["Tidying"]

_log = logging.getLogger(__name__)

_EVERY_S = 2.0


class Tidying:
    """Looks every two seconds; not at a copy that may be that of a backup, or of a log that split."""

    def __init__(self, ledger: LedgerClient, approvals: Approvals, outcomes: OutcomeNotices) -> None:
        self._ledger, self._approvals, self._outcomes = ledger, approvals, outcomes
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidying", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look in hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            if not self._ledger.is_caught_up or self._ledger.divergence is not None:
                continue
            try:
                self._approvals.tidy()
                self._outcomes.tell()
            except (ExchangeError, LedgerError) as exc:
                _log.warning("tidying: %s", exc.code)
