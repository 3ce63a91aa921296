"""The record of acts about people: rows chained by digests, and a mark of the end beside the database.

A row cannot be altered, inserted or taken from the middle without every later digest changing. That the end
was cut off, or the whole was written anew, shows against the mark: a file in the data directory, which
whoever writes to the database alone does not reach.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EMPTY", "Act", "Mark", "RecordHead", "Verdict", "digest_of", "verify"]

_DOMAIN = b"parley-people-record/v1\n"
EMPTY = "0" * 64
"""The digest before the first act."""


@dataclass(frozen=True)
class Act:
    """One act: who did what to whom, when. ``facts`` are JSON and hold no secret."""

    position: int
    time: str
    actor: str
    act: str
    subject: str
    facts: str
    previous: str
    digest: str


@dataclass(frozen=True)
class RecordHead:
    """Length of a record and the digest of its last act."""

    size: int
    digest: str


@dataclass(frozen=True)
class Verdict:
    """Whether the record is whole; where it is not, the first position that does not fit, and why."""

    sound: bool
    size: int
    digest: str
    position: int
    reason: str


def digest_of(position: int, time: str, actor: str, act: str, subject: str, facts: str, previous: str) -> str:
    """Return the digest of an act: SHA-256 over a JSON list of its columns, in ASCII."""
    covered = json.dumps([position, time, actor, act, subject, facts, previous])
    return hashlib.sha256(_DOMAIN + covered.encode()).hexdigest()


def verify(acts: Iterable[Act], head: RecordHead, mark: RecordHead | None) -> Verdict:
    """Walk the whole record from its first act.

    Args:
        acts: all rows, in order of position.
        head: what the database says of the end.
        mark: what the file beside it says; None: there is none.
    """
    size, last = 0, EMPTY
    marked = mark is None or mark.size == 0
    for act in acts:
        fitting = digest_of(size + 1, act.time, act.actor, act.act, act.subject, act.facts, last)
        if act.position != size + 1:
            return Verdict(False, size, last, size + 1, f"expected act {size + 1}, found act {act.position}")
        if act.previous != last or act.digest != fitting:
            return Verdict(False, size, last, act.position, "the act does not carry the digest it had")
        size, last = act.position, act.digest
        if mark is not None and size == mark.size:
            if last != mark.digest:
                return Verdict(False, size, last, size, "the record differs from the one that was marked")
            marked = True
    if not marked and mark is not None:
        return Verdict(False, size, last, size + 1, f"expected {mark.size} marked acts, found {size}")
    if (head.size, head.digest) != (size, last):
        return Verdict(False, size, last, size + 1, f"expected {head.size} acts, found {size}")
    return Verdict(True, size, last, 0, "")


class Mark:
    """The end of the record as the file beside the database has it; it only rises."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> RecordHead | None:
        """Return the mark; None where there is none yet.

        Raises:
            ValueError: the file holds something else.
        """
        try:
            held = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        match held:
            case {"size": int(size), "digest": str(digest), **rest} if not rest and len(digest) == len(EMPTY):
                return RecordHead(size, digest)
        raise ValueError(f"{self._path.name}: expected size and digest of the people's record")

    def rise(self, head: RecordHead) -> None:
        """Note the end of the record, unless a later one is noted already; several processes may call it."""
        lock = os.open(self._path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self.read()
            if known is not None and known.size >= head.size:
                return
            fresh = self._path.with_suffix(".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(json.dumps({"size": head.size, "digest": head.digest}).encode())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        finally:
            os.close(lock)
