"""Papers over the party channel's address: one member asks another for a document about an asset.

A call of its own on the same listener: ``/parley.papers.v1.Papers/Fetch`` takes one request of JSON and
answers with the document in pieces. Both ends show the certificates that the ledger names. What is fetched is
only worth something when its digest stands on the ledger; the caller compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc

from exchange.errors import ExchangeError, InvalidRequest, NotFound, TimedOut
from exchange.rpc import peers
from exchange.rpc.errors import PeerRefused, PeerUnreachable

__all__ = ["Answer", "PaperService", "fetch"]

Answer = Callable[[str, bytes], bytes]
"""``answer(did, request)``: the document that a member asks for, or an error of the exchange."""

_SERVICE: Final = "parley.papers.v1.Papers"
_METHOD: Final = "Fetch"
_REQUEST_LIMIT: Final = 64 * 1024
_PIECE: Final = 256 * 1024
_STATUS: Final[dict[type[ExchangeError], grpc.StatusCode]] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
}


class PaperService:
    """Serves what ``answer`` finds to present members.

    Args:
        members: asked at every call.
        answer: finds the document.
    """

    def __init__(self, members: peers.Members, answer: Answer) -> None:
        self._members, self._answer = members, answer

    def add_to(self, server: grpc.Server) -> None:
        """Serve at ``server``, which has not started."""
        methods = {_METHOD: grpc.unary_stream_rpc_method_handler(self._serve)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))

    def _serve(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        did = peers.member_at(context, self._members)
        if len(request) > _REQUEST_LIMIT:
            peers.refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"at most {_REQUEST_LIMIT} bytes")
        try:
            content = self._answer(did, request)
        except ExchangeError as error:
            status = _STATUS.get(type(error), grpc.StatusCode.FAILED_PRECONDITION)
            peers.refuse(context, status, f"{error.code}: {error}"[:500])
        for start in range(0, len(content), _PIECE):
            yield content[start : start + _PIECE]


def fetch(
    endpoint: str,
    keys: peers.PartyKeys,
    peer_did: str,
    peer_der: bytes,
    request: bytes,
    *,
    timeout_s: float,
    limit: int,
) -> bytes:
    """Ask a member for a document.

    Args:
        endpoint: ``host:port`` of the member's listener.
        keys: this node's.
        peer_did: whom to ask.
        peer_der: the certificate that the ledger records for them; no other is accepted.
        request: what to ask for.
        timeout_s: for the whole call.
        limit: bytes that are taken at most.

    Raises:
        TimedOut: no answer in time. PeerUnreachable: nobody answers there, or somebody else does, or with
            more than ``limit``. NotFound: the member has no such document. PeerRefused: it does not say more.
    """
    content = bytearray()
    with peers.channel_to(endpoint, keys, peer_der) as channel:
        call: Any = channel.unary_stream(f"/{_SERVICE}/{_METHOD}")
        try:
            for piece in call(request, timeout=timeout_s):
                content += piece
                if len(content) > limit:
                    raise PeerUnreachable(peer_did, endpoint, f"it sends more than {limit} bytes")
        except grpc.RpcError as error:
            raise _problem(error, peer_did, endpoint, timeout_s) from None
    return bytes(content)


def _problem(error: Any, did: str, endpoint: str, timeout_s: float) -> ExchangeError:  # noqa: ANN401 - gRPC's own
    status, details = error.code(), str(error.details() or "")[:500]
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut(f"{did} gave no answer within {timeout_s:g} s")
    if status is grpc.StatusCode.NOT_FOUND:
        return NotFound(f"{did} has no such document ({details})")
    if status is grpc.StatusCode.UNAVAILABLE:
        return PeerUnreachable(did, endpoint, "nobody answers there, or with another certificate")
    return PeerRefused(did, details or status.name)
