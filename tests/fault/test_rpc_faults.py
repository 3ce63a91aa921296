"""Connections that break, peers that vanish, windows that fill: nothing lost, nothing twice, nobody hangs."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exchange import tls
from exchange.rpc.channel import Limits, Link, PartyListener, SessionKey, attempt_name, dial
from exchange.rpc.errors import PeerRefused
from exchange.rpc.flow import WINDOW_BYTES
from mpc.channel import Channel
from mpc.errors import ChannelBroken, UnexpectedMessage
from mpc.testing import run_pair

NOW = datetime.now(UTC)
SESSION = SessionKey("job-1", "00" * 32, 1, ("did:a", "did:b")).digest()
LIMITS = Limits(receive_s=20, reconnect_s=5, close_s=2)
MIB = 1024 * 1024


@dataclass(frozen=True)
class Keys:
    did: str
    tls_key: bytes = field(repr=False)
    tls_cert: bytes = field(repr=False)

    @classmethod
    def make(cls, name: str) -> Keys:
        return cls(f"did:{name}", *tls.self_signed(f"{name}.parley.internal", now=NOW))


A, B = Keys.make("a"), Keys.make("b")
MEMBERS = {keys.did: keys.tls_cert for keys in (A, B)}


class Proxy:
    """Forwards TCP to ``target`` and cuts each connection when it has carried its share of ``cuts``."""

    def __init__(self, target: int, cuts: list[int]) -> None:
        self._target, self._cuts = target, cuts
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Cut what is connected now."""
        for one in self._sockets:
            _end(one)

    def stop(self) -> None:
        _end(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            budget = [self._cuts[self.connections] if self.connections < len(self._cuts) else 1 << 60]
            self.connections += 1
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=_pump, args=(source, sink, budget))
                self._threads.append(thread)
                thread.start()


def _pump(source: socket.socket, sink: socket.socket, budget: list[int]) -> None:
    try:
        while piece := source.recv(65536):
            budget[0] -= len(piece)
            if budget[0] < 0:
                break
            sink.sendall(piece)
    except OSError:
        pass
    _end(source)
    _end(sink)


