from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.rpc.flow import CHUNK_BYTES, WINDOW_BYTES, WINDOW_FRAMES, Inbox, Outbox
from exchange.rpc.v1.party_pb2 import Ack, Data, Frame
from mpc.errors import MalformedMessage


def piece(size: int = 1) -> Frame:
    return Frame(data=Data(chunk=bytes(size)))


def test_frames_are_numbered_from_one() -> None:
    outbox = Outbox()
    for _ in range(3):
        outbox.push(piece())
    assert [outbox.next_unsent().sequence for _ in range(3)] == [1, 2, 3]
    assert not outbox.has_unsent


def test_the_window_closes_on_bytes_and_opens_when_consumed() -> None:
    outbox = Outbox()
    for _ in range(WINDOW_BYTES // CHUNK_BYTES):
        assert outbox.has_room(CHUNK_BYTES)
        outbox.push(piece(CHUNK_BYTES))
    assert not outbox.has_room(1)
    outbox.acknowledge(Ack(received=64, consumed=0))
    assert not outbox.has_room(1)
    outbox.acknowledge(Ack(received=64, consumed=1))
    assert outbox.has_room(CHUNK_BYTES)


def test_the_window_closes_on_frames() -> None:
    outbox = Outbox()
    for _ in range(WINDOW_FRAMES):
        outbox.push(piece(0))
    assert not outbox.has_room(0)


def test_what_was_received_is_kept_no_longer() -> None:
    outbox = Outbox()
    for _ in range(3):
        outbox.push(piece())
    outbox.acknowledge(Ack(received=2))
    assert not outbox.is_received
    outbox.rewind(2)
    assert outbox.next_unsent().sequence == 3
    outbox.acknowledge(Ack(received=3))
    assert outbox.is_received


@pytest.mark.parametrize("received", [1, 6])
def test_a_hello_cannot_forget_or_invent_frames(received: int) -> None:
    outbox = Outbox()
    for _ in range(5):
        outbox.push(piece())
    outbox.acknowledge(Ack(received=3))
    with pytest.raises(MalformedMessage, match=f"expected a confirmation of frame 3 to 5, got {received}"):
        outbox.rewind(received)


def test_repeats_are_dropped_and_gaps_refused() -> None:
    inbox = Inbox()
    assert inbox.accept(Frame(sequence=1))
    assert not inbox.accept(Frame(sequence=1))
    assert not inbox.accept(Frame(sequence=0))
    with pytest.raises(MalformedMessage, match="expected frame 2, got 3"):
        inbox.accept(Frame(sequence=3))


def test_an_acknowledgement_is_due_before_the_window_can_close() -> None:
    inbox = Inbox()
    taken = 0
    while not inbox.is_ack_due:
        inbox.put(piece(CHUNK_BYTES))
        inbox.take()
        taken += CHUNK_BYTES
    assert taken < WINDOW_BYTES / 2
    inbox.ack()
    assert not inbox.is_ack_due
    inbox.hurry()
    assert inbox.is_ack_due


ACTIONS = st.lists(
    st.sampled_from(["push", "carry", "carry", "lose", "take", "ack", "reconnect"]), max_size=200
)


@given(ACTIONS)
def test_whatever_the_connection_does_frames_arrive_once_and_in_order(actions: list[str]) -> None:
    outbox, inbox = Outbox(), Inbox()
    pushed, taken = 0, []
    connected = True

    def carry() -> None:
        frame = outbox.next_unsent()
        if connected and inbox.accept(frame):
            inbox.put(frame)

    def reconnect() -> None:
        outbox.rewind(inbox.received)

    for action in [*actions, "reconnect", *["carry"] * len(actions), *["take"] * len(actions)]:
        if action == "push" and outbox.has_room(1):
            pushed += 1
            outbox.push(piece())
        elif action == "carry" and outbox.has_unsent:
            carry()
        elif action == "lose":
            connected = False
        elif action == "take" and inbox:
            taken.append(inbox.take().sequence)
        elif action == "ack" and connected:
            outbox.acknowledge(inbox.ack())
        elif action == "reconnect":
            connected = True
            reconnect()
    assert taken == list(range(1, pushed + 1))
