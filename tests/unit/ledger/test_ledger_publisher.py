"""What a log shows: from memory until it is final, from the store afterwards, the same bytes either way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import publisher
from ledger.errors import NotPublished
from ledger.merkle import leaf_hash
from ledger.testing import Consortium, consortium
from ledger.tiles import decode_entries


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, "lender", "bureau") as made:
        for number in range(140):
            made.act("lender", "member.update", {"endpoint": f"h{number}:1"})
        yield made


def shown(exchange: Consortium) -> list[bytes]:
    size = exchange.log.size
    tiles = [(start // 256, min(256, size - start)) for start in range(0, size, 256)]
    return [raw for tile, width in tiles for raw in decode_entries(exchange.log.entry_bundle(tile, width))]


def test_the_same_entries_before_and_after_they_are_final(exchange: Consortium) -> None:
    stored = exchange.hub_store.raws(0, exchange.log.size)
    assert shown(exchange) == stored
    exchange.settle()
    assert exchange.log._public._raws == []
    assert shown(exchange) == stored
    exchange.act("lender", "member.update", {"endpoint": "later:1"})
    assert shown(exchange)[:-2] == stored


def test_memory_does_not_grow_with_what_is_not_final(
    exchange: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_RECENT_ENTRIES", 8)
    for number in range(40):
        exchange.act("lender", "member.update", {"endpoint": f"m{number}:1"})
    assert len(exchange.log._public._raws) <= 18
    assert shown(exchange) == exchange.hub_store.raws(0, exchange.log.size)


def test_notes_do_not_pile_up(exchange: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_RECENT_NOTES", 3)
    for size in (2, 4, 6, 8, 2):
        assert exchange.log.checkpoint_of(size).decode().split("\n")[1] == str(size)
        assert exchange.log.checkpoint_of(size) == exchange.hub_store.checkpoint(size)
    assert len(exchange.log._public._notes) == 3
    with pytest.raises(NotPublished):
        exchange.log.checkpoint_of(3)


def test_tiles_hold_the_leaf_hashes(exchange: Consortium) -> None:
    raws = shown(exchange)
    assert exchange.log.tile(0, 0) == b"".join(leaf_hash(raw) for raw in raws[:256])
    for place in ((0, 1, 200), (1, 0, 2), (-1, 0, 1), (8, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(NotPublished):
            exchange.log.tile(*place)
