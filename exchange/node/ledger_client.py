"""The node's own view of the ledger, and the one way in which it writes to it.

A thread follows the hub's log through the node's mirror: fetch, recompute, compare, store, cosign. What this
module hands out is only what a quorum has cosigned. An entry to be written is kept in the outbox before it is
sent, so that a crash between the two sends it again; the ledger refuses a replay, so it counts once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from exchange.errors import Conflict, ExchangeError, HubUnreachable, LedgerRefused, TimedOut
from exchange.identity import NodeKeys
from exchange.store import Outbox
from ledger.entries import Draft, Entry, new_id
from ledger.errors import Divergence, LedgerError
from ledger.mirror import LogSource, Mirror
from ledger.state import State
from ledger.times import format_time

__all__ = ["FinalEntry", "LedgerClient"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ENTRY_LIFETIME = timedelta(hours=1)
_LONG_POLL_S = 15.0
_RETRY_S = 1.0
_CATCH_UP_S = 3.0


@dataclass(frozen=True)
class FinalEntry:
    """An entry that is valid and cosigned by a quorum."""

    index: int
    txid: str


class LedgerClient:
    """Follows the log, answers from final state, and writes entries of this participant.

    Thread-safe. ``on_change`` is called from the following thread after each change of what is final.
    """

    def __init__(
        self,
        *,
        mirror: Mirror,
        source: LogSource,
        keys: NodeKeys,
        net: str,
        outbox: Outbox,
        clock: Callable[[], datetime],
        final_timeout_s: float,
    ) -> None:
        self._mirror, self._source, self._keys, self._net = mirror, source, keys, net
        self._outbox, self._clock, self._final_timeout_s = outbox, clock, final_timeout_s
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._divergence: Divergence | None = None
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._follow, name="ledger-follower", daemon=True)

    @property
    def mirror(self) -> Mirror:
        """The copy of the log behind this view."""
        return self._mirror

    @property
    def state(self) -> State:
        """The state that a quorum has cosigned, as this node recomputed it.

        Raises:
            Conflict: this node's copy and the hub's log differ; nothing is decided until people have looked.
        """
        if self._divergence is not None:
            raise Conflict(f"this node has stopped trusting the hub's log: {self._divergence}")
        return self._mirror.final_state

    @property
    def final_size(self) -> int:
        """Entries below this index are cosigned by a quorum."""
        return self._mirror.final_size

    @property
    def divergence(self) -> str | None:
        """What differed, where this node has found the hub's log to be wrong."""
        return None if self._divergence is None else str(self._divergence)

    def final(self, table: str, key: str) -> Mapping[str, Any] | None:
        """A row of the final state, or ``None``."""
        return self.state.get(table, key)

    def awaited(self, table: str, key: str) -> Mapping[str, Any] | None:
        """As ``final``, but wait a moment for a row that another member has only just written.

        What is final at its writer's node reaches this one's copy a little later.
        """
        try:
            return self.wait_until(lambda: self.final(table, key), _CATCH_UP_S, f"{key} to arrive")
        except TimedOut:
            return None

    def final_rows(self, table: str) -> list[Mapping[str, Any]]:
        """All rows of a table in the final state, by the order of their last change."""
        return sorted(self.state.rows(table).values(), key=lambda row: int(row["index"]))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change; register before ``start``."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Send what a crash left in the outbox and begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more. Close the source after this; a request that waits there ends in its own time."""
        self._stopping.set()

    def write(self, entry_type: str, body: Mapping[str, object], refs: tuple[str, ...] = ()) -> FinalEntry:
        """Sign an entry, have it sequenced, and wait until it is final on this node's own copy.

        Raises:
            LedgerRefused: the validity function, run by this node itself, refused it. TimedOut: no quorum
            cosigned it in time; it stays sequenced and may become final later. HubUnreachable: the hub did
            not answer; the entry stays in the outbox and is sent at the next start.
        """
        now = self._clock()
        draft = Draft(
            net=self._net,
            type=entry_type,
            actor=self._keys.did,
            body=dict(body),
            exp=format_time(now + _ENTRY_LIFETIME),
            seq=new_id("entry", self._clock),
            refs=refs,
        )
        raw = draft.sign(self._keys.kid, self._keys.tx).encode()
        txid = Entry.parse(raw).txid
        self._outbox.put(txid, entry_type, raw)
        self._source.submit(raw)
        return self._settle(txid, entry_type)

    def wait_until(self, found: Callable[[], T | None], timeout_s: float, what: str) -> T:
        """Wait until ``found`` returns something, asking again after each change.

        Raises:
            TimedOut: it did not within ``timeout_s``; ``what`` says what was waited for.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (value := found()) is None:
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping.is_set():
                    raise TimedOut(f"waited {timeout_s:g} s for {what}")
                self._changed.wait(min(left, 1.0))
        return value

    def _settle(self, txid: str, entry_type: str) -> FinalEntry:
        placed = self.wait_until(
            lambda: self._mirror.final_entry(txid), self._final_timeout_s, f"a quorum to cosign {entry_type}"
        )
        if placed.code is not None:
            self._outbox.settle(txid, "refused")
            raise LedgerRefused(entry_type, placed.code)
        self._outbox.settle(txid, "final")
        return FinalEntry(placed.index, txid)

    def _follow(self) -> None:
        resent = False
        while not self._stopping.is_set():
            try:
                if not resent:
                    self._resend()
                    resent = True
                self._mirror.sync(wait_s=_LONG_POLL_S)
                self._announce()
            except Divergence as exc:
                _log.critical("the hub's log differs from this node's own copy: %s", exc)
                self._divergence = exc
                self._announce()
                return
            except (ExchangeError, LedgerError) as exc:
                if not self._stopping.is_set():
                    _log.warning("following the log: %s", exc)
                self._stopping.wait(_RETRY_S)

    def _announce(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for listener in self._listeners:
            listener()

    def _resend(self) -> None:
        for pending in self._outbox.pending():
            if Entry.parse(pending.raw).exp < format_time(self._clock()):
                self._outbox.settle(pending.txid, "expired")
                continue
            try:
                self._source.submit(pending.raw)
            except HubUnreachable:
                raise
            except (ExchangeError, LedgerError) as exc:
                _log.info("entry %s from before the restart: %s", pending.txid[:16], exc)
