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
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ledger import base64url
from ledger.batches import Batch, Head, split_batches, verify_batch
from ledger.canonical import JsonValue
from ledger.checkpoints import Checkpoint, cosign, open_checkpoint
from ledger.cosigning import Cosigning
from ledger.entries import Entry
from ledger.errors import (
    Divergence,
    InvalidBatch,
    LedgerError,
    MalformedNote,
    NotFinal,
    StaleHead,
    StoreCorrupt,
)
from ledger.evidence import write_evidence
from ledger.keys import SigningKey
from ledger.membership import Network
from ledger.merkle import leaf_hash
from ledger.notes import Note
from ledger.replay import load
from ledger.sequencer import Placed
from ledger.state import apply
from ledger.store import LedgerStore, Record, StoredHead
from ledger.tables import State
from ledger.tiles import TILE_WIDTH, decode_entries
from ledger.times import Clock, format_time, system_clock

__all__ = ["Difference", "LogSource", "Mirror"]

_MAX_LOOKS = 16
"""Checkpoints taken in one ``sync`` at most; a log that grows faster is followed by the next call."""

_EVIDENCE_ENTRIES = 512


class LogSource(Protocol):
    """How a member reaches the log. Any error it raises ends the call and changes nothing."""

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        """Return the checkpoint to look at next; see ``Log.checkpoint``."""

    def entry_bundle(self, number: int, width: int) -> bytes:
        """Return entries; see ``Log.entry_bundle``."""

    def submit(self, raw: bytes) -> Placed:
        """Have an entry sequenced; see ``Log.submit``."""

    def add_cosignature(self, size: int, line: str) -> None:
        """Hand in a cosignature; see ``Log.add_cosignature``."""


@dataclass(frozen=True)
class Difference:
    """Where the log shows something else than one's own copy."""

    where: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.actual}"


