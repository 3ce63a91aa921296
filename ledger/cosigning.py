"""Counting cosignatures: which checkpoint is final, from what a store holds and by one's own electorate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from ledger.checkpoints import verify_cosignature
from ledger.errors import MalformedNote, StoreCorrupt, UnverifiedNote
from ledger.membership import Electorates
from ledger.notes import Note, NoteSignature
from ledger.store import LedgerStore

__all__ = ["Cosigning", "Target"]

_HOLD_S = 1.0
"""How long readers are sent to one checkpoint before another takes its place."""


class Cosigning:
    """The cosignatures of one log and the largest final size. Thread-safe; nobody waits for another's disk.

    Args:
        store: holds the checkpoints and the cosignatures.
        electorates: who counts at which size, up to the store's head.

    Raises:
        StoreCorrupt: a stored cosignature does not verify.
    """

    def __init__(self, store: LedgerStore, electorates: Electorates) -> None:
        self._store, self._electorates = store, electorates
        self._lock = threading.Lock()
        self._lines: dict[int, dict[str, NoteSignature]] = {}
        self._final_size = 0
        for size in store.cosigned_sizes():
            self._lines[size] = self._load(size)
            if self._is_final(size):
                self._final_size = size
                break

    @property
    def final_size(self) -> int:
        """The size of the largest checkpoint that a quorum cosigned; 0 if there is none."""
        return self._final_size

    def on(self, size: int) -> list[NoteSignature]:
        """Return the cosignatures on the checkpoint of ``size``, by key name."""
        with self._lock:
            lines = self._lines.get(size)
        if lines is None:
            loaded = self._load(size)
            with self._lock:
                lines = self._lines.setdefault(size, loaded)
        return [lines[name] for name in sorted(lines)]

    def add(self, size: int, text: str, signatures: Iterable[NoteSignature]) -> int:
        """Verify and keep the cosignatures of that size's electorate; others are ignored.

        Returns:
            How many are new.

        Raises:
            UnverifiedNote: a line by a member's key does not verify. Nothing is kept.
        """
        lines = {line.name: line for line in self.on(size)}
        new: dict[str, NoteSignature] = {}
        vkeys = {(vkey.name, vkey.id): vkey for vkey in self._electorates.at(size).vkeys}
        for line in signatures:
            vkey = vkeys.get((line.name, line.key_id))
            if vkey is not None and line.name not in lines:
                verify_cosignature(text, line, vkey)
                new[line.name] = line
        if not new:
            return 0
        self._store.add_cosignatures(size, [(name, line.encode()) for name, line in new.items()])
        with self._lock:
            self._lines[size] = self._lines.get(size, lines) | new
            if size > self._final_size and self._is_final(size):
                self._final_size = size
                for older in [other for other in self._lines if other < size]:
                    del self._lines[older]
        return len(new)

    def _is_final(self, size: int) -> bool:
        electorate, names = self._electorates.at(size), self._lines[size].keys()
        return electorate.is_final(vkey for vkey in electorate.vkeys if vkey.name in names)

    def _load(self, size: int) -> dict[str, NoteSignature]:
        where = f"ledger_cosignatures at size {size}"
        stored = self._store.cosignatures(size)
        raw = self._store.checkpoint(size) if stored else None
        found: dict[str, NoteSignature] = {}
        if raw is None:
            if stored:
                raise StoreCorrupt(f"{where}: expected a checkpoint of this size, found none")
            return found
        vkeys = {vkey.name: vkey for vkey in self._electorates.at(size).vkeys}
        try:
            text = Note.parse(raw).text
            for name, line in stored.items():
                signature = NoteSignature.parse(line)
                if name not in vkeys:
                    raise StoreCorrupt(f"{where}: expected a member's name")
                verify_cosignature(text, signature, vkeys[name])
                found[name] = signature
        except (MalformedNote, UnverifiedNote) as exc:
            raise StoreCorrupt(f"{where}: {exc}") from exc
        return found


class Target:
    """The checkpoint that members are cosigning now. Not thread-safe: the owner holds a lock.

    While a log grows, each member would otherwise cosign another size, and none would gather a quorum.
    """

    def __init__(self) -> None:
        self._target: tuple[int, float] | None = None

    def aim(self, newest: int, final_size: int) -> None:
        """Let all readers cosign the newest checkpoint, until it is final or a second has passed.

        Nobody is beyond the newest one, so everybody can still be led to it.
        """
        now = time.monotonic()
        if self._target is not None:
            target, since = self._target
            if target > final_size and now - since < _HOLD_S:
                return
        self._target = (newest, now)

    def next_for(self, known: tuple[int, int], newest: int, cosigning: Cosigning) -> int | None:
        """Choose the checkpoint for a reader; None if it knows everything.

        Args:
            known: the size the reader has, and how many cosignatures it knows on it.
            newest: the log's size.
            cosigning: the cosignatures there are.
        """
        size, cosignatures = known
        final = cosigning.final_size
        if final > size or (final == size and len(cosigning.on(size)) > cosignatures):
            return final
        self.aim(newest, final)
        if self._target is not None and self._target[0] > max(size, final):
            return self._target[0]
        if newest != size or len(cosigning.on(size)) != cosignatures:
            return newest
        return None
