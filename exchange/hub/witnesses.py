"""Final checkpoints go out to the witnesses and mirrors of the settings, and their cosignatures come back.

They do not count for finality. They are an outside anchor: somebody without a part in the network has seen
this history at that time. One thread for each; a copy that is away holds up nobody and catches up later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from exchange.config import OutsideCopy
from exchange.errors import ExchangeError
from exchange.hub.copies import MirrorCopy, WitnessCopy
from ledger.checkpoints import Checkpoint
from ledger.errors import LedgerError
from ledger.log import Log
from ledger.notes import Note
from ledger.store import LedgerStore
from ledger.witness_lines import WitnessLines

__all__ = ["CopyStatus", "WitnessFeed"]

_log = logging.getLogger(__name__)

_EVERY_S = 0.5
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class CopyStatus:
    """How far an outside copy is, and its keys; ``problem`` is the code of its last failure, if it failed."""

    kind: str
    name: str
    vkeys: tuple[str, ...]
    size: int
    problem: str | None


class WitnessFeed:
    """The threads that feed outside copies. ``start`` and ``stop`` it.

    Args:
        log: the hub's.
        engine: its database.
        witnesses: who is asked to cosign.
        mirrors: who is sent the entries too.
        every_s: how often to look for a new final checkpoint.
    """

    def __init__(
        self,
        log: Log,
        engine: Engine,
        origin: str,
        witnesses: Sequence[OutsideCopy],
        mirrors: Sequence[OutsideCopy],
        *,
        every_s: float = _EVERY_S,
    ) -> None:
        self._log, self._store, self._lines = log, LedgerStore(engine), WitnessLines(engine)
        self._every_s, self._ending = every_s, threading.Event()
        copies = [("witness", WitnessCopy(copy, log)) for copy in witnesses]
        copies += [("mirror", MirrorCopy(copy, log, origin)) for copy in mirrors]
        self._status = {
            number: CopyStatus(kind, copy.name, tuple(vkey.encode() for vkey in copy.vkeys), 0, None)
            for number, (kind, copy) in enumerate(copies)
        }
        self._copies = [copy for _, copy in copies]
        self._threads = [
            threading.Thread(target=self._feed, args=(number, copy), name=f"copy-{number}", daemon=True)
            for number, copy in enumerate(self._copies)
        ]

    def start(self) -> None:
        """Begin to feed."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; one in the middle of a request breaks it off. Safe to call twice."""
        self._ending.set()
        for copy in self._copies:
            copy.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def signed(self, note: bytes) -> bytes:
        """Return a checkpoint of this log with what the copies cosigned on it."""
        if not self._copies:
            return note
        lines = self._lines.on(Checkpoint.parse(Note.parse(note).text).size)
        return note + "".join(line.encode() for line in lines).encode()

    def status(self) -> list[CopyStatus]:
        """Return how far each copy is, in the order of the settings."""
        return [self._status[number] for number in sorted(self._status)]

    def _feed(self, number: int, copy: WitnessCopy) -> None:
        pause_s = self._every_s
        while not self._ending.wait(pause_s):
            size = self._log.final_size
            if size <= self._status[number].size:
                continue
            problem = self._attempt(copy, size)
            status = self._status[number]
            if problem is None:
                self._status[number] = replace(status, size=size, problem=None)
                pause_s = self._every_s
            elif not self._ending.is_set():
                if problem != status.problem:
                    _log.warning("%s %s: %s", status.kind, status.name, problem)
                self._status[number] = replace(status, problem=problem)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _attempt(self, copy: WitnessCopy, size: int) -> str | None:
        try:
            note = self._store.checkpoint(size)
            if note is not None:
                self._lines.add(size, copy.push(size, note))
        except (ExchangeError, LedgerError) as error:
            return str(error.code)
        except RuntimeError:
            if not self._ending.is_set():  # httpx says so when its client was closed under a request
                raise
        return None
