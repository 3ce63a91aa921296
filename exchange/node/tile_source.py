"""A log kept as tiles (C2SP tlog-tiles): in a folder, or behind an address that anybody may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx

from exchange.errors import HubUnreachable, NotFound
from ledger.errors import MalformedNote
from ledger.tiles import TILE_WIDTH, decode_entries, tile_path

__all__ = ["TileSource"]

_TIMEOUT_S = 30.0
_CHECKPOINT_LIMIT = 1 << 20
_BUNDLE_LIMIT = TILE_WIDTH * (65_535 + 2)
_MISSING = frozenset({404, 410})


class TileSource:
    """Reads a log's checkpoint and entries.

    Args:
        place: a folder, or an ``http`` or ``https`` address.
    """

    def __init__(self, place: str) -> None:
        self._place = place.rstrip("/")
        self._is_remote = place.startswith(("http://", "https://"))

    def checkpoint(self) -> bytes:
        """Return the newest checkpoint.

        Raises:
            NotFound: there is none. HubUnreachable: the address does not answer.
        """
        found = self._read("checkpoint", _CHECKPOINT_LIMIT)
        if found is None:
            raise NotFound(f"expected a checkpoint at {self._place}, found none")
        return found

    def entries(self, size: int) -> Iterator[list[bytes]]:
        """Yield the bytes of the first ``size`` entries, a bundle at a time.

        Raises:
            NotFound: a bundle is not there. HubUnreachable: the address does not answer.
            MalformedNote: a bundle holds less than it should.
        """
        for number in range(-(-size // TILE_WIDTH)):
            width = min(TILE_WIDTH, size - number * TILE_WIDTH)
            path = f"tile/entries/{tile_path(number, width)}"
            data = self._read(path, _BUNDLE_LIMIT)
            if data is None and width < TILE_WIDTH:  # the log has grown, and keeps the full bundle only
                data = self._read(f"tile/entries/{tile_path(number)}", _BUNDLE_LIMIT)
            if data is None:
                raise NotFound(f"expected {path} at {self._place}, found none")
            bundle = decode_entries(data)
            if len(bundle) < width:
                raise MalformedNote(f"{path}: expected {width} entries, got {len(bundle)}")
            yield bundle[:width]

    def _read(self, path: str, limit: int) -> bytes | None:
        if not self._is_remote:
            file = Path(self._place) / path
            found = file.read_bytes() if file.is_file() else None
        else:
            found = self._fetch(f"{self._place}/{path}")
        if found is not None and len(found) > limit:
            raise MalformedNote(f"{path}: expected at most {limit} bytes, got {len(found)}")
        return found

    def _fetch(self, address: str) -> bytes | None:
        try:
            answer = httpx.get(address, timeout=_TIMEOUT_S, follow_redirects=True, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise HubUnreachable(f"expected tiles at {self._place}, got {type(exc).__name__}") from exc
        if answer.status_code in _MISSING:
            return None
        if not answer.is_success:
            raise HubUnreachable(f"expected tiles at {self._place}, got HTTP {answer.status_code}")
        return answer.content
