"""The channel between two parties of one protocol run, as the protocols see it.

Synchronous and blocking, on purpose: a protocol role spends its time in numpy and libsodium, so each role
runs in a thread or process of its own, and its code reads top to bottom like the party's column in the
paper. Nothing here opens a socket; the exchange supplies channels over its transport, and `mpc.simulated`
supplies one in memory. See docs/decisions/0008-synchronous-channels.md.

A channel gives order and, with its transport, authenticity and secrecy against third parties. The protocols
on top add what the transport cannot know: the next label, the session in every hash, and the comparison of
transcripts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

MIN_WINDOW_BYTES = 4 * 1024 * 1024
"""A channel takes at least this much before the peer receives; the protocols never have more in flight."""


@dataclass(slots=True)
class ChannelStats:
    """What one party sent and received in one run.

    Bytes are payload bytes: labels, framing and encryption of the transport come on top. A round is a phase
    of receiving: the first message received after a send (or at the start) begins one.
    """

    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    rounds: int = 0
    _receiving: bool = field(default=False, repr=False, compare=False)

    def count_sent(self, size_bytes: int) -> None:
        """Count one message sent."""
        self.bytes_sent += size_bytes
        self.messages_sent += 1
        self._receiving = False

    def count_received(self, size_bytes: int) -> None:
        """Count one message received."""
        self.bytes_received += size_bytes
        if not self._receiving:
            self.rounds += 1
            self._receiving = True


class Channel(Protocol):
    """One party's end of an ordered, reliable, authenticated channel.

    Duties of an implementation:

    - Messages arrive once each, in the order sent, unchanged, or not at all.
    - ``send`` returns without waiting for the peer to receive while less than `MIN_WINDOW_BYTES` is in
      flight.
    - ``receive`` blocks up to a bound of the implementation's choice and then raises.
    - After ``abort`` at either end, ``receive`` at the other raises `PeerAborted` with the code.
    """

    @property
    def session(self) -> bytes:
        """Identifier of this run, equal at both ends, never used before: binds job, attempt and parties."""

    @property
    def rank(self) -> int:
        """0 or 1: which of the protocol's roles this end plays."""

    @property
    def peer(self) -> str:
        """Name of the other party, for messages to people."""

    @property
    def stats(self) -> ChannelStats:
        """Counters of this end."""

    def send(self, label: str, payload: bytes) -> None:
        """Send one message."""

    def receive(self, label: str) -> bytes:
        """Wait for the next message, which must carry ``label``.

        Raises:
            UnexpectedMessage: the next message carries another label.
            PeerAborted: the peer stopped the run.
            ChannelBroken: the channel closed, or nothing came in time.
        """

    def abort(self, code: str) -> None:
        """Tell the peer that this run is over and why. Never raises; later calls have no effect."""
