"""Lookups over gRPC: an owner's node serves files and answers calls, another member's node asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Protocol

import grpc

from exchange.errors import ExchangeError
from exchange.lookup.errors import LookupFailed, LookupRefused
from exchange.rpc import peers
from exchange.rpc.errors import PeerUnreachable
from exchange.rpc.v1 import lookups_pb2_grpc
from exchange.rpc.v1.lookups_pb2 import Part, Piece, Wanted
from mpc.errors import MalformedMessage, MpcError, StaleVersion

__all__ = ["MESSAGE_LIMIT", "Call", "LookupLinks", "LookupService", "Serving"]

MESSAGE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of a message of a call at most; longer batches ask in several messages."""

_PIECE: Final = 256 * 1024
_REFUSALS: Final = {
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Serving(Protocol):
    """The owner's side, as the transport sees it."""

    def file(self, service: str, release: int, name: str) -> Path | None:
        """A public file of a release; None where there is none."""

    def call(self, caller: str, ticket: bytes, blinded: bytes) -> Generator[bytes, bytes, None]:
        """Answer a call: yields the evaluated keys, then an answer for each message of queries sent in.

        Raises:
            LookupRefused: the ticket is not good. MpcError: a message has another form.
        """


class LookupService(lookups_pb2_grpc.LookupsServicer):
    """Serves what ``serving`` answers to present members.

    Args:
        members: asked at every call.
        serving: this owner's services.
    """

    def __init__(self, members: peers.Members, serving: Serving) -> None:
        self._members, self._serving = members, serving

    def add_to(self, server: grpc.Server) -> None:
        """Serve at ``server``, which has not started."""
        lookups_pb2_grpc.add_LookupsServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    def Fetch(self, request: Wanted, context: grpc.ServicerContext) -> Iterator[Piece]:  # noqa: N802
        """Send pieces of a file; see ``lookups.proto``."""
        peers.member_at(context, self._members)
        path = self._serving.file(request.service, request.release, request.file)
        if path is None or not path.is_file():
            peers.refuse(context, grpc.StatusCode.NOT_FOUND, "lookup.no-file|there is no such file")
        with path.open("rb") as file:
            file.seek(request.offset)
            while content := file.read(_PIECE):
                yield Piece(content=content)

    def Ask(self, request_iterator: Iterator[Part], context: grpc.ServicerContext) -> Iterator[Part]:  # noqa: N802
        """Answer one call; see ``lookups.proto``."""
        caller = peers.member_at(context, self._members)
        try:
            messages = _whole(request_iterator)
            ticket, blinded = next(messages, b""), next(messages, b"")
            answering = self._serving.call(caller, ticket, blinded)
            yield from _parts(next(answering))
            for queries in messages:
                yield from _parts(answering.send(queries))
        except StopIteration:
            peers.refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "lookup.too-many|all keys are answered")
        except LookupRefused as refused:
            details = f"{','.join(refused.codes)}|{refused}"[:1000]
            peers.refuse(context, grpc.StatusCode.PERMISSION_DENIED, details)
        except StaleVersion:
            text = "lookup.wrong-release|the call is about another release than the ticket"
            peers.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, text)
        except MpcError as error:
            peers.refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"{error.code}|a message of another form")
        except ExchangeError as error:
            peers.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, f"{error.code}|no answer for now")


