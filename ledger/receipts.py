"""The promises that a member holds: compared with its own copy of the log, evidence where one was broken."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from ledger.bundle.exporting import cosigned
from ledger.entries import Entry
from ledger.errors import InvalidPromise
from ledger.evidence import write_evidence
from ledger.mirror import Mirror
from ledger.promise_store import PromiseStore
from ledger.promises import OVERDUE, Promise, overdue_facts
from ledger.times import format_time

__all__ = ["Overdue", "Receipts"]


@dataclass(frozen=True)
class Overdue:
    """A promise that was not kept: the entry, the promised time, and the evidence file."""

    txid: str
    by: str
    evidence: str


class Receipts:
    """The promises that a member holds, compared with its own copy of the log. Thread-safe.

    Args:
        mirror: the copy.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror, self._store = mirror, PromiseStore(mirror.store)
        self._lock = threading.Lock()
        self._open = {kept.txid: kept for kept in self._store.all() if kept.evidence is None}

    def keep(self, raw: bytes, promise: bytes) -> Promise:
        """Keep the hub's promise about an entry, durably.

        Raises:
            InvalidPromise: it is not the hub's, or about another entry.
        """
        read, txid = Promise.read(promise, self._mirror.network), Entry.parse(raw).txid
        if read.txid != txid:
            raise InvalidPromise("expected a promise about this entry, got one about another")
        with self._lock:
            kept = self._store.put(txid, raw, promise)
            if kept.evidence is None:
                self._open[txid] = kept
        return read

    def check(self) -> list[Overdue]:
        """Compare all open promises with what is final; forget those that were kept.

        Returns:
            Those found to be overdue now. Each left an evidence file and stays in ``overdue``.
        """
        found: list[Overdue] = []
        with self._lock:
            for txid, kept in list(self._open.items()):
                if self._mirror.final_entry(txid) is not None:
                    self._store.drop(txid)
                    del self._open[txid]
                    continue
                promise = Promise.read(kept.promise, self._mirror.network)
                path = self._proven(promise, kept.raw)
                if path is not None:
                    self._store.put_evidence(txid, str(path))
                    del self._open[txid]
                    found.append(Overdue(txid, format_time(promise.by), str(path)))
        return found

    def overdue(self) -> list[Overdue]:
        """Return every promise that was found not to be kept, by time."""
        found = []
        for kept in self._store.all():
            if kept.evidence is not None:
                by = format_time(Promise.read(kept.promise, self._mirror.network).by)
                found.append(Overdue(kept.txid, by, kept.evidence))
        return sorted(found, key=lambda one: (one.by, one.txid))

    def _proven(self, promise: Promise, raw: bytes) -> Path | None:
        """Write the evidence if the final log has been sealed after the promised time."""
        mirror = self._mirror
        size = mirror.final_size
        last = mirror.store.records(size - 1, size) if size else []
        if not last or last[0].time <= promise.by.timestamp():
            return None
        if mirror.final_entry(promise.txid) is not None:
            return None
        note = cosigned(mirror.store, size).encode().decode()
        path = mirror.tree.inclusion_proof(size - 1, size)
        return write_evidence(
            mirror.evidence, OVERDUE, size, overdue_facts(promise, raw, note, last[0].raw, path)
        )
