"""The calling end of the party channel: pins the peer's certificate, redials until the session is over."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

from exchange.errors import ExchangeError
from exchange.rpc import peers
from exchange.rpc.errors import PeerRefused, PeerUnreachable
from exchange.rpc.link import Limits, Link, Observer
from exchange.rpc.v1 import party_pb2_grpc
from exchange.rpc.v1.party_pb2 import Frame
from ledger.times import system_clock
from mpc.errors import ChannelBroken, MalformedMessage

__all__ = ["dial"]

_BACKOFF_S = 0.05
_BACKOFF_MAX_S = 2.0
_HELLO_S = 10.0
_REFUSALS = {
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
}


def dial(
    endpoint: str,
    keys: peers.PartyKeys,
    peer_did: str,
    peer_der: bytes,
    session: bytes,
    timeout_s: float,
    *,
    max_skew_s: float = peers.MAX_SKEW_S,
    clock: peers.Clock = system_clock,
    limits: Limits | None = None,
    observer: Observer | None = None,
) -> Link:
    """Open this node's end of a session with a member that listens.

    An address where nobody answers is tried again until ``timeout_s``; whoever refuses is asked once.

    Args:
        endpoint: ``host:port`` of the peer's listener.
        keys: this node's.
        peer_did: whom to reach.
        peer_der: the certificate that the ledger records for them; no other is accepted.
        session: 32 bytes that both sides derive, see ``SessionKey``.
        timeout_s: for the first connection, in seconds.
        max_skew_s: largest difference between the clocks, in seconds.
        clock: this node's time, aware.
        limits: of the link.
        observer: sees all frames.

    Raises:
        PeerUnreachable: nobody answers there, or somebody else does.
        PeerRefused: the peer does not know us, or does not expect this session.
        ClockSkew: the clocks differ too much.
        MalformedMessage: what answers does not keep to the protocol.
    """
    dialer = _Dialer(endpoint, keys, peer_did, peer_der, max_skew_s, clock)
    dialer.link = Link(
        session, peer_did, limits=limits or Limits(), observer=observer, on_close=lambda _: dialer.stop()
    )
    dialer.connect(time.monotonic() + timeout_s)
    dialer.start()
    return dialer.link


class _Lost(Exception):
    """The stream is gone, or did not come about. Says what gRPC said."""

    def __init__(self, status: grpc.StatusCode, details: str) -> None:
        super().__init__(details or status.name)
        self.status, self.details = status, details


class _Dialer:
    """Keeps a stream under a link. One thread reads; gRPC's own thread takes the frames to write."""

    link: Link

    def __init__(
        self,
        endpoint: str,
        keys: peers.PartyKeys,
        peer: str,
        certificate: bytes,
        max_skew_s: float,
        clock: peers.Clock,
    ) -> None:
        self._endpoint, self._keys, self._peer, self._certificate = endpoint, keys, peer, certificate
        self._max_skew_s, self._clock = max_skew_s, clock
        self._link_id = secrets.token_bytes(16)
        self._stopping = threading.Event()
        self._stream: _Stream | None = None
        self._thread = threading.Thread(target=self._run, name=f"party-dialer-{endpoint}")

    def connect(self, deadline: float) -> None:
        """Open a stream, trying again until ``deadline`` (monotonic seconds)."""
        pause = _BACKOFF_S
        while True:
            try:
                self._stream = self._open(max(deadline - time.monotonic(), pause))
            except _Lost as lost:
                final = self._final_reason(lost)
                if final is not None:
                    raise final from lost
                if time.monotonic() + pause >= deadline or self._stopping.wait(pause):
                    raise PeerUnreachable(self._peer, self._endpoint, _in_words(str(lost))) from lost
                pause = min(2 * pause, _BACKOFF_MAX_S)
            else:
                return

    def _final_reason(self, lost: _Lost) -> ExchangeError | None:
        """Return the error to raise at once, or None if another try may do."""
        if lost.status in _REFUSALS:
            return PeerRefused(self._peer, str(lost))
        if "CERTIFICATE_VERIFY_FAILED" in lost.details:
            reason = "what answers there shows another certificate than the one on the ledger"
            return PeerUnreachable(self._peer, self._endpoint, reason)
        return None

    def start(self) -> None:
        """Read in a thread from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Let the present stream end, and its thread."""
        self._stopping.set()
        self._thread.join(self.link.limits.close_s)
        if self._thread.is_alive() and self._stream is not None:
            self._stream.cancel()
            self._thread.join()

    def _run(self) -> None:
        while True:
            stream = self._stream
            if stream is not None:
                self._read(stream)
            if self.link.is_over or self.link.is_peer_closed or self._stopping.is_set():
                return
            try:
                self.connect(time.monotonic() + self.link.limits.reconnect_s)
            except ExchangeError as failure:
                self.link.fail(ChannelBroken(f"the connection was lost and did not come back: {failure}"))
                return
            except (ChannelBroken, MalformedMessage) as failure:
                self.link.fail(failure)
                return

    def _read(self, stream: _Stream) -> None:
        try:
            for frame in stream.frames():
                self.link.incoming(stream.number, frame)
        except (_Lost, MalformedMessage):
            stream.cancel()
        finally:
            self.link.detach(stream.number)
            stream.close()

    def _open(self, timeout_s: float) -> _Stream:
        try:
            stream = _Stream(peers.channel_to(self._endpoint, self._keys, self._certificate))
        except ValueError as exc:
            reason = "the certificate recorded for it cannot be read"
            raise PeerUnreachable(self._peer, self._endpoint, reason) from exc
        try:
            greeting = peers.hello(
                self._keys, self.link.session, self._link_id, self.link.received, self._clock()
            )
            answer = stream.greet(greeting, min(timeout_s, _HELLO_S))
            self._check(answer)
            if not answer.hello.received and self.link.confirmed:
                raise ChannelBroken(f"{self._peer} was restarted and has lost the session")
            self.link.observe("sent", greeting)
            self.link.observe("received", answer)
            stream.begin(self.link, self.link.attach(answer.hello.received))
        except (_Lost, ExchangeError, ChannelBroken, MalformedMessage):
            stream.cancel()
            stream.close()
            raise
        return stream

    def _check(self, answer: Frame) -> None:
        expected = (self.link.session, self._peer, self._link_id)
        if (answer.session, answer.hello.sender, answer.hello.link) != expected:
            raise MalformedMessage("expected the peer's hello for this session, got another frame")
        peers.check_clock(self._peer, answer.hello, self._clock(), self._max_skew_s)


