"""A member's own copy of the log: fetch, recompute, compare, store, cosign, in that order.

A mirror believes nobody. It takes a checkpoint signed by the log, fetches the entries, recomputes root, state
and refusals, and stores everything in one transaction before its cosignature leaves. Its stored head moves by
compare-and-swap and a size has one checkpoint, so that no crash and no second process makes it cosign two
roots for one size. What is final it counts itself, from the cosignatures of the members that its own state
shows as active at that size.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ledger import base64url
from ledger.batches import Batch, Head, split_batches, verify_batch
from ledger.canonical import JsonValue
from ledger.checkpoints import Checkpoint, cosign, open_checkpoint
from ledger.comparison import Difference, compare
from ledger.cosigning import Cosigning
from ledger.entries import Entry
from ledger.errors import (
    Divergence,
    InvalidBatch,
    MalformedEntry,
    MalformedNote,
    NotFinal,
    StaleHead,
    StoreCorrupt,
)
from ledger.evidence import write_evidence
from ledger.high_water import HighWater
from ledger.keys import SigningKey
from ledger.membership import Network, genesis_hash
from ledger.merkle import Tree, leaf_hash
from ledger.notes import Note
from ledger.replay import Loaded, load
from ledger.search import Page, Query, Search
from ledger.sequencer import Placed
from ledger.snapshots import Snapshots
from ledger.source import LogSource
from ledger.state import SEAL, apply
from ledger.store import LedgerStore, Record, StoredHead, records_of
from ledger.tables import State
from ledger.tiles import TILE_WIDTH, decode_entries
from ledger.times import Clock, format_time, system_clock
from ledger.verification import Verifier

__all__ = ["Mirror"]

_EVERYTHING = Query()
_MAX_LOOKS = 16
"""Checkpoints taken in one ``sync`` at most; a log that grows faster is followed by the next call."""

_BUSY = TILE_WIDTH // 2
_BREATH_S = 0.2
"""While a log grows by ``_BUSY`` entries at a time, more are awaited this long before the next look, so that
one exchange of messages serves them all."""

_STEP = 16 * TILE_WIDTH
"""Entries taken at once at most, if a batch is not longer than that."""

_EVIDENCE_ENTRIES = 512


class Mirror:
    """One member's copy. Thread-safe: one thread syncs at a time, readers never wait for it.

    Args:
        store: the member's own database.
        source: the hub.
        genesis: the genesis entry the member signed or pinned; in a later epoch, the entry that began it.
        cosigner: the member's cosigning key; None for a reader that does not cosign. Two keys while a
            rotation is under way: each signs the checkpoints of the sizes at which it counts.
        clock: the member's time, for seals ahead of it and for cosignatures.
        evidence: folder for evidence files; made when needed.
        cosigned: file that says what was cosigned last, apart from the store; see ``ledger.high_water``.
        verifier: checks signatures of many entries at once; in this process alone by default.

    Raises:
        StoreCorrupt: the store contradicts itself or holds another network's log.
        Refusal: the genesis is not valid.
    """

    def __init__(
        self,
        store: LedgerStore,
        source: LogSource,
        genesis: bytes,
        cosigner: SigningKey | Sequence[SigningKey] | None,
        clock: Clock = system_clock,
        *,
        evidence: Path,
        cosigned: Path | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        self.store, self.genesis, self._verifier = store, genesis, verifier or Verifier()
        self.index = Search(store)
        self.evidence = evidence
        self._source, self._clock = source, clock
        held = [cosigner] if isinstance(cosigner, SigningKey) else list(cosigner or ())
        self._cosigners = {key.public: key for key in held}
        self._mark = None if cosigned is None else HighWater(cosigned, genesis_hash(genesis))
        self._syncing = threading.Lock()
        self._changed = threading.Condition()
        self._load()

    def close(self) -> None:
        """End what checks signatures beside this process. Safe to call twice."""
        self._verifier.close()

    @property
    def state(self) -> State:
        """The recomputed state; rows with ``index`` below ``final_size`` are final."""
        return self._head.state

    @property
    def final_state(self) -> State:
        """The state that the entries below ``final_size`` make: the one to decide on."""
        with self._changed:
            return self._snapshots.final(self.final_size).state

    @property
    def final(self) -> tuple[int, State]:
        """``final_size`` and ``final_state`` of one moment."""
        while True:
            size, state = self.final_size, self.final_state
            if size == self.final_size:
                return size, state

    @property
    def tree(self) -> Tree:
        """The tree of this copy's entries. Proofs up to ``final_size`` may be read while the copy grows."""
        return self._tree

    @property
    def size(self) -> int:
        """Entries in this copy."""
        return self._head.size

    @property
    def final_size(self) -> int:
        """Entries below this index stand under a checkpoint that a quorum cosigned."""
        return self._cosigning.final_size

    @property
    def cosigned_size(self) -> int:
        """The largest size that this member has cosigned, with this copy or one before a restored backup."""
        return 0 if self._mark is None else self._mark.size

    def sync(self, wait_s: float = 0.0) -> bool:
        """Follow the log to where it is now.

        Args:
            wait_s: how long the source may wait if there is nothing new.

        Returns:
            Whether entries or cosignatures came in.

        Raises:
            Divergence: the log is wrong; an evidence file is written, nothing is stored or cosigned.
            UnverifiedNote, MalformedNote: the source answered with what the log or a member did not sign.
            SealAhead: the log's clock or this member's is wrong; nothing is stored.
            StaleHead: another process moved this store; its state is loaded, call again.
        """
        with self._syncing:
            changed = self.final_size < self.size and self._look(self.final_size, 0.0)
            changed = self._look(self.size, 0.0 if changed else wait_s) or changed
            for _ in range(_MAX_LOOKS):
                before = self.size
                if not self._look(self.size, 0.0):
                    break
                changed = True
                if _BUSY <= self.size - before < _STEP:
                    time.sleep(_BREATH_S)
        if changed:
            with self._changed:
                self._snapshots.advance(self.final_size)
                self._changed.notify_all()
        return changed

    def final_entry(self, txid: str) -> Placed | None:
        """Return where a final entry stands; None while it is not final."""
        record = self.store.find(txid)
        if record is None or record.index >= self.final_size:
            return None
        return Placed(record.index, record.txid, record.code)

    def wait_final(self, txid: str, timeout_s: float, *, sync: bool = False) -> Placed:
        """Wait until an entry is final on this copy.

        Args:
            txid: the entry.
            timeout_s: how long to wait.
            sync: follow the log here; otherwise another thread has to.

        Raises:
            NotFinal: it did not become final in time.
        """
        deadline = time.monotonic() + timeout_s
        while (placed := self.final_entry(txid)) is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise NotFinal(f"waited {timeout_s:g} s for a quorum to cosign the entry")
            if sync:
                self.sync(wait_s=min(remaining, 1.0))
            else:
                with self._changed:
                    self._changed.wait(min(remaining, 0.1))
        return placed

    def search(
        self,
        query: Query = _EVERYTHING,
        *,
        cursor: int | None = None,
        newest_first: bool = False,
        limit: int = 100,
    ) -> Page:
        """Return final entries, a page at a time; see ``ledger.search``."""
        return self.index.page(
            query, below=self.final_size, cursor=cursor, newest_first=newest_first, limit=limit
        )

    def found(self, query: Query) -> Iterator[Record]:
        """Yield all final entries that meet a query, in log order."""
        return self.index.every(query, below=self.final_size)

    def compare(self, source: LogSource) -> list[Difference]:
        """Fetch the log again and compare it with this copy, entry by entry.

        Returns:
            Every difference below this copy's size; what the log has beyond it is left to ``sync``.
        """
        return compare(source, self.network.log, self._tree)

    def _load(self) -> None:
        loaded = load(self.store, self._verifier)
        if loaded.head.size and loaded.genesis != self.genesis:
            raise StoreCorrupt("expected the log of this genesis, found another network's")
        self.network = _network(loaded, self.genesis, self._clock)
        self._tree, self._electorates = loaded.tree, loaded.electorates
        self._cosigning = Cosigning(self.store, loaded.electorates)
        with self._changed:
            self._head: Head = loaded.head
            self._snapshots = Snapshots(self.store, loaded)

    def _look(self, size: int, wait_s: float) -> bool:
        """Take one checkpoint from the source, given that we know ``size`` and the cosignatures on it."""
        known = (size, len(self._cosigning.on(size)))
        raw = self._source.checkpoint(known=known, wait_s=wait_s)
        checkpoint, note = open_checkpoint(raw, self.network.log)
        if checkpoint.size < size:
            raise self._divergence(
                "rollback", checkpoint, note, f"at least size {size}", f"{checkpoint.size}"
            )
        grown = checkpoint.size > self.size
        if grown:
            self._extend(checkpoint, note)
        elif (root := self._tree.root(checkpoint.size)) != checkpoint.root:
            raise self._divergence("split-view", checkpoint, note, root.hex(), checkpoint.root.hex())
        gathered = self._gather(checkpoint.size, note)
        if checkpoint.size == self.size and self._remembers(checkpoint, note):
            self._cosign(note)
        return grown or gathered

    def _extend(self, checkpoint: Checkpoint, note: Note) -> None:
        """Take everything up to a checkpoint, in steps that fit into memory, each under its own."""
        while checkpoint.size - self.size > _STEP:
            raws = self._fetch(self.size, self.size + _STEP)
            size = self.size + _whole_batches(raws)
            if size == self.size:
                break
            step, step_note = open_checkpoint(self._source.checkpoint_of(size), self.network.log)
            if step.size != size:
                raise MalformedNote(f"expected the checkpoint of size {size}, got {step.size}")
            self._take(raws[: size - self.size], step, step_note)
        self._take(self._fetch(self.size, checkpoint.size), checkpoint, note)

    def _take(self, raws: Sequence[bytes], checkpoint: Checkpoint, note: Note) -> None:
        """Execute the entries up to a checkpoint, compare and store them."""
        tree = self._tree.copy()
        tree.extend(leaf_hash(raw) for raw in raws)
        if (root := tree.root()) != checkpoint.root:
            raise self._divergence("root", checkpoint, note, root.hex(), checkpoint.root.hex(), raws)
        batches = self._execute(raws, checkpoint, note)
        try:
            self._keep(batches, checkpoint, note)
        except StaleHead:
            self._load()
            raise
        with self._changed:
            for batch in batches:
                self._snapshots.record(batch.head.size, batch.head.state)
                self._electorates.record(batch.head.state, batch.head.size)
            self._tree, self._head = tree, batches[-1].head

    def _fetch(self, start: int, stop: int) -> list[bytes]:
        raws: list[bytes] = []
        for number in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            width = min(TILE_WIDTH, stop - number * TILE_WIDTH)
            bundle = decode_entries(self._source.entry_bundle(number, width))
            if len(bundle) != width:
                raise MalformedNote(f"expected a bundle of {width} entries, got {len(bundle)}")
            raws += bundle[max(0, start - number * TILE_WIDTH) :]
        return raws

    def _execute(self, raws: Sequence[bytes], checkpoint: Checkpoint, note: Note) -> list[Batch]:
        head, now = self._head, self._clock()
        batches: list[Batch] = []
        seen_here: set[str] = set()

        def seen(txids: frozenset[str]) -> frozenset[str]:
            # another process may have stored these entries meanwhile; the head's swap finds that out
            return self.store.known(txids, below=self.size) | (txids & seen_here)

        try:
            if head.size == 0 and raws[0] != self.genesis:
                actual = hashlib.sha256(raws[0]).hexdigest()
                raise InvalidBatch("genesis", 0, hashlib.sha256(self.genesis).hexdigest(), actual)
            sealed = list(split_batches(raws, head.size))
            self._verifier.mark(head.state, [entry for entries in sealed for entry in entries])
            for entries in sealed:
                batch = verify_batch(head, entries, now=now, seen=seen)
                seen_here.update(entry.txid for entry in entries)
                batches.append(batch)
                head = batch.head
        except InvalidBatch as exc:
            facts = f"{exc.what} of entry {exc.index}: "
            raise self._divergence(
                "invalid-batch", checkpoint, note, facts + exc.expected, facts + exc.actual, raws
            ) from exc
        return batches

    def _keep(self, batches: Sequence[Batch], checkpoint: Checkpoint, note: Note) -> None:
        records = [record for batch in batches for record in records_of(batch)]
        old = StoredHead(self.size, self._tree.root(self.size).hex()) if self.size else None
        with self.store.transaction() as connection:
            self.store.move_head(connection, old, StoredHead(checkpoint.size, checkpoint.root.hex()))
            self.store.append(connection, records)
            self.store.put_checkpoint(connection, checkpoint.size, self._log_signed(note))

    def _log_signed(self, note: Note) -> bytes:
        lines = tuple(line for line in note.signatures if line.is_by(self.network.log))
        return replace(note, signatures=lines[:1]).encode()

    def _gather(self, size: int, note: Note) -> bool:
        """Keep the members' cosignatures on a checkpoint whose root is our own."""
        electorate = self._electorates.at(size).vkeys
        if not any(line.is_by(vkey) for line in note.signatures for vkey in electorate):
            return False
        if self.store.checkpoint(size) is None:
            with self.store.transaction() as connection:
                self.store.put_checkpoint(connection, size, self._log_signed(note))
        return self._cosigning.add(size, note.text, note.signatures) > 0

    def _remembers(self, checkpoint: Checkpoint, note: Note) -> bool:
        """Tell whether this copy holds all that its member cosigned: not yet, after a restored backup."""
        if self._mark is None or self._mark.size == 0:
            return True
        if self._mark.size > self.size:
            return False
        if (root := self._tree.root(self._mark.size)) != self._mark.root:
            raise self._divergence("split-view", checkpoint, note, self._mark.root.hex(), root.hex())
        return True

    def _cosign(self, note: Note) -> None:
        """Cosign the head that is stored, if it counts and the log does not show it yet."""
        own = [key for key in self._electorates.at(self.size).vkeys if key.public in self._cosigners]
        if not own or any(line.is_by(own[0]) for line in note.signatures):
            return
        kept = [line for line in self._cosigning.on(self.size) if line.is_by(own[0])]
        if not kept:
            key, time_s = self._cosigners[own[0].public], int(self._clock().timestamp())
            if self._mark is not None:
                self._mark.rise(self.size, self._tree.root())
            kept = [cosign(note.text, own[0].name, key, time_s)]
            self._cosigning.add(self.size, note.text, kept)
        self._source.add_cosignature(self.size, kept[0].encode())

    def _divergence(
        self,
        kind: str,
        checkpoint: Checkpoint,
        note: Note,
        expected: str,
        actual: str,
        raws: Sequence[bytes] = (),
    ) -> Divergence:
        own = self._own_note(checkpoint.size)
        entries: list[JsonValue] = [base64url.encode(raw) for raw in raws[:_EVIDENCE_ENTRIES]]
        facts: dict[str, JsonValue] = {
            "network": self.network.name,
            "expected": expected,
            "actual": actual,
            "checkpoint": note.encode().decode(),
            "own_checkpoint": None if own is None else own.encode().decode(),
            "own_root": self._tree.root(self.size).hex(),
            "own_size": self.size,
            "entries_from": self.size,
            "entries": entries,
            "day": format_time(self._clock())[:10],
        }
        path = write_evidence(self.evidence, kind, checkpoint.size, facts)
        return Divergence(kind, checkpoint.size, expected, actual, str(path))

    def _own_note(self, size: int) -> Note | None:
        """The own checkpoint of ``size`` or else of the head, with the cosignatures on it."""
        for own in (size, self.size):
            raw = self.store.checkpoint(own)
            if raw is not None:
                note = Note.parse(raw)
                return replace(note, signatures=(*note.signatures, *self._cosigning.on(own)))
        return None


def _whole_batches(raws: Sequence[bytes]) -> int:
    """Count the entries up to the last seal among them."""
    for position in range(len(raws), 0, -1):
        if _is_seal(raws[position - 1]):
            return position
    return 0


def _is_seal(raw: bytes) -> bool:
    try:
        return Entry.parse(raw).type == SEAL
    except MalformedEntry:
        return False


def _network(loaded: Loaded, genesis: bytes, clock: Clock) -> Network:
    """Read the network from a log that has begun; from its genesis, which is checked, otherwise."""
    state = loaded.head.state
    if not loaded.head.size:
        state = apply(loaded.carried, Entry.parse(genesis), index=0, time=clock())
    network = Network.of(state)
    if network is None:
        raise StoreCorrupt("expected a genesis that sets up a network")
    return network
