"""Channels in memory, their counters, domain separation and the comparison of transcripts."""

from __future__ import annotations

import threading

import pytest

from mpc.channel import Channel, ChannelStats
from mpc.domain import TAG_BYTES, Usage, separation_tag
from mpc.errors import (
    ChannelBroken,
    InvalidInput,
    MalformedMessage,
    PeerAborted,
    TranscriptMismatch,
    UnexpectedMessage,
)
from mpc.spec import Adversary, ProtocolSpec
from mpc.testing import channel_pair, outcomes, run_pair
from mpc.transcript import protocol_run

SPEC = ProtocolSpec(
    name="test/echo",
    version=3,
    roles=("first", "second"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={"first": (), "second": ()},
    cost="none",
    source="none",
    summary="Test.",
)


def test_messages_arrive_in_order_with_their_labels() -> None:
    first, second = channel_pair()
    first.send("a", b"1")
    first.send("b", b"2")
    assert (second.receive("a"), second.receive("b")) == (b"1", b"2")


def test_another_label_than_the_expected_one_is_refused() -> None:
    first, second = channel_pair()
    first.send("a", b"1")
    with pytest.raises(UnexpectedMessage, match="expected message 'b', got 'a'"):
        second.receive("b")


def test_receiving_nothing_breaks_the_channel_after_the_timeout() -> None:
    first, _ = channel_pair(timeout_s=0.01)
    with pytest.raises(ChannelBroken):
        first.receive("a")


def test_an_abort_reaches_the_peer_once_after_what_was_sent_before() -> None:
    first, second = channel_pair(timeout_s=0.01)
    first.send("a", b"1")
    first.abort("mpc.malformed-message")
    first.abort("mpc.other")
    assert second.receive("a") == b"1"
    with pytest.raises(PeerAborted) as refused:
        second.receive("b")
    assert refused.value.reason == "mpc.malformed-message"
    with pytest.raises(ChannelBroken):
        second.receive("b")


def test_stats_count_payload_bytes_messages_and_receiving_phases() -> None:
    first, second = channel_pair()
    second.send("x", b"123")
    second.send("y", b"")
    assert first.receive("x") + first.receive("y") == b"123"
    first.send("z", b"12345")
    second.send("x", b"1")
    first.receive("x")
    assert first.stats == ChannelStats(bytes_sent=5, bytes_received=4, messages_sent=1, rounds=2)
    assert second.stats == ChannelStats(bytes_sent=4, bytes_received=0, messages_sent=3, rounds=0)


def test_a_tap_sees_and_may_replace_messages() -> None:
    seen = []

    def tap(direction: str, label: str, payload: bytes) -> bytes | None:
        seen.append((direction, label, payload))
        return b"changed" if direction == "1->0" else None

    first, second = channel_pair(tap=tap)
    first.send("a", b"1")
    second.send("b", b"2")
    assert (second.receive("a"), first.receive("b")) == (b"1", b"changed")
    assert seen == [("0->1", "a", b"1"), ("1->0", "b", b"2")]


def test_run_pair_returns_both_outputs_and_groups_errors() -> None:
    assert run_pair(lambda ch: ch.rank, lambda ch: ch.rank) == (0, 1)

    def fail(channel: Channel) -> None:
        raise ValueError(str(channel.rank))

    with pytest.raises(ExceptionGroup) as failed:
        run_pair(fail, lambda ch: ch.receive("never"))
    assert [type(error) for error in failed.value.exceptions] == [ValueError, PeerAborted]


def test_run_pair_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    run_pair(lambda ch: ch.send("a", b""), lambda ch: ch.receive("a"))
    assert threading.active_count() == before


def test_separation_tags_differ_in_every_argument() -> None:
    base = ("psi/ecdh", 1, Usage.HASH_TO_GROUP, b"session")
    others = [
        ("psi/ecd", 1, Usage.HASH_TO_GROUP, b"hsession"),
        ("psi/ecdh", 2, Usage.HASH_TO_GROUP, b"session"),
        ("psi/ecdh", 1, Usage.TRANSCRIPT, b"session"),
        ("psi/ecdh", 1, Usage.HASH_TO_GROUP, b"session2"),
        ("psi/ecdh1", 1, Usage.HASH_TO_GROUP, b"session"),
    ]
    tags = {separation_tag(*arguments) for arguments in (base, *others)}
    assert len(tags) == 6
    assert {len(tag) for tag in tags} == {TAG_BYTES}


def echo(message: bytes) -> object:
    def role(channel: Channel) -> bytes:
        with protocol_run(channel, SPEC) as peer:
            peer.send("hello", message)
            received = peer.receive("hello")
            peer.confirm()
            return received

    return role


def test_a_confirmed_run_returns_what_was_sent() -> None:
    assert run_pair(echo(b"one"), echo(b"two")) == (b"two", b"one")  # type: ignore[arg-type]


def test_labels_carry_protocol_and_version() -> None:
    labels = []
    channels = channel_pair(tap=lambda direction, label, payload: labels.append(label))
    run_pair(echo(b"one"), echo(b"two"), channels)  # type: ignore[arg-type]
    assert set(labels) == {"test/echo/3/hello", "test/echo/3/confirm"}


@pytest.mark.parametrize("direction", ["0->1", "1->0"])
@pytest.mark.parametrize("message", ["hello", "confirm"])
def test_a_changed_message_is_found_before_any_output(direction: str, message: str) -> None:
    def tap(way: str, label: str, payload: bytes) -> bytes | None:
        hit = way == direction and label.endswith(message)
        return bytes([payload[0] ^ 1]) + payload[1:] if hit else None

    ends = outcomes(echo(b"one"), echo(b"two"), channel_pair(tap=tap))  # type: ignore[arg-type]
    receiver = ends[1] if direction == "0->1" else ends[0]
    assert isinstance(receiver, TranscriptMismatch)


def test_parties_of_different_sessions_do_not_finish() -> None:
    channels = channel_pair(b"one session", peer_session=b"another")
    ends = outcomes(echo(b"one"), echo(b"two"), channels)  # type: ignore[arg-type]
    assert [type(end) for end in ends] == [TranscriptMismatch, TranscriptMismatch]


def test_an_error_inside_a_run_is_told_to_the_peer_by_code() -> None:
    def fail(channel: Channel) -> None:
        with protocol_run(channel, SPEC):
            raise MalformedMessage("detail that stays here")

    first, second = outcomes(fail, echo(b"two"))  # type: ignore[arg-type]
    assert isinstance(first, MalformedMessage)
    assert isinstance(second, PeerAborted)
    assert second.reason == "mpc.malformed-message"


def test_a_rank_without_a_role_is_refused() -> None:
    first, _ = channel_pair()
    first.rank = 2
    with pytest.raises(InvalidInput, match="ranks 0 and 1, got 2"), protocol_run(first, SPEC):
        pass


def test_a_descriptor_must_state_leaks_for_every_role() -> None:
    with pytest.raises(InvalidInput, match="leaks"):
        ProtocolSpec(
            name="test/x",
            version=1,
            roles=("first", "second"),
            adversary=Adversary.SEMI_HONEST,
            corruptions="one of two",
            leaks={"first": ()},
            cost="",
            source="",
            summary="",
        )
