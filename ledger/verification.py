"""Checking many signatures at once: the largest cost of a ledger, spread over processes.

A ``Verifier`` takes the entries of a batch before they are executed, checks each signature by the key that
the state names for it, and marks what holds on the entry, so that the validity function does not check it
again. What does not hold is left alone: the validity function checks it once more and refuses it. So a
verifier changes how fast an entry is judged and never how.

Worker processes are started at the first batch that is worth it. A worker ends when its pipe does, hence with
the process that started it, however that one ended.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

from ledger import algorithms
from ledger.entries import Entry
from ledger.errors import AlgorithmUnavailable, InvalidSignature
from ledger.membership import KeyRecord, member_key
from ledger.tables import State

__all__ = ["Claim", "Verifier", "check_claims"]

_WORTHWHILE = 64
"""Signatures from which on the way to another process costs less than it saves."""


class Claim(NamedTuple):
    """A signature to be checked, and by which algorithm and key."""

    alg: str
    public: bytes
    message: bytes
    signature: bytes


def check_claims(claims: Iterable[Claim]) -> bytes:
    """Check claims in this process; one byte each, 1 where the signature holds."""
    return bytes(_holds(claim) for claim in claims)


def _holds(claim: Claim) -> bool:
    try:
        algorithms.verify(*claim)
    except (InvalidSignature, AlgorithmUnavailable):
        return False
    return True


class Verifier:
    """Checks signatures with ``processes`` worker processes beside this one. Thread-safe.

    Args:
        processes: worker processes; 0 checks everything here.
    """

    def __init__(self, processes: int = 0) -> None:
        self._processes = processes
        self._workers: list[tuple[SpawnProcess, Connection]] = []
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._queued = 0

    @property
    def processes(self) -> int:
        """Worker processes that it may use."""
        return self._processes

    @property
    def queued(self) -> int:
        """Signatures that callers wait for now."""
        return self._queued

    def mark(self, state: State, entries: Sequence[Entry]) -> None:
        """Check the signatures of entries by the keys that ``state`` names, and mark those that hold."""
        keys: dict[str, KeyRecord | None] = {}
        claims: list[Claim] = []
        claimed: list[tuple[Entry, KeyRecord]] = []
        for entry in entries:
            for signature in entry.sigs:
                did = signature.kid.partition("#")[0]
                if did not in keys:
                    keys[did] = member_key(state, did)
                key = keys[did]
                if key is None or (key.kid, key.alg) != (signature.kid, signature.alg):
                    continue
                claims.append(Claim(key.alg, key.public, entry.signed_bytes, signature.value))
                claimed.append((entry, key))
        for (entry, key), holds in zip(claimed, self.check(claims), strict=True):
            if holds:
                entry.mark_verified(key.kid, key.public, key.alg)

    def check(self, claims: Sequence[Claim]) -> bytes:
        """Check claims; one byte each, 1 where the signature holds."""
        self._count(len(claims))
        try:
            return self._check(claims)
        finally:
            self._count(-len(claims))

    def close(self) -> None:
        """End the workers; what is checked from now on is checked in this process. Safe to call twice."""
        with self._lock:
            self._processes = 0
            self._end()

    def _count(self, more: int) -> None:
        with self._counting:
            self._queued += more

    def _check(self, claims: Sequence[Claim]) -> bytes:
        if not self._processes or len(claims) < _WORTHWHILE:
            return check_claims(claims)
        with self._lock:
            try:
                return self._spread(claims) if self._processes else check_claims(claims)
            except (OSError, EOFError):  # a worker was killed
                self._end()
        return check_claims(claims)

    def _spread(self, claims: Sequence[Claim]) -> bytes:
        if not self._workers:
            self._workers = [_start() for _ in range(self._processes)]
        share = -(-len(claims) // (len(self._workers) + 1))
        for number, (_, pipe) in enumerate(self._workers, 1):
            pipe.send([tuple(claim) for claim in claims[number * share : (number + 1) * share]])
        return check_claims(claims[:share]) + b"".join(pipe.recv_bytes() for _, pipe in self._workers)

    def _end(self) -> None:
        for process, pipe in self._workers:
            pipe.close()
            process.join()
        self._workers = []


def _start() -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), name="ledger-verifier", daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    while True:
        try:
            claims = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send_bytes(check_claims(Claim(*claim) for claim in claims))
