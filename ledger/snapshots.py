"""When to move the stored snapshot of the state, and the states between it and the head.

The snapshot follows the final checkpoint: what is below a final size will not be cosigned again, so that the
membership there is not needed any more. It moves each time when enough entries have become final, in a
transaction of its own; a crash before it costs a longer start and nothing else.
"""

from __future__ import annotations

from collections import deque

from ledger.errors import StaleHead, StoreUnavailable
from ledger.replay import Loaded
from ledger.store import LedgerStore, Snapshot
from ledger.tables import State

__all__ = ["SNAPSHOT_EVERY", "Snapshots"]

SNAPSHOT_EVERY = 8192
"""Entries. A start executes about as many; at 8,000 entries a second that is a second."""

_KEPT_STATES = 1024


class Snapshots:
    """The latest states of a log by size, and its stored snapshot. Not thread-safe: the owner holds a lock.

    Args:
        store: holds the snapshot.
        loaded: the log as loaded from it.
    """

    def __init__(self, store: LedgerStore, loaded: Loaded) -> None:
        self._store, self._stored, self._carried = store, loaded.snapshot, loaded.carried
        self._states = deque(loaded.states, maxlen=_KEPT_STATES)

    def record(self, size: int, state: State) -> None:
        """Note the state after a batch that ends at ``size``."""
        self._states.append((size, state))

    def final(self, size: int) -> Snapshot:
        """Return the latest state known at or below ``size``, the final size; older ones are forgotten."""
        while len(self._states) > 1 and self._states[1][0] <= size:
            self._states.popleft()
        known, state = self._states[0]
        return Snapshot(known, state) if known <= size else Snapshot(0, self._carried)

    def advance(self, size: int) -> None:
        """Move the stored snapshot to the latest state below the final ``size``, if it is far behind."""
        final = self.final(size)
        if final.size - (self._stored.size if self._stored else 0) < SNAPSHOT_EVERY:
            return
        try:
            self._store.move_snapshot(self._stored, final)
            self._stored = final
        except StaleHead:
            self._stored = self._store.snapshot()
        except StoreUnavailable:
            return  # the next call tries again
