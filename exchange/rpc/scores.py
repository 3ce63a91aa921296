"""Partial scores over the party channel's address: a label holder's node asks another owner's.

A call of its own on the same listener: ``/parley.scores.v1.Scores/Ask`` takes one message of canonical JSON,
a ticket and identifiers, and answers with one, partial scores. Both ends show the certificates of the ledger.
Errors carry the code of the reason, a bar, and words; they never quote a message.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import grpc

from exchange.errors import ExchangeError, InvalidRequest, TimedOut
from exchange.rpc import peers
from exchange.rpc.errors import PeerUnreachable
from exchange.scoring.errors import ScoreRefused

__all__ = ["Answer", "Peer", "ScoreLinks", "ScoreService"]

Answer = Callable[[str, bytes], bytes]
"""``answer(did, call)``: what a member is answered, or an error of the exchange."""

Peer = tuple[str, str, bytes]
"""DID, ``host:port`` and the certificate that the ledger records; no other is accepted."""

_SERVICE: Final = "parley.scores.v1.Scores"
_METHOD: Final = "Ask"
_STATUS: Final[dict[type[ExchangeError], grpc.StatusCode]] = {
    ScoreRefused: grpc.StatusCode.PERMISSION_DENIED,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
}


class ScoreService:
    """Serves what ``answer`` finds to present members.

    Args:
        members: asked at every call.
        answer: this owner's desk.
    """

    def __init__(self, members: peers.Members, answer: Answer) -> None:
        self._members, self._answer = members, answer

    def add_to(self, server: grpc.Server) -> None:
        """Serve at ``server``, which has not started."""
        methods = {_METHOD: grpc.unary_unary_rpc_method_handler(self._serve)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))

    def _serve(self, call: bytes, context: grpc.ServicerContext) -> bytes:
        did = peers.member_at(context, self._members)
        try:
            return self._answer(did, call)
        except ExchangeError as error:
            status = _STATUS.get(type(error), grpc.StatusCode.FAILED_PRECONDITION)
            codes = ",".join(error.codes) if isinstance(error, ScoreRefused) else error.code
            peers.refuse(context, status, f"{codes}|{error}"[:1000])


class ScoreLinks:
    """Connections to owners' nodes, kept open from one call to the next. Thread-safe.

    Args:
        keys: this node's.
    """

    def __init__(self, keys: peers.PartyKeys) -> None:
        self._keys = keys
        self._lock = threading.Lock()
        self._channels: dict[tuple[str, bytes], grpc.Channel] = {}

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.close()

    def ask(self, peer: Peer, call: bytes, timeout_s: float, *, is_last: bool = False) -> Callable[[], bytes]:
        """Begin a call; the function that is returned waits for its answer.

        Args:
            peer: whom to ask.
            call: what to send.
            timeout_s: for the whole call.
            is_last: the function is called at once, and makes the call itself: half the work of one that
                goes on beside others.

        Raises:
            PeerUnreachable: the recorded certificate cannot be read; from the function: nobody answers there.
            ScoreRefused, TimedOut: from the function: the owner has a reason; no answer in time.
        """
        channel: Any = self._channel(peer)
        method = channel.unary_unary(f"/{_SERVICE}/{_METHOD}")
        pending = None if is_last else method.future(call, timeout=timeout_s)

        def answer() -> bytes:
            try:
                return bytes(method(call, timeout=timeout_s) if pending is None else pending.result())
            except grpc.RpcError as error:
                raise _problem(error, peer, timeout_s) from None

        return answer

    def _channel(self, peer: Peer) -> grpc.Channel:
        did, endpoint, certificate = peer
        with self._lock:
            channel = self._channels.get((endpoint, certificate))
            if channel is None:
                try:
                    channel = peers.channel_to(endpoint, self._keys, certificate)
                except ValueError as exc:
                    text = "the recorded certificate cannot be read"
                    raise PeerUnreachable(did, endpoint, text) from exc
                self._channels[endpoint, certificate] = channel
        return channel


def _problem(error: Any, peer: Peer, timeout_s: float) -> ExchangeError:  # noqa: ANN401 - gRPC's own
    did, endpoint, _ = peer
    status, details = error.code(), str(error.details() or error.code().name)[:1000]
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut(f"{did} gave no answer within {timeout_s:g} s")
    codes, bar, text = details.partition("|")
    refused = {*_STATUS.values(), grpc.StatusCode.FAILED_PRECONDITION}
    if status in refused and bar:
        return ScoreRefused(tuple(codes.split(",")), text)
    return PeerUnreachable(did, endpoint, f"the connection failed ({details[:200]})")
