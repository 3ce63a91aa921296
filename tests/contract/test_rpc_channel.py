"""The promises of ``mpc.channel.Channel``, kept over gRPC and mutual TLS on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from exchange import tls
from exchange.rpc.channel import Limits, Link, PartyListener, SessionKey, StepChannel, dial
from exchange.rpc.errors import ChannelTimeout
from mpc.channel import MIN_WINDOW_BYTES, Channel
from mpc.errors import ChannelBroken, PeerAborted, UnexpectedMessage
from mpc.testing import run_pair

NOW = datetime.now(UTC)
SESSION = SessionKey("job-1", "00" * 32, 1, ("did:a", "did:b")).digest()


@dataclass(frozen=True)
class Keys:
    did: str
    tls_key: bytes
    tls_cert: bytes

    @classmethod
    def make(cls, name: str) -> Keys:
        return cls(f"did:{name}", *tls.self_signed(f"{name}.parley.internal", now=NOW))


A, B = Keys.make("a"), Keys.make("b")
MEMBERS = {keys.did: keys.tls_cert for keys in (A, B)}


@pytest.fixture
def links() -> Iterator[tuple[Link, Link]]:
    limits = Limits(receive_s=5, reconnect_s=1, close_s=2)
    listener = PartyListener("127.0.0.1:0", B, lambda: MEMBERS, lambda _s, _d: True, limits=limits)
    listener.start()
    dialled = dial(f"127.0.0.1:{listener.port}", A, B.did, B.tls_cert, SESSION, 5, limits=limits)
    accepted = listener.accept(SESSION, A.did, 5)
    yield dialled, accepted
    closers = [threading.Thread(target=link.close) for link in (dialled, accepted)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    listener.stop()


@pytest.fixture
def pair(links: tuple[Link, Link]) -> tuple[StepChannel, StepChannel]:
    return links[0].channel("psi", 0), links[1].channel("psi", 1)


def test_a_step_channel_is_a_channel(pair: tuple[StepChannel, StepChannel]) -> None:
    first: Channel = pair[0]
    assert first.peer == B.did


def test_both_ends_agree_on_the_session_and_differ_in_rank(pair: tuple[StepChannel, StepChannel]) -> None:
    assert pair[0].session == pair[1].session
    assert len(pair[0].session) == 32
    assert (pair[0].rank, pair[1].rank) == (0, 1)


def test_steps_have_different_sessions(links: tuple[Link, Link]) -> None:
    assert links[0].channel("a", 0).session != links[0].channel("b", 0).session


@pytest.mark.parametrize("size", [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
def test_messages_arrive_unchanged_in_both_directions(
    pair: tuple[StepChannel, StepChannel], size: int
) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]

    def ask(channel: Channel) -> bytes:
        channel.send("question", payload)
        return channel.receive("answer")

    def answer(channel: Channel) -> bytes:
        received = channel.receive("question")
        channel.send("answer", received)
        return received

    assert run_pair(ask, answer, pair) == (payload, payload)


def test_messages_keep_their_order(pair: tuple[StepChannel, StepChannel]) -> None:
    for number in range(500):
        pair[0].send("n", number.to_bytes(2, "big"))
    assert [int.from_bytes(pair[1].receive("n"), "big") for _ in range(500)] == list(range(500))


def test_send_does_not_wait_for_the_peer_within_the_window(pair: tuple[StepChannel, StepChannel]) -> None:
    for _ in range(8):
        pair[0].send("part", bytes(MIN_WINDOW_BYTES // 8))
        pair[1].send("part", bytes(MIN_WINDOW_BYTES // 8))
    for _ in range(8):
        assert len(pair[0].receive("part")) == len(pair[1].receive("part")) == MIN_WINDOW_BYTES // 8


def test_many_tiny_messages_fit_the_window(pair: tuple[StepChannel, StepChannel]) -> None:
    for _ in range(5000):
        pair[0].send("t", b"x")
    assert all(pair[1].receive("t") == b"x" for _ in range(5000))


def test_stats_count_payload_messages_and_rounds(pair: tuple[StepChannel, StepChannel]) -> None:
    first, second = pair
    first.send("a", b"12345")
    first.send("b", b"678")
    second.receive("a")
    second.receive("b")
    second.send("c", b"9")
    first.receive("c")
    assert (first.stats.bytes_sent, first.stats.messages_sent) == (8, 2)
    assert (first.stats.bytes_received, first.stats.rounds) == (1, 1)
    assert (second.stats.bytes_received, second.stats.rounds) == (8, 1)


def test_stats_are_per_step_and_wire_bytes_per_link(links: tuple[Link, Link]) -> None:
    one, two = links[0].channel("one", 0), links[0].channel("two", 0)
    one.send("a", bytes(1000))
    links[1].channel("one", 1).receive("a")
    assert (one.stats.bytes_sent, two.stats.bytes_sent) == (1000, 0)
    assert links[0].wire_sent > 1000
    assert links[1].wire_received > 1000


def test_another_label_is_an_abort_reason(pair: tuple[StepChannel, StepChannel]) -> None:
    pair[0].send("a", b"")
    with pytest.raises(UnexpectedMessage) as caught:
        pair[1].receive("b")
    assert (caught.value.expected, caught.value.actual) == ("b", "a")


def test_a_message_of_another_step_is_unexpected(links: tuple[Link, Link]) -> None:
    links[0].channel("two", 0).send("a", b"")
    with pytest.raises(UnexpectedMessage, match="two"):
        links[1].channel("one", 1).receive("a")


def test_steps_follow_each_other(links: tuple[Link, Link]) -> None:
    links[0].channel("one", 0).send("a", b"1")
    links[0].channel("two", 0).send("a", b"2")
    assert links[1].channel("one", 1).receive("a") == b"1"
    assert links[1].channel("two", 1).receive("a") == b"2"


@pytest.mark.parametrize("aborting", [0, 1])
def test_an_abort_reaches_the_other_end_while_it_waits(
    pair: tuple[StepChannel, StepChannel], aborting: int
) -> None:
    threading.Timer(0.05, pair[aborting].abort, ("mpc.cohort-too-small",)).start()
    with pytest.raises(PeerAborted) as caught:
        pair[1 - aborting].receive("never")
    assert caught.value.reason == "mpc.cohort-too-small"
    with pytest.raises(PeerAborted):
        pair[1 - aborting].send("later", b"")


def test_an_abort_passes_a_full_window(pair: tuple[StepChannel, StepChannel]) -> None:
    for _ in range(4):
        pair[0].send("bulk", bytes(4 * 1024 * 1024))
    pair[0].abort("mpc.abort")
    pair[0].abort("second")
    with pytest.raises(PeerAborted, match=r"mpc\.abort"):
        [pair[1].receive("bulk") for _ in range(5)]


def test_an_abort_just_before_closing_arrives(links: tuple[Link, Link]) -> None:
    links[0].channel("psi", 0).abort("mpc.abort")
    links[0].close()
    with pytest.raises(PeerAborted):
        links[1].channel("psi", 1).receive("a")


@pytest.mark.parametrize("closing", [0, 1])
def test_what_was_sent_before_closing_arrives(links: tuple[Link, Link], closing: int) -> None:
    links[closing].channel("psi", closing).send("last", bytes(1_000_000))
    links[closing].close()
    other = links[1 - closing].channel("psi", 1 - closing)
    assert len(other.receive("last")) == 1_000_000
    with pytest.raises(ChannelBroken, match="closed"):
        other.receive("more")
    with pytest.raises(ChannelBroken, match="closed"):
        other.send("more", b"")


def test_a_closed_end_sends_and_receives_nothing(links: tuple[Link, Link]) -> None:
    channel = links[0].channel("psi", 0)
    links[0].close()
    with pytest.raises(ChannelBroken):
        channel.send("a", b"")
    with pytest.raises(ChannelBroken):
        channel.receive("a")
    channel.abort("too late")


def test_silence_ends_in_a_time_out(links: tuple[Link, Link]) -> None:
    channel = links[0].channel("psi", 0)
    object.__setattr__(links[0].limits, "receive_s", 0.1)
    with pytest.raises(ChannelTimeout, match=r"did:b sent nothing for 0\.1 s"):
        channel.receive("a")
