"""Append-only streams in a folder: batches as numbered Arrow or Parquet files, each sealing the one before.

Segments are named ``000000000001.arrow``, ``000000000002.parquet`` and so on, without gaps. A segment's
schema metadata holds its number and the SHA-256 of the whole file before it, so the digest of one segment
stands for everything up to it: a published position is that segment's number and digest, and any change to an
older file is found, by number, when the stream is opened. Nothing after the position is read.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.parquet

from connectors.connector import BATCH_ROWS, require_columns
from connectors.errors import InvalidSource, SourceOutsideRoots, SourceUnreachable, StreamChanged
from connectors.files import FileConnector
from connectors.filters import Filter, check

__all__ = ["SegmentStream", "append"]

_NUMBER: Final = b"parley.segment"
_PREVIOUS: Final = b"parley.previous"
_NAME: Final = re.compile(r"(\d{12})\.(arrow|parquet)")
_MODE: Final = 0o440


def append(folder: Path, batch: pa.Table, *, suffix: str = "arrow") -> int:
    """Append rows as the next segment of a stream, and return its number.

    The file appears whole or not at all, and is read-only from then on. Of two who append at once, one gets
    the number and the other an error.

    Args:
        folder: an existing folder that holds nothing but the stream.
        batch: at least one row, with the columns of the segments before.
        suffix: ``arrow`` or ``parquet``.

    Raises:
        InvalidSource: there are no rows, or other columns than before.
        StreamChanged: the segment before is not as it was written.
        FileExistsError: somebody else appended at the same time.
    """
    if suffix not in ("arrow", "parquet"):
        raise InvalidSource("suffix", "arrow or parquet", "another text")
    if batch.num_rows == 0:
        raise InvalidSource("batch", "at least one row", "none")
    segments = _segments(folder)
    schema = batch.schema.remove_metadata()
    previous = _digest(segments[-1]) if segments else ""
    if segments:
        before = _Header(segments[-1])
        if before.number != len(segments):
            raise StreamChanged(f"segment {len(segments)} of {folder.name}", "its number", "another")
        if not before.schema.equals(schema):
            raise InvalidSource("batch", "the columns of the segments before, and their types", "others")
    number = len(segments) + 1
    sealed = batch.replace_schema_metadata({_NUMBER: str(number).encode(), _PREVIOUS: previous.encode()})
    staged = folder / f".{number}.{secrets.token_hex(8)}"
    try:
        with staged.open("xb") as file:
            if suffix == "parquet":
                pa.parquet.write_table(sealed, file)
            else:
                with pa.ipc.new_file(file, sealed.schema) as writer:
                    writer.write_table(sealed, max_chunksize=BATCH_ROWS)
            file.flush()
            os.fsync(file.fileno())
        staged.chmod(_MODE)
        os.link(staged, folder / f"{number:012}.{suffix}")
    finally:
        staged.unlink(missing_ok=True)
    _sync(folder)
    return number


class SegmentStream:
    """The segments of a folder up to a position. The folder must already be checked against the roots."""

    def __init__(self, folder: Path, position: int | None = None, digest: str | None = None) -> None:
        """Check every segment up to the position against the one after it.

        Args:
            folder: the stream.
            position: the number of the last segment to read; None: the newest.
            digest: the SHA-256 that segment had when the position was published.

        Raises:
            SourceUnreachable: the folder cannot be read, or there are not so many segments.
            SourceOutsideRoots: a segment is a link.
            StreamChanged: a segment is not as it was written, or one is missing.
        """
        self._name = folder.name
        segments = _segments(folder)
        if not segments or len(segments) < (position or 0):
            wanted = f"{position or 1} segments" if (position or 1) > 1 else "a segment"
            raise SourceUnreachable(folder.name, f"expected {wanted}, found {len(segments)}")
        self._segments = segments[: position or len(segments)]
        self._schema = _Header(self._segments[0]).schema
        self._digest = self._check(digest)
        self._files = [FileConnector(segment) for segment in self._segments]

    def __repr__(self) -> str:
        return f"SegmentStream({self._name!r}, {len(self._segments)})"

    def pin(self) -> Mapping[str, object]:
        """The options that name this very prefix."""
        return MappingProxyType({"position": len(self._segments), "digest": self._digest})

    def schema(self) -> pa.Schema:
        """The columns that all segments have."""
        return self._schema

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read some columns of every row, or of those a filter keeps, in the order of appending."""
        chosen = require_columns(columns, self._schema)
        if where is not None:
            check(where, self._schema)
        return (b for file in self._files for b in file.batches(chosen, where=where, batch_rows=batch_rows))

    def close(self) -> None:
        """Nothing to do: each read opens the files and closes them."""

    def _check(self, digest: str | None) -> str:
        previous = ""
        for number, segment in enumerate(self._segments, 1):
            header, place = _Header(segment), f"segment {number} of {self._name}"
            if header.number != number:
                raise StreamChanged(place, f"the number {number}", "another")
            if header.previous != previous:
                before = f"segment {number - 1} of {self._name}"
                raise StreamChanged(before, header.previous or "none", previous or "none")
            if not header.schema.equals(self._schema):
                raise StreamChanged(place, "the columns of the first segment", "others")
            previous = _digest(segment)
        if digest is not None and digest != previous:
            raise StreamChanged(f"segment {len(self._segments)} of {self._name}", digest, previous)
        return previous


class _Header:
    """What a segment says of itself."""

    def __init__(self, path: Path) -> None:
        try:
            if path.suffix == ".parquet":
                schema = pa.parquet.read_schema(path)
            else:
                with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                    schema = reader.schema
        except (pa.ArrowException, OSError):
            # Not chained: the cause may quote rows.
            raise SourceUnreachable(path.name, "not readable as a segment") from None
        metadata = schema.metadata or {}
        number = metadata.get(_NUMBER, b"")
        self.number = int(number) if number.isdigit() and len(number) <= 12 else 0
        self.previous = metadata.get(_PREVIOUS, b"").decode("ascii", "replace")[:64]
        self.schema = schema.remove_metadata()


def _segments(folder: Path) -> list[Path]:
    """List the segments in order; hidden files are segments that are being written."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as exc:
        raise SourceUnreachable(folder.name, f"no folder that can be read ({type(exc).__name__})") from None
    for number, entry in enumerate(entries, 1):
        if entry.is_symlink():
            raise SourceOutsideRoots(entry.name, [folder.name])
        named = _NAME.fullmatch(entry.name)
        if named is None or not entry.is_file():
            raise InvalidSource("location", "a folder of numbered segments only", "something else in it")
        if int(named[1]) != number:
            raise StreamChanged(f"segment {number} of {folder.name}", "one file", "none, or two")
    return entries


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise SourceUnreachable(path.name, f"not readable ({type(exc).__name__})") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
