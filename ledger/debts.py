"""What a hub has promised and not sequenced yet: durable, and paid before anything else is sequenced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from ledger.algorithms import Signer
from ledger.entries import MAX_ENTRY_SIZE, Entry
from ledger.errors import MalformedEntry, StoreCorrupt
from ledger.membership import Network
from ledger.promise_store import PromiseStore
from ledger.promises import make_promise
from ledger.sequencer import MAX_BATCH_BYTES
from ledger.store import LedgerStore
from ledger.tables import State

__all__ = ["Debts"]

_AT_ONCE = MAX_BATCH_BYTES // MAX_ENTRY_SIZE


class Debts:
    """The entries that a hub owes. Thread-safe.

    Args:
        store: the hub's.
        key: the hub's entry key.

    Raises:
        StoreCorrupt: a stored row is not an entry.
    """

    def __init__(self, store: LedgerStore, key: Signer) -> None:
        self._store, self._key = store, key
        self._promises = PromiseStore(store)
        self._lock = threading.Lock()
        self._due = {kept.txid: _entry(kept.txid, kept.raw) for kept in self._promises.all()}

    def promise(self, state: State, entry: Entry, now: datetime) -> bytes:
        """Promise an entry, durably; the first promise about an entry stands until it is paid."""
        network = Network.of(state)
        if network is None:
            raise StoreCorrupt("expected a network in the state, found none")
        made = make_promise(network, entry.txid, now, self._key)
        kept = self._promises.put(entry.txid, entry.raw, made.raw)
        with self._lock:
            self._due[entry.txid] = _entry(entry.txid, kept.raw)
        return kept.promise

    def due(self) -> list[Entry]:
        """Return what is owed."""
        with self._lock:
            return list(self._due.values())

    def pay(self, sequence: Callable[[Sequence[Entry]], object]) -> None:
        """Have everything sequenced that the log does not have, some at a time, and forget it."""
        due = self.due()
        if not due:
            return
        known = self._store.known(frozenset(entry.txid for entry in due))
        new = [entry for entry in due if entry.txid not in known]
        for start in range(0, len(new), _AT_ONCE):
            sequence(new[start : start + _AT_ONCE])
        for entry in due:
            self._promises.drop(entry.txid)
            with self._lock:
                del self._due[entry.txid]


def _entry(txid: str, raw: bytes) -> Entry:
    try:
        entry = Entry.parse(raw)
    except MalformedEntry as exc:
        raise StoreCorrupt(f"ledger_promises txid {txid}: raw: {exc}") from exc
    if entry.txid != txid:
        raise StoreCorrupt(f"ledger_promises txid {txid}: expected this entry, found another")
    return entry
