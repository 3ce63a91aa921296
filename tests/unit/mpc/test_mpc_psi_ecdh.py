"""ECDH-PSI: refused inputs, alignment, receivers, duplicates, limits, disk, cost formulas, steps alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.channel import Channel
from mpc.errors import (
    DuplicateItems,
    InputsDisagree,
    InvalidInput,
    MalformedMessage,
    PeerAborted,
    ResultSizeRefused,
)
from mpc.psi import cardinality, ecdh, masking, spool
from mpc.psi.masking import Receivers, Terms
from mpc.psi.own_set import MAX_ITEM_BYTES, MAX_ROWS, Duplicates
from mpc.psi.spool import PARTS, Spool
from mpc.testing import DeterministicRandomness, channel_pair, outcomes, run_pair

SEEDS = (b"0123456789abcdef", b"fedcba9876543210")


def party(items: list[bytes], rank: int, **options: object) -> object:
    def role(channel: Channel) -> ecdh.Matches:
        return ecdh.run(channel, items, DeterministicRandomness(SEEDS[rank]), **options)  # type: ignore[arg-type]

    return role


def batches(
    *items: list[bytes], rank: int, protocol: Any = ecdh, **options: object
) -> Callable[[Channel], Any]:
    play = ecdh.run_batches if protocol is ecdh else cardinality.run
    return lambda channel: play(channel, items, DeterministicRandomness(SEEDS[rank]), **options)  # type: ignore[arg-type]


def numbers(start: int, stop: int) -> list[bytes]:
    return [b"%d" % number for number in range(start, stop)]


def intersect(left: list[bytes], right: list[bytes]) -> tuple[ecdh.Matches, ecdh.Matches]:
    return run_pair(party(left, 0), party(right, 1))  # type: ignore[arg-type]


def test_rows_are_aligned_and_say_the_peers_size() -> None:
    left, right = [b"a", b"b", b"c", b"d"], [b"d", b"x", b"b"]
    one, two = intersect(left, right)
    assert [left[row] for row in one.rows] == [right[row] for row in two.rows]
    assert {left[row] for row in one.rows} == {b"b", b"d"}
    assert (one.peer_rows, two.peer_rows) == (3, 4)
    assert one.rows.dtype == np.int64
    assert [left[row] for row in one.unmatched] == [b"a", b"c"]
    assert one.shared == two.shared == 2


@pytest.mark.parametrize(("left", "right"), [([], []), ([], [b"a"]), ([b"a"], [b"b"])])
def test_empty_intersections(left: list[bytes], right: list[bytes]) -> None:
    one, two = intersect(left, right)
    assert one.rows.tolist() == two.rows.tolist() == []


def test_items_are_compared_whole() -> None:
    one, _ = intersect([b"a", b"a\0", b"\0a"], [b"a\0\0", b"aa", b"\0a"])
    assert one.rows.tolist() == [2]


def test_repeated_items_are_refused_and_counted_and_the_peer_is_told() -> None:
    first, second = outcomes(party([b"a", b"b", b"a", b"a"], 0), party([b"a"], 1))  # type: ignore[arg-type]
    assert isinstance(first, DuplicateItems)
    assert first.count == 2
    assert isinstance(second, PeerAborted)
    assert second.reason == "mpc.duplicate-items"


@pytest.mark.parametrize("item", [b"", b"x" * (MAX_ITEM_BYTES + 1)])
def test_items_of_other_sizes_are_refused(item: bytes) -> None:
    with pytest.raises(InvalidInput, match="1 of 2 are not"):
        ecdh.run(channel_pair()[0], [b"ok", item], DeterministicRandomness(SEEDS[0]))


def test_the_largest_item_is_accepted() -> None:
    item = b"x" * MAX_ITEM_BYTES
    assert intersect([item], [item])[0].rows.tolist() == [0]


@pytest.mark.parametrize(("own", "peer"), [(0, 0), (1, 3), (5, 0), (4, 4), (9, 2), (13, 8), (3, 14)])
def test_bytes_and_rounds_are_as_declared(own: int, peer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "CHUNK_ROWS", 4)
    channels = channel_pair()
    left, right = numbers(0, own), numbers(0, peer)
    one, two = run_pair(party(left, 0), party(right, 1), channels)  # type: ignore[arg-type]
    assert len(one.rows) == len(two.rows) == min(own, peer)
    for channel, sizes in zip(channels, ((own, peer), (peer, own)), strict=True):
        assert channel.stats.bytes_sent == ecdh.bytes_sent(*sizes)
        assert channel.stats.bytes_received == ecdh.bytes_sent(*reversed(sizes))
        assert channel.stats.rounds == ecdh.rounds(*sizes)


@pytest.mark.parametrize("receivers", Receivers)
@pytest.mark.parametrize(("own", "peer"), [(0, 0), (1, 3), (5, 0), (9, 2), (3, 14)])
def test_bytes_and_rounds_with_other_receivers(
    own: int, peer: int, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (masking, cardinality):
        monkeypatch.setattr(module, "CHUNK_ROWS", 4)
    for protocol in (ecdh, cardinality):
        channels = channel_pair()
        left, right = numbers(0, own), numbers(0, peer)
        run_pair(
            batches(left, rank=0, protocol=protocol, receivers=receivers),
            batches(right, rank=1, protocol=protocol, receivers=receivers),
            channels,
        )
        for rank, (channel, sizes) in enumerate(zip(channels, ((own, peer), (peer, own)), strict=True)):
            told, tells = receivers.has(rank), receivers.has(1 - rank)
            if protocol is ecdh:
                assert channel.stats.bytes_sent == ecdh.bytes_sent(*sizes, tells=tells)
                assert channel.stats.rounds == ecdh.rounds(*sizes)
            else:
                assert channel.stats.bytes_sent == cardinality.bytes_sent(*sizes, told=told, tells=tells)
                assert channel.stats.rounds == cardinality.rounds(*sizes, told=told, tells=tells)


@pytest.mark.parametrize("receivers", Receivers)
def test_only_receivers_learn_the_result(receivers: Receivers) -> None:
    for protocol in (ecdh, cardinality):
        ends = run_pair(
            batches(numbers(0, 6), rank=0, protocol=protocol, receivers=receivers),
            batches(numbers(4, 9), rank=1, protocol=protocol, receivers=receivers),
        )
        assert [None if end is None else end.shared for end in ends] == [
            2 if receivers.has(rank) else None for rank in range(2)
        ]


def test_parties_that_take_the_run_to_be_different_ones_stop() -> None:
    first, second = outcomes(
        batches(numbers(0, 3), rank=0, receivers=Receivers.LEFT),
        batches(numbers(0, 3), rank=1, receivers=Receivers.BOTH),
    )
    assert isinstance(first, InputsDisagree)
    assert isinstance(second, InputsDisagree)


@pytest.mark.parametrize("protocol", [ecdh, cardinality])
@pytest.mark.parametrize("limits", [(4, 10), (0, 2)])
def test_a_size_outside_the_limits_is_refused_without_saying_which(
    protocol: Any, limits: tuple[int, int]
) -> None:
    first, second = outcomes(
        batches(numbers(0, 6), rank=0, protocol=protocol, limits=limits),
        batches(numbers(3, 9), rank=1, protocol=protocol),
    )
    assert isinstance(first, ResultSizeRefused)
    assert str(first) == "the size of the result is outside the limits of this party"
    assert isinstance(second, PeerAborted)
    assert second.reason == "mpc.result-size-refused"


def test_of_rows_with_one_item_the_first_stands_for_it() -> None:
    left = [b"a", b"b", b"a", b"c", b"b"]
    options = {"duplicates": Duplicates.FIRST}
    one, two = run_pair(
        batches(left[:3], left[3:], rank=0, **options), batches([b"b", b"a"], rank=1, **options)
    )
    assert sorted(one.rows.tolist()) == [0, 1]
    assert one.unmatched.tolist() == [3]
    assert (one.shared, two.peer_rows) == (2, 3)


def test_rows_kept_as_groups_come_as_all_pairs() -> None:
    left, right = [b"a", b"b", b"a", b"c", b"a"], [b"x", b"a", b"b", b"a", b"b"]
    options = {"duplicates": Duplicates.GROUPS}
    channels = channel_pair()
    one, two = run_pair(batches(left, rank=0, **options), batches(right, rank=1, **options), channels)
    pairs = sorted(zip(one.rows.tolist(), two.rows.tolist(), strict=True))
    assert pairs == sorted((i, j) for i, x in enumerate(left) for j, y in enumerate(right) if x == y)
    assert (one.shared, one.unmatched.tolist(), two.unmatched.tolist()) == (2, [3], [0])
    assert channels[0].stats.bytes_sent == ecdh.bytes_sent(3, 3, shared_in_groups=2)
    assert channels[0].stats.rounds == ecdh.rounds(3, 3, shared_in_groups=2)


def test_a_single_receiver_keeps_its_own_rows_as_groups() -> None:
    options = {"duplicates": Duplicates.GROUPS, "receivers": Receivers.LEFT}
    one, two = run_pair(
        batches([b"a", b"b", b"a"], rank=0, **options), batches([b"a", b"a"], rank=1, **options)
    )
    assert sorted(one.rows.tolist()) == [0, 2]
    assert two is None


def test_sets_on_disk_give_what_sets_in_memory_give_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (masking, cardinality):
        monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    monkeypatch.setattr(spool, "IN_MEMORY_BYTES", 500)
    left, right = numbers(0, 120), numbers(60, 200)
    held = run_pair(batches(left, rank=0), batches(right, rank=1))
    disk = {"folder": tmp_path}
    spooled = run_pair(batches(left[:50], left[50:], rank=0, **disk), batches(right, rank=1, **disk))
    counted = run_pair(
        batches(left, rank=0, protocol=cardinality, **disk),
        batches(right, rank=1, protocol=cardinality, **disk),
    )
    for one, two in zip(held, spooled, strict=True):
        assert one.rows.tolist() == two.rows.tolist()
        assert one.unmatched.tolist() == two.unmatched.tolist()
    assert [end.shared for end in counted] == [60, 60]
    assert list(tmp_path.iterdir()) == []


def test_repeats_are_found_across_batches_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY_BYTES", 500)
    first, second = outcomes(
        batches(numbers(0, 40), numbers(30, 45), rank=0, folder=tmp_path), batches([b"1"], rank=1)
    )
    assert isinstance(first, DuplicateItems)
    assert first.count == 10
    assert isinstance(second, PeerAborted)


@pytest.mark.parametrize("held", [0, 400, 10_000])
def test_a_spool_keeps_records_by_their_first_byte(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY_BYTES", held)
    records = np.arange(512, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    with Spool(2, tmp_path / "spool") as kept:
        kept.append(records[:300])
        kept.append(records[300:])
        parts = list(kept.parts())
    assert (tmp_path / "spool").exists() == (held < records.size)
    assert len(parts) == PARTS
    for number, part in enumerate(parts):
        expected = [row.tolist() for row in records if row[0] // (256 // PARTS) == number]
        assert part.tolist() == expected


def test_progress_ends_at_the_total_and_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "CHUNK_ROWS", 4)
    steps: list[tuple[int, int]] = []
    watched = party(numbers(0, 9), 0, progress=lambda done, total: steps.append((done, total)))
    run_pair(watched, party(numbers(0, 3), 1))  # type: ignore[arg-type]
    assert steps == [(7, 12), (11, 12), (12, 12)]


def test_a_list_that_holds_a_tag_twice_is_refused() -> None:
    one, two = bytes(16), b"\1" * 16

    def shared(own: bytes, peer: bytes) -> list[int]:
        with Spool(masking.OWN_TAG_BYTES, None) as ours, Spool(masking.TAG_BYTES, None) as theirs:
            ours.append(masking.with_positions(own, 0))
            theirs.append(np.frombuffer(peer, np.uint8).reshape(-1, 16))
            return masking.match(ours, theirs).tolist()

    assert shared(one + two, two) == [1]
    for own, peer in ((one + one, two), (one + two, two + two), (one + one, one)):
        with pytest.raises(MalformedMessage):
            shared(own, peer)


def test_sorted_tags_that_are_not_sorted_are_refused() -> None:
    def swap(way: str, label: str, payload: bytes) -> bytes | None:
        return payload[:32] + payload[48:64] + payload[32:48] if label.endswith("sorted") else None

    ends = outcomes(
        batches([b"a", b"b"], rank=0, protocol=cardinality),
        batches([b"a", b"b"], rank=1, protocol=cardinality),
        channel_pair(tap=swap),
    )
    assert any(isinstance(end, MalformedMessage) for end in ends)
    assert all(isinstance(end, Exception) for end in ends)


def test_a_size_beyond_the_limit_is_refused() -> None:
    terms = Terms(3, Receivers.BOTH, Duplicates.REFUSE)
    assert terms.peers(Terms(MAX_ROWS, Receivers.BOTH, Duplicates.REFUSE).encode()) == MAX_ROWS
    with pytest.raises(MalformedMessage):
        terms.peers((MAX_ROWS + 1).to_bytes(8, "little") + terms.encode()[8:])


def test_answers_of_a_peer_that_started_again_with_another_key_end_the_run() -> None:
    items = numbers(0, 8)
    keys = iter((b"another seed 000", b"another seed 111"))

    def party_with(seed: bytes) -> Callable[[Channel], Any]:
        return lambda channel: ecdh.run(channel, items, DeterministicRandomness(seed))

    recorded: dict[str, bytes] = {}

    def record(way: str, label: str, payload: bytes) -> None:
        if way == "1->0":
            recorded[label] = payload

    run_pair(party_with(SEEDS[0]), party_with(next(keys)), channel_pair(tap=record))

    def replay(way: str, label: str, payload: bytes) -> bytes | None:
        return recorded[label] if way == "1->0" and label.endswith("double-masked") else None

    ends = outcomes(party_with(SEEDS[0]), party_with(next(keys)), channel_pair(tap=replay))
    assert all(isinstance(end, Exception) for end in ends)
