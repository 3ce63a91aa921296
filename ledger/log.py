"""The hub's log: takes signed entries, orders them in batches, publishes checkpoints, gathers cosignatures.

One thread gathers entries for a moment, executes and seals them, and commits batch, entries, seal and
checkpoint in one transaction before anybody is told. If a commit fails, what happened is found out by loading
the store again, on the path that start-up takes. Readers never wait for the disk.

The log is trusted for availability only. Whatever it publishes, each member recomputes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType

from sqlalchemy import Connection

from ledger.algorithms import Signer
from ledger.batches import Batch, Head, seal_batch, split_batches, verify_batch
from ledger.cosigning import Cosigning, Target
from ledger.debts import Debts
from ledger.engines import Engines, Order
from ledger.entries import Entry
from ledger.errors import (
    LedgerError,
    MalformedEntry,
    MalformedKey,
    Refusal,
    StaleHead,
    StoreCorrupt,
    UnverifiedNote,
)
from ledger.keys import SigningKey
from ledger.membership import Network
from ledger.merkle import Tree
from ledger.notes import NoteSignature
from ledger.publisher import Publisher, signed_checkpoint
from ledger.replay import Loaded, load
from ledger.sequencer import LINGER_S, Placed, Sequencer, check_at_the_door, outcome
from ledger.snapshots import Snapshots
from ledger.state import settle
from ledger.store import LedgerStore, StoredHead, records_of
from ledger.tables import State
from ledger.tiles import TILE_WIDTH, decode_entries, encode_entries
from ledger.times import Clock, system_clock
from ledger.verification import Verifier

__all__ = ["Log", "Placed"]


class Log:
    """One log. Thread-safe; build it with ``create`` or ``open`` and ``close`` it, or use it in ``with``.

    It serves as ``ledger.mirror.LogSource`` for members in the same process.
    """

    def __init__(
        self,
        store: LedgerStore,
        log_key: SigningKey,
        hub_key: Signer,
        clock: Clock,
        engines: Engines | None,
        linger_s: float,
        verifier: Verifier | None,
    ) -> None:
        self._store, self._order = store, Order(store, engines or Engines.of(store))
        self._log_key, self._hub_key = log_key, hub_key
        self._clock, self._verifier = clock, verifier or Verifier()
        self._changed = threading.Condition()
        self._closed = self._is_stale = False
        self._target = Target()
        self._adopt(load(store, self._verifier))
        self._debts = Debts(store, hub_key)
        self._sequencer = Sequencer(self._process, linger_s)

    @classmethod
    def create(
        cls,
        store: LedgerStore,
        genesis: bytes,
        log_key: SigningKey,
        hub_key: Signer,
        *,
        clock: Clock = system_clock,
        engines: Engines | None = None,
        linger_s: float = LINGER_S,
        verifier: Verifier | None = None,
    ) -> Log:
        """Begin a log with its genesis, in an empty store; a later epoch's in one that holds what it carries.

        Raises:
            StaleHead: the store holds a log already, or the order engine another one.
            InvalidBatch: the genesis is not valid.
            MalformedKey: the keys are not those that the genesis names.
            EngineUnusable, StoreUnavailable: the genesis cannot be ordered.
        """
        log, entry = cls(store, log_key, hub_key, clock, engines, linger_s, verifier), Entry.parse(genesis)
        if log.size:
            raise StaleHead("expected an empty store, found a log")
        founded = log._seal([entry], "0").head.state
        log._check_keys(founded)
        log._order.found(founded)
        log._integrate_ordered(genesis)
        if not log.size:
            log._sequence([entry])
        log._sequencer.start()
        return log

    @classmethod
    def open(
        cls,
        store: LedgerStore,
        log_key: SigningKey,
        hub_key: Signer,
        *,
        clock: Clock = system_clock,
        engines: Engines | None = None,
        linger_s: float = LINGER_S,
        verifier: Verifier | None = None,
    ) -> Log:
        """Load a log, verify all of it, and integrate what was ordered but not stored before a crash.

        Raises:
            StoreCorrupt: the store contradicts itself, or holds no log.
            MalformedKey: the keys are not those that the genesis names.
        """
        log = cls(store, log_key, hub_key, clock, engines, linger_s, verifier)
        log._integrate_ordered()
        if not log.size:
            raise StoreCorrupt("expected a log, found an empty store; create it from a genesis")
        log._check_keys(log.state)
        log._sequencer.start()
        for entry in log._debts.due():
            log._sequencer.submit(entry)
        return log

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def state(self) -> State:
        """The state after the last batch."""
        return self._head.state

    @property
    def next_state(self) -> State:
        """The state that the next batch begins with: governance changes that are due by now are in it."""
        head = self._head
        return settle(head.state, head.size)

    @property
    def size(self) -> int:
        """Entries, seals included."""
        return self._head.size

    @property
    def final_size(self) -> int:
        """Entries below this index stand under a checkpoint that a quorum cosigned."""
        return self._cosigning.final_size

    @property
    def height(self) -> int:
        """Batches, each with its seal."""
        return self._head.height

    @property
    def pending(self) -> int:
        """Entries that were taken and are not durable yet."""
        return self._sequencer.pending

    @property
    def genesis(self) -> bytes:
        """The genesis entry."""
        return self._genesis

    def submit(self, raw: bytes) -> Placed:
        """Have an entry sequenced; returns when it is durable under a signed checkpoint.

        Entries that no member can be held to (another network, a stranger, a signature that does not verify)
        are refused at the door. All others are sequenced, and ``code`` says what the validity function made
        of them. The same bytes may be submitted again: the answer is the first place.

        Raises:
            MalformedEntry: not an entry.
            Refusal: refused at the door; it is not in the log.
            LogClosed, StoreUnavailable, OrderConflict: not sequenced; submitting again is safe.
        """
        placed = self.submit_many([raw])[0]
        if isinstance(placed, LedgerError):
            raise placed
        return placed

    def submit_many(self, raws: Sequence[bytes]) -> list[Placed | LedgerError]:
        """Have entries sequenced in this order, as far as they are new; returns when all are durable.

        Returns:
            For each what ``submit`` returns or raises.

        Raises:
            LogClosed: none is sequenced; handing all in again is safe.
        """
        answers: list[Placed | LedgerError | None] = [None] * len(raws)
        parsed: dict[int, Entry] = {}
        for position, raw in enumerate(raws):
            try:
                parsed[position] = Entry.parse(raw)
            except MalformedEntry as exc:
                answers[position] = exc
        state = self.next_state
        self._verifier.mark(state, list(parsed.values()))
        for position, entry in list(parsed.items()):
            try:
                check_at_the_door(state, entry)
            except LedgerError as exc:
                answers[position] = exc
                del parsed[position]
        waiting = self._sequencer.submit_many(list(parsed.values()))
        for position, placed in zip(parsed, waiting, strict=True):
            answers[position] = placed if isinstance(placed, Refusal) else outcome(placed)
        return [answer for answer in answers if answer is not None]

    def promise(self, raw: bytes) -> bytes:
        """Promise durably that an entry will be in the log soon, and see to it; see ``ledger.promises``.

        Raises:
            MalformedEntry, Refusal: refused at the door; nothing is promised.
            LogClosed, StoreUnavailable: asking again is safe, and returns the same promise.
        """
        entry = Entry.parse(raw)
        check_at_the_door(self.next_state, entry)
        promise = self._debts.promise(self.state, entry, self._now())
        self._sequencer.submit(entry)
        return promise

    def checkpoint(self, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        """Return the checkpoint a reader should look at next, with the cosignatures on it.

        Readers that are behind get the last final checkpoint, then the one that others are cosigning, then
        the newest: cosignatures gather on the same sizes although the log moves on.

        Args:
            known: the size the reader has, and how many cosignatures it knows on it.
            wait_s: how long to wait for something the reader does not know.

        Raises:
            NotPublished: there is no checkpoint yet.
        """
        deadline = time.monotonic() + wait_s
        with self._changed:
            while (size := self._target.next_for(known, self.size, self._cosigning)) is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._closed:
                    size = self.size
                    break
                self._changed.wait(remaining)
        note = self._public.note(size)
        for line in self._cosigning.on(size):
            note = note.with_signature(line)
        return note.encode()

    def checkpoint_of(self, size: int) -> bytes:
        """Return the log's checkpoint of one size, without cosignatures.

        Raises:
            NotPublished: no batch ends there.
        """
        return self._public.note(size).encode()

    def add_cosignature(self, size: int, line: str) -> None:
        """Take a member's cosignature line on the checkpoint of ``size``.

        One that comes so late that the snapshot has passed it is not kept: a later checkpoint is final.

        Raises:
            NotPublished: no checkpoint of this size.
            MalformedNote, UnverifiedNote: not a member's valid cosignature on it.
        """
        signature = NoteSignature.parse(line.removesuffix("\n") + "\n")
        note = self._public.note(size)
        if size < self._electorates.since:
            return
        if self._cosigning.add(size, note.text, [signature]):
            self._public.settle(self.final_size)
            with self._changed:
                self._target.aim(self.size, self.final_size)
                self._changed.notify_all()
        elif signature not in self._cosigning.on(size):
            raise UnverifiedNote("expected the first cosignature of an active member on this checkpoint")

    def entry_bundle(self, number: int, width: int = TILE_WIDTH) -> bytes:
        """Return ``width`` entries from index ``256 * number`` on, as an entry bundle.

        Raises:
            NotPublished: they are not all published.
        """
        return self._public.entry_bundle(number, width)

    def tile(self, level: int, number: int, width: int = TILE_WIDTH) -> bytes:
        """Return ``width`` hashes of a tile.

        Raises:
            NotPublished: they are not all published.
        """
        return self._public.tile(level, number, width)

    def close(self) -> None:
        """Take no more entries, sequence those taken, stop. Safe to call twice."""
        self._sequencer.close()
        self._stop()
        self._verifier.close()

    def _adopt(self, loaded: Loaded) -> None:
        with self._changed:
            self._public = Publisher(self._store, loaded.tree)
            self._electorates = loaded.electorates
            self._genesis = loaded.genesis
            self._cosigning = Cosigning(self._store, loaded.electorates)
            self._snapshots = Snapshots(self._store, loaded)
            self._head: Head = loaded.head
            self._changed.notify_all()

    def _check_keys(self, state: State) -> None:
        network = Network.of(state)
        named = (network.log.public, network.hub_key.public) if network else None
        if named != (self._log_key.public, self._hub_key.public):
            raise MalformedKey("expected the log key and the hub's entry key that the genesis names")

    def _process(self, entries: Sequence[Entry]) -> list[Placed | LedgerError]:
        """Sequence entries, those apart that are in the log already, and say where each one stands."""
        failure: LedgerError | None = None
        placed: dict[str, Placed] = {}
        try:
            if self._is_stale:
                self._reload()
            self._debts.pay(self._sequence)
            known = self._store.known(frozenset(entry.txid for entry in entries))
            new = [entry for entry in entries if entry.txid not in known]
            if new:
                batch = self._sequence(new)
                for position, (entry, code) in enumerate(zip(batch.entries, batch.codes, strict=True)):
                    placed[entry.txid] = Placed(batch.first + position, entry.txid, code)
        except LedgerError as exc:
            failure = exc
            self._recover()
        return [placed.get(entry.txid) or self._placed(entry, failure) for entry in entries]

    def _placed(self, entry: Entry, failure: LedgerError | None) -> Placed | LedgerError:
        try:
            record = self._store.find(entry.txid)
        except LedgerError as exc:
            return exc
        if record is None:
            return failure or StoreCorrupt("a sequenced entry is missing in the store")
        if record.raw != entry.raw:
            return Refusal("entry.replayed", "the same act stands in the log with another signature list")
        return Placed(record.index, record.txid, record.code)

    def _recover(self) -> None:
        """Find out what a failed commit left behind; if that cannot be done now, the next batch tries."""
        self._is_stale = True
        try:
            self._reload()
        except StoreCorrupt:
            self._sequencer.stop_taking()
            self._stop()
        except LedgerError:
            return

    def _reload(self) -> None:
        loaded = load(self._store, self._verifier)
        if loaded.head.size < self.size:
            raise StoreCorrupt(
                f"expected at least the {self.size} published entries, found {loaded.head.size}"
            )
        self._adopt(loaded)
        self._integrate_ordered()
        self._is_stale = False

    def _stop(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _integrate_ordered(self, genesis: bytes | None = None) -> None:
        for data in self._order.follow(lambda: self._head):
            for entries in split_batches(decode_entries(data), self._head.size):
                if genesis is not None and not self.size and entries[0].raw != genesis:
                    raise StaleHead("expected an order engine without batches, found another log's")
                batch = verify_batch(self._head, entries, now=None, seen=self._store.known)
                with self._store.transaction() as connection:
                    tree = self._integrate(connection, batch)
                self._publish(batch, tree)

    def _now(self) -> datetime:
        """The hub's time in whole seconds, but never before the last seal's."""
        now, last = self._clock().replace(microsecond=0), self._head.time
        return now if last is None else max(now, last)

    def _seal(self, entries: Sequence[Entry], reference: str) -> Batch:
        return seal_batch(
            self._head,
            entries,
            time=self._now(),
            key=self._hub_key,
            reference=reference,
            seen=lambda _: frozenset(),  # known entries were set apart; the store has a txid once
        )

    def _sequence(self, entries: Sequence[Entry]) -> Batch:
        height = self._head.height
        orderer = self._order.engine(self._head)
        batch = self._seal(entries, orderer.reference(height))
        with self._store.transaction() as connection:
            orderer.propose(height, encode_entries(batch.raws), connection)
            tree = self._integrate(connection, batch)
        self._publish(batch, tree)
        self._order.trim(orderer, batch.head, self.final_size)
        self._snapshots.advance(self.final_size)
        return batch

    def _integrate(self, connection: Connection, batch: Batch) -> Tree:
        """Write a batch and its checkpoint; return the tree with it."""
        old = StoredHead(self._head.size, self._public.tree.root().hex()) if self._head.size else None
        records = records_of(batch)
        tree = self._public.tree.copy()
        tree.extend(record.leaf for record in records)
        note = signed_checkpoint(batch.head, tree.root(), self._log_key)
        self._store.append(connection, records)
        self._store.put_checkpoint(connection, batch.head.size, note.encode())
        self._store.move_head(connection, old, StoredHead(batch.head.size, tree.root().hex()))
        return tree

    def _publish(self, batch: Batch, tree: Tree) -> None:
        self._snapshots.record(batch.head.size, batch.head.state)
        with self._changed:
            self._public.publish(tree, batch.raws)
            self._electorates.record(batch.head.state, batch.head.size)
            self._genesis = self._genesis or batch.entries[0].raw
            self._head = batch.head
            self._changed.notify_all()
