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

from mpc.channel import Channel
from mpc.domain import Usage, separation_tag
from mpc.errors import InvalidInput, MpcError, TranscriptMismatch
from mpc.spec import ProtocolSpec

CONFIRMATION_BYTES = 32


class ConfirmedChannel:
    """One run of ``spec`` over ``channel``."""

    def __init__(self, channel: Channel, spec: ProtocolSpec) -> None:
        if channel.rank not in range(len(spec.roles)):
            raise InvalidInput(f"{spec.name} has ranks 0 to {len(spec.roles) - 1}, got {channel.rank}")
        self._channel = channel
        self._prefix = f"{spec.name}/{spec.version}"
        self._tag = separation_tag(spec.name, spec.version, Usage.TRANSCRIPT, channel.session)
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

    def confirm(self) -> None:
        """Compare transcripts with the other party. The last step of every role, before its output.

        Raises:
            TranscriptMismatch: the parties saw different messages or are in different sessions.

        Security: a change of any message by the network is found unless SHA-256 collides. Semi-honest
        parties. Leaks: nothing; both parties can compute the hash. Cost: one round; 32 bytes each way.
        Source: key confirmation of authenticated key exchange, as in RFC 8446, section 4.4.4.
        """
        own = hashlib.sha256(self._tag + b"".join(state.digest() for state in self._hashes)).digest()
        label = f"{self._prefix}/confirm"
        self._channel.send(label, own)
        if not hmac.compare_digest(own, self._channel.receive(label)):
            raise TranscriptMismatch("the two parties did not see the same messages in the same session")

    def _absorb(self, sender: int, label: str, payload: bytes) -> None:
        state = self._hashes[sender]
        name = label.encode()
        state.update(struct.pack("<QQ", len(name), len(payload)) + name)
        state.update(payload)


@contextmanager
def protocol_run(channel: Channel, spec: ProtocolSpec) -> Iterator[ConfirmedChannel]:
    """Open a run of ``spec``; on any error of this package, tell the peer its code before raising on."""
    try:
        yield ConfirmedChannel(channel, spec)
    except MpcError as error:
        channel.abort(error.code)
        raise
