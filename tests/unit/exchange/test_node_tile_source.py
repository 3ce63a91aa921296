from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from exchange.errors import HubUnreachable, NotFound
from exchange.node import tile_source
from exchange.node.tile_source import TileSource
from ledger.errors import MalformedNote
from ledger.tiles import encode_entries

ENTRIES = [f"entry {number}".encode() for number in range(300)]
ADDRESS = "https://tiles.example/log"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A full bundle and a partial one."""
    entries = tmp_path / "tile" / "entries"
    (entries / "001.p").mkdir(parents=True)
    (entries / "000").write_bytes(encode_entries(ENTRIES[:256]))
    (entries / "001.p" / "44").write_bytes(encode_entries(ENTRIES[256:]))
    (tmp_path / "checkpoint").write_bytes(b"a note")
    return tmp_path


def read(source: TileSource, size: int) -> list[bytes]:
    return [raw for page in source.entries(size) for raw in page]


def test_a_folder_is_read_bundle_by_bundle(folder: Path) -> None:
    source = TileSource(f"{folder}/")
    assert source.checkpoint() == b"a note"
    assert read(source, 300) == ENTRIES
    assert read(source, 0) == []


def test_a_full_bundle_serves_for_a_partial_one(folder: Path) -> None:
    assert read(TileSource(str(folder)), 200) == ENTRIES[:200]
    with pytest.raises(NotFound, match=r"tile/entries/001\.p/43"):
        read(TileSource(str(folder)), 299)


def test_what_is_missing_short_or_too_large_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="checkpoint"):
        TileSource(str(folder / "nowhere")).checkpoint()
    short = folder / "tile" / "entries" / "001.p" / "44"
    short.write_bytes(encode_entries(ENTRIES[256:290]))
    with pytest.raises(MalformedNote, match="expected 44 entries, got 34"):
        read(TileSource(str(folder)), 300)
    monkeypatch.setattr(tile_source, "_CHECKPOINT_LIMIT", 3)
    with pytest.raises(MalformedNote, match="at most 3 bytes"):
        TileSource(str(folder)).checkpoint()


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], httpx.Response]) -> None:
    def get(address: str, **_: object) -> httpx.Response:
        return answer(address)

    monkeypatch.setattr(tile_source.httpx, "get", get)


def test_an_address_is_read_like_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(address: str) -> httpx.Response:
        path = folder / address.removeprefix(f"{ADDRESS}/")
        return httpx.Response(200, content=path.read_bytes()) if path.is_file() else httpx.Response(404)

    answering(monkeypatch, answer)
    assert TileSource(ADDRESS).checkpoint() == b"a note"
    assert read(TileSource(ADDRESS), 300) == ENTRIES
    assert read(TileSource(ADDRESS), 200) == ENTRIES[:200]


def test_an_address_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda _: httpx.Response(500))
    with pytest.raises(HubUnreachable, match="HTTP 500"):
        TileSource(ADDRESS).checkpoint()

    def refuse(_: str) -> httpx.Response:
        raise httpx.ConnectError("no")

    answering(monkeypatch, refuse)
    with pytest.raises(HubUnreachable, match="ConnectError"):
        TileSource(ADDRESS).checkpoint()
