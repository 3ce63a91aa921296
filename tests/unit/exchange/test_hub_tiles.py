from __future__ import annotations

import pytest

from exchange.errors import NotFound
from exchange.hub.api.ledger import tile_place
from ledger.tiles import TILE_WIDTH, tile_path


@pytest.mark.parametrize("number", [0, 7, 999, 1000, 1_234_067, 10**12])
@pytest.mark.parametrize("width", [1, 99, 255, TILE_WIDTH])
def test_a_tiles_address_is_read_back(number: int, width: int) -> None:
    assert tile_place(tile_path(number, width)) == (number, width)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "1",
        "0001",
        "x000/001",
        "x001/x000/1",
        "001.p/",
        "001.p/0",
        "001.p/01",
        "001.p/256",
        "001/",
        "-01",
        "٠٠١",
    ],
)
def test_another_spelling_is_not_found(place: str) -> None:
    with pytest.raises(NotFound, match="expected the"):
        tile_place(place)
