"""The called end of the party channel: admits members, and of them only those a session expects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import grpc

from exchange.rpc import peers
from exchange.rpc.errors import ClockSkew, PeerUnreachable
from exchange.rpc.link import Limits, Link, Observer
from exchange.rpc.v1 import party_pb2_grpc
from exchange.rpc.v1.party_pb2 import Frame
from ledger.times import system_clock
from mpc.errors import ChannelBroken, MalformedMessage

__all__ = ["Expects", "PartyListener"]

Expects = Callable[[bytes, str], bool]
"""``expects(session, did)``: whether this node means to run that session with that member."""

_STREAMS = 64
_HELLO_S = 10.0
_STOP_S = 2.0
_LINK_ID_BYTES = 16


@dataclass
class _Slot:
    """A session and peer that somebody called for, or waits for."""

    link: Link | None = None
    link_id: bytes = b""
    failure: Exception | None = None


class PartyListener(party_pb2_grpc.PartyChannelServicer):
    """Accepts streams from members and turns them into links.

    Args:
        bind: ``host:port``; port 0 takes a free one.
        keys: this node's.
        members: asked at every handshake and stream.
        expects: asked once for each stream, before anything but the hello is read.
        max_skew_s: largest difference between the clocks, in seconds.
        clock: this node's time, aware.
        limits: of the links.
        observer: sees all frames of sessions.
        beside: adds what else is served at the same address.
    """

    def __init__(
        self,
        bind: str,
        keys: peers.PartyKeys,
        members: peers.Members,
        expects: Expects,
        *,
        max_skew_s: float = peers.MAX_SKEW_S,
        clock: peers.Clock = system_clock,
        limits: Limits | None = None,
        observer: Observer | None = None,
        beside: Callable[[grpc.Server], None] = lambda _: None,
    ) -> None:
        self._beside = beside
        self._bind, self._keys, self._members, self._expects = bind, keys, members, expects
        self._max_skew_s, self._clock, self._observer = max_skew_s, clock, observer
        self._limits = limits or Limits()
        self._changed = threading.Condition()
        self._slots: dict[tuple[bytes, str], _Slot] = {}
        self._readers: set[threading.Thread] = set()
        self._server: grpc.Server | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._port = 0
        self._trusted: tuple[bytes, ...] = ()

    @property
    def port(self) -> int:
        """The port it listens on; 0 before ``start``."""
        return self._port

    def start(self) -> None:
        """Bind, listen and return.

        Raises:
            OSError: the address cannot be bound.
        """
        self._pool = ThreadPoolExecutor(_STREAMS, thread_name_prefix="party")
        self._server = grpc.server(self._pool, options=(*peers.CHANNEL_OPTIONS, ("grpc.so_reuseport", 0)))
        party_pb2_grpc.add_PartyChannelServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._beside(self._server)
        self._trusted = tuple(self._members().values())
        credentials = grpc.dynamic_ssl_server_credentials(
            self._certificates(), self._changed_certificates, require_client_authentication=True
        )
        try:
            self._port = self._server.add_secure_port(self._bind, credentials)
        except RuntimeError as exc:
            self.stop()
            raise OSError(f"expected to listen on {self._bind}, the address cannot be bound") from exc
        self._server.start()

    def stop(self) -> None:
        """End all links and leave no thread. Doing it twice is harmless."""
        with self._changed:
            links = [slot.link for slot in self._slots.values() if slot.link is not None]
        for link in links:
            link.close()
        if self._server is not None and self._pool is not None:
            self._server.stop(_STOP_S).wait()
            self._pool.shutdown()
            self._server = self._pool = None
        for reader in list(self._readers):
            reader.join()

    def accept(self, session: bytes, peer_did: str, timeout_s: float) -> Link:
        """Wait until ``peer_did`` has called for ``session``.

        Raises:
            ClockSkew: it called, and its clock differs too much.
            PeerUnreachable: it has not called in time.
        """
        with self._changed:
            slot = self._slots.setdefault((session, peer_did), _Slot())
            self._changed.wait_for(lambda: slot.link is not None or slot.failure is not None, timeout_s)
            if slot.link is not None:
                return slot.link
            del self._slots[session, peer_did]
            if slot.failure is not None:
                raise slot.failure
        reason = f"it has not connected within {timeout_s:g} s"
        raise PeerUnreachable(peer_did, f"this node's port {self._port}", reason)

    def _changed_certificates(self) -> grpc.ServerCertificateConfiguration | None:
        """What handshakes use from this one on; None where no member's certificate has changed.

        gRPC replaces the configuration with no regard to other handshakes that are under way: at every one,
        callers that come at the same time would crash the process.
        """
        trusted = tuple(self._members().values())
        with self._changed:
            if trusted == self._trusted:
                return None
            self._trusted = trusted
        return self._certificates()

    def _certificates(self) -> grpc.ServerCertificateConfiguration:
        own = self._keys.tls_cert
        trusted = peers.pem_bundle(self._trusted) or peers.pem_bundle([own])
        return grpc.ssl_server_certificate_configuration(
            [(self._keys.tls_key, peers.pem_bundle([own]))], root_certificates=trusted
        )

    # One call of the service.

    def Exchange(self, request_iterator: Iterator[Frame], context: grpc.ServicerContext) -> Iterator[Frame]:  # noqa: N802
        """Carry one stream; see ``party.proto``."""
        peer = peers.member_at(context, self._members)
        first = self._first_frame(request_iterator, context)
        now = self._clock()
        if first.hello.sender != peer:
            peers.refuse(context, grpc.StatusCode.PERMISSION_DENIED, "the hello names another member")
        if not self._expects(first.session, peer):
            peers.refuse(context, grpc.StatusCode.NOT_FOUND, "this session is not expected here")
        slot = self._slot_for(first, peer, context)
        skewed = self._clock_failure(first, peer, now)
        if skewed is not None:
            self._fail(slot, skewed)  # before the caller reads our time and hangs up
        received = slot.link.received if slot.link is not None else 0
        yield peers.hello(self._keys, first.session, first.hello.link, received, now)
        if skewed is not None:
            peers.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, skewed.code)
        try:
            stream, link = self._attach(slot, first, peer)
        except MalformedMessage as failure:
            self._fail(slot, failure)
            peers.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, failure.code)
        link.observe("received", first)
        self._read_apart(link, stream, request_iterator, context)
        yield from link.outgoing(stream)

    def _first_frame(self, frames: Iterator[Frame], context: grpc.ServicerContext) -> Frame:
        deadline = threading.Timer(_HELLO_S, context.cancel)
        deadline.start()
        try:
            first = next(frames, Frame())
        finally:
            deadline.cancel()
        if first.WhichOneof("content") != "hello" or len(first.hello.link) != _LINK_ID_BYTES:
            peers.refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "expected a hello")
        return first

    def _slot_for(self, first: Frame, peer: str, context: grpc.ServicerContext) -> _Slot:
        with self._changed:
            slot = self._slots.setdefault((first.session, peer), _Slot())
            if slot.link is not None and slot.link_id != first.hello.link:
                if not slot.link.is_attached:
                    slot.link.fail(ChannelBroken(f"{peer} was restarted and begins the session anew"))
            elif slot.link is None and first.hello.received:
                peers.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "this session was lost here")
            else:
                return slot
        peers.refuse(context, grpc.StatusCode.ALREADY_EXISTS, "the session has its stream already")

    def _clock_failure(self, first: Frame, peer: str, now: datetime) -> ClockSkew | MalformedMessage | None:
        try:
            peers.check_clock(peer, first.hello, now, self._max_skew_s)
        except (ClockSkew, MalformedMessage) as failure:
            return failure
        return None

    def _attach(self, slot: _Slot, first: Frame, peer: str) -> tuple[int, Link]:
        with self._changed:
            link = slot.link or Link(
                first.session, peer, limits=self._limits, observer=self._observer, on_close=self._forget
            )
            stream = link.attach(first.hello.received)
            slot.link, slot.link_id = link, first.hello.link
            self._changed.notify_all()
            return stream, link

    def _fail(self, slot: _Slot, failure: Exception) -> None:
        with self._changed:
            slot.failure = failure
            self._changed.notify_all()
        if slot.link is not None:
            slot.link.fail(failure)

    def _forget(self, link: Link) -> None:
        with self._changed:
            self._slots.pop((link.session, link.peer), None)

    def _read_apart(
        self, link: Link, stream: int, frames: Iterator[Frame], context: grpc.ServicerContext
    ) -> None:
        def read() -> None:
            try:
                for frame in frames:
                    link.incoming(stream, frame)
            except (grpc.RpcError, MalformedMessage):
                context.cancel()
            finally:
                link.detach(stream)
                self._readers.discard(threading.current_thread())

        reader = threading.Thread(target=read, name=f"party-reader-{stream}")
        self._readers.add(reader)
        reader.start()
