"""Sending what this side owes, when the ledger has moved and again later where it failed."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from exchange.dataspace.processes import Processes
from exchange.dataspace.vocabulary import Kind
from exchange.errors import ExchangeError
from exchange.logs import whereabouts
from exchange.node.ledger_client import LedgerClient
from exchange.store import DataspaceRepository
from ledger.errors import LedgerError

__all__ = ["Messenger"]

_log = logging.getLogger(__name__)

_THREADS = 4
_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 60.0

_Key = tuple[Kind, str]


class Messenger:
    """Drives the processes that have moved. Register ``wake`` with ``LedgerClient.on_change``."""

    def __init__(self, ledger: LedgerClient, processes: Processes, store: DataspaceRepository) -> None:
        self._ledger, self._processes, self._store = ledger, processes, store
        self._wanted, self._stopping = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._seen = 0
        self._addresses: dict[str, str] | None = None
        self._due: dict[_Key, float] = {}
        self._busy: set[_Key] = set()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="dataspace")
        self._thread = threading.Thread(target=self._run, name="dataspace-messenger", daemon=True)

    def start(self) -> None:
        """Begin with whatever is owed already."""
        self._wanted.set()
        self._thread.start()

    def wake(self) -> None:
        """The ledger has moved, or the other side has."""
        self._wanted.set()

    def again(self, kind: Kind, pid: str) -> None:
        """Look at one process once more: a message about it has come in."""
        with self._lock:
            self._due[kind, pid] = 0.0
        self._wanted.set()

    def stop(self) -> None:
        """Send nothing more; what is under way ends."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
                self._begin()
            except (ExchangeError, LedgerError) as error:
                _log.warning("looking for messages to send: %s", error.code)
            self._wanted.wait(self._pause())
            self._wanted.clear()

    def _look(self) -> None:
        """Note every process that has moved since the last look; all that are open when an address has.

        What was over before this node looked for the first time is not told any more.
        """
        size = self._ledger.final_size
        addresses = self._processes.addresses()
        everything = addresses != self._addresses
        for kind, courses in self._processes.courses.items():
            for pid, is_over in courses.changed(0 if everything else self._seen):
                if is_over and everything and self._store.find(kind, pid) is None:
                    continue
                with self._lock:
                    self._due[kind, pid] = 0.0
        self._seen, self._addresses = size, addresses

    def _begin(self) -> None:
        now = time.monotonic()
        with self._lock:
            ready = [key for key, at in self._due.items() if at <= now and key not in self._busy]
            for key in ready:
                del self._due[key]
            self._busy.update(ready)
        for key in ready:
            self._pool.submit(self._drive, key).add_done_callback(_report)

    def _pause(self) -> float:
        with self._lock:
            times = [at for key, at in self._due.items() if key not in self._busy]
        return max(0.0, min([_LAST_RETRY_S, *(at - time.monotonic() for at in times)]))

    def _drive(self, key: _Key) -> None:
        retry_s: float | None = None
        try:
            self._processes.drive(*key)
        except (ExchangeError, LedgerError) as error:
            retry_s = _LAST_RETRY_S  # if the failure cannot be kept either
            tries = self._store.fail(*key, error.code)
            retry_s = min(_FIRST_RETRY_S * 2 ** min(tries, 10), _LAST_RETRY_S)
            _log.warning("a message about %s %s was not taken: %s", *key, error.code)
        finally:
            with self._lock:
                self._busy.discard(key)
                if retry_s is not None:
                    self._due.setdefault(key, time.monotonic() + retry_s)
            self._wanted.set()


def _report(done: Future[None]) -> None:
    """Log what no process foresees."""
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _log.error("a message broke: %s", whereabouts(error))
