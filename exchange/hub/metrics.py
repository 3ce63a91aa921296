"""What a hub measures: the log's standing, how long entries take, what is turned away, what fails."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exchange.standing import describe_standing, gauge, standing_metrics
from ledger.errors import LedgerError, MalformedEntry, Refusal
from ledger.log import Log
from ledger.sequencer import Placed
from ledger.store import LedgerStore
from ledger.verification import Verifier

__all__ = ["HubMetrics"]

_ORDERED_S = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 10)
_FINAL_S = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300)
_MOST_WAITING = 65_536
"""Submissions whose way to finality is timed at once; older ones are let go."""


class HubMetrics:
    """Counts what members hand in, and reads the log's standing when it is asked. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, float]] = deque(maxlen=_MOST_WAITING)
        self.registry = CollectorRegistry(auto_describe=False)
        self._ordered = Histogram(
            "parley_submission_ordered_seconds",
            "From handing entries in to all of them being durable",
            buckets=_ORDERED_S,
            registry=self.registry,
        )
        self._final = Histogram(
            "parley_submission_final_seconds",
            "From handing entries in to a quorum's cosignatures",
            buckets=_FINAL_S,
            registry=self.registry,
        )
        self._placed = Counter(
            "parley_submitted_entries", "Entries that were ordered, or were before", registry=self.registry
        )
        self._refused = Counter(
            "parley_refused_entries", "Entries turned away at the door", ["code"], registry=self.registry
        )
        self._failed = Counter(
            "parley_failed_entries", "Entries that could not be ordered", ["code"], registry=self.registry
        )

    def watch(self, log: Log, store: LedgerStore, verifier: Verifier, clock: Callable[[], datetime]) -> None:
        """Show how a log stands too; once."""
        self.registry.register(_Standing(log, store, verifier, clock))

    def timed(
        self, submit: Callable[[Sequence[bytes]], list[Placed | LedgerError]], raws: Sequence[bytes]
    ) -> list[Placed | LedgerError]:
        """Hand entries in, and take note of how long that took and how it ended for each."""
        since = self._monotonic()
        answers = submit(raws)
        placed = [answer for answer in answers if isinstance(answer, Placed)]
        for answer in answers:
            if isinstance(answer, Refusal | MalformedEntry):
                self._refused.labels(answer.code).inc()
            elif isinstance(answer, LedgerError):
                self._failed.labels(answer.code).inc()
        if placed:
            self._placed.inc(len(placed))
            self._ordered.observe(self._monotonic() - since)
            with self._lock:
                self._waiting.append((max(one.index for one in placed), since))
        return answers

    def final(self, size: int) -> None:
        """Take note of what became final."""
        now, done = self._monotonic(), []
        with self._lock:
            while self._waiting and self._waiting[0][0] < size:
                done.append(self._waiting.popleft()[1])
        for since in done:
            self._final.observe(now - since)


class _Standing(Collector):
    def __init__(
        self, log: Log, store: LedgerStore, verifier: Verifier, clock: Callable[[], datetime]
    ) -> None:
        self._log, self._store, self._verifier, self._clock = log, store, verifier, clock

    def collect(self) -> Iterator[Metric]:
        """Read the log and its database."""
        log, verifier, final_size = self._log, self._verifier, self._log.final_size
        found = describe_standing(self._store, log.size, final_size, log.state)
        yield from standing_metrics(found, final_size, self._clock().timestamp())
        yield gauge("parley_ledger_batches", "Batches, each with its seal", log.height)
        yield gauge("parley_sequencer_pending_entries", "Entries taken and not yet durable", log.pending)
        yield gauge("parley_verifier_queued_signatures", "Signatures that callers wait for", verifier.queued)
        yield gauge("parley_verifier_processes", "Processes beside the hub's own", verifier.processes)
