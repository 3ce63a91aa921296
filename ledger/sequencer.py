"""Group commit: many threads hand in entries, one thread has them sequenced some at a time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ledger.entries import Entry
from ledger.errors import LedgerError, LogClosed, Refusal

__all__ = ["LINGER_S", "MAX_BATCH_ENTRIES", "Placed", "Sequencer"]

MAX_BATCH_ENTRIES = 200
LINGER_S = 0.02
"""How long entries are gathered after the first; one disk flush then serves all of them."""


@dataclass(frozen=True)
class Placed:
    """Where an entry stands, and the code it was refused with; None if it is valid."""

    index: int
    txid: str
    code: str | None


@dataclass(frozen=True)
class _Pending:
    entry: Entry
    placed: Future[Placed]


class Sequencer:
    """One thread between the callers of ``submit`` and the log.

    Args:
        process: sequences entries and answers for each in order; any other exception ends the thread.
        linger_s: how long to gather after the first entry.
    """

    def __init__(
        self, process: Callable[[Sequence[Entry]], Sequence[Placed | LedgerError]], linger_s: float
    ) -> None:
        self._process, self._linger_s = process, linger_s
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._pending: dict[str, _Pending] = {}
        self._closed = False
        self._worker = threading.Thread(target=self._run, name="ledger-sequencer", daemon=True)

    def start(self) -> None:
        """Begin to sequence."""
        self._worker.start()

    def submit(self, entry: Entry) -> Placed:
        """Have an entry sequenced and wait for its place. The same entry may be submitted by several threads.

        Raises:
            LogClosed: not sequenced.
            Refusal: the same act is being sequenced with other signatures.
            LedgerError: what ``process`` answered with.
        """
        with self._lock:
            if self._closed:
                raise LogClosed("the log takes no entries")
            pending = self._pending.get(entry.txid)
            if pending is None:
                pending = _Pending(entry, Future())
                self._pending[entry.txid] = pending
                self._queue.put(pending)
        if pending.entry.raw != entry.raw:
            raise Refusal("entry.replayed", "the same act is being sequenced with another signature list")
        return pending.placed.result()

    def stop_taking(self) -> None:
        """Refuse further entries."""
        with self._lock:
            self._closed = True

    def close(self) -> None:
        """Refuse further entries, sequence those taken, end the thread. Safe to call twice."""
        self.stop_taking()
        if self._worker.is_alive():
            self._queue.put(None)
            self._worker.join()

    def _run(self) -> None:
        try:
            while (first := self._queue.get()) is not None:
                gathered = self._gather(first)
                self._answer(gathered, self._process([pending.entry for pending in gathered]))
        finally:
            self.stop_taking()
            for pending in list(self._pending.values()):
                pending.placed.set_exception(LogClosed("the log closed before the entry was sequenced"))

    def _gather(self, first: _Pending) -> list[_Pending]:
        gathered = [first]
        deadline = time.monotonic() + self._linger_s
        while len(gathered) < MAX_BATCH_ENTRIES:
            try:
                item = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            gathered.append(item)
        return gathered

    def _answer(self, gathered: Sequence[_Pending], answers: Sequence[Placed | LedgerError]) -> None:
        for pending, answer in zip(gathered, answers, strict=True):
            with self._lock:
                del self._pending[pending.entry.txid]
            if isinstance(answer, LedgerError):
                pending.placed.set_exception(answer)
            else:
                pending.placed.set_result(answer)
