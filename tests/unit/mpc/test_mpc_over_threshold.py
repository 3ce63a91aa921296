"""Over-threshold intersection: who learns which rows, what is refused, costs, tampering, transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc import mersenne61, pieces
from mpc.errors import (
    CohortTooSmall,
    DuplicateItems,
    InputsDisagree,
    InvalidInput,
    MpcError,
    PeerAborted,
    ProtocolAbort,
)
from mpc.mesh import Mesh
from mpc.over_threshold import protocol, reconstruction, tables
from mpc.over_threshold.protocol import Holders, OverThreshold, Terms
from mpc.secrecy import SecretBytes
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Role = Callable[[Mesh], Any]
SETS = ([b"a", b"b", b"c", b"d"], [b"b", b"c", b"x"], [b"c", b"b", b"y"], [b"d", b"c", b"z", b"w"])


def seed(rank: int) -> DeterministicRandomness:
    return DeterministicRandomness(bytes([rank]) * 16)


def roles(sets: Sequence[list[bytes]], terms: Terms) -> list[Role]:
    def play(rank: int) -> Role:
        return lambda mesh: protocol.party(mesh, sets[rank], terms, seed(rank))

    return [*map(play, range(len(sets))), lambda mesh: protocol.aggregator(mesh, terms)]


def run(sets: Sequence[list[bytes]], terms: Terms) -> tuple[list[OverThreshold], Holders]:
    *parties, holders = run_mesh(roles(sets, terms))
    return parties, holders


@pytest.mark.parametrize(("threshold", "over"), [(2, b"bcd"), (3, b"bc"), (4, b"c")])
def test_each_party_learns_its_own_items_over_the_threshold(threshold: int, over: bytes) -> None:
    parties, holders = run(SETS, Terms(6, threshold))
    for items, found in zip(SETS, parties, strict=True):
        assert [items[row] for row in found.rows] == [
            item for item in items if item in {bytes([x]) for x in over}
        ]
        assert found.total == len(over)
    counts = Counter(item for items in SETS for item in items)
    expected = [sum(n == many for n in counts.values() if n >= threshold) for many in range(5)]
    assert holders.counts.tolist() == expected


@settings(max_examples=8, deadline=None)
@given(data=st.data(), parties=st.integers(2, 5))
def test_it_is_what_counting_in_the_clear_gives(data: st.DataObject, parties: int) -> None:
    item = st.integers(0, 15).map(lambda number: b"%d" % number)
    sets = data.draw(st.lists(st.lists(item, unique=True, max_size=9), min_size=parties, max_size=parties))
    threshold = data.draw(st.integers(2, parties))
    found, holders = run(sets, Terms(9, threshold, 0))
    counts = Counter(item for items in sets for item in items)
    for items, one in zip(sets, found, strict=True):
        assert [items[row] for row in one.rows] == [item for item in items if counts[item] >= threshold]
    over = [count for count in counts.values() if count >= threshold]
    assert found[0].total == len(over)
    assert holders.counts.sum() == len(over)


def test_bytes_and_rounds_are_as_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CHUNK_CELLS", 7)
    monkeypatch.setattr(pieces, "PIECE_WORDS", 5)
    terms, hits = Terms(6, 3), [0] * 4

    def count(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if label.endswith("/hits") and len(payload) > 8:
            hits[receiver] += (len(payload) - 24) // 8

    meshes = mesh_of(5, tap=count)
    *parties, _ = run_mesh(roles(SETS, terms), meshes)
    named = [len(found.rows) for found in parties]
    for rank, mesh in enumerate(meshes):
        sent = sum(channel.stats.bytes_sent for channel in mesh.channels.values())
        rounds = sum(channel.stats.rounds for channel in mesh.channels.values())
        assert rounds == protocol.rounds(rank, 4)
        if rank < 4:
            assert sent == protocol.bytes_sent(rank, 4, terms, named[rank])
        else:
            assert sent == protocol.aggregator_bytes_sent(hits, named)


@pytest.mark.parametrize(
    ("sets", "terms", "error", "words"),
    [
        (SETS, Terms(3, 3), InvalidInput, "capacity|at most 3"),
        (SETS, Terms(6, 5), InvalidInput, "threshold"),
        (SETS, Terms(6, 1), InvalidInput, "threshold"),
        (SETS, Terms(0, 2), InvalidInput, "capacity"),
        ((*SETS[:3], [b"a", b"a"]), Terms(6, 3), DuplicateItems, "distinct"),
        ((*SETS[:3], [b""]), Terms(6, 3), InvalidInput, "1 of 1"),
    ],
)
def test_bad_input_ends_the_run_at_all(
    sets: Sequence[list[bytes]], terms: Terms, error: type[MpcError], words: str
) -> None:
    ends = mesh_outcomes(roles(sets, terms), mesh_of(5, timeout_s=5))
    assert all(isinstance(end, MpcError) for end in ends)
    with pytest.raises(error, match=words):
        raise next(end for end in ends if isinstance(end, error))


def test_other_terms_at_one_party_end_the_run() -> None:
    played = roles(SETS, Terms(6, 3))
    played[2] = roles(SETS, Terms(6, 2))[2]
    ends = mesh_outcomes(played, mesh_of(5, timeout_s=5))
    assert isinstance(ends[-1], InputsDisagree)
    assert ends[-1].field == "threshold"
    assert all(isinstance(end, PeerAborted) for end in ends[:-1])


def test_fewer_items_than_one_partys_minimum_end_the_run() -> None:
    played = roles(SETS, Terms(6, 3))
    played[1] = roles(SETS, Terms(6, 3, minimum=3))[1]
    ends = mesh_outcomes(played, mesh_of(5, timeout_s=5))
    assert isinstance(ends[-1], CohortTooSmall)
    assert all(isinstance(end, PeerAborted) and end.reason == "mpc.cohort-too-small" for end in ends[:-1])


def test_a_cell_that_fits_by_chance_is_taken_out_by_the_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = reconstruction.find

    def everything(values: Sequence[Any], threshold: int) -> Any:
        return honest(values, threshold) | np.uint64(0b1111)

    monkeypatch.setattr(protocol, "find", everything)
    parties, holders = run(SETS, Terms(6, 3))
    assert [len(found.rows) for found in parties] == [2, 2, 2, 1]
    assert holders.counts.tolist() == [0, 0, 0, 1, 1]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "first-byte": lambda raw: bytes([raw[0] ^ 1]) + raw[1:],
    "last-byte": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
    "truncated": lambda raw: raw[:-1],
    "extended": lambda raw: raw + b"\0",
    "empty": lambda raw: b"",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("sender", "receiver", "message"),
    [(1, 3, "terms"), (0, 2, "key"), (1, 3, "cells"), (3, 1, "hits"), (1, 3, "tags"), (3, 2, "outcome")],
)
def test_a_changed_message_ends_the_run_without_output(
    sender: int, receiver: int, message: str, change: str
) -> None:
    def tap(one: int, other: int, label: str, payload: bytes) -> bytes | None:
        hit = (one, other) == (sender, receiver) and label.endswith(f"/{message}")
        return CHANGES[change](payload) if hit else None

    ends = mesh_outcomes(roles(SETS[:3], Terms(6, 2)), mesh_of(4, tap=tap, timeout_s=5))
    assert all(isinstance(end, ProtocolAbort) for end in ends)


def test_a_message_of_another_run_ends_the_run() -> None:
    recorded: dict[tuple[int, str], bytes] = {}

    def record(sender: int, receiver: int, label: str, payload: bytes) -> None:
        recorded.setdefault((sender, label), payload)

    run_mesh(roles(SETS[:3], Terms(6, 2)), mesh_of(4, b"attempt 1", tap=record))

    def replay(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        return recorded[sender, label] if sender == 1 and label.endswith("/cells") else None

    ends = mesh_outcomes(roles(SETS[:3], Terms(6, 2)), mesh_of(4, b"attempt 2", tap=replay, timeout_s=5))
    assert all(isinstance(end, MpcError) for end in ends)


def transcript(sets: Sequence[list[bytes]], terms: Terms) -> list[tuple[int, int, str, bytes]]:
    seen: list[tuple[int, int, str, bytes]] = []
    run_mesh(roles(sets, terms), mesh_of(len(sets) + 1, tap=lambda *message: seen.append(message)))
    return seen


def test_sizes_and_messages_do_not_depend_on_sets_below_the_threshold() -> None:
    few: list[list[bytes]] = [[b"only"], [], [b"p", b"q"]]
    many = [[b"%d-%d" % (party, row) for row in range(6)] for party in range(3)]

    def shape(sets: list[list[bytes]]) -> list[tuple[int, int, str, int]]:
        return sorted((*message[:3], len(message[3])) for message in transcript(sets, Terms(6, 2, 0)))

    assert shape(few) == shape(many)


def test_the_aggregator_sees_no_item_no_tag_below_the_threshold_and_no_value_twice() -> None:
    sets = [[b"110101%012d" % row for row in range(20 * party, 20 * party + 30)] for party in range(3)]
    seen = [message for message in transcript(sets, Terms(30, 3, 0)) if message[1] == 3]
    every = b"".join(payload for *_, payload in seen)
    assert not any(item in every for items in sets for item in items)
    assert all(payload == bytes(8) for *_, label, payload in seen if label.endswith("/tags"))
    values = np.concatenate(
        [np.frombuffer(payload[24:], "<u8") for *_, label, payload in seen if label.endswith("/cells")]
    )
    assert len(values) == 3 * tables.TABLES * 90
    assert len(np.unique(values)) == len(values)
    # The mean of uniform elements: six standard deviations around the middle.
    assert abs(values.mean() / mersenne61.PRIME - 0.5) < 6 / np.sqrt(12 * len(values))


@settings(max_examples=20, deadline=None)
@given(data=st.data(), parties=st.integers(2, 6))
def test_cells_are_found_that_lie_on_one_polynomial(data: st.DataObject, parties: int) -> None:
    threshold = data.draw(st.integers(2, parties))
    element = st.integers(0, mersenne61.PRIME - 1)
    holding = data.draw(st.lists(st.sets(st.integers(0, parties - 1)), min_size=1, max_size=5))
    values = np.array(
        [data.draw(st.lists(element, min_size=len(holding), max_size=len(holding))) for _ in range(parties)],
        dtype=np.uint64,
    )
    for cell, members in enumerate(holding):
        polynomial = data.draw(st.lists(element, min_size=threshold - 1, max_size=threshold - 1))
        for party in members:
            at = party + 1
            values[party, cell] = sum(c * at**d for d, c in enumerate(polynomial)) % mersenne61.PRIME
    found = reconstruction.find(list(values), threshold)
    for cell in range(len(holding)):
        expected = 0
        for subset in combinations(range(parties), threshold):
            if lies_on_one([int(values[party, cell]) for party in subset], [party + 1 for party in subset]):
                expected |= sum(1 << party for party in subset)
        assert found[cell] == expected
        if len(holding[cell]) >= threshold:
            assert all(int(found[cell]) >> party & 1 for party in holding[cell])


def lies_on_one(values: list[int], points: list[int]) -> bool:
    """Lagrange's interpolation of the last point from the others."""
    *known, last = zip(points, values, strict=True)
    total = 0
    for x, y in known:
        others = [other for other, _ in known if other != x]
        above = np.prod([last[0] - other for other in others], dtype=object)
        below = np.prod([x - other for other in others], dtype=object)
        total += y * int(above) * pow(int(below), -1, mersenne61.PRIME)
    return (total - last[1]) % mersenne61.PRIME == 0


