"""ECDH-PSI: inputs it refuses, alignment, cost formulas, progress and steps alone."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.channel import Channel
from mpc.errors import DuplicateItems, InvalidInput, MalformedMessage, PeerAborted
from mpc.psi import ecdh
from mpc.testing import DeterministicRandomness, channel_pair, outcomes, run_pair

SEEDS = (b"0123456789abcdef", b"fedcba9876543210")


def party(items: list[bytes], rank: int, **options: object) -> object:
    def role(channel: Channel) -> ecdh.Intersection:
        return ecdh.run(channel, items, DeterministicRandomness(SEEDS[rank]), **options)  # type: ignore[arg-type]

    return role


def intersect(left: list[bytes], right: list[bytes]) -> tuple[ecdh.Intersection, ecdh.Intersection]:
    return run_pair(party(left, 0), party(right, 1))  # type: ignore[arg-type]


def test_rows_are_aligned_and_say_the_peers_size() -> None:
    left, right = [b"a", b"b", b"c", b"d"], [b"d", b"x", b"b"]
    one, two = intersect(left, right)
    assert [left[row] for row in one.rows] == [right[row] for row in two.rows]
    assert {left[row] for row in one.rows} == {b"b", b"d"}
    assert (one.peer_rows, two.peer_rows) == (3, 4)
    assert one.rows.dtype == np.int64


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


@pytest.mark.parametrize("item", [b"", b"x" * (ecdh.MAX_ITEM_BYTES + 1)])
def test_items_of_other_sizes_are_refused(item: bytes) -> None:
    with pytest.raises(InvalidInput, match="1 of 2 are not"):
        ecdh.run(channel_pair()[0], [b"ok", item], DeterministicRandomness(SEEDS[0]))


def test_the_largest_item_is_accepted() -> None:
    item = b"x" * ecdh.MAX_ITEM_BYTES
    assert intersect([item], [item])[0].rows.tolist() == [0]


@pytest.mark.parametrize(("own", "peer"), [(0, 0), (1, 3), (5, 0), (4, 4), (9, 2), (13, 8), (3, 14)])
def test_bytes_and_rounds_are_as_declared(own: int, peer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecdh, "CHUNK_ROWS", 4)
    channels = channel_pair()
    left, right = ([b"%d" % row for row in range(size)] for size in (own, peer))
    one, two = run_pair(party(left, 0), party(right, 1), channels)  # type: ignore[arg-type]
    assert len(one.rows) == len(two.rows) == min(own, peer)
    for channel, sizes in zip(channels, ((own, peer), (peer, own)), strict=True):
        assert channel.stats.bytes_sent == ecdh.bytes_sent(*sizes)
        assert channel.stats.bytes_received == ecdh.bytes_sent(*reversed(sizes))
        assert channel.stats.rounds == ecdh.rounds(*sizes)


def test_progress_ends_at_the_total_and_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecdh, "CHUNK_ROWS", 4)
    steps: list[tuple[int, int]] = []
    left, right = [b"%d" % row for row in range(9)], [b"%d" % row for row in range(3)]
    watched = party(left, 0, progress=lambda done, total: steps.append((done, total)))
    run_pair(watched, party(right, 1))  # type: ignore[arg-type]
    assert steps == [(7, 12), (11, 12), (12, 12)]


def test_a_list_that_holds_a_tag_twice_is_refused() -> None:
    one, two = bytes(16), b"\1" * 16
    order = np.arange(2, dtype=np.int64)
    assert ecdh.intersect(one + two, two, order).tolist() == [1]
    for own, peer in ((one + one, two), (one + two, two + two), (one + one, one)):
        with pytest.raises(MalformedMessage):
            ecdh.intersect(own, peer, order[: len(own) // 16])


def test_a_size_beyond_the_limit_is_refused() -> None:
    assert ecdh.SetSize.decode(ecdh.SetSize(ecdh.MAX_ROWS).encode()).rows == ecdh.MAX_ROWS
    with pytest.raises(MalformedMessage):
        ecdh.SetSize.decode((ecdh.MAX_ROWS + 1).to_bytes(8, "little"))


def test_masking_depends_on_the_session() -> None:
    key = ecdh.ristretto255.random_scalar(DeterministicRandomness(SEEDS[0]))
    assert ecdh.mask([b"a"], key, b"one") != ecdh.mask([b"a"], key, b"two")
