"""Intersection of n sets: alignment, receivers, refusals, costs, tampering, transcripts; hints alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc import pieces
from mpc.errors import (
    CohortTooSmall,
    DuplicateItems,
    InvalidInput,
    MalformedMessage,
    MpcError,
    ProtocolAbort,
)
from mpc.mersenne61 import PRIME
from mpc.mesh import Mesh
from mpc.psi_many import hints, protocol
from mpc.psi_many.protocol import CommonRows
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Role = Callable[[Mesh], Any]
SETS = ([b"a", b"b", b"c", b"d"], [b"d", b"x", b"b", b"a"], [b"b", b"d", b"y"])


def roles(sets: Sequence[list[bytes]], *, everyone: bool = True, minimum: int = 0) -> list[Role]:
    def play(rank: int) -> Role:
        run = protocol.party if rank else protocol.leader
        rng = DeterministicRandomness(bytes([rank]) * 16)
        return lambda mesh: run(mesh, sets[rank], rng, everyone=everyone, minimum=minimum)

    return [play(rank) for rank in range(len(sets))]


def common(sets: Sequence[list[bytes]], **options: Any) -> list[list[bytes] | None]:
    found: list[CommonRows] = run_mesh(roles(sets, **options))
    return [
        None if one.rows is None else [items[row] for row in one.rows]
        for items, one in zip(sets, found, strict=True)
    ]


def test_all_have_the_common_items_in_one_order() -> None:
    first, *others = common(SETS)
    assert set(first or ()) == {b"b", b"d"}
    assert all(other == first for other in others)


def test_the_leader_alone_learns_it_if_so_agreed() -> None:
    first, *others = common(SETS, everyone=False)
    assert set(first or ()) == {b"b", b"d"}
    assert others == [None, None]


@settings(max_examples=10, deadline=None)
@given(data=st.data(), parties=st.integers(3, 5))
def test_it_is_the_set_intersection(data: st.DataObject, parties: int) -> None:
    item = st.integers(0, 7).map(lambda number: b"%d" % number)
    sets = data.draw(st.lists(st.lists(item, unique=True), min_size=parties, max_size=parties))
    found = common(sets)
    assert set(found[0] or ()) == set.intersection(*map(set, sets))
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("everyone", [True, False])
@pytest.mark.parametrize("sizes", [(0, 2, 3), (1, 2, 3, 2), (9, 3, 14), (8, 9, 7)])
def test_bytes_and_rounds_are_as_declared(
    sizes: tuple[int, ...], everyone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CHUNK_ROWS", 4)
    monkeypatch.setattr(pieces, "PIECE_WORDS", 5)
    meshes = mesh_of(len(sizes))
    sets = [[b"%d" % row for row in range(size)] for size in sizes]
    run_mesh(roles(sets, everyone=everyone), meshes)
    for rank, mesh in enumerate(meshes):
        sent = sum(channel.stats.bytes_sent for channel in mesh.channels.values())
        rounds = sum(channel.stats.rounds for channel in mesh.channels.values())
        shared = min(sizes)
        assert sent == protocol.bytes_sent(rank, len(sizes), sizes, shared, everyone=everyone)
        assert rounds == protocol.rounds(rank, len(sizes), sizes[0], everyone=everyone)


@pytest.mark.parametrize(
    ("sets", "error"),
    [
        (([b"a"], [b"a"]), InvalidInput),
        (([b"a"], [b"a"], [b"a", b"a"]), DuplicateItems),
        (([b"a"], [b""], [b"a"]), InvalidInput),
        (([b"x" * 1025], [b"a"], [b"a"]), InvalidInput),
    ],
)
def test_bad_input_ends_the_run_at_all(sets: Sequence[list[bytes]], error: type[MpcError]) -> None:
    ends = mesh_outcomes(roles(sets), mesh_of(len(sets), timeout_s=5))
    assert all(isinstance(end, MpcError) for end in ends)
    assert any(isinstance(end, error) for end in ends)


def test_fewer_common_items_than_one_partys_minimum_end_the_run() -> None:
    played = roles(SETS)
    played[2] = roles(SETS, minimum=3)[2]
    ends = mesh_outcomes(played, mesh_of(3, timeout_s=5))
    assert isinstance(ends[0], CohortTooSmall)
    assert all(isinstance(end, ProtocolAbort) for end in ends)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "first-byte": lambda raw: bytes([raw[0] ^ 1]) + raw[1:],
    "last-byte": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
    "truncated": lambda raw: raw[:-1],
    "empty": lambda raw: b"",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("sender", "receiver", "message"),
    [
        (0, 1, "size"),
        (2, 0, "size"),
        (0, 2, "seed"),
        (1, 2, "seed"),
        (0, 1, "blinded"),
        (1, 0, "evaluated"),
        (2, 0, "hint"),
        (0, 2, "matched"),
    ],
)
def test_a_changed_message_ends_the_run_without_output(
    sender: int, receiver: int, message: str, change: str
) -> None:
    def tap(one: int, other: int, label: str, payload: bytes) -> bytes | None:
        hit = (one, other) == (sender, receiver) and label.endswith(f"/{message}")
        return CHANGES[change](payload) if hit else None

    ends = mesh_outcomes(roles(SETS), mesh_of(3, tap=tap, timeout_s=5))
    assert all(isinstance(end, ProtocolAbort) for end in ends)


@pytest.mark.parametrize(
    "bad", [bytes(32), b"\1" + bytes(31), b"\xff" * 32], ids=["identity", "negative", "high"]
)
def test_points_outside_the_group_are_refused(bad: bytes) -> None:
    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        hit = (sender, receiver) == (0, 1) and label.endswith("/blinded")
        return payload[:32] + bad + payload[64:] if hit else None

    ends = mesh_outcomes(roles(SETS), mesh_of(3, tap=tap, timeout_s=5))
    assert isinstance(ends[1], MalformedMessage)
    assert all(isinstance(end, ProtocolAbort) for end in ends)


def transcript(sets: Sequence[list[bytes]], **options: Any) -> list[tuple[int, int, str, bytes]]:
    seen: list[tuple[int, int, str, bytes]] = []
    run_mesh(roles(sets, **options), mesh_of(len(sets), tap=lambda *message: seen.append(message)))
    return seen


def test_messages_have_one_shape_whatever_is_shared() -> None:
    items = [b"%d" % row for row in range(30)]
    apart = (items[:9], items[10:20], items[20:])
    equal = (items[:9], items[:10], items[:10])

    def shape(sets: Sequence[list[bytes]]) -> list[tuple[int, int, str, int]]:
        messages = transcript(sets, everyone=False)
        return sorted((*message[:3], len(message[3])) for message in messages)

    assert shape(apart) == shape(equal)


def test_no_item_is_on_a_channel_and_hints_look_uniform() -> None:
    sets = [[b"110101%012d" % row for row in range(10 * party, 10 * party + 200)] for party in range(3)]
    seen = transcript(sets)
    every = b"".join(payload for *_, payload in seen)
    assert not any(item in every for items in sets for item in items)
    words = np.concatenate(
        [
            np.frombuffer(payload[24:], "<u8")
            for *_, label, payload in seen
            if label.endswith("/hint") and len(payload) > 8
        ]
    )
    assert len(np.unique(words)) == len(words) == 2 * np.prod(hints.shape_of(200))
    assert abs(words.mean() / PRIME - 0.5) < 6 / np.sqrt(12 * len(words))


@pytest.mark.parametrize("count", [0, 1, 200, 1000])
def test_a_hint_has_each_value_at_its_item(count: int) -> None:
    positions = hints.Positions.of([b"%d" % row for row in range(count)], b"session")
    values = np.arange(count, dtype=np.uint64)
    hint = hints.program(positions, values, DeterministicRandomness(bytes(16)))
    assert hint.shape == hints.shape_of(count)
    assert hints.decode(hint, positions).tolist() == values.tolist()
    others = hints.Positions.of([b"other %d" % row for row in range(50 * (count > 1))], b"session")
    assert not set(hints.decode(hint, others).tolist()) & set(range(count))


def test_what_a_run_gives_shows_nothing_when_printed() -> None:
    assert "rows" not in repr(CommonRows(np.arange(3)))


@pytest.mark.slow
def test_sets_of_several_chunks() -> None:
    sets = [[b"%d" % row for row in range(500 * rank, 9000 + 500 * rank)] for rank in range(3)]
    first, *others = common(sets)
    assert set(first or ()) == set(sets[0]) & set(sets[2])
    assert all(other == first for other in others)
