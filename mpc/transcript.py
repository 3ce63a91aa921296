"""A channel for one protocol run: labels every message, hashes what passes, and compares at the end.

The transport authenticates bytes between two machines. This module adds that both roles speak the same
version of the same protocol in the same session and saw the same messages in the same order: labels carry
protocol and version, and `ConfirmedChannel.confirm` exchanges one hash over session and both directions
before any output exists.

Not a defence against a malicious party: a cheating peer can hash what it likes. Not fair either: if the very
last message is lost, one party has its output and the other aborts.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from mpc import wire
from mpc.channel import Channel
from mpc.domain import Usage, separation_tag
from mpc.errors import InvalidInput, MalformedMessage, MpcError, TranscriptMismatch
from mpc.spec import ProtocolSpec

CONFIRMATION_BYTES = 32
PIECE_BYTES = 1024 * 1024
"""Largest message of `ConfirmedChannel.swap`; both pieces in flight fit a channel's window."""
SWAPPED_BYTES = 1 << 32
"""Most that `ConfirmedChannel.swap` takes where its caller knows no tighter bound."""


class ConfirmedChannel:
    """One run of ``spec`` over ``channel``.

    ``common`` is the session that more than two parties share; it enters the comparison of transcripts.
    """

    def __init__(self, channel: Channel, spec: ProtocolSpec, *, common: bytes = b"") -> None:
        if channel.rank not in range(2):
            raise InvalidInput(f"a channel has the ranks 0 and 1, got {channel.rank}")
        self._channel = channel
        self._prefix = f"{spec.name}/{spec.version}"
        self._tag = separation_tag(spec.name, spec.version, Usage.TRANSCRIPT, channel.session + common)
        self._hashes = tuple(hashlib.sha256(self._tag + bytes([rank])) for rank in range(2))

    @property
    def session(self) -> bytes:
        """The session of the channel."""
        return self._channel.session

    @property
    def rank(self) -> int:
        """The rank of this end."""
        return self._channel.rank

    def send(self, message: str, payload: bytes) -> None:
        """Send the protocol message named ``message``."""
        label = f"{self._prefix}/{message}"
        self._absorb(self.rank, label, payload)
        self._channel.send(label, payload)

    def receive(self, message: str) -> bytes:
        """Receive the protocol message named ``message``; raises as `Channel.receive` does."""
        label = f"{self._prefix}/{message}"
        payload = self._channel.receive(label)
        self._absorb(1 - self.rank, label, payload)
        return payload

    def swap(self, message: str, payload: bytes, *, at_most: int = SWAPPED_BYTES) -> bytes:
        """Send a payload of any size and receive the peer's, in turns of `PIECE_BYTES`.

        Each announces its size with the first piece, so neither fills the other's window.

        Raises:
            MalformedMessage: more than ``at_most`` bytes are announced, or a piece has another size than that
                makes it.
        """
        view = memoryview(payload)
        self.send(message, wire.encode_uint64(len(view)) + view[:PIECE_BYTES])
        first = self.receive(message)
        size, parts = wire.Reader(message, first).uint64("size"), list[bytes]()
        if size > at_most:
            raise MalformedMessage(f"{message}: expected at most {at_most} bytes, {size} are announced")

        def take(number: int, part: bytes) -> None:
            if len(part) != min(max(size - number * PIECE_BYTES, 0), PIECE_BYTES):
                raise MalformedMessage(f"{message}: piece {number} has {len(part)} bytes of {size} in all")
            parts.append(part)

        take(0, first[8:])
        for start in range(PIECE_BYTES, max(len(view), size), PIECE_BYTES):
            if start < len(view):
                self.send(message, bytes(view[start : start + PIECE_BYTES]))
            if start < size:
                take(start // PIECE_BYTES, self.receive(message))
        return b"".join(parts)

    def confirm(self) -> None:
        """Compare transcripts with the other party. The last step of every role, before its output.

        Raises:
            TranscriptMismatch: the parties saw different messages or are in different sessions.

        Security: a change of any message by the network is found unless SHA-256 collides. Semi-honest
        parties. Leaks: nothing; both parties can compute the hash. Cost: one round; 32 bytes each way.
        Source: key confirmation of authenticated key exchange, as in RFC 8446, section 4.4.4.
        """
        self.send_confirmation()
        self.check_confirmation()

    def send_confirmation(self) -> None:
        """The first half of `confirm`, for parties that compare with several others."""
        self._channel.send(f"{self._prefix}/confirm", self._digest())

    def check_confirmation(self) -> None:
        """The second half of `confirm`; raises as it does."""
        if not hmac.compare_digest(self._digest(), self._channel.receive(f"{self._prefix}/confirm")):
            raise TranscriptMismatch("the two parties did not see the same messages in the same session")

    def _digest(self) -> bytes:
        return hashlib.sha256(self._tag + b"".join(state.digest() for state in self._hashes)).digest()

    def _absorb(self, sender: int, label: str, payload: bytes) -> None:
        state = self._hashes[sender]
        name = label.encode()
        state.update(struct.pack("<QQ", len(name), len(payload)) + name)
        state.update(payload)


@contextmanager
def protocol_run(channel: Channel, spec: ProtocolSpec, *, common: bytes = b"") -> Iterator[ConfirmedChannel]:
    """Open a run of ``spec``; on any error of this package, tell the peer its code before raising on."""
    try:
        yield ConfirmedChannel(channel, spec, common=common)
    except MpcError as error:
        channel.abort(error.code)
        raise
