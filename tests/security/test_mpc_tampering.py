"""The network changes one message of a run: the run aborts and nothing comes out.

The one exception is stated: when the very last message, a confirmation, is changed, its receiver aborts and
the other party already has its output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mpc.channel import Channel
from mpc.errors import MpcError, ProtocolAbort, TranscriptMismatch
from mpc.psi import cardinality, ecdh
from mpc.psi.own_set import Duplicates
from mpc.stats import group_sums
from mpc.testing import DeterministicRandomness, channel_pair, outcomes

SEEDS = (b"0123456789abcdef", b"fedcba9876543210")
LEFT, RIGHT = [b"%d" % row for row in range(6)], [b"%d" % row for row in range(3, 8)]
MEASURES = np.arange(12, dtype=np.int64).reshape(6, 2)
GROUPS = np.array([0, 1, 0, 1, 1, 0], dtype=np.int64)

LABELS = {
    "psi/ecdh": "psi/ecdh/2/",
    "psi/ecdh with groups": "psi/ecdh/2/",
    "psi/cardinality": "psi/cardinality/1/",
    "stats/group-sums": "stats/group-sums/1/",
}


def groups(channel: Channel, items: list[bytes], seed: bytes) -> object:
    rng = DeterministicRandomness(seed)
    return ecdh.run_batches(channel, [items], rng, duplicates=Duplicates.GROUPS)


def both(*names: str) -> list[tuple[str, str]]:
    return [(way, name) for name in names for way in ("0->1", "1->0")]


ROLES: dict[str, tuple[Callable[..., object], Callable[..., object]]] = {
    "psi/ecdh": (
        lambda ch: ecdh.run(ch, LEFT, DeterministicRandomness(SEEDS[0])),
        lambda ch: ecdh.run(ch, RIGHT, DeterministicRandomness(SEEDS[1])),
    ),
    "psi/ecdh with groups": (
        lambda ch: groups(ch, [*LEFT, b"3"], SEEDS[0]),
        lambda ch: groups(ch, RIGHT, SEEDS[1]),
    ),
    "psi/cardinality": (
        lambda ch: cardinality.run(ch, [LEFT], DeterministicRandomness(SEEDS[0])),
        lambda ch: cardinality.run(ch, [RIGHT], DeterministicRandomness(SEEDS[1])),
    ),
    "stats/group-sums": (
        lambda ch: group_sums.measure_holder(
            ch, MEASURES, min_cohort=2, rng=DeterministicRandomness(SEEDS[0])
        ),
        lambda ch: group_sums.group_holder(
            ch, GROUPS, 2, min_cohort=2, rng=DeterministicRandomness(SEEDS[1])
        ),
    ),
}
MESSAGES = {
    "psi/ecdh": both("terms", "masked", "double-masked", "confirm"),
    "psi/ecdh with groups": both("terms", "masked", "double-masked", "multiplicities", "confirm"),
    "psi/cardinality": both("terms", "masked", "double-masked", "sorted", "confirm"),
    "stats/group-sums": [
        ("0->1", "shape"),
        ("1->0", "cohorts"),
        ("1->0", "base-offer"),
        ("0->1", "base-choices"),
        ("1->0", "columns"),
        ("0->1", "corrections"),
        ("0->1", "confirm"),
        ("1->0", "confirm"),
    ],
}
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "first-byte": lambda payload: bytes([payload[0] ^ 1]) + payload[1:],
    "middle-bit": lambda payload: _flip(payload, len(payload) // 2, 0x10),
    "last-byte": lambda payload: _flip(payload, len(payload) - 1, 1),
    "truncated": lambda payload: payload[:-1],
    "extended": lambda payload: payload + b"\0",
    "empty": lambda payload: b"",
    "zeros": lambda payload: bytes(len(payload)),
}


def _flip(payload: bytes, at: int, mask: int) -> bytes:
    return payload[:at] + bytes([payload[at] ^ mask]) + payload[at + 1 :]


def run(protocol: str, tap: Any) -> tuple[object, object]:
    channels = channel_pair(tap=tap, timeout_s=5)
    return outcomes(*ROLES[protocol], channels)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ROLES)
def test_the_list_of_messages_is_complete_and_an_honest_run_has_output(protocol: str) -> None:
    seen = []
    label = LABELS[protocol]
    ends = run(protocol, lambda way, name, payload: seen.append((way, name.removeprefix(label))))
    assert not any(isinstance(end, Exception) for end in ends)
    assert sorted(seen) == sorted(MESSAGES[protocol])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("protocol", "way", "message"),
    [(protocol, *message) for protocol, messages in MESSAGES.items() for message in messages],
)
def test_a_changed_message_aborts_the_run(protocol: str, way: str, message: str, change: str) -> None:
    def tap(direction: str, label: str, payload: bytes) -> bytes | None:
        hit = direction == way and label == LABELS[protocol] + message
        return CHANGES[change](payload) if hit else None

    ends = run(protocol, tap)
    receiver, sender = (ends[1], ends[0]) if way == "0->1" else ends
    assert isinstance(receiver, ProtocolAbort)
    if message == "confirm":
        assert isinstance(receiver, TranscriptMismatch)
    else:
        assert isinstance(sender, ProtocolAbort)


@pytest.mark.parametrize("protocol", ROLES)
def test_messages_of_another_session_do_not_fit(protocol: str) -> None:
    channels = channel_pair(b"session of job 1", peer_session=b"session of job 2", timeout_s=5)
    ends = outcomes(*ROLES[protocol], channels)  # type: ignore[arg-type]
    assert all(isinstance(end, MpcError) for end in ends)


@pytest.mark.parametrize("protocol", ROLES)
def test_a_replayed_message_of_an_earlier_run_aborts(protocol: str) -> None:
    recorded: dict[tuple[str, str], bytes] = {}

    def record(way: str, label: str, payload: bytes) -> None:
        recorded[way, label] = payload

    channels = channel_pair(b"session of attempt 1", tap=record, timeout_s=5)
    outcomes(*ROLES[protocol], channels)  # type: ignore[arg-type]
    way, message = ("1->0", "columns") if protocol == "stats/group-sums" else ("0->1", "masked")

    def replay(direction: str, label: str, payload: bytes) -> bytes | None:
        hit = direction == way and label.endswith(message)
        return recorded[direction, label] if hit else None

    channels = channel_pair(b"session of attempt 2", tap=replay, timeout_s=5)
    ends = outcomes(*ROLES[protocol], channels)  # type: ignore[arg-type]
    assert all(isinstance(end, ProtocolAbort) for end in ends)