class _Stream:
    """One gRPC connection and the one call on it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.number = 0
        self._link: Link | None = None
        self._begun = threading.Event()
        self._channel = channel
        self._call: Any = None

    def greet(self, greeting: Frame, timeout_s: float) -> Frame:
        """Send the hello and return the answer."""
        stub = party_pb2_grpc.PartyChannelStub(self._channel)  # type: ignore[no-untyped-call]
        self._call = stub.Exchange(self._outgoing(greeting))
        deadline = threading.Timer(timeout_s, self._call.cancel)
        deadline.start()
        try:
            return next(self.frames(), Frame())
        finally:
            deadline.cancel()

    def begin(self, link: Link, number: int) -> None:
        """Let the link's frames follow the hello."""
        self._link, self.number = link, number
        self._begun.set()

    def frames(self) -> Iterator[Frame]:
        """Yield what arrives until the peer ends the call.

        Raises:
            _Lost: the call broke.
        """
        try:
            yield from self._call
        except grpc.RpcError as error:
            raise _Lost(error.code(), error.details() or "") from error

    def cancel(self) -> None:
        """End the call at once."""
        self._begun.set()
        if self._call is not None:
            self._call.cancel()

    def close(self) -> None:
        """Give the connection back."""
        self._begun.set()
        self._channel.close()

    def _outgoing(self, greeting: Frame) -> Iterator[Frame]:
        yield greeting
        self._begun.wait()
        if self._link is not None:
            yield from self._link.outgoing(self.number)


def _in_words(details: str) -> str:
    """Say what gRPC's description of a failed connection means."""
    text = details.lower()
    for sign, words in _SIGNS.items():
        if sign in text:
            return words
    return f"the connection failed ({details[:200]})"


_SIGNS = {
    "connection refused": "nothing listens there",
    "wrong_version_number": "what answers there does not speak TLS",
    "wrong version number": "what answers there does not speak TLS",
    "name resolution": "the host name is unknown",
    "domain name not found": "the host name is unknown",
    "no route to host": "there is no route to it",
    "cancelled": "it does not answer",
    "socket closed": "the connection is closed at once; it may not know this node's certificate",
    "connection reset": "the connection is closed at once; it may not know this node's certificate",
}
