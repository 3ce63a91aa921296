"""What nobody waits for, in a thread of its own.

Requests for approval that are over are ended, people are told of outcomes, and what jobs kept to go on from
is dropped when they have ended. All follow from the clock and from this node's copy of the ledger; none
writes to it.
"""

from __future__ import annotations

import logging
import threading

from exchange.errors import ExchangeError
from exchange.node.approvals import Approvals
from exchange.node.ledger_client import LedgerClient
from exchange.node.outcome_notices import OutcomeNotices
from exchange.node.stops import UNDER_WAY
from exchange.store.node.jobs import JobRepository
from ledger.errors import LedgerError

__all__ = ["Tidying"]

_log = logging.getLogger(__name__)

_EVERY_S = 2.0


class Tidying:
    """Looks every two seconds; not at a copy that may be that of a backup, or of a log that split."""

    def __init__(
        self, ledger: LedgerClient, approvals: Approvals, outcomes: OutcomeNotices, jobs: JobRepository
    ) -> None:
        self._ledger, self._approvals, self._outcomes, self._jobs = ledger, approvals, outcomes, jobs
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
                self._drop_states()
            except (ExchangeError, LedgerError) as exc:
                _log.warning("tidying: %s", exc.code)

    def _drop_states(self) -> None:
        for job in self._jobs.jobs_with_states():
            row = self._ledger.final("jobs", job)
            if row is not None and row["state"] not in UNDER_WAY:
                self._jobs.drop_states(job)
