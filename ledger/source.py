"""How a member reaches the log it mirrors."""

from __future__ import annotations

from typing import Protocol

from ledger.sequencer import Placed

__all__ = ["LogSource"]


class LogSource(Protocol):
    """How a member reaches the log. Any error it raises ends the call and changes nothing."""

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        """Return the checkpoint to look at next; see ``Log.checkpoint``."""

    def checkpoint_of(self, size: int) -> bytes:
        """Return the checkpoint of one size; see ``Log.checkpoint_of``."""

    def entry_bundle(self, number: int, width: int) -> bytes:
        """Return entries; see ``Log.entry_bundle``."""

    def submit(self, raw: bytes) -> Placed:
        """Have an entry sequenced; see ``Log.submit``."""

    def promise(self, raw: bytes) -> bytes:
        """Have the hub promise an entry; see ``Log.promise``."""

    def add_cosignature(self, size: int, line: str) -> None:
        """Hand in a cosignature; see ``Log.add_cosignature``."""
