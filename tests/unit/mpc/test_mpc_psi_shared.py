"""Intersection into shares: rows, sums, refusals, costs, tampering, and what each of the three sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc import pieces, replicated
from mpc.circuit_psi import handover, protocol, selection
from mpc.circuit_psi.protocol import SharedRows, Size
from mpc.errors import CohortTooSmall, DuplicateItems, InvalidInput, MalformedMessage, MpcError, ProtocolAbort
from mpc.mesh import Mesh
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Role = Callable[[Mesh], Any]
Side = tuple[Sequence[bytes], Sequence[Sequence[int]]]
LEFT: Side = ([b"a", b"b", b"c", b"d"], [[1, -2], [3, 4], [5, 6], [-7, 8]])
RIGHT: Side = ([b"d", b"x", b"b"], [[100], [200], [-300]])


def roles(left: Side = LEFT, right: Side = RIGHT, minimum: int = 1) -> list[Role]:
    def play(side: Side, rank: int) -> Role:
        items, columns = side
        table = np.array(columns, np.int64).reshape(len(items), len(columns[0]) if columns else 0)
        rng = DeterministicRandomness(bytes([rank + 1]) * 16)
        return lambda mesh: protocol.owner(mesh, list(items), table, rng, minimum=minimum)

    return [play(left, 0), play(right, 1), protocol.helper]


def opened(left: SharedRows, right: SharedRows, helper: SharedRows) -> tuple[Any, Any]:
    """Both sides' columns over the rows of the output, put together as nobody in a run can."""
    assert helper.left is not None
    assert helper.right is not None
    return (left.left + helper.left).view(np.int64), (right.right + helper.right).view(np.int64)


def test_every_row_of_the_left_is_there_and_zero_where_the_right_lacks_it() -> None:
    left, right, helper = run_mesh(roles())
    ours, theirs = opened(left, right, helper)
    for place, row in enumerate(left.order):
        item = LEFT[0][row]
        assert helper.is_member[place] == (item in RIGHT[0])
        if item in RIGHT[0]:
            assert ours[place].tolist() == LEFT[1][row]
            assert theirs[place].tolist() == RIGHT[1][RIGHT[0].index(item)]
        else:
            assert not ours[place].any()
            assert not theirs[place].any()
    assert ours.sum(axis=0).tolist() == [-4, 12]
    assert theirs.sum(axis=0).tolist() == [-200]


@settings(max_examples=15, deadline=None)
@given(data=st.data(), columns=st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_sums_are_those_of_the_join(data: st.DataObject, columns: tuple[int, int]) -> None:
    item = st.integers(0, 9).map(lambda number: b"%d" % number)
    sides: list[dict[bytes, list[int]]] = []
    for count in columns:
        values = st.lists(st.integers(-(2**60), 2**60), min_size=count, max_size=count)
        sides.append(data.draw(st.dictionaries(item, values, max_size=8)))
    one, two = ((list(side), list(side.values())) for side in sides)
    left, right, helper = run_mesh(roles(one, two, 0))
    common = set(sides[0]) & set(sides[1])
    assert np.count_nonzero(helper.is_member) == len(common)
    for side, own, other in ((0, left.left, helper.left), (1, right.right, helper.right)):
        if columns[side] and sides[side]:
            sums = (own + other).sum(axis=0, dtype=np.uint64).view(np.int64)
            expected = [sum(sides[side][one][at] for one in common) for at in range(columns[side])]
            assert sums.tolist() == [(value + 2**63) % 2**64 - 2**63 for value in expected]
        else:
            assert own is None or own.size == 0


@pytest.mark.parametrize(("m_left", "m_right"), [(0, 0), (2, 0), (0, 1), (3, 2)])
def test_bytes_and_rounds_are_as_declared(m_left: int, m_right: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_WORDS", 7)
    sides = [
        ([b"%d" % row for row in range(size)], [[row] * count for row in range(size)])
        for size, count in ((9, m_left), (5, m_right))
    ]
    meshes = mesh_of(3)
    run_mesh(roles(*sides), meshes)  # type: ignore[arg-type]
    left, right = Size(9, m_left, 1), Size(5, m_right, 1)
    for rank, mesh in enumerate(meshes):
        sent = sum(channel.stats.bytes_sent for channel in mesh.channels.values())
        assert sent == protocol.bytes_sent(rank, left, right)
        rounds = sum(channel.stats.rounds for channel in mesh.channels.values())
        assert rounds == protocol.rounds(rank, left, right)


def test_fewer_matches_than_the_minimum_end_the_run_before_any_column_is_sent() -> None:
    seen: list[str] = []
    played = roles(minimum=3)
    meshes = mesh_of(3, tap=lambda one, other, label, raw: seen.append(label), timeout_s=5)
    ends = mesh_outcomes(played, meshes)
    assert isinstance(ends[2], CohortTooSmall)
    assert all(isinstance(end, ProtocolAbort) for end in ends)
    assert not any(label.endswith(("/masked", "/arrangement")) for label in seen)


@pytest.mark.parametrize(
    ("left", "error"),
    [
        (([b"a", b"a"], [[1], [2]]), DuplicateItems),
        (([b"a", b""], [[1], [2]]), InvalidInput),
        (([b"a"], [[1] * 65]), InvalidInput),
    ],
)
def test_bad_input_ends_the_run_at_all(left: Side, error: type[MpcError]) -> None:
    ends = mesh_outcomes(roles(left), mesh_of(3, timeout_s=5))
    assert isinstance(ends[0], error)
    assert all(isinstance(end, MpcError) for end in ends)


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
        (0, 2, "size"),
        (1, 0, "size"),
        (0, 1, "key"),
        (0, 2, "tags"),
        (1, 2, "tags"),
        (0, 1, "mask-seed"),
        (0, 2, "order-seed"),
        (1, 2, "translation"),
        (2, 1, "arrangement"),
        (0, 2, "masked"),
    ],
)
def test_a_changed_message_ends_the_run_without_output(
    sender: int, receiver: int, message: str, change: str
) -> None:
    def tap(one: int, other: int, label: str, payload: bytes) -> bytes | None:
        hit = (one, other) == (sender, receiver) and label.endswith(f"/{message}")
        return CHANGES[change](payload) if hit else None

    ends = mesh_outcomes(roles(), mesh_of(3, tap=tap, timeout_s=5))
    assert all(isinstance(end, ProtocolAbort) for end in ends)