class Mirror:
    """One member's copy. Thread-safe: one thread syncs at a time, readers never wait for it.

    Args:
        store: the member's own database.
        source: the hub.
        genesis: the genesis entry the member signed or pinned.
        cosigner: the member's cosigning key; None for a reader that does not cosign.
        clock: the member's time, for seals ahead of it and for cosignatures.
        evidence: folder for evidence files; made when needed.

    Raises:
        StoreCorrupt: the store contradicts itself or holds another network's log.
        Refusal: the genesis is not valid.
    """

    def __init__(
        self,
        store: LedgerStore,
        source: LogSource,
        genesis: bytes,
        cosigner: SigningKey | None,
        clock: Clock = system_clock,
        *,
        evidence: Path,
    ) -> None:
        self.store, self.genesis = store, genesis
        self._source, self._cosigner, self._clock, self._evidence = source, cosigner, clock, evidence
        self.network = _founded(genesis, clock)
        self._syncing = threading.Lock()
        self._changed = threading.Condition()
        self._load()

    @property
    def state(self) -> State:
        """The recomputed state; rows with ``index`` below ``final_size`` are final."""
        return self._head.state

    @property
    def final_state(self) -> State:
        """The state that the entries below ``final_size`` make: the one to decide on."""
        with self._changed:
            while len(self._states) > 1 and self._states[1][0] <= self.final_size:
                self._states.popleft()
            size, state = self._states[0]
        return state if size <= self.final_size else State()

    @property
    def size(self) -> int:
        """Entries in this copy."""
        return self._head.size

    @property
    def final_size(self) -> int:
        """Entries below this index stand under a checkpoint that a quorum cosigned."""
        return self._cosigning.final_size

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
                if not self._look(self.size, 0.0):
                    break
                changed = True
        if changed:
            with self._changed:
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
        *,
        subjects: Sequence[str] = (),
        type: str | None = None,
        actor: str | None = None,
        after: int = -1,
        limit: int = 100,
    ) -> list[Record]:
        """Return final entries in log order, a page at a time; see ``LedgerStore.search``."""
        return self.store.search(
            below=self.final_size, subjects=subjects, type=type, actor=actor, after=after, limit=limit
        )

    def compare(self, source: LogSource) -> list[Difference]:
        """Fetch the log again and compare it with this copy, entry by entry.

        Returns:
            Every difference below this copy's size; what the log has beyond it is left to ``sync``.
        """
        head, tree = self._head, self._tree
        checkpoint, _ = open_checkpoint(source.checkpoint(), self.network.log)
        differences: list[Difference] = []
        if checkpoint.size <= head.size and checkpoint.root != tree.root(checkpoint.size):
            root = tree.root(checkpoint.size).hex()
            differences.append(
                Difference(f"checkpoint at size {checkpoint.size}", f"root {root}", checkpoint.root.hex())
            )
        for start in range(0, head.size, TILE_WIDTH):
            width = min(TILE_WIDTH, head.size - start)
            try:
                found = decode_entries(source.entry_bundle(start // TILE_WIDTH, width))
            except LedgerError as exc:
                differences.append(
                    Difference(f"entries {start} to {start + width - 1}", "to be served", str(exc))
                )
                continue
            differences += self._compare_entries(start, width, found)
        return differences

    def _compare_entries(self, start: int, width: int, found: Sequence[bytes]) -> list[Difference]:
        differences = []
        for position in range(max(width, len(found))):
            actual = leaf_hash(found[position]).hex() if position < len(found) else "nothing"
            expected = self._tree.leaf(start + position).hex() if position < width else "nothing"
            if actual != expected:
                where = f"entry {start + position}"
                differences.append(Difference(where, f"leaf hash {expected}", actual))
        return differences

    def _load(self) -> None:
        loaded = load(self.store)
        if loaded.head.size and loaded.genesis != self.genesis:
            raise StoreCorrupt("expected the log of this genesis, found another network's")
        self._tree, self._electorates = loaded.tree, loaded.electorates
        self._cosigning = Cosigning(self.store, loaded.electorates)
        self._head: Head = loaded.head
        with self._changed:
            self._states = deque(loaded.states)

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
        if checkpoint.size == self.size:
            self._cosign(note)
        return grown or gathered

    def _extend(self, checkpoint: Checkpoint, note: Note) -> None:
        raws = self._fetch(self.size, checkpoint.size)
        for raw in raws:
            self._tree.append(leaf_hash(raw))
        try:
            if (root := self._tree.root()) != checkpoint.root:
                raise self._divergence("root", checkpoint, note, root.hex(), checkpoint.root.hex(), raws)
            batches = self._execute(raws, checkpoint, note)
            self._keep(batches, checkpoint, note)
        except StaleHead:
            self._load()
            raise
        else:
            with self._changed:
                self._states.extend((batch.head.size, batch.head.state) for batch in batches)
            for batch in batches:
                self._electorates.record(batch.head.state, batch.head.size)
            self._head = batches[-1].head
        finally:
            self._tree.truncate(self.size)

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
            for entries in split_batches(raws, head.size):
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
        records = [
            Record.of(batch.first + position, entry, code)
            for batch in batches
            for position, (entry, code) in enumerate(
                zip([*batch.entries, batch.seal], [*batch.codes, None], strict=True)
            )
        ]
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

    def _cosign(self, note: Note) -> None:
        """Cosign the head that is stored, if it counts and the log does not show it yet."""
        if self._cosigner is None:
            return
        own = [key for key in self._electorates.at(self.size).vkeys if key.public == self._cosigner.public]
        if not own or any(line.is_by(own[0]) for line in note.signatures):
            return
        kept = [line for line in self._cosigning.on(self.size) if line.is_by(own[0])]
        if not kept:
            kept = [cosign(note.text, own[0].name, self._cosigner, int(self._clock().timestamp()))]
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
        own = self.store.checkpoint(self.size)
        entries: list[JsonValue] = [base64url.encode(raw) for raw in raws[:_EVIDENCE_ENTRIES]]
        facts: dict[str, JsonValue] = {
            "network": self.network.name,
            "expected": expected,
            "actual": actual,
            "checkpoint": note.encode().decode(),
            "own_checkpoint": None if own is None else own.decode(),
            "own_root": self._tree.root(self.size).hex(),
            "own_size": self.size,
            "entries_from": self.size,
            "entries": entries,
            "day": format_time(self._clock())[:10],
        }
        path = write_evidence(self._evidence, kind, checkpoint.size, facts)
        return Divergence(kind, checkpoint.size, expected, actual, str(path))


def _founded(genesis: bytes, clock: Clock) -> Network:
    state = apply(State(), Entry.parse(genesis), index=0, time=clock())
    network = Network.of(state)
    if network is None:
        raise StoreCorrupt("expected a genesis that sets up a network")
    return network
