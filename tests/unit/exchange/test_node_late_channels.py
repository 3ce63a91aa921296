"""Channels that connect when they are first used: what becomes of a party that cannot be reached."""

from __future__ import annotations

import pytest

from exchange.errors import JobStopped
from exchange.node.peers import LateChannel
from exchange.rpc.errors import PeerUnreachable
from mpc.channel import Channel
from mpc.errors import ChannelBroken, PeerAborted
from mpc.testing import channel_pair

PEER = "did:key:zWest"


def test_a_channel_connects_once_and_when_it_is_used() -> None:
    own, other = channel_pair(b"session")
    made: list[Channel] = []

    def connect() -> Channel:
        made.append(own)
        return own

    late = LateChannel(connect, own.session, own.rank, PEER)
    assert (late.session, late.rank, late.peer) == (own.session, own.rank, PEER)
    assert (late.stats.bytes_sent, made) == (0, [])
    late.send("a", b"1234")
    assert other.receive("a") == b"1234"
    other.send("b", b"56")
    assert late.receive("b") == b"56"
    assert (late.stats.bytes_sent, late.stats.bytes_received, made) == (4, 2, [own])
    late.abort("enough")
    with pytest.raises(PeerAborted, match="enough"):
        other.receive("c")


def test_a_party_that_cannot_be_reached_breaks_the_channel() -> None:
    def connect() -> Channel:
        raise PeerUnreachable(PEER, "west:1", "nobody answers")

    late = LateChannel(connect, b"session", 0, PEER)
    late.abort("never opened")
    for act in (lambda: late.receive("a"), lambda: late.send("a", b"")):
        with pytest.raises(ChannelBroken, match=r"peer\.unreachable"):
            act()


def test_a_run_that_is_stopped_while_it_connects_is_stopped() -> None:
    def connect() -> Channel:
        raise JobStopped("the job is ABORTED")

    with pytest.raises(JobStopped):
        LateChannel(connect, b"session", 0, PEER).receive("a")


def test_who_was_given_up_before_it_connected_is_told() -> None:
    own, other = channel_pair(b"session", timeout_s=0.1)
    late = LateChannel(lambda: own, own.session, own.rank, PEER)
    late.abort("mpc.dropped-out")
    with pytest.raises(ChannelBroken):
        late.receive("a")
    with pytest.raises(PeerAborted, match=r"mpc\.dropped-out"):
        other.receive("a")