def _end(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()


@pytest.fixture
def listener() -> Iterator[PartyListener]:
    running = PartyListener("127.0.0.1:0", B, lambda: MEMBERS, lambda _s, _d: True, limits=LIMITS)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def connect(listener: PartyListener) -> Iterator[Callable[..., tuple[Link, Link]]]:
    made: list[Link] = []

    def open_pair(port: int | None = None, limits: Limits = LIMITS) -> tuple[Link, Link]:
        endpoint = f"127.0.0.1:{port or listener.port}"
        made.append(dial(endpoint, A, B.did, B.tls_cert, SESSION, 5, limits=limits))
        made.append(listener.accept(SESSION, A.did, 5))
        return made[0], made[1]

    yield open_pair
    close_all(made)


def close_all(links: Iterable[Link]) -> None:
    closers = [threading.Thread(target=link.close) for link in links]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()


def pattern(size: int) -> bytes:
    return (b"".join(n.to_bytes(4, "big") for n in range(65536)) * (size // (4 * 65536) + 1))[:size]


def exchange(links: tuple[Link, Link], payload: bytes, rounds: int = 1) -> None:
    def left(channel: Channel) -> None:
        for number in range(rounds):
            channel.send(f"there-{number}", payload)
            assert channel.receive(f"back-{number}") == payload

    def right(channel: Channel) -> None:
        for number in range(rounds):
            assert channel.receive(f"there-{number}") == payload
            channel.send(f"back-{number}", payload)

    run_pair(left, right, (links[0].channel("psi", 0), links[1].channel("psi", 1)))


@pytest.mark.parametrize("cuts", [[3 * MIB], [100_000, 5 * MIB, 1_000_000, 9 * MIB]], ids=["once", "often"])
def test_a_connection_cut_in_mid_message_loses_and_repeats_nothing(
    listener: PartyListener, connect: Callable[..., tuple[Link, Link]], cuts: list[int]
) -> None:
    proxy = Proxy(listener.port, cuts)
    try:
        links = connect(proxy.port)
        exchange(links, pattern(8 * MIB + 1))
        assert proxy.connections == len(cuts) + 1
        close_all(links)
    finally:
        proxy.stop()


def test_cuts_between_small_messages_lose_and_repeat_nothing(
    listener: PartyListener, connect: Callable[..., tuple[Link, Link]]
) -> None:
    proxy = Proxy(listener.port, [])
    stopping = threading.Event()

    def cut_often() -> None:
        for _ in range(5):
            if stopping.wait(0.1):
                return
            proxy.cut()

    cutter = threading.Thread(target=cut_often)
    try:
        links = connect(proxy.port)
        cutter.start()
        while cutter.is_alive():
            exchange(links, b"x" * 100, rounds=30)
    finally:
        stopping.set()
        cutter.join()
        exchange(links, b"after")
        close_all(links)
        proxy.stop()
    assert proxy.connections > 1


def test_a_peer_that_stays_away_is_given_up(
    listener: PartyListener, connect: Callable[..., tuple[Link, Link]]
) -> None:
    proxy = Proxy(listener.port, [])
    dialled, accepted = connect(proxy.port, Limits(receive_s=20, reconnect_s=0.5, close_s=0.2))
    object.__setattr__(accepted, "limits", dialled.limits)
    proxy.stop()
    for link in (dialled, accepted):
        started = time.monotonic()
        with pytest.raises(ChannelBroken, match=r"no connection to|did not come back"):
            link.channel("psi", 0).receive("a")
        assert time.monotonic() - started < 5


def test_a_killed_peer_process_ends_the_wait(tmp_path: Path) -> None:
    script = """
import sys, time
from exchange.rpc.channel import Limits, PartyListener
from tests_keys import A, B, MEMBERS
listener = PartyListener("127.0.0.1:0", B, lambda: MEMBERS, lambda s, d: True)
listener.start()
print(listener.port, flush=True)
time.sleep(60)
"""
    (tmp_path / "tests_keys.py").write_text(
        "from types import SimpleNamespace\n"
        + "".join(
            f"{name} = SimpleNamespace(did={k.did!r}, tls_key={k.tls_key!r}, tls_cert={k.tls_cert!r})\n"
            for name, k in (("A", A), ("B", B))
        )
        + "MEMBERS = {k.did: k.tls_cert for k in (A, B)}\n"
    )
    command = [sys.executable, "-c", script]  # -P is absent: the script imports from its own folder
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, text=True) as peer:
        assert peer.stdout is not None
        port = int(peer.stdout.readline())
        limits = Limits(receive_s=20, reconnect_s=0.4, close_s=0.1)
        link = dial(f"127.0.0.1:{port}", A, B.did, B.tls_cert, SESSION, 5, limits=limits)
        threading.Timer(0.1, peer.kill).start()
        with pytest.raises(ChannelBroken, match=r"no connection to|did not come back"):
            link.channel("psi", 0).receive("a")
        link.close()


def test_a_restarted_caller_ends_the_wait_for_the_one_before(
    listener: PartyListener, connect: Callable[..., tuple[Link, Link]]
) -> None:
    proxy = Proxy(listener.port, [])
    _, accepted = connect(proxy.port)
    proxy.stop()  # as when the caller's process is killed
    while accepted.is_attached:
        time.sleep(0.01)
    with pytest.raises(PeerRefused, match="its stream already"):
        dial(f"127.0.0.1:{listener.port}", A, B.did, B.tls_cert, SESSION, 5, limits=LIMITS)
    with pytest.raises(ChannelBroken, match="was restarted"):
        accepted.channel("psi", 1).receive("a")
    accepted.close()
    again = dial(f"127.0.0.1:{listener.port}", A, B.did, B.tls_cert, SESSION, 5, limits=LIMITS)
    again.channel("psi", 0).send("a", b"from the start")
    assert listener.accept(SESSION, A.did, 5).channel("psi", 1).receive("a") == b"from the start"
    close_all((again, listener.accept(SESSION, A.did, 5)))


def test_frames_of_another_attempt_end_this_one(connect: Callable[..., tuple[Link, Link]]) -> None:
    dialled, accepted = links = connect()
    dialled.channel(attempt_name("train", 2), 0).send("a", b"")
    with pytest.raises(ChannelBroken, match="another attempt"):
        accepted.channel(attempt_name("train", 1), 1).receive("a")
    with pytest.raises(UnexpectedMessage, match="of step train#2"):
        accepted.channel("match", 1).receive("a")
    assert accepted.channel(attempt_name("train", 2), 1).receive("a") == b""
    close_all(links)


def test_fifty_megabytes_stream_with_bounded_memory(connect: Callable[..., tuple[Link, Link]]) -> None:
    size = 50 * MIB
    dialled, accepted = connect()
    payload = pattern(size)
    sender = dialled.channel("psi", 0)
    tracemalloc.start()
    try:
        thread = threading.Thread(target=sender.send, args=("bulk", payload))
        thread.start()
        time.sleep(0.5)  # nobody receives: the sender must stop at the window
        assert thread.is_alive()
        waiting = tracemalloc.get_traced_memory()[0]
        received = accepted.channel("psi", 1).receive("bulk")
        thread.join()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert received == payload
    assert waiting < 2 * WINDOW_BYTES + 8 * MIB
    assert peak < 2 * size + 2 * WINDOW_BYTES + 16 * MIB  # the message twice at its end, and the window


def test_both_send_more_than_the_window_and_time_out_rather_than_hang(
    connect: Callable[..., tuple[Link, Link]],
) -> None:
    limits = Limits(receive_s=0.5, reconnect_s=2, close_s=0.5)
    dialled, _ = connect(limits=limits)
    with pytest.raises(ChannelBroken, match="took nothing"):
        dialled.channel("psi", 0).send("bulk", bytes(WINDOW_BYTES + 1))


def test_nothing_is_left_when_all_is_closed() -> None:
    before = set(threading.enumerate())
    listener = PartyListener("127.0.0.1:0", B, lambda: MEMBERS, lambda _s, _d: True, limits=LIMITS)
    listener.start()
    dialled = dial(f"127.0.0.1:{listener.port}", A, B.did, B.tls_cert, SESSION, 5, limits=LIMITS)
    accepted = listener.accept(SESSION, A.did, 5)
    exchange((dialled, accepted), b"x")
    started = time.monotonic()
    accepted.close()
    dialled.close()
    dialled.close()
    listener.stop()
    listener.stop()
    assert time.monotonic() - started < 2
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(3)
    assert not set(threading.enumerate()) - before


def test_stopping_the_listener_ends_open_links() -> None:
    running = PartyListener("127.0.0.1:0", B, lambda: MEMBERS, lambda _s, _d: True, limits=LIMITS)
    running.start()
    link = dial(f"127.0.0.1:{running.port}", A, B.did, B.tls_cert, SESSION, 5, limits=LIMITS)
    running.accept(SESSION, A.did, 5)
    running.stop()
    with pytest.raises(ChannelBroken, match="closed"):
        link.channel("psi", 0).receive("a")
    link.close()
