"""Who gets a party channel, on real loopback TLS, and what everybody else is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from exchange import tls
from exchange.rpc import peers
from exchange.rpc.channel import Limits, Link, PartyListener, SessionKey, dial
from exchange.rpc.errors import ClockSkew, PeerRefused, PeerUnreachable
from exchange.rpc.v1 import party_pb2_grpc
from exchange.rpc.v1.party_pb2 import Ack, Data, Frame, Hello
from exchange.web.server import serve
from mpc.errors import ChannelBroken, MalformedMessage

NOW = datetime.now(UTC)
LIMITS = Limits(receive_s=3, reconnect_s=0.5, close_s=0.5)


def session(job: str = "job-1", attempt: int = 1, parties: tuple[str, ...] = ("did:a", "did:b")) -> bytes:
    return SessionKey(job, "00" * 32, attempt, parties).digest()


@dataclass(frozen=True)
class Keys:
    did: str
    tls_key: bytes = field(repr=False)
    tls_cert: bytes = field(repr=False)

    @classmethod
    def make(cls, name: str) -> Keys:
        return cls(f"did:{name}", *tls.self_signed(f"{name}.parley.internal", now=NOW))


A, B, C = Keys.make("a"), Keys.make("b"), Keys.make("c")


@dataclass
class Node:
    """Node B with its table of members and of expected sessions."""

    members: dict[str, bytes]
    expected: set[tuple[bytes, str]]
    frames: list[str]
    listener: PartyListener

    def dial(self, keys: Keys = A, named: bytes = session(), **options: Any) -> Link:
        options = {"timeout_s": 3.0, "limits": LIMITS} | options
        timeout_s = options.pop("timeout_s")
        endpoint = options.pop("endpoint", f"127.0.0.1:{self.listener.port}")
        certificate = options.pop("certificate", B.tls_cert)
        return dial(endpoint, keys, B.did, certificate, named, timeout_s, **options)


@pytest.fixture
def clock_of_b() -> Callable[[], datetime]:
    return lambda: datetime.now(UTC)


@pytest.fixture
def node(clock_of_b: Callable[[], datetime]) -> Iterator[Node]:
    members = {A.did: A.tls_cert, B.did: B.tls_cert}
    expected = {(session(), A.did)}
    frames: list[str] = []
    listener = PartyListener(
        "127.0.0.1:0",
        B,
        lambda: dict(members),
        lambda named, did: (named, did) in expected,
        limits=LIMITS,
        clock=clock_of_b,
        observer=lambda direction, _peer, _raw: frames.append(direction),
    )
    listener.start()
    yield Node(members, expected, frames, listener)
    listener.stop()


def test_a_member_with_an_expected_session_is_connected(node: Node) -> None:
    link = node.dial()
    link.channel("psi", 0).send("a", b"1")
    assert node.listener.accept(session(), A.did, 3).channel("psi", 1).receive("a") == b"1"
    link.close()


def test_an_unknown_client_certificate_is_refused(node: Node) -> None:
    with pytest.raises((PeerRefused, PeerUnreachable)):
        node.dial(C, timeout_s=0.4)
    assert node.frames == []


def test_a_member_s_name_with_another_certificate_is_refused(node: Node) -> None:
    with pytest.raises((PeerRefused, PeerUnreachable)):
        node.dial(replace(C, did=A.did), timeout_s=0.4)
    assert node.frames == []


def test_a_member_cannot_speak_for_another(node: Node) -> None:
    node.members[C.did] = C.tls_cert
    with pytest.raises(PeerRefused, match="names another member"):
        node.dial(replace(C, did=A.did))
    assert node.frames == []


def test_an_added_member_is_accepted_without_a_restart(node: Node) -> None:
    node.expected.add((session(), C.did))
    with pytest.raises((PeerRefused, PeerUnreachable)):
        node.dial(C, timeout_s=0.4)
    node.members[C.did] = C.tls_cert
    node.dial(C).close()


def test_a_removed_member_is_refused(node: Node) -> None:
    node.dial().close()
    del node.members[A.did]
    node.members[C.did] = C.tls_cert
    with pytest.raises((PeerRefused, PeerUnreachable)):
        node.dial(timeout_s=0.4)


def test_a_certificate_that_a_member_has_replaced_is_refused(node: Node) -> None:
    node.members[A.did] = C.tls_cert
    with pytest.raises((PeerRefused, PeerUnreachable)):
        node.dial(timeout_s=0.4)


def test_an_unreadable_certificate_in_the_table_stops_nobody_else(node: Node) -> None:
    node.members["did:broken"] = b"not a certificate"
    node.dial().close()


def test_the_client_refuses_a_server_with_another_certificate(node: Node) -> None:
    with pytest.raises(PeerUnreachable, match="another certificate than the one on the ledger") as caught:
        node.dial(certificate=C.tls_cert)
    assert caught.value.did == B.did
    assert node.frames == []


@pytest.mark.parametrize(
    "foreign", [session("job-2"), session(attempt=2), session(parties=("did:a", "did:b", "did:c")), b"", b"x"]
)
def test_a_session_that_is_not_expected_is_refused_before_any_data(node: Node, foreign: bytes) -> None:
    with pytest.raises(PeerRefused, match="not expected"):
        node.dial(named=foreign)
    assert node.frames == []


def test_a_session_expected_of_another_member_is_refused(node: Node) -> None:
    node.members[C.did] = C.tls_cert
    with pytest.raises(PeerRefused, match="not expected"):
        node.dial(C)


def test_a_session_has_one_stream(node: Node) -> None:
    link = node.dial()
    with pytest.raises(PeerRefused, match="its stream already"):
        node.dial()
    link.channel("psi", 0).send("a", b"still there")
    assert node.listener.accept(session(), A.did, 3).channel("psi", 1).receive("a") == b"still there"
    link.close()


def test_nobody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(PeerUnreachable, match="nothing listens there") as caught:
        dial(f"127.0.0.1:{port}", A, B.did, B.tls_cert, session(), 0.3)
    assert time.monotonic() - started < 2
    assert (caught.value.did, caught.value.endpoint) == (B.did, f"127.0.0.1:{port}")


def test_a_node_that_starts_a_little_later_is_reached(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    late = PartyListener(f"127.0.0.1:{port}", B, lambda: node.members, lambda _s, _d: True, limits=LIMITS)
    starter = threading.Timer(0.3, late.start)
    starter.start()
    dial(f"127.0.0.1:{port}", A, B.did, B.tls_cert, session(), 5, limits=LIMITS).close()
    starter.join()
    late.stop()


def test_something_without_tls_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.settimeout(0.1)
        ended = threading.Event()

        def answer() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = plain.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        ended.wait(0.05)

        server = threading.Thread(target=answer)
        server.start()
        try:
            with pytest.raises(PeerUnreachable, match="does not speak TLS"):
                dial(f"127.0.0.1:{plain.getsockname()[1]}", A, B.did, B.tls_cert, session(), 0.4)
        finally:
            ended.set()
            server.join()


def test_something_silent_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(PeerUnreachable, match="does not answer"):
            dial(f"127.0.0.1:{silent.getsockname()[1]}", A, B.did, B.tls_cert, session(), 0.4)


def test_the_peer_s_web_port_is_not_its_party_port() -> None:
    def app(_environ: object, start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "0")])
        return []

    context = tls.server_context(B.tls_key, B.tls_cert, lambda: [A.tls_cert])
    with serve(app, "127.0.0.1:0", context, threads=4) as web:  # type: ignore[arg-type]
        with pytest.raises((PeerUnreachable, PeerRefused)):
            dial(f"127.0.0.1:{web.port}", A, B.did, B.tls_cert, session(), 0.5)


def test_an_unreadable_recorded_certificate_is_said(node: Node) -> None:
    with pytest.raises(PeerUnreachable, match="cannot be read"):
        node.dial(certificate=b"nonsense")


def test_a_peer_that_does_not_call_is_unreachable(node: Node) -> None:
    with pytest.raises(PeerUnreachable, match=r"did:a.*not connected within 0\.1 s"):
        node.listener.accept(session(), A.did, 0.1)


@pytest.mark.parametrize("seconds", [3600, -3600, 121])
def test_a_clock_off_is_named_at_both_ends(node: Node, seconds: int) -> None:
    with pytest.raises(ClockSkew) as caught:
        node.dial(clock=lambda: datetime.now(UTC) + timedelta(seconds=seconds))
    assert abs((caught.value.own - caught.value.theirs).total_seconds() - seconds) < 2
    assert caught.value.did == B.did
    assert f"{caught.value.own:%H:%M}" in str(caught.value)
    assert f"{caught.value.theirs:%H:%M}" in str(caught.value)
    with pytest.raises(ClockSkew, match="did:a"):
        node.listener.accept(session(), A.did, 3)


def test_a_small_difference_of_clocks_is_allowed(node: Node) -> None:
    node.dial(clock=lambda: datetime.now(UTC) + timedelta(seconds=100)).close()


def test_after_the_clock_is_mended_the_session_comes_about(node: Node) -> None:
    with pytest.raises(ClockSkew):
        node.dial(clock=lambda: datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(ClockSkew):
        node.listener.accept(session(), A.did, 3)
    link = node.dial()
    node.listener.accept(session(), A.did, 3)
    link.close()


def test_an_address_in_use_is_an_error_of_start(node: Node) -> None:
    other = PartyListener(f"127.0.0.1:{node.listener.port}", B, dict, lambda _s, _d: True)
    with pytest.raises(OSError, match="cannot be bound"):
        other.start()
    other.stop()


# A member that speaks gRPC and does not keep to the protocol.


def rogue(node: Node, frames: list[Frame], keys: Keys = A) -> list[Frame]:
    """Send frames of one's own making and return what comes back until the call ends."""
    credentials = grpc.ssl_channel_credentials(
        peers.pem_bundle([B.tls_cert]), keys.tls_key, peers.pem_bundle([keys.tls_cert])
    )
    options = (("grpc.ssl_target_name_override", "b.parley.internal"), ("grpc.use_local_subchannel_pool", 1))
    answers: list[Frame] = []
    with grpc.secure_channel(f"127.0.0.1:{node.listener.port}", credentials, options) as channel:
        stub = party_pb2_grpc.PartyChannelStub(channel)  # type: ignore[no-untyped-call]
        with contextlib.suppress(grpc.RpcError):
            answers.extend(stub.Exchange(iter(frames), timeout=5))
    return answers


