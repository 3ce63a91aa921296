"""Records of one width in partitions: in memory, or on disk in files that have no name.

The files are opened in a private folder and unlinked at once, so nobody else can open them and nothing is
left of them when the process ends, however it ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

import numpy as np
from numpy.typing import NDArray

PARTS: Final = 64
"""Partitions. Of ten million records each takes 156,000, which is what is held in memory at once."""
IN_MEMORY_BYTES: Final = 64 * 1024 * 1024
"""Up to this size records stay in memory even where there is a folder."""
_BUFFER_BYTES: Final = 1 << 16


class Spool:
    """Records of ``width`` bytes, partitioned by their first byte. A context manager."""

    def __init__(self, width: int, folder: Path | None) -> None:
        self._width, self._folder = width, folder
        self._stack = ExitStack()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._files: list[BinaryIO] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        self._stack.close()

    def append(self, records: NDArray[np.uint8]) -> None:
        """Add records, uint8[n, width]."""
        if self._files:
            self._write(records)
            return
        self._held.append(records.tobytes())
        self._held_bytes += records.size
        if self._folder is not None and self._held_bytes > IN_MEMORY_BYTES:
            self._open(self._folder)

    def parts(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the partitions in order, uint8[m, width] each, its records in the order they came."""
        if self._files:
            for file in self._files:
                file.seek(0)
                yield self._as_records(file.read())
        else:
            yield from _split(self._as_records(b"".join(self._held)))

    def _open(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(PARTS):
            file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER_BYTES)
            self._files.append(cast(BinaryIO, self._stack.enter_context(file)))
        for data in self._held:
            self._write(self._as_records(data))
        self._held.clear()

    def _write(self, records: NDArray[np.uint8]) -> None:
        for file, part in zip(self._files, _split(records), strict=True):
            file.write(part.tobytes())

    def _as_records(self, data: bytes) -> NDArray[np.uint8]:
        return np.frombuffer(data, dtype=np.uint8).reshape(-1, self._width)


def _split(records: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    part = records[:, 0] // (256 // PARTS)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(PARTS + 1))
    for number in range(PARTS):
        yield records[order[bounds[number] : bounds[number + 1]]]
