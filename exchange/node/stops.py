"""Stopping this node's part of a job: who is running, who wants it to stop, and when it did.

A run is told to stop when this node's own copy of the ledger says that its job has ended, when an agreement
that this node gave for it expires by this node's clock, or when the copy and the hub's log differ. A run that
is told to stop loses its connections at once and raises at its next look: at each message, each batch of rows
read, each sign of progress, and before anything is kept or let go.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pyarrow as pa

from connectors.connector import BATCH_ROWS, Connector
from connectors.filters import Filter
from exchange.errors import ExchangeError, JobStopped, TimedOut
from exchange.node.ledger_client import LedgerClient
from ledger.errors import LedgerError
from ledger.times import parse_time

__all__ = ["UNDER_WAY", "JobRuns", "StopSignal", "StopWatch", "Watched"]

_log = logging.getLogger(__name__)

UNDER_WAY = ("RUNNING", "RELEASE_REVIEW")
"""States of a job whose parties may still compute."""

_TICK_S = 0.5
_RETRY_S = 2.0


class StopSignal:
    """Told once, with a reason; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._listeners: list[Callable[[JobStopped], None]] = []
        self.told_at = 0.0

    @property
    def is_told(self) -> bool:
        """Whether the run has been asked to stop."""
        return self._reason is not None

    def tell(self, reason: str) -> None:
        """Ask the run to stop; the first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason, self.told_at = reason, time.monotonic()
            listeners = list(self._listeners)
        for listener in listeners:
            listener(JobStopped(reason))

    def on_told(self, listener: Callable[[JobStopped], None]) -> None:
        """Call ``listener`` when told, from the thread that tells; at once if that has happened."""
        with self._lock:
            self._listeners.append(listener)
            reason = self._reason
        if reason is not None:
            listener(JobStopped(reason))

    def check(self) -> None:
        """Go on, or not.

        Raises:
            JobStopped: the run has been told to stop.
        """
        if self._reason is not None:
            raise JobStopped(self._reason)


class Watched:
    """A connector that looks at something before each batch, and raises what that raises."""

    def __init__(self, connector: Connector, look: Callable[[], None]) -> None:
        self._connector, self._look = connector, look

    def schema(self) -> pa.Schema:
        """Names and types, as the connector has them."""
        return self._connector.schema()

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """The connector's batches, with a look before each."""
        for batch in self._connector.batches(columns, where=where, batch_rows=batch_rows):
            self._look()
            yield batch

    def close(self) -> None:
        """Close the connector."""
        self._connector.close()


class JobRuns:
    """The runs of this process by job, and how those ended that were told to stop."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._signals: dict[str, StopSignal] = {}
        self._stopped: dict[str, tuple[str, int]] = {}
        self._closed: str | None = None
        self._losses: dict[str, tuple[str, float]] = {}

    @contextmanager
    def running(self, job: str, step: Callable[[], str]) -> Iterator[StopSignal]:
        """Count a run as under way; ``step`` tells at its end in which step it was."""
        signal = StopSignal()
        with self._changed:
            self._signals[job] = signal
            closed = self._closed
        if closed is not None:
            signal.tell(closed)
        try:
            yield signal
        finally:
            with self._changed:
                del self._signals[job]
                self._losses.pop(job, None)
                if signal.told_at:
                    after_ms = int((time.monotonic() - signal.told_at) * 1000)
                    self._stopped[job] = step(), after_ms
                self._changed.notify_all()

    def tell(self, job: str, reason: str) -> None:
        """Ask the run of a job to stop, if there is one."""
        with self._changed:
            signal = self._signals.get(job)
        if signal is not None:
            signal.tell(reason)

    def note_loss(self, job: str, step: str, loss: float) -> None:
        """Note the last loss that this node learned of training under way; it stays at this node."""
        with self._changed:
            self._losses[job] = step, loss

    def loss(self, job: str, step: str) -> float | None:
        """The last loss of a step under way; None where this node has learned none."""
        with self._changed:
            under_way, loss = self._losses.get(job, ("", 0.0))
        return loss if under_way == step else None

    def close(self, reason: str) -> None:
        """Ask all runs to stop, and each that begins later, because this node stops.

        They end without a word, so that they go on when the node starts again.
        """
        with self._changed:
            self._closed, signals = reason, list(self._signals.values())
        for signal in signals:
            signal.tell(reason)

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs under way."""
        with self._changed:
            return tuple(self._signals)

    def ended(self, job: str, timeout_s: float) -> tuple[str, int]:
        """Wait for the end of a stopped run.

        Returns:
            The step it was in and the milliseconds from being told to the end; empty and 0 where none ran.

        Raises:
            TimedOut: it has not ended.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: job not in self._signals, timeout_s):
                raise TimedOut(f"the run of {job} has not ended within {timeout_s:g} s")
            return self._stopped.pop(job, ("", 0))


class StopWatch:
    """Tells runs to stop, and ends jobs on the ledger whose agreements expire."""

    def __init__(self, ledger: LedgerClient, did: str, runs: JobRuns, clock: Callable[[], datetime]) -> None:
        self._ledger, self._did, self._runs, self._clock = ledger, did, runs, clock
        self._open: list[tuple[datetime, str, list[str]]] = []
        self._not_before = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stop-watch", daemon=True)
        ledger.on_change(self.look)

    def start(self) -> None:
        """Begin to look at the clock."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def look(self) -> None:
        """Compare the runs with what this node's copy of the ledger says now."""
        if self._ledger.divergence is not None:
            for job in self._runs.jobs:
                self._runs.tell(job, "this node's copy of the ledger and the hub's log differ")
            return
        state = self._ledger.state
        for job in self._runs.jobs:
            row = state.get("jobs", job)
            if row is not None and row["state"] not in UNDER_WAY:
                self._runs.tell(job, f"the job is {row['state']}")
        self._open = [
            (parse_time(row["limits"]["expires"]), name, list(row["open"]))
            for name, row in state.rows("agreements").items()
            if row["provider"] == self._did and row.get("open")
        ]

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK_S):
            now = self._clock()
            for expires, agreement, jobs in self._open:
                if expires <= now:
                    self._expire(agreement, jobs)

    def _expire(self, agreement: str, jobs: list[str]) -> None:
        """Stop what runs here at once, then tell everybody; again later if the batches' clock is behind."""
        reason = f"agreement {agreement} has expired"
        for job in jobs:
            self._runs.tell(job, reason)
        if time.monotonic() < self._not_before:
            return
        for job in jobs:
            row = self._ledger.final("jobs", job)
            if row is None or row["state"] not in ("SUBMITTED", *UNDER_WAY):
                continue
            body: dict[str, Any] = {"job": job, "cause": "expired", "reason": reason}
            try:
                self._ledger.write("job.stop", body)
            except (ExchangeError, LedgerError) as exc:
                _log.info("stopping %s: %s", job, exc.code)
                self._not_before = time.monotonic() + _RETRY_S
