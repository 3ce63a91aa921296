"""Any file as a table of its parts, for files that are handed over and not computed on.

A row is a part of the content: its number and at most 256 KiB of bytes. The version fingerprint of such a
table covers every byte of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from connectors.arrow_filters import to_arrow
from connectors.connector import BATCH_ROWS, rebatch, require_columns
from connectors.errors import SourceUnreachable
from connectors.filters import Filter, check

__all__ = ["CONTENT", "DocumentConnector"]

CONTENT: Final = "content"
"""The column with the bytes."""

_PART: Final = 256 * 1024
_PARTS_AT_ONCE: Final = 16
_SCHEMA: Final = pa.schema([("part", pa.int64()), (CONTENT, pa.binary())])


class DocumentConnector:
    """One file. The path must already be checked against the folders the node may read.

    Raises:
        SourceUnreachable: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.open("rb").close()
        except OSError as exc:
            raise SourceUnreachable(str(path), exc.strerror or "it cannot be read") from exc

    def __repr__(self) -> str:
        return f"DocumentConnector({str(self._path)!r})"

    def schema(self) -> pa.Schema:
        """The number of each part, and its bytes."""
        return _SCHEMA

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read the parts in order."""
        chosen = require_columns(columns, _SCHEMA)
        if where is not None:
            check(where, _SCHEMA)
        return self._stream(chosen, where, batch_rows)

    def close(self) -> None:
        """Nothing to do: each read opens the file and closes it."""

    def _stream(
        self, names: tuple[str, ...], where: Filter | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        kept = None if where is None else to_arrow(where, _SCHEMA)
        batches = (batch if kept is None else batch.filter(kept) for batch in self._parts())
        yield from rebatch((batch.select(list(names)) for batch in batches), batch_rows)

    def _parts(self) -> Iterator[pa.RecordBatch]:
        number = 0
        try:
            with self._path.open("rb") as file:
                while parts := [part for _ in range(_PARTS_AT_ONCE) if (part := file.read(_PART))]:
                    numbers = range(number, number + len(parts))
                    yield pa.RecordBatch.from_arrays(
                        [pa.array(numbers, pa.int64()), pa.array(parts, pa.binary())], schema=_SCHEMA
                    )
                    number += len(parts)
        except OSError as exc:
            raise SourceUnreachable(str(self._path), exc.strerror or "it cannot be read") from exc
