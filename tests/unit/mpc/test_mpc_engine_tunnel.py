"""Bytes between two sockets through a party channel: whole, in order, with back-pressure, or not at all."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mpc.engines import tunnel
from mpc.engines.rr22 import SPEC
from mpc.engines.tunnel import FRAME_BYTES, OVERHEAD_BYTES, Event, Kind, Seal, Tunnel
from mpc.errors import MalformedMessage
from mpc.testing import Tap, channel_pair
from mpc.transcript import ConfirmedChannel

SESSION = b"a session"


@dataclass
class End:
    """One end: a tunnel, and sockets that stand for its engine."""

    folder: Path
    channel: ConfirmedChannel
    told: queue.Queue[Event] = field(default_factory=queue.Queue)
    spent_s: float = 0.0

    def __post_init__(self) -> None:
        self.made: list[socket.socket] = []
        self.folder.mkdir()
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(self.folder / "peer.sock"))
        door.listen()
        self.engine = socket.socket(socket.AF_UNIX)
        self.engine.bind(str(self.folder / "own.sock"))
        self.engine.listen()
        self.engine.settimeout(10)
        own = str(self.folder / "own.sock")
        self.tunnel = Tunnel(self.channel, SPEC, door, own, self.told.put, lambda: self.spent_s)
        self.tunnel.start()

    def dial(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        made.connect(str(self.folder / "peer.sock"))
        self.made.append(made)
        return made

    def accept(self) -> socket.socket:
        accepted, _ = self.engine.accept()
        accepted.settimeout(10)
        self.made.append(accepted)
        return accepted

    def close(self) -> None:
        self.tunnel.close()
        for one in (*self.made, self.engine):
            one.close()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Callable[..., tuple[End, End]]]:
    made: list[End] = []

    def make(tap: Tap | None = None) -> tuple[End, End]:
        for rank, channel in enumerate(channel_pair(SESSION, tap=tap, timeout_s=10)):
            made.append(End(tmp_path / str(rank), ConfirmedChannel(channel, SPEC)))
        return made[0], made[1]

    yield make
    for end in made:
        end.close()


def received(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size and (part := connection.recv(65536)):
        parts += part
    return bytes(parts)


def finish(*both: End) -> None:
    for end in both:
        end.tunnel.say(Kind.DONE)
    for end in both:
        assert end.told.get(timeout=10) is Kind.DONE
    for end in both:
        end.tunnel.say(Kind.END)
    for end in both:
        end.tunnel.join()
        assert end.told.get(timeout=10) is Kind.END


def test_bytes_arrive_both_ways_and_the_transcripts_agree(ends: Callable[..., tuple[End, End]]) -> None:
    left, right = ends()
    there, here = left.dial(), right.dial()
    at_right, at_left = right.accept(), left.accept()
    there.sendall(b"question")
    assert received(at_right, 8) == b"question"
    at_right.sendall(b"answer")
    here.sendall(b"other")
    assert received(there, 6) == b"answer"
    assert received(at_left, 5) == b"other"
    finish(left, right)
    thread = threading.Thread(target=left.channel.confirm)
    thread.start()
    right.channel.confirm()
    thread.join()


def test_much_arrives_while_both_ends_send_at_once(ends: Callable[..., tuple[End, End]]) -> None:
    left, right = ends()
    there = left.dial()
    at_right = right.accept()
    much = bytes(range(256)) * 12_000
    senders = [threading.Thread(target=one.sendall, args=(much,)) for one in (there, at_right)]
    for sender in senders:
        sender.start()
    assert received(at_right, len(much)) == much
    assert received(there, len(much)) == much
    for sender in senders:
        sender.join()


def test_what_one_engine_closes_is_closed_at_the_other(ends: Callable[..., tuple[End, End]]) -> None:
    left, right = ends()
    there = left.dial()
    at_right = right.accept()
    there.sendall(b"last words")
    there.close()
    assert received(at_right, 100) == b"last words"
    at_right.close()
    again = left.dial()
    again.sendall(b"once more")
    assert received(right.accept(), 9) == b"once more"
    finish(left, right)


def test_engines_are_still_while_both_rest_and_nothing_is_said(
    ends: Callable[..., tuple[End, End]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "_BEAT_S", 0.05)
    left, right = ends()
    there = left.dial()
    right.accept()
    time.sleep(0.5)
    assert min(left.tunnel.still_s, right.tunnel.still_s) > 0.3
    there.sendall(b"question")
    time.sleep(0.1)
    assert max(left.tunnel.still_s, right.tunnel.still_s) < 0.3
    finish(left, right)


def test_engines_are_not_still_while_one_works(
    ends: Callable[..., tuple[End, End]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "_BEAT_S", 0.05)
    left, right = ends()
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        right.spent_s += 0.01
        time.sleep(0.01)
    assert max(left.tunnel.still_s, right.tunnel.still_s) < 0.4
    finish(left, right)


class Network:
    """Alters the frames from rank 0 that carry bytes, from the second on."""

    def __init__(self, how: str) -> None:
        self.how, self.kept, self.seen = how, b"", 0

    def __call__(self, direction: str, label: str, payload: bytes) -> bytes | None:
        del label
        if direction != "0->1" or payload[0] != Kind.DATA:
            return None
        self.seen += 1
        if self.seen == 1:
            self.kept = payload
            return None
        match self.how:
            case "flip":
                return payload[:10] + bytes([payload[10] ^ 1]) + payload[11:]
            case "truncate":
                return payload[:-1]
            case "repeat":
                return self.kept
            case _:
                return b""


@pytest.mark.parametrize("how", ["flip", "truncate", "repeat", "empty"])
def test_a_changed_frame_ends_the_run_before_the_engine_sees_it(
    ends: Callable[..., tuple[End, End]], how: str
) -> None:
    left, right = ends(Network(how))
    there = left.dial()
    at_right = right.accept()
    there.sendall(b"first words")
    assert received(at_right, 11) == b"first words"
    there.sendall(b"second words")
    assert isinstance(right.told.get(timeout=10), MalformedMessage)
    right.tunnel.close()
    assert at_right.recv(100) == b""


def test_frames_are_taken_in_their_order_once_and_in_their_direction() -> None:
    def seals() -> tuple[Seal, Seal]:
        return Seal(SPEC, SESSION, 0), Seal(SPEC, SESSION, 0)

    out, into = seals()
    first, second = out.frame(Kind.OPEN, 0), out.frame(Kind.DATA, 0, b"abc")
    kind, connection, carried = into.open(first)
    assert (kind, connection, bytes(carried)) == (Kind.OPEN, 0, b"")
    assert bytes(into.open(second)[2]) == b"abc"
    _, into = seals()
    with pytest.raises(MalformedMessage):
        into.open(second)
    _, into = seals()
    into.open(first)
    with pytest.raises(MalformedMessage):
        into.open(first)
    for other in (Seal(SPEC, SESSION, 1), Seal(SPEC, b"another session", 0)):
        with pytest.raises(MalformedMessage):
            other.open(first)


@pytest.mark.parametrize(
    ("kind", "connection", "carried"),
    [(Kind.DATA, 0, b""), (Kind.OPEN, 0, b"x"), (Kind.DONE, 1, b""), (Kind.END, 0, b"x")],
)
def test_a_frame_that_says_too_much_or_nothing_is_refused(
    kind: Kind, connection: int, carried: bytes
) -> None:
    with pytest.raises(MalformedMessage):
        Seal(SPEC, SESSION, 0).open(Seal(SPEC, SESSION, 0).frame(kind, connection, carried))


def test_a_frame_longer_than_agreed_or_of_an_unknown_kind_is_refused() -> None:
    long = Seal(SPEC, SESSION, 0).frame(Kind.DATA, 0, bytes(FRAME_BYTES - OVERHEAD_BYTES + 1))
    with pytest.raises(MalformedMessage, match="a frame of"):
        Seal(SPEC, SESSION, 0).open(long)
    unknown = Seal(SPEC, SESSION, 0).frame(99, 0)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage, match="kinds of frame"):
        Seal(SPEC, SESSION, 0).open(unknown)


@pytest.mark.parametrize(
    ("kind", "connection", "carried"),
    [(Kind.DATA, 0, b"never opened"), (Kind.CLOSE, 0, b""), (Kind.OPEN, 1, b"")],
)
def test_a_connection_that_the_peer_may_not_name_ends_the_run(
    tmp_path: Path, kind: Kind, connection: int, carried: bytes
) -> None:
    forger, honest = channel_pair(SESSION, timeout_s=10)
    end = End(tmp_path / "1", ConfirmedChannel(honest, SPEC))
    ConfirmedChannel(forger, SPEC).send("frame", Seal(SPEC, SESSION, 0).frame(kind, connection, carried))
    assert isinstance(end.told.get(timeout=10), MalformedMessage)
    end.close()
