"""Carry out the node's open duties, each in a thread of its own and each one at a time.

The list of duties is derived from the ledger after every change, so nothing has to be remembered: a duty that
a crash cut off is found again. One that fails is tried again after a while. One that ends and is still open,
because it waits for a person or for another party, is carried out again when something has changed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain

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
_RUNS = 64
_RETRY_S = 5.0


class DutyWorker:
    """Runs duties as they appear.

    Args:
        ledger: the node's own copy. did: whose duties.
        acts: how each kind is carried out.
        own: further duties, which follow from what this node keeps and not from the ledger.

    Runs of jobs wait for other nodes most of the time, so they have threads apart: were they to take the
    others' places, two nodes could wait for each other to decide.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        did: str,
        acts: Mapping[DutyKind, Callable[[str], object]],
        own: Callable[[], Iterable[Duty]] = tuple,
    ) -> None:
        self._ledger, self._did, self._acts, self._own = ledger, did, acts, own
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="duty")
        self._runs = ThreadPoolExecutor(_RUNS, thread_name_prefix="run")
        self._lock = threading.Lock()
        self._changes = 0
        self._busy: dict[Duty, int] = {}
        self._not_before: dict[Duty, float] = {}
        self._retry: threading.Timer | None = None
        self._stopped = False

    def look(self) -> None:
        """Start every open duty; one that is being carried out already is looked at again when it ends.

        None is started on a state that may be that of a backup.
        """
        with self._lock:
            self._changes += 1
        for duty in self._open():
            self._start(duty)

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._stopped = True
            if self._retry is not None:
                self._retry.cancel()
        for pool in (self._pool, self._runs):
            pool.shutdown(wait=False, cancel_futures=True)

    def _open(self) -> Iterator[Duty]:
        behind = not self._ledger.is_caught_up
        if self._ledger.divergence is not None or behind or self._stopped:
            return iter(())
        return chain(open_duties(self._ledger.next_state, self._did), self._own())

    def _start(self, duty: Duty) -> None:
        with self._lock:
            if duty in self._busy or time.monotonic() < self._not_before.get(duty, 0.0):
                return
            self._busy[duty] = self._changes
        pool = self._runs if duty.kind is DutyKind.RUN_JOB else self._pool
        with suppress(RuntimeError):  # stopped meanwhile
            pool.submit(self._carry_out, duty).add_done_callback(_report)

    def _carry_out(self, duty: Duty) -> None:
        try:
            self._acts[duty.kind](duty.subject)
        except (ExchangeError, LedgerError, PoliciesError, ConnectorError) as exc:
            _log.warning("duty %s of %s: %s", duty.kind, duty.subject, exc.code)
            self._put_off(duty)
        finally:
            with self._lock:
                is_outdated = self._busy.pop(duty) != self._changes
            if is_outdated and duty in self._open():
                self._start(duty)

    def _put_off(self, duty: Duty) -> None:
        """Keep a duty from being tried before a while is over, and look again then."""
        with self._lock:
            self._not_before[duty] = time.monotonic() + _RETRY_S
            self._await_next()

    def _await_next(self) -> None:
        """Under the lock: have the first of the duties that were put off looked at in its time."""
        if self._retry is None and self._not_before and not self._stopped:
            wait_s = max(min(self._not_before.values()) - time.monotonic(), 0.0)
            self._retry = threading.Timer(wait_s, self._look_again)
            self._retry.daemon = True
            self._retry.start()

    def _look_again(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._retry = None
            self._not_before = {duty: when for duty, when in self._not_before.items() if when > now}
            self._await_next()
        self.look()


def _report(done: Future[None]) -> None:
    """Log what no duty foresees."""
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _log.error("a duty broke: %s", whereabouts(error))
