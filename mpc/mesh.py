"""One party's place among n: its rank, a session common to all, and a confirmed channel to each other party.

A protocol of n parties is n(n-1)/2 channels and one session. Each pair compares transcripts as two parties do
(`mpc.transcript`), with the common session in every hash, so a message that the network changed, dropped or
moved between pairs ends the run. It is no defence against a party that tells two others different things.

Parties that talk to several others in turn MUST do so in ascending order of the peer's rank, as `swap` does:
then two parties never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from mpc.channel import Channel
from mpc.errors import InvalidInput, MalformedMessage, MpcError
from mpc.spec import ProtocolSpec
from mpc.transcript import ConfirmedChannel

__all__ = ["ConfirmedMesh", "Mesh", "mesh_run"]


@dataclass(frozen=True)
class Mesh:
    """What the exchange gives a party of an n-party protocol.

    Attributes:
        rank: of this party, 0 to n - 1; the order is the same at all.
        session: identifier of this run, equal at all parties, never used before.
        channels: to each other party, by its rank. Of a pair the lower rank is rank 0 of their channel.
    """

    rank: int
    session: bytes
    channels: Mapping[int, Channel]

    def __post_init__(self) -> None:
        if sorted((self.rank, *self.channels)) != list(range(self.size)):
            raise InvalidInput(
                f"expected a channel to each other rank of {self.size}, got {len(self.channels)}"
            )

    @property
    def size(self) -> int:
        """Number of parties, this one included."""
        return len(self.channels) + 1

    def abort(self, code: str) -> None:
        """Tell every other party that this run is over and why."""
        for channel in self.channels.values():
            channel.abort(code)


class ConfirmedMesh:
    """One run of ``spec`` among the parties of ``mesh``."""

    def __init__(self, mesh: Mesh, spec: ProtocolSpec) -> None:
        self.rank, self.size, self.session = mesh.rank, mesh.size, mesh.session
        self._channels = {
            peer: ConfirmedChannel(channel, spec, common=mesh.session)
            for peer, channel in sorted(mesh.channels.items())
        }

    @property
    def peers(self) -> tuple[int, ...]:
        """Ranks of the other parties, ascending."""
        return tuple(self._channels)

    def __getitem__(self, peer: int) -> ConfirmedChannel:
        """The channel to the party of that rank."""
        return self._channels[peer]

    def broadcast(self, message: str, payload: bytes) -> None:
        """Send the same message to every other party; at most `mpc.channel.MIN_WINDOW_BYTES`."""
        for channel in self._channels.values():
            channel.send(message, payload)

    def gather(self, message: str) -> dict[int, bytes]:
        """Receive one message from every other party, by its rank."""
        return {peer: channel.receive(message) for peer, channel in self._channels.items()}

    def swap(self, message: str, payloads: Mapping[int, bytes]) -> dict[int, bytes]:
        """Give each other party its payload, of any size, and take one of any size from it."""
        return {peer: channel.swap(message, payloads[peer]) for peer, channel in self._channels.items()}

    def confirm(self) -> None:
        """Compare transcripts with every other party and hear that every pair agreed; before any output.

        Raises:
            TranscriptMismatch: this party and another saw different messages or are in different sessions.
            PeerAborted: two others did.

        Security: as `ConfirmedChannel.confirm`, for each pair. Leaks: nothing. Cost: two rounds; 32 bytes to
        each other party, and an empty message. Source: as there.
        """
        for channel in self._channels.values():
            channel.send_confirmation()
        for channel in self._channels.values():
            channel.check_confirmation()
        for channel in self._channels.values():
            channel.send("agreed", b"")
        for channel in self._channels.values():
            if channel.receive("agreed"):
                raise MalformedMessage("agreed: expected an empty message")


@contextmanager
def mesh_run(mesh: Mesh, spec: ProtocolSpec) -> Iterator[ConfirmedMesh]:
    """Open a run of ``spec``; on any error of this package, tell every peer its code before raising on."""
    try:
        yield ConfirmedMesh(mesh, spec)
    except MpcError as error:
        mesh.abort(error.code)
        raise
