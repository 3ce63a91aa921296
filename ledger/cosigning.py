"""Counting cosignatures: which checkpoint is final, from what a store holds and by one's own electorate."""

from __future__ import annotations

from collections.abc import Iterable

from ledger.checkpoints import verify_cosignature
from ledger.errors import MalformedNote, StoreCorrupt, UnverifiedNote
from ledger.membership import Electorates
from ledger.notes import Note, NoteSignature
from ledger.store import LedgerStore

__all__ = ["Cosigning"]


class Cosigning:
    """The cosignatures of one log and the largest final size. Not thread-safe: the owner holds a lock.

    Args:
        store: holds the checkpoints and the cosignatures.
        electorates: who counts at which size, up to the store's head.

    Raises:
        StoreCorrupt: a stored cosignature does not verify.
    """

    def __init__(self, store: LedgerStore, electorates: Electorates) -> None:
        self._store, self._electorates = store, electorates
        self._lines: dict[int, dict[str, NoteSignature]] = {}
        self._final_size = 0
        for size in store.cosigned_sizes():
            self._load(size)
            if self._is_final(size):
                self._final_size = size
                break

    @property
    def final_size(self) -> int:
        """The size of the largest checkpoint that a quorum cosigned; 0 if there is none."""
        return self._final_size

    def on(self, size: int) -> list[NoteSignature]:
        """Return the cosignatures on the checkpoint of ``size``, by key name."""
        if size not in self._lines:
            self._load(size)
        lines = self._lines[size]
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
        self._lines[size] = lines | new
        if size > self._final_size and self._is_final(size):
            self._final_size = size
            for older in [other for other in self._lines if other < size]:
                del self._lines[older]
        return len(new)

    def _is_final(self, size: int) -> bool:
        electorate = self._electorates.at(size)
        return len(self._lines[size]) >= electorate.quorum and bool(electorate.vkeys)

    def _load(self, size: int) -> None:
        where = f"ledger_cosignatures at size {size}"
        stored = self._store.cosignatures(size)
        raw = self._store.checkpoint(size) if stored else None
        self._lines[size] = {}
        if raw is None:
            if stored:
                raise StoreCorrupt(f"{where}: expected a checkpoint of this size, found none")
            return
        vkeys = {vkey.name: vkey for vkey in self._electorates.at(size).vkeys}
        try:
            text = Note.parse(raw).text
            for name, line in stored.items():
                signature = NoteSignature.parse(line)
                if name not in vkeys:
                    raise StoreCorrupt(f"{where}: expected a member's name")
                verify_cosignature(text, signature, vkeys[name])
                self._lines[size][name] = signature
        except (MalformedNote, UnverifiedNote) as exc:
            raise StoreCorrupt(f"{where}: {exc}") from exc
