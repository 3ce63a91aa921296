"""Group commit: many threads hand in entries, one thread has them sequenced some at a time."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ledger.entries import Entry
from ledger.errors import LedgerError, LogClosed, Refusal
from ledger.state import EPOCH, GENESIS, SEAL, check_attributable
from ledger.tables import State

__all__ = [
    "LINGER_S",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_ENTRIES",
    "Placed",
    "Sequencer",
    "check_at_the_door",
    "outcome",
]

MAX_BATCH_ENTRIES = 1023
"""With its seal a full batch fills four tiles."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
LINGER_S = 0.02
"""How long entries are gathered after the first; one disk flush then serves all of them."""

_REPLAYED = "the same act is being sequenced with another signature list"


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


def check_at_the_door(state: State, entry: Entry) -> None:
    """Refuse what no member can be held to, and what only the hub writes.

    Raises:
        Refusal: it is not to be sequenced.
    """
    if entry.type in (SEAL, GENESIS, EPOCH):
        raise Refusal("entry.not-permitted", f"a {entry.type} is not submitted")
    check_attributable(state, entry)


def outcome(placed: Future[Placed]) -> Placed | LedgerError:
    """Wait for an entry's place, or for the error in its stead."""
    try:
        return placed.result()
    except LedgerError as exc:
        return exc


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
        self._queue: queue.SimpleQueue[list[_Pending] | None] = queue.SimpleQueue()
        self._taken: deque[_Pending] = deque()
        self._pending: dict[str, _Pending] = {}
        self._closed = False
        self._worker = threading.Thread(target=self._run, name="ledger-sequencer", daemon=True)

    @property
    def pending(self) -> int:
        """Entries that are not answered yet."""
        return len(self._pending)

    def start(self) -> None:
        """Begin to sequence."""
        self._worker.start()

    def submit(self, entry: Entry) -> Future[Placed]:
        """Have an entry sequenced. The same entry may be submitted by several threads.

        Returns:
            Its place, once it has one; or what ``process`` answered with.

        Raises:
            LogClosed: not sequenced.
            Refusal: the same act is being sequenced with other signatures.
        """
        answer = self.submit_many([entry])[0]
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def submit_many(self, entries: Sequence[Entry]) -> list[Future[Placed] | Refusal]:
        """Have entries sequenced in this order; see ``submit``. The thread is woken once for all of them.

        Raises:
            LogClosed: none is sequenced.
        """
        answers: list[Future[Placed] | Refusal] = []
        new: list[_Pending] = []
        with self._lock:
            if self._closed:
                raise LogClosed("the log takes no entries")
            for entry in entries:
                pending = self._pending.get(entry.txid)
                if pending is None:
                    pending = self._pending[entry.txid] = _Pending(entry, Future())
                    new.append(pending)
                is_same = pending.entry.raw == entry.raw
                answers.append(pending.placed if is_same else Refusal("entry.replayed", _REPLAYED))
            if new:
                self._queue.put(new)
        return answers

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
            while self._taken or self._take(None):
                gathered = self._gather()
                self._answer(gathered, self._process([pending.entry for pending in gathered]))
        finally:
            self.stop_taking()
            for pending in list(self._pending.values()):
                pending.placed.set_exception(LogClosed("the log closed before the entry was sequenced"))

    def _take(self, timeout_s: float | None) -> bool:
        """Wait for entries; tell whether there are any, or the end has come."""
        try:
            item = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return False
        if item is None:
            self._queue.put(None)
            return False
        self._taken.extend(item)
        return True

    def _gather(self) -> list[_Pending]:
        gathered: list[_Pending] = []
        size, deadline = 0, time.monotonic() + self._linger_s
        while len(gathered) < MAX_BATCH_ENTRIES and size < MAX_BATCH_BYTES:
            if not self._taken and not self._take(max(0.0, deadline - time.monotonic())):
                break
            gathered.append(self._taken.popleft())
            size += len(gathered[-1].entry.raw)
        return gathered

    def _answer(self, gathered: Sequence[_Pending], answers: Sequence[Placed | LedgerError]) -> None:
        with self._lock:
            for pending in gathered:
                del self._pending[pending.entry.txid]
        for pending, answer in zip(gathered, answers, strict=True):
            if isinstance(answer, LedgerError):
                pending.placed.set_exception(answer)
            else:
                pending.placed.set_result(answer)
