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
from types import TracebackType

from sqlalchemy import Connection

from ledger import notes
from ledger.batches import Batch, Head, seal_batch, split_batches, verify_batch
from ledger.checkpoints import Checkpoint
from ledger.cosigning import Cosigning
from ledger.entries import Entry
from ledger.errors import (
    LedgerError,
    MalformedKey,
    NotPublished,
    Refusal,
    StaleHead,
    StoreCorrupt,
    UnverifiedNote,
)
from ledger.keys import SigningKey
from ledger.membership import Network
from ledger.merkle import Tree
from ledger.notes import Note, NoteSignature
from ledger.orderer import Orderer, SqlOrderer
from ledger.replay import Loaded, load
from ledger.sequencer import LINGER_S, Placed, Sequencer
from ledger.state import GENESIS, SEAL, check_attributable
from ledger.store import LedgerStore, Record, StoredHead
from ledger.tables import State
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, decode_entries, encode_entries
from ledger.times import Clock, system_clock

__all__ = ["Log", "Placed"]

_HOLD_S = 1.0
_KEPT_BATCHES = 64


class Log:
    """One log. Thread-safe; build it with ``create`` or ``open`` and ``close`` it, or use it in ``with``.

    It serves as ``ledger.mirror.LogSource`` for members in the same process.
    """

    def __init__(
        self,
        store: LedgerStore,
        log_key: SigningKey,
        hub_key: SigningKey,
        clock: Clock,
        orderer: Orderer,
        linger_s: float,
    ) -> None:
        self._store, self._orderer = store, orderer
        self._log_key, self._hub_key = log_key, hub_key
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = self._is_stale = False
        self._target: tuple[int, float] | None = None
        self._adopt(load(store))
        self._sequencer = Sequencer(self._process, linger_s)

    @classmethod
    def create(
        cls,
        store: LedgerStore,
        genesis: bytes,
        log_key: SigningKey,
        hub_key: SigningKey,
        *,
        clock: Clock = system_clock,
        orderer: Orderer | None = None,
        linger_s: float = LINGER_S,
    ) -> Log:
        """Begin a log with its genesis, in an empty store.

        Raises:
            StaleHead: the store or the order engine holds a log already.
            InvalidBatch: the genesis is not valid.
            MalformedKey: the keys are not those that the genesis names.
        """
        log = cls(store, log_key, hub_key, clock, orderer or SqlOrderer(store.engine), linger_s)
        if log.size or log._orderer.head():
            raise StaleHead("expected an empty store, found a log")
        entry = Entry.parse(genesis)
        log._check_keys(log._seal([entry]).head.state)
        log._sequence([entry])
        log._sequencer.start()
        return log

    @classmethod
    def open(
        cls,
        store: LedgerStore,
        log_key: SigningKey,
        hub_key: SigningKey,
        *,
        clock: Clock = system_clock,
        orderer: Orderer | None = None,
        linger_s: float = LINGER_S,
    ) -> Log:
        """Load a log, verify all of it, and integrate what was ordered but not stored before a crash.

        Raises:
            StoreCorrupt: the store contradicts itself, or holds no log.
            MalformedKey: the keys are not those that the genesis names.
        """
        log = cls(store, log_key, hub_key, clock, orderer or SqlOrderer(store.engine), linger_s)
        log._integrate_ordered()
        if not log.size:
            raise StoreCorrupt("expected a log, found an empty store; create it from a genesis")
        log._check_keys(log.state)
        log._sequencer.start()
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
    def size(self) -> int:
        """Entries, seals included."""
        return self._head.size

    @property
    def final_size(self) -> int:
        """Entries below this index stand under a checkpoint that a quorum cosigned."""
        return self._cosigning.final_size

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
        entry = Entry.parse(raw)
        if entry.type in (SEAL, GENESIS):
            raise Refusal("entry.not-permitted", f"a {entry.type} is not submitted")
        check_attributable(self.state, entry)
        return self._sequencer.submit(entry)

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
            while (size := self._next_for(*known)) is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._closed:
                    size = self.size
                    break
                self._changed.wait(remaining)
            note = self._note(size)
            for line in self._cosigning.on(size):
                note = note.with_signature(line)
            return note.encode()

    def add_cosignature(self, size: int, line: str) -> None:
        """Take a member's cosignature line on the checkpoint of ``size``.

        Raises:
            NotPublished: no checkpoint of this size.
            MalformedNote, UnverifiedNote: not a member's valid cosignature on it.
        """
        signature = NoteSignature.parse(line.removesuffix("\n") + "\n")
        with self._changed:
            note = self._note(size)
            if self._cosigning.add(size, note.text, [signature]):
                self._aim(size)
                self._changed.notify_all()
            elif signature not in self._cosigning.on(size):
                raise UnverifiedNote("expected the first cosignature of an active member on this checkpoint")

    def entry_bundle(self, number: int, width: int = TILE_WIDTH) -> bytes:
        """Return ``width`` entries from index ``256 * number`` on, as an entry bundle.

        Raises:
            NotPublished: they are not all published.
        """
        self._check_range(number, width, height=0)
        start = number * TILE_WIDTH
        return encode_entries(record.raw for record in self._store.records(start, start + width))

    def tile(self, level: int, number: int, width: int = TILE_WIDTH) -> bytes:
        """Return ``width`` hashes of a tile.

        Raises:
            NotPublished: they are not all published.
        """
        if not 0 <= level < TILE_HEIGHT:
            raise NotPublished(f"expected a level below {TILE_HEIGHT}")
        height = level * TILE_HEIGHT
        self._check_range(number, width, height=height)
        return b"".join(self._tree.nodes(height, number * TILE_WIDTH, width))

    def close(self) -> None:
        """Take no more entries, sequence those taken, stop. Safe to call twice."""
        self._sequencer.close()
        self._stop()

    def _adopt(self, loaded: Loaded) -> None:
        with self._changed:
            self._tree: Tree = loaded.tree
            self._electorates = loaded.electorates
            self._genesis = loaded.genesis
            self._cosigning = Cosigning(self._store, loaded.electorates)
            self._head: Head = loaded.head
            self._changed.notify_all()

    def _check_keys(self, state: State) -> None:
        network = Network.of(state)
        named = (network.log.public, network.hub_key.public) if network else None
        if named != (self._log_key.public, self._hub_key.public):
            raise MalformedKey("expected the log key and the hub's entry key that the genesis names")

    def _check_range(self, number: int, width: int, *, height: int) -> None:
        if number < 0 or not 1 <= width <= TILE_WIDTH:
            raise NotPublished(f"expected a tile number and a width of 1 to {TILE_WIDTH}")
        if (number * TILE_WIDTH + width) << height > self.size:
            raise NotPublished(f"expected at most {self.size} entries")

    def _note(self, size: int) -> Note:
        raw = self._store.checkpoint(size)
        if raw is None:
            raise NotPublished(f"there is no checkpoint of size {size}")
        return Note.parse(raw)

    def _next_for(self, size: int, cosignatures: int) -> int | None:
        """Choose the checkpoint for a reader; None if it knows everything."""
        final, newest = self._cosigning.final_size, self.size
        if final > size or (final == size and len(self._cosigning.on(size)) > cosignatures):
            return final
        if self._target is not None:
            target, since = self._target
            if target > max(size, final) and time.monotonic() - since < _HOLD_S:
                return target
        if newest != size or len(self._cosigning.on(size)) != cosignatures:
            return newest
        return None

    def _aim(self, size: int) -> None:
        """Let readers that are behind ``size`` cosign it too, until it is final or a second has passed."""
        now = time.monotonic()
        if self._target is not None:
            target, since = self._target
            if target > self._cosigning.final_size and now - since < _HOLD_S:
                return
        self._target = (size, now)

    def _process(self, entries: Sequence[Entry]) -> list[Placed | LedgerError]:
        """Sequence entries, those apart that are in the log already, and say where each one stands."""
        failure: LedgerError | None = None
        try:
            if self._is_stale:
                self._reload()
            known = self._store.known(frozenset(entry.txid for entry in entries))
            new = [entry for entry in entries if entry.txid not in known]
            if new:
                self._sequence(new)
        except LedgerError as exc:
            failure = exc
            self._recover()
        return [self._placed(entry, failure) for entry in entries]

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
        loaded = load(self._store)
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

    def _integrate_ordered(self) -> None:
        for height, data in self._orderer.follow(self._head.height):
            if height != self._head.height:
                raise StoreCorrupt(f"expected a batch at height {self._head.height}, the engine has {height}")
            for entries in split_batches(decode_entries(data), self._head.size):
                batch = verify_batch(self._head, entries, now=None, seen=self._store.known)
                with self._store.transaction() as connection:
                    self._integrate(connection, batch)
                self._publish(batch)

    def _seal(self, entries: Sequence[Entry]) -> Batch:
        head = self._head
        now = self._clock().replace(microsecond=0)
        return seal_batch(
            head,
            entries,
            time=now if head.time is None else max(now, head.time),
            key=self._hub_key,
            reference=self._orderer.reference(head.height),
            seen=self._store.known,
        )

    def _sequence(self, entries: Sequence[Entry]) -> None:
        batch = self._seal(entries)
        height = self._head.height
        with self._store.transaction() as connection:
            self._orderer.propose(height, encode_entries(batch.raws), connection)
            self._integrate(connection, batch)
        self._publish(batch)
        if height % _KEPT_BATCHES == 0:
            self._orderer.trim(height - _KEPT_BATCHES)

    def _integrate(self, connection: Connection, batch: Batch) -> None:
        """Write a batch and its checkpoint. The tree grows first; if the transaction fails it is reloaded."""
        old = StoredHead(self._head.size, self._tree.root().hex()) if self._head.size else None
        codes = [*batch.codes, None]
        records = [
            Record.of(batch.first + position, entry, code)
            for position, (entry, code) in enumerate(zip([*batch.entries, batch.seal], codes, strict=True))
        ]
        for record in records:
            self._tree.append(record.leaf)
        network = Network.of(batch.head.state)
        if network is None:
            raise StoreCorrupt("expected a network in the state, found none")
        text = Checkpoint(network.origin, batch.head.size, self._tree.root()).encode()
        note = Note(text, (notes.sign(text, network.origin, self._log_key),))
        self._store.append(connection, records)
        self._store.put_checkpoint(connection, batch.head.size, note.encode())
        self._store.move_head(connection, old, StoredHead(batch.head.size, self._tree.root().hex()))

    def _publish(self, batch: Batch) -> None:
        with self._changed:
            self._electorates.record(batch.head.state, batch.head.size)
            self._genesis = self._genesis or batch.entries[0].raw
            self._head = batch.head
            self._changed.notify_all()
