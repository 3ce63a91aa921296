"""Tables in files: CSV and Parquet through DuckDB, Arrow IPC through pyarrow.

DuckDB runs in memory with its access to the rest of the file system, the network and extensions switched off;
the path is bound as a parameter. Arrow IPC is read by pyarrow, since DuckDB reads it only through a community
extension it would have to download.

A CSV file is RFC 4180's: a header line, commas, double quotes, UTF-8. Nothing about the dialect is guessed,
since a wrong guess loses rows without a word. Types are found by reading the whole file once, so a column
that looks like numbers for the first thousand rows and then is not becomes text instead of failing or losing
zeros. Dates are read as 2024-02-29, times as 2024-02-29 13:14:15; other spellings stay text. Integers beyond
64 bits would become floats: name such a column as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import duckdb
import pyarrow as pa

from connectors.arrow_filters import to_arrow
from connectors.connector import BATCH_ROWS, rebatch, require_columns
from connectors.duckdb_filters import to_duckdb
from connectors.errors import InvalidSource, InvalidValues, SourceUnreachable
from connectors.filters import Filter, check

__all__ = ["FileConnector", "FileFormat"]


class FileFormat(StrEnum):
    """Formats this connector reads."""

    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


_SUFFIXES: Final = MappingProxyType(
    {
        ".csv": FileFormat.CSV,
        ".parquet": FileFormat.PARQUET,
        ".pq": FileFormat.PARQUET,
        ".arrow": FileFormat.ARROW,
        ".feather": FileFormat.ARROW,
    }
)
_FORMS: Final = MappingProxyType(
    {
        FileFormat.CSV: "CSV with a header line, commas, double quotes and as many fields in every line",
        FileFormat.PARQUET: "Parquet",
        FileFormat.ARROW: "Arrow IPC",
    }
)
_READ_PARQUET: Final = "SELECT * FROM read_parquet($path)"
_CSV_DIALECT: Final = (
    """header = true, delim = ',', quote = '"', escape = '"', comment = '', skip = 0, """
    "dateformat = '%Y-%m-%d', timestampformat = '%Y-%m-%d %H:%M:%S', sample_size = -1, "
    "auto_type_candidates = ['BOOLEAN', 'BIGINT', 'DOUBLE', 'DATE', 'TIMESTAMP', 'VARCHAR']"
)
_READ_CSV: Final = f"SELECT * FROM read_csv($path, {_CSV_DIALECT})"  # noqa: S608 - constants
_READ_CSV_TYPED: Final = f"SELECT * FROM read_csv($path, {_CSV_DIALECT}, types = $types)"  # noqa: S608
# DuckDB expands these in a path even when it is bound, and would read several files.
_PATTERN_CHARACTERS: Final = frozenset("*?[]{}")
_CSV_LINE = re.compile(r"Line: (\d+)")
_IPC_FILE_MAGIC: Final = b"ARROW1"


class FileConnector:
    """One file. The path must already be checked against the folders the node may read."""

    def __init__(self, path: Path, *, text_columns: Sequence[str] = ()) -> None:
        """Find the file's columns and types.

        Args:
            path: an existing file; its suffix names the format.
            text_columns: columns of a CSV file to read as text.

        Raises:
            InvalidSource: the suffix or the path cannot be used.
            SourceUnreachable: the file cannot be read as its format.
            MissingColumn: a text column is not in the file.
        """
        if path.suffix.lower() not in _SUFFIXES:
            raise InvalidSource("location", f"a file ending in {', '.join(_SUFFIXES)}", f"{path.suffix!r}")
        self._path = path
        self._format = _SUFFIXES[path.suffix.lower()]
        if self._format is not FileFormat.ARROW and _PATTERN_CHARACTERS & set(str(path)):
            raise InvalidSource("location", "a path without * ? [ ] { }", "a pattern")
        self._text_columns: tuple[str, ...] = ()
        self._schema = self._read_schema()
        if text_columns and self._format is FileFormat.CSV:
            self._text_columns = require_columns(text_columns, self._schema)
            self._schema = self._read_schema()

    def __repr__(self) -> str:
        return f"FileConnector({str(self._path)!r})"

    def schema(self) -> pa.Schema:
        """Names and Arrow types of all columns, in the file's order."""
        return self._schema

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read some columns of every row, or of those a filter keeps, in the file's order."""
        chosen = require_columns(columns, self._schema)
        if where is not None:
            check(where, self._schema)
        return self._stream(chosen, where, batch_rows)

    def close(self) -> None:
        """Nothing to do: each read opens the file and closes it."""

    def _read_schema(self) -> pa.Schema:
        with self._errors_named():
            if self._format is FileFormat.ARROW:
                with self._ipc_reader() as reader:
                    return reader.schema.remove_metadata()
            with _database(self._path) as database:
                relation = self._relation(database)
                with relation.limit(0).to_arrow_reader() as reader:
                    return reader.schema.remove_metadata()

    def _stream(
        self, names: tuple[str, ...], where: Filter | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        with self._errors_named():
            if self._format is FileFormat.ARROW:
                kept = None if where is None else to_arrow(where, self._schema)
                with self._ipc_reader() as reader:
                    batches = _ipc_batches(reader)
                    found = batches if kept is None else (batch.filter(kept) for batch in batches)
                    yield from rebatch((batch.select(list(names)) for batch in found), batch_rows)
                return
            with _database(self._path) as database:
                relation = self._relation(database)
                if where is not None:
                    relation = relation.filter(to_duckdb(where, self._schema))
                relation = relation.select(*(duckdb.ColumnExpression(name) for name in names))
                with relation.to_arrow_reader(batch_rows) as reader:
                    yield from rebatch(iter(reader), batch_rows)

    def _relation(self, database: duckdb.DuckDBPyConnection) -> Any:  # noqa: ANN401 - DuckDB is not typed
        values: dict[str, object] = {"path": str(self._path)}
        if self._format is FileFormat.PARQUET:
            return database.sql(_READ_PARQUET, params=values)
        if not self._text_columns:
            return database.sql(_READ_CSV, params=values)
        values["types"] = dict.fromkeys(self._text_columns, "VARCHAR")
        return database.sql(_READ_CSV_TYPED, params=values)

    @contextmanager
    def _ipc_reader(self) -> Iterator[Any]:
        with pa.OSFile(str(self._path)) as file:
            magic = file.read(len(_IPC_FILE_MAGIC))
            file.seek(0)
            opener = pa.ipc.open_file if magic == _IPC_FILE_MAGIC else pa.ipc.open_stream
            with opener(file) as reader:
                yield reader

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as exc:
            # Not chained: DuckDB, also through Arrow's OSError, quotes the line it could not read.
            line = _CSV_LINE.search(str(exc)) if self._format is FileFormat.CSV else None
            if line is not None:
                place = f"{self._path.name}, line {line[1]}"
                raise InvalidValues(place, "one field of the column's type per column, in UTF-8") from None
            raise SourceUnreachable(str(self._path), f"not readable as {_FORMS[self._format]}") from None


@contextmanager
def _database(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Start an in-memory DuckDB that can open one file and nothing else."""
    extensions_off: dict[str, Any] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=extensions_off) as database:
        database.execute("SET preserve_insertion_order = true")
        database.execute("SET TimeZone = 'UTC'")
        database.execute("SET allowed_paths = [$path]", {"path": str(path)})
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        yield database


def _ipc_batches(reader: Any) -> Iterator[pa.RecordBatch]:  # noqa: ANN401 - pyarrow is not typed
    if isinstance(reader, pa.RecordBatchFileReader):
        return (reader.get_batch(index) for index in range(reader.num_record_batches))
    return iter(reader)
