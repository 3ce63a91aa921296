"""The sets of keys in a node's key file: the one that counts and, while a rotation is under way, the next.

Which set counts is said by the ledger alone. So nothing has to be remembered when a rotation takes effect,
and a crash at any moment loses no key: the file holds both sets until the node has seen its record change.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exchange import keyfile
from exchange.identity import NodeKeys, encode_sets, load_sets

__all__ = ["KeyRing", "KeyRingFile"]


@dataclass(frozen=True)
class KeyRing:
    """One member's sets of keys, oldest first; at least one."""

    sets: tuple[NodeKeys, ...]

    @property
    def current(self) -> NodeKeys:
        """The set that counts unless the ledger names another."""
        return self.sets[0]

    def named_by(self, record: Mapping[str, Any] | None) -> NodeKeys | None:
        """Return the set whose public halves a member record states."""
        if record is None:
            return None
        for keys in self.sets:
            public = keys.public_record()
            if all(record[use] == public[use] for use in public):
                return keys
        return None

    def since(self, keys: NodeKeys) -> KeyRing:
        """Return the ring without the sets before ``keys``."""
        return KeyRing(self.sets[self.sets.index(keys) :])

    def followed_by(self, keys: NodeKeys) -> KeyRing:
        """Return the current set and ``keys``, and no other."""
        return KeyRing((self.current, keys))


class KeyRingFile:
    """A key file that is read again when it was replaced. Thread-safe.

    Args:
        path: of the file.
        passphrase: opens it.
    """

    def __init__(self, path: Path, passphrase: str) -> None:
        self._path, self._passphrase = path, passphrase
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None

    def read(self) -> KeyRing:
        """Return all sets of the file as it is now.

        Raises:
            KeyFileExposed, KeyFileDamaged, WrongPassphrase: see ``exchange.keyfile.read``.
        """
        with self._lock:
            found = self._path.stat() if self._path.exists() else None
            version = None if found is None else (found.st_ino, found.st_mtime_ns)
            if version is None or version != self._seen:
                self._ring = KeyRing(load_sets(self._path, self._passphrase))
                self._seen = version
            return self._ring

    def replace(self, ring: KeyRing) -> None:
        """Make these the sets of the file, at once."""
        keyfile.replace(self._path, encode_sets(ring.sets), self._passphrase)
