"""Sealed envelopes over gRPC: an owner's node serves their pieces, the receiver's node fetches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from exchange.rpc import peers
from exchange.rpc.errors import PeerRefused, PeerUnreachable
from exchange.rpc.v1 import envelopes_pb2_grpc
from exchange.rpc.v1.envelopes_pb2 import Piece, Wanted

__all__ = ["EnvelopeService", "Find", "fetch"]

Find = Callable[[str, str, str], Path | None]
"""``find(job, step, did)``: the envelope that this member may have of this step; None if there is none."""

_REFUSALS = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}


class EnvelopeService(envelopes_pb2_grpc.EnvelopesServicer):
    """Serves the envelopes that ``find`` finds, to those for whom it finds them.

    Args:
        members: asked at every call.
        find: asked once for each call.
        stride: bytes of every piece but the last.
    """

    def __init__(self, members: peers.Members, find: Find, stride: int) -> None:
        self._members, self._find, self._stride = members, find, stride

    def add_to(self, server: grpc.Server) -> None:
        """Serve at ``server``, which has not started."""
        envelopes_pb2_grpc.add_EnvelopesServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    def Fetch(self, request: Wanted, context: grpc.ServicerContext) -> Iterator[Piece]:  # noqa: N802
        """Send pieces; see ``envelopes.proto``."""
        caller = peers.member_at(context, self._members)
        path = self._find(request.job, request.step, caller)
        if path is None or not path.is_file():
            peers.refuse(context, grpc.StatusCode.NOT_FOUND, "there is no such envelope for this caller")
        with path.open("rb") as file:
            file.seek(request.first * self._stride)
            while content := file.read(self._stride):
                yield Piece(content=content)


def fetch(
    endpoint: str,
    keys: peers.PartyKeys,
    peer_did: str,
    peer_der: bytes,
    wanted: tuple[str, str, int],
    timeout_s: float,
) -> Iterator[bytes]:
    """Yield the pieces of one envelope as they come, until the last or until the connection breaks.

    Args:
        endpoint: ``host:port`` of the owner's party channel.
        keys: this node's.
        peer_did: the owner.
        peer_der: the certificate that the ledger records for it; no other is accepted.
        wanted: job, step and the number of the first piece.
        timeout_s: for the whole call.

    Raises:
        PeerUnreachable: nobody answers there, or the connection broke; the pieces so far are good.
        PeerRefused: the owner has no such envelope for this node.
    """
    job, step, first = wanted
    try:
        channel = peers.channel_to(endpoint, keys, peer_der)
    except ValueError as exc:
        raise PeerUnreachable(peer_did, endpoint, "the recorded certificate cannot be read") from exc
    with channel:
        stub = envelopes_pb2_grpc.EnvelopesStub(channel)  # type: ignore[no-untyped-call]
        try:
            for piece in stub.Fetch(Wanted(job=job, step=step, first=first), timeout=timeout_s):
                yield piece.content
        except grpc.RpcError as error:
            details = str(error.details() or error.code().name)[:200]
            if error.code() in _REFUSALS:
                raise PeerRefused(peer_did, details) from error
            raise PeerUnreachable(peer_did, endpoint, f"the connection failed ({details})") from error
