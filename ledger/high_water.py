"""The largest checkpoint that a member cosigned, in a file beside its database.

A database that is restored from an old backup has forgotten what was cosigned since, so a dishonest hub could
have its member cosign a second root of a size. The file is written before a signature leaves and is not part
of the database: a copy that is behind it does not cosign, and one that reaches it with another root is wrong.
"""

from __future__ import annotations

import os
from pathlib import Path

from ledger import canonical
from ledger.errors import NotCanonical, StoreCorrupt
from ledger.merkle import HASH_SIZE

__all__ = ["HighWater"]


class HighWater:
    """The mark of one member on one log. It only rises.

    Args:
        path: the file; made at the first cosignature.
        genesis: hash of the log's genesis.

    Raises:
        StoreCorrupt: the file is of another log, or cannot be read.
    """

    def __init__(self, path: Path, genesis: str) -> None:
        self._path, self._genesis = path, genesis
        self.size, self.root = self._read() if path.exists() else (0, b"")

    def rise(self, size: int, root: bytes) -> None:
        """Note, durably, that the checkpoint of ``size`` with this root is about to be cosigned."""
        if size <= self.size:
            return
        data = canonical.encode({"genesis": self._genesis, "size": size, "root": root.hex()})
        partial = self._path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.size, self.root = size, root

    def _read(self) -> tuple[int, bytes]:
        try:
            facts = canonical.decode(self._path.read_bytes())
        except (OSError, NotCanonical) as exc:
            raise StoreCorrupt(f"{self._path.name}: expected what was cosigned last: {exc}") from exc
        match facts:
            case {"genesis": self._genesis, "size": int(size), "root": str(text), **rest} if not rest:
                try:
                    root = bytes.fromhex(text)
                except ValueError:
                    root = b""
                if size > 0 and len(root) == HASH_SIZE:
                    return size, root
        raise StoreCorrupt(f"{self._path.name}: expected size and root that were cosigned last on this log")