def test_an_arrangement_that_is_no_permutation_is_refused() -> None:
    """Else a helper could have a row sent twice, and see that two masked rows differ as their masks do."""

    def tap(one: int, other: int, label: str, payload: bytes) -> bytes | None:
        is_hit = (one, other) == (2, 1) and label.endswith("/arrangement") and len(payload) > 8
        return payload[:24] + payload[24:32] * 2 + payload[40:] if is_hit else None

    ends = mesh_outcomes(roles(), mesh_of(3, tap=tap, timeout_s=5))
    assert isinstance(ends[1], MalformedMessage)


def seen_by(rank: int, left: Side, right: Side) -> list[tuple[int, str, bytes]]:
    seen: list[tuple[int, str, bytes]] = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if receiver == rank:
            seen.append((sender, label.rsplit("/", 1)[1], payload))

    run_mesh(roles(left, right, 0), mesh_of(3, tap=tap))
    return sorted(seen, key=lambda message: message[:2])


@pytest.mark.parametrize("rank", range(3))
def test_messages_have_one_shape_whatever_matches(rank: int) -> None:
    items = [b"%d" % row for row in range(20)]
    values = [[row] for row in range(10)]
    apart = seen_by(rank, (items[:10], values), (items[10:], values))
    equal = seen_by(rank, (items[:10], values), (items[:10], values))
    shape = [(*message[:2], len(message[2])) for message in apart]
    assert shape == [(*message[:2], len(message[2])) for message in equal]


def test_left_and_right_see_nothing_that_depends_on_the_others_rows_but_a_permutation() -> None:
    items = [b"%d" % row for row in range(20)]
    values = [[10**12 + row] for row in range(10)]
    for rank in (0, 1):
        apart = seen_by(rank, (items[:10], values), (items[10:], values))
        equal = seen_by(rank, (items[:10], values), (items[:10], values))
        differing = {one[1] for one, two in zip(apart, equal, strict=True) if one[2] != two[2]}
        assert differing <= {"arrangement", "confirm"}


def test_the_permutation_that_a_holder_sees_is_uniform() -> None:
    """Of two choices among three places each arrangement is as likely: chi-square below its 1e-6 quantile."""
    for choice in ([0, selection.NONE], [selection.NONE, selection.NONE]):
        counts = np.zeros(6)
        for number in range(1200):
            shuffled = selection.order(number.to_bytes(32, "little"), 1, 2)
            placed = selection.arrangement(np.array(choice), 1, shuffled)
            counts[placed[0] * 2 + (placed[1] > placed[2])] += 1
        assert ((counts - 200) ** 2 / 200).sum() < 37


def test_the_helper_sees_no_item_and_no_value() -> None:
    left: Side = (
        [b"110101%012d" % row for row in range(40)],
        [[7_000_000_000_001 + row] for row in range(40)],
    )
    right: Side = (
        [b"110101%012d" % row for row in range(20, 60)],
        [[9_000_000_000_001 + row] for row in range(40)],
    )
    every = b"".join(payload for *_, payload in seen_by(2, left, right))
    for items, columns in (left, right):
        assert not any(item in every for item in items)
        assert not any(int(value).to_bytes(8, "little") in every for (value,) in columns)


def test_shares_do_not_print() -> None:
    assert "array" not in repr(SharedRows(order=np.arange(3)))


def test_shares_feed_a_computation_on_replicated_shares() -> None:
    """Products of columns of both sides over the common rows, and a count under a condition."""

    def then_compute(role: Role, rank: int) -> Role:
        def play(mesh: Mesh) -> Any:
            own = role(mesh)
            sizes = Size(len(LEFT[0]), 2, 1), Size(len(RIGHT[0]), 1, 1)
            with replicated.run(mesh, replicated.SPEC, DeterministicRandomness(bytes([rank + 7]) * 16)) as rt:
                joined = handover.replicate(rt, own, *sizes)
                product = rt.open(rt.dot(joined.left[:, 0], joined.right[:, 0]), to=[1])
                is_high = rt.less(rt.constant(np.full(4, -100)), joined.right[:, 0])
                matched = rt.to_arithmetic(rt.and_(is_high, joined.is_member))
                count = rt.open(rt.sum(matched), to=[1])
            return product, count

        return play

    _, (product, count), _ = run_mesh([then_compute(role, rank) for rank, role in enumerate(roles())])
    assert int(np.squeeze(product)) == 3 * -300 + -7 * 100
    assert int(np.squeeze(count)) == 1
