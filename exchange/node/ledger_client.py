"""The node's own view of the ledger, and the one way in which it writes to it.

A thread follows the hub's log through the node's mirror: fetch, recompute, compare, store, cosign. What this
module hands out is only what a quorum has cosigned. An entry to be written is kept in the outbox before it is
sent, so that a crash between the two sends it again; the ledger refuses a replay, so it counts once. An entry
that the log does not show after a while is asked a promise for, which binds the hub (``ledger.promises``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from exchange.errors import Conflict, ExchangeError, HubUnreachable, LedgerRefused, TimedOut
from exchange.identity import NodeKeys
from exchange.store import Outbox, OutboxEntry
from ledger.entries import Draft, Entry, new_id
from ledger.errors import Divergence, LedgerError
from ledger.membership import NETWORK_KEY
from ledger.mirror import Mirror
from ledger.receipts import Receipts
from ledger.sequencer import Placed
from ledger.source import LogSource
from ledger.state import State, settle
from ledger.times import format_time, parse_time

__all__ = ["FinalEntry", "LedgerClient"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ENTRY_LIFETIME = timedelta(hours=1)
_LONG_POLL_S = 15.0
_RETRY_S = 1.0
_CATCH_UP_S = 3.0
_PROMISE_AFTER_S = 5.0
"""Longer than an entry takes to be in every member's copy; then the hub is asked for a promise."""


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
        self._signed_before = mirror.cosigned_size
        self.receipts = Receipts(mirror)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._divergence: Divergence | None = None
        self.sync_errors: Counter[str] = Counter()
        """Rounds of following the log that failed, by the error's code."""
        self._listeners: list[Callable[[], None]] = []
        self._failure_listeners: list[Callable[[], object]] = []
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
    def next_state(self) -> State:
        """The final state with the governance changes that the next batch begins with.

        An admitted member acknowledges and a new key signs on this state: a log without other entries would
        never begin that batch.
        """
        return settle(self.state, self.final_size)

    @property
    def final_size(self) -> int:
        """Entries below this index are cosigned by a quorum."""
        return self._mirror.final_size

    @property
    def is_caught_up(self) -> bool:
        """Whether what is final here reaches as far as this member had cosigned when it was started.

        Until then its state may be that of a backup: no right is judged and nothing begun on it.
        """
        return self.final_size >= self._signed_before

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

    def on_failure(self, listener: Callable[[], object]) -> None:
        """Call ``listener`` when following failed and before it is tried again; register before ``start``."""
        self._failure_listeners.append(listener)

    def start(self) -> None:
        """Send what a crash left in the outbox and begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more. Close the source after this; a request that waits there ends in its own time."""
        self._stopping.set()

    def write(self, entry_type: str, body: Mapping[str, object], refs: tuple[str, ...] = ()) -> FinalEntry:
        """Sign an entry and ``send`` it."""
        return self.send(self.sign(entry_type, body, refs))

    def sign(
        self,
        entry_type: str,
        body: Mapping[str, object],
        refs: tuple[str, ...] = (),
        *,
        commit: str | None = None,
    ) -> Entry:
        """Sign an entry of this participant, to be sent later; ``commit`` is to private content."""
        now = self._clock()
        draft = Draft(
            net=self._net,
            type=entry_type,
            actor=self._keys.did,
            body=dict(body),
            exp=self._expiry(now),
            seq=new_id("entry", self._clock),
            refs=refs,
            commit=commit,
        )
        return Entry.parse(draft.sign(self._keys.kid, self._keys.tx).encode())

    def _expiry(self, now: datetime) -> str:
        """Return when an entry expires: in an hour, or once no entry of an earlier log can be alive.

        The log takes no entry that may stand in the log of the epoch before. On its first day that asks for a
        longer life than an hour, and never for more than the 24 hours that it allows.
        """
        network = self._mirror.state.get("params", NETWORK_KEY) or {}
        expires = format_time(now + _ENTRY_LIFETIME)
        floor = network.get("floor", "")
        return expires if expires > floor else format_time(parse_time(floor) + timedelta(seconds=1))

    def send(self, entry: Entry) -> FinalEntry:
        """Have a signed entry sequenced, and wait until it is final on this node's own copy.

        Sending it again changes nothing and answers the same.

        Raises:
            LedgerRefused: the validity function, run by this node itself, refused it. TimedOut: no quorum
            cosigned it in time; it stays sequenced and may become final later. HubUnreachable: the hub did
            not answer; the entry stays in the outbox and is sent at the next start.
        """
        if self._mirror.final_entry(entry.txid) is None:
            self._outbox.put(entry.txid, entry.type, entry.raw)
            self._source.submit(entry.raw)
        return self._settle(entry)

    def pending(self) -> list[OutboxEntry]:
        """The own entries that are not known to be final, as any member can hand them in."""
        return self._outbox.pending()

    def relay(self, raw: bytes) -> Placed:
        """Hand in a signed entry of any member, for one whose entries the hub leaves out.

        Raises:
            MalformedEntry, Refusal: the hub does not take it.
        """
        return self._source.submit(raw)

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

    def _settle(self, entry: Entry) -> FinalEntry:
        txid, first_s = entry.txid, min(_PROMISE_AFTER_S, self._final_timeout_s)
        try:
            placed = self._wait_final(entry, first_s)
        except TimedOut:
            if self._mirror.store.find(txid) is None:
                self._ask_promise(entry)
            placed = self._wait_final(entry, self._final_timeout_s - first_s)
        if placed.code is not None:
            self._outbox.settle(txid, "refused")
            raise LedgerRefused(entry.type, placed.code)
        self._outbox.settle(txid, "final")
        return FinalEntry(placed.index, txid)

    def _wait_final(self, entry: Entry, timeout_s: float) -> Placed:
        what = f"a quorum to cosign {entry.type}"
        return self.wait_until(lambda: self._mirror.final_entry(entry.txid), timeout_s, what)

    def _ask_promise(self, entry: Entry) -> None:
        """Bind the hub to an entry that it says it has and that its log does not show."""
        try:
            self.receipts.keep(entry.raw, self._source.promise(entry.raw))
        except (ExchangeError, LedgerError) as exc:
            _log.warning("the hub promises nothing about entry %s: %s", entry.txid[:16], exc)

    def _follow(self) -> None:
        resent = False
        while not self._stopping.is_set():
            try:
                if not resent:
                    self._resend()
                    resent = True
                self._mirror.sync(wait_s=_LONG_POLL_S)
                self._announce()
                for late in self.receipts.check():
                    _log.critical("the hub promised entry %s by %s: %s", late.txid, late.by, late.evidence)
            except Divergence as exc:
                _log.critical("the hub's log differs from this node's own copy: %s", exc)
                self._divergence = exc
                self._announce()
                return
            except (ExchangeError, LedgerError) as exc:
                if not self._stopping.is_set():
                    self.sync_errors[exc.code] += 1
                    _log.warning("following the log: %s", exc)
                    for listener in self._failure_listeners:
                        listener()
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
