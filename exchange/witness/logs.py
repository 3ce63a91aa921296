"""The logs that a witness knows: the ``log`` lines of a policy file, read again when it changes."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from exchange.errors import Conflict
from exchange.witness.files import LOGS_FILE
from ledger.errors import MalformedPolicy
from ledger.notes import Vkey
from ledger.trust import NONE, TrustPolicy

__all__ = ["KnownLogs", "add_log", "origin_hash"]

_EMPTY = TrustPolicy((), {}, (), NONE)


class KnownLogs:
    """Verifier keys by origin, from the file ``logs`` of a directory. Thread-safe.

    Raises:
        MalformedPolicy: the file is not a policy; while running, the last good one is kept.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOGS_FILE
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._by_origin: dict[str, list[Vkey]] = {}
        self._refresh()

    def __call__(self, origin: str) -> list[Vkey]:
        """Return the keys trusted for ``origin``; none for an unknown log."""
        return self._current().get(origin, [])

    def origin_of(self, hashed: str) -> str | None:
        """Return the known origin whose SHA-256 is ``hashed`` in lower-case hex."""
        return {origin_hash(origin): origin for origin in self._current()}.get(hashed)

    def origins(self) -> list[str]:
        """Return all known origins, by name."""
        return sorted(self._current())

    def _current(self) -> dict[str, list[Vkey]]:
        with self._lock:
            try:
                self._refresh()
            except MalformedPolicy:
                pass  # half written, or damaged: a restart says so, a running witness stays with what it knew
            return self._by_origin

    def _refresh(self) -> None:
        seen = _state(self._path)
        if seen == self._seen:
            return
        by_origin: dict[str, list[Vkey]] = {}
        for vkey, _ in _read(self._path).logs:
            by_origin.setdefault(vkey.name, []).append(vkey)
        self._seen, self._by_origin = seen, by_origin


def add_log(directory: Path, vkey: Vkey, url: str | None = None) -> None:
    """Write another log into the file of ``directory``; a running witness sees it with its next request.

    Raises:
        Conflict: the log's key is there already.
        MalformedPolicy: the file is not a policy.
    """
    path = directory / LOGS_FILE
    known = _read(path)
    if any(vkey.public == other.public for other, _ in known.logs):
        raise Conflict("expected a log that is not known yet, got a key that is")
    policy = TrustPolicy((*known.logs, (vkey, url)), {}, (), NONE)
    staged = path.with_name(path.name + ".new")
    staged.touch(mode=0o600)
    staged.write_bytes(TrustPolicy.parse(policy.encode()).encode())
    staged.replace(path)


def origin_hash(origin: str) -> str:
    """Return how an origin stands in a monitoring address."""
    return hashlib.sha256(origin.encode()).hexdigest()


def _read(path: Path) -> TrustPolicy:
    return TrustPolicy.parse(path.read_bytes()) if path.exists() else _EMPTY


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
