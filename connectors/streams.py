"""Append-only streams in a table with a sequence column, read up to a position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa

from connectors.connector import BATCH_ROWS
from connectors.errors import EmptyTable, StreamChanged
from connectors.filters import And, Compare, Filter, check
from connectors.sql import SqlConnector
from connectors.stream_options import StreamOptions

__all__ = ["TableStream"]


class TableStream:
    """The rows of a table whose sequence value is at most a position, in the order of that column."""

    def __init__(self, table: SqlConnector, options: StreamOptions) -> None:
        """Find the position, and check that what lies before it has not grown or shrunk.

        Args:
            table: ordered by the sequence column, whose values must be unique; closed with the stream.
            options: with ``sequence``.

        Raises:
            EmptyTable: there are no rows up to the position.
            StreamChanged: there are more or fewer rows up to it than when it was published.
        """
        self._table, self._sequence = table, options.sequence or ""
        rows, highest = table.extent(self._sequence, options.position)
        if rows == 0 or highest is None:
            raise EmptyTable
        self._rows, self._position = rows, highest if options.position is None else options.position
        if options.rows not in (None, rows):
            place = f"rows up to {self._position} of {table!r}"
            raise StreamChanged(place, f"{options.rows}", f"{rows}")

    def __repr__(self) -> str:
        return f"TableStream({self._table!r}, {self._position})"

    def pin(self) -> Mapping[str, object]:
        """The options that name this very prefix."""
        return MappingProxyType({"position": self._position, "rows": self._rows})

    def schema(self) -> pa.Schema:
        """The table's columns."""
        return self._table.schema()

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read some columns of every row of the prefix, or of those a filter keeps."""
        prefix: Filter = Compare(self._sequence, "<=", self._position)
        kept = prefix if where is None else And((prefix, check(where, self._table.schema())))
        return self._table.batches(columns, where=kept, batch_rows=batch_rows)

    def close(self) -> None:
        """Close the table."""
        self._table.close()