class LookupLinks:
    """Connections to owners' nodes, kept open from one call to the next. Thread-safe.

    Args:
        keys: this node's.
        timeout_s: for a whole call or a file.
    """

    def __init__(self, keys: peers.PartyKeys, timeout_s: float) -> None:
        self._keys, self._timeout_s = keys, timeout_s
        self._lock = threading.Lock()
        self._channels: dict[tuple[str, bytes], grpc.Channel] = {}

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.close()

    def fetch(
        self, peer: tuple[str, str, bytes], service: str, release: int, file: str, offset: int
    ) -> Iterator[bytes]:
        """Yield a file from a byte on, until its end or until the connection breaks.

        Args:
            peer: DID, ``host:port`` and the certificate that the ledger records; no other is accepted.
            service: the service's id.
            release: its release.
            file: ``manifest``, ``hint``, ``stash`` or ``delta``.
            offset: the first byte.

        Raises:
            PeerUnreachable: nobody answers there, or the connection broke; what came so far is good.
            LookupRefused: the owner has no such file.
        """
        wanted = Wanted(service=service, release=release, file=file, offset=offset)
        try:
            for piece in self._stub(peer).Fetch(wanted, timeout=self._timeout_s):
                yield piece.content
        except grpc.RpcError as error:
            raise self._problem(error, peer) from None

    def call(self, peer: tuple[str, str, bytes], ticket: bytes, blinded: bytes) -> Call:
        """Begin a call; arguments as for ``fetch`` and ``Serving.call``."""
        return Call(
            self._stub(peer), (ticket, blinded), self._timeout_s, lambda error: self._problem(error, peer)
        )

    def _stub(self, peer: tuple[str, str, bytes]) -> lookups_pb2_grpc.LookupsStub:
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
        return lookups_pb2_grpc.LookupsStub(channel)  # type: ignore[no-untyped-call]

    def _problem(self, error: grpc.RpcError, peer: tuple[str, str, bytes]) -> ExchangeError:
        did, endpoint, _ = peer
        details = str(error.details() or error.code().name)[:1000]
        codes, bar, text = details.partition("|")
        if error.code() in _REFUSALS and bar:
            return LookupRefused(tuple(codes.split(",")), text)
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return LookupFailed(f"{did} takes a message of this call for another form")
        return PeerUnreachable(did, endpoint, f"the connection failed ({details[:200]})")


class Call:
    """One call under way: a context manager that ends it."""

    def __init__(
        self,
        stub: lookups_pb2_grpc.LookupsStub,
        opening: tuple[bytes, bytes],
        timeout_s: float,
        problem: Callable[[grpc.RpcError], ExchangeError],
    ) -> None:
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        for message in opening:
            self._outgoing.put(message)
        self._problem = problem
        self._call = stub.Ask(self._sent(), timeout=timeout_s)
        self._incoming = _whole(self._call)

    def __enter__(self) -> Call:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._outgoing.put(None)
        if kind is not None:
            self._call.cancel()

    def send(self, message: bytes) -> None:
        """Send the next message."""
        self._outgoing.put(message)

    def receive(self) -> bytes:
        """Return the next message.

        Raises:
            LookupRefused: the ticket is not good.
            LookupFailed: the owner ends the call early, or cannot read what it was sent.
            PeerUnreachable: nobody answers there, or the connection broke.
        """
        try:
            message = next(self._incoming, None)
        except grpc.RpcError as error:
            raise self._problem(error) from None
        except MpcError as error:
            raise LookupFailed("expected a message of the call, got one too long or cut off") from error
        if message is None:
            raise LookupFailed("expected an answer, the owner ended the call")
        return message

    def _sent(self) -> Iterator[Part]:
        while (message := self._outgoing.get()) is not None:
            yield from _parts(message)


def _parts(message: bytes) -> Iterator[Part]:
    view = memoryview(message)
    for start in range(0, max(len(message), 1), _PIECE):
        content = bytes(view[start : start + _PIECE])
        yield Part(content=content, more=start + _PIECE < len(message))


def _whole(parts: Iterable[Part]) -> Iterator[bytes]:
    """Put messages together.

    Raises:
        MalformedMessage: one is longer than ``MESSAGE_LIMIT``, or the stream ends within one.
    """
    message = bytearray()
    more = False
    for part in parts:
        message += part.content
        if len(message) > MESSAGE_LIMIT:
            raise MalformedMessage(f"expected at most {MESSAGE_LIMIT} bytes of a message, got more")
        more = part.more
        if not more:
            yield bytes(message)
            message.clear()
    if more:
        raise MalformedMessage("expected the rest of a message, got the end")
