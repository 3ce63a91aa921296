"""Carry out the node's open duties, each in a thread of its own and each one at a time.

The list of duties is derived from the ledger after every change, so nothing has to be remembered: a duty that
failed, or that a crash cut off, is found again. One that fails is tried again later, not at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from connectors.errors import ConnectorError
from exchange.errors import ExchangeError
from exchange.logs import whereabouts
from exchange.node.duties import Duty, DutyKind, open_duties
from exchange.node.ledger_client import LedgerClient
from ledger.errors import LedgerError
from policies.errors import PoliciesError

__all__ = ["DutyWorker"]

_log = logging.getLogger(__name__)

_THREADS = 8
_RETRY_S = 5.0


class DutyWorker:
    """Runs duties as they appear; ``acts`` says how each kind is carried out."""

    def __init__(
        self, ledger: LedgerClient, did: str, acts: Mapping[DutyKind, Callable[[str], None]]
    ) -> None:
        self._ledger, self._did, self._acts = ledger, did, acts
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="duty")
        self._lock = threading.Lock()
        self._busy: set[Duty] = set()
        self._not_before: dict[Duty, float] = {}

    def look(self) -> None:
        """Start every open duty that is not being carried out already."""
        if self._ledger.divergence is not None:
            return
        for duty in open_duties(self._ledger.state, self._did):
            with self._lock:
                if duty in self._busy or time.monotonic() < self._not_before.get(duty, 0.0):
                    continue
                self._busy.add(duty)
            self._pool.submit(self._carry_out, duty).add_done_callback(_report)

    def stop(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _carry_out(self, duty: Duty) -> None:
        try:
            self._acts[duty.kind](duty.subject)
        except (ExchangeError, LedgerError, PoliciesError, ConnectorError) as exc:
            _log.warning("duty %s of %s: %s", duty.kind, duty.subject, exc.code)
            self._not_before[duty] = time.monotonic() + _RETRY_S
        finally:
            with self._lock:
                self._busy.discard(duty)


def _report(done: Future[None]) -> None:
    """Log what no duty foresees."""
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _log.error("a duty broke: %s", whereabouts(error))