@settings(max_examples=30, deadline=None)
@given(
    left=st.lists(st.integers(0, mersenne61.PRIME - 1), min_size=1, max_size=4),
    right=st.integers(0, mersenne61.PRIME - 1),
    step=st.integers(-29, 29).filter(bool),
)
def test_field_arithmetic_is_exact(left: list[int], right: int, step: int) -> None:
    one, other = np.array(left, np.uint64), np.full(len(left), right, np.uint64)
    quotients = mersenne61.divided_differences(one, other, step)
    prime = mersenne61.PRIME
    assert [int(q) * step % prime for q in quotients] == [(right - x) % prime for x in left]
    values = mersenne61.evaluate(np.stack([one, other, one]), right)
    assert values.tolist() == [(x + right * right + x * right * right) % prime for x in left]


def test_words_become_elements() -> None:
    words = np.array([0, 5, mersenne61.PRIME, 2**61, 2**64 - 1], np.uint64)
    assert mersenne61.elements(words).tolist() == [0, 5, 0, 0, 0]


def test_an_item_is_in_one_table_with_all_its_holders_almost_surely() -> None:
    """Of 2,000 items that all three hold among 2,000 others each, none is missed; 2**-40 each is claimed."""
    terms, key = Terms(4000, 3), SecretBytes(bytes(32))
    common = [b"common %d" % row for row in range(2000)]
    complete = np.zeros((3, tables.TABLES, 2000), np.bool_)
    for party in range(3):
        items = common + [b"own %d %d" % (party, row) for row in range(2000)]
        functions = tables.ItemFunctions(items, key, protocol.SPEC, b"session")
        filled = tables.fill(functions, terms.capacity, terms.threshold, party + 1, seed(party))
        for table, (holder, _) in enumerate(filled):
            complete[party, table, np.unique(holder[(holder >= 0) & (holder < 2000)])] = True
    together = complete.all(axis=0)
    assert together.any(axis=0).all()
    in_a_pair = (together[0::2] | together[1::2]).mean()
    assert in_a_pair > 0.9375  # 1 - 2**-4, so ten pairs miss one item in 2**40


def test_what_a_run_gives_shows_nothing_when_printed() -> None:
    assert "rows" not in repr(OverThreshold(np.arange(3), 3))
    assert "counts" not in repr(Holders(np.arange(3), 1))