def greeting(**changes: Any) -> Frame:
    time_ms = int(datetime.now(UTC).timestamp() * 1000)
    hello = {"sender": A.did, "time_ms": time_ms, "link": bytes(16), "received": 0} | changes
    return Frame(session=session(), hello=Hello(**hello))


def data(sequence: int = 1, *, chunk: bytes = b"x", named: bytes = session(), step: str = "psi") -> Frame:
    piece = Data(label="a", chunk=chunk, last=True)
    return Frame(session=named, step=step, sequence=sequence, data=piece)


@pytest.mark.parametrize(
    "first",
    [
        list,
        lambda: [data()],
        lambda: [greeting(link=b"short")],
        lambda: [greeting(time_ms=2**62)],
        lambda: [greeting(received=5)],
        lambda: [Frame(session=session())],
    ],
    ids=["nothing", "data", "short link", "no time", "received what was not sent", "empty"],
)
def test_a_wrong_beginning_gets_no_link(node: Node, first: Callable[[], list[Frame]]) -> None:
    rogue(node, first())
    with pytest.raises((PeerUnreachable, MalformedMessage)):
        node.listener.accept(session(), A.did, 0.1)


BREACHES = {
    "foreign session": [data(named=session("job-2"))],
    "gap": [data(2)],
    "unknown content": [Frame(session=session(), sequence=1)],
    "second hello": [Frame(session=session(), hello=Hello(sender=A.did, link=bytes(16)))],
    "too large a chunk": [data(chunk=bytes(256 * 1024 + 1))],
    "confirmed what was not sent": [Frame(session=session(), ack=Ack(received=3))],
    "consumed more than received": [Frame(session=session(), ack=Ack(received=0, consumed=1))],
    "past the window": [data(n, chunk=bytes(256 * 1024)) for n in range(1, 66)],
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_the_rules_ends_the_run(node: Node, breach: str) -> None:
    rogue(node, [greeting(), *BREACHES[breach]])
    link = node.listener.accept(session(), A.did, 3)
    channel = link.channel("psi", 1)
    with pytest.raises(MalformedMessage):
        [channel.receive("a") for _ in range(66)]


def test_a_repeated_frame_is_taken_once(node: Node) -> None:
    rogue(node, [greeting(), data(1, chunk=b"1"), data(1, chunk=b"forged"), data(2, chunk=b"2")])
    channel = node.listener.accept(session(), A.did, 3).channel("psi", 1)
    assert [channel.receive("a"), channel.receive("a")] == [b"1", b"2"]
    with pytest.raises(ChannelBroken):
        channel.receive("a")


def test_a_message_that_never_ends_is_cut_off(node: Node) -> None:
    object.__setattr__(LIMITS, "message_bytes", 1000)
    try:
        piece = Data(label="a", chunk=bytes(600))
        frames = [Frame(session=session(), step="psi", sequence=n, data=piece) for n in (1, 2)]
        rogue(node, [greeting(), *frames])
        with pytest.raises(MalformedMessage, match="at most 1000 bytes"):
            node.listener.accept(session(), A.did, 3).channel("psi", 1).receive("a")
    finally:
        object.__setattr__(LIMITS, "message_bytes", 1 << 30)


def test_the_listener_asks_for_a_client_certificate(node: Node) -> None:
    context = tls.client_context(None, None, B.tls_cert)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", node.listener.port), timeout=3) as raw:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            read_all(context, raw)


def read_all(context: ssl.SSLContext, raw: socket.socket) -> None:
    with context.wrap_socket(raw) as connection:
        while connection.recv(1000):  # the server's settings may come first, its refusal follows
            pass
    raise ConnectionError("closed without an alert")
