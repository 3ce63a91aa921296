"""What every connector does, and the checks they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

import pyarrow as pa

from connectors.errors import InvalidSource, MissingColumn
from connectors.filters import Filter

__all__ = ["BATCH_ROWS", "Connector", "rebatch", "require_columns"]

BATCH_ROWS: Final = 65_536


@runtime_checkable
class Connector(Protocol):
    """A table at its owner, readable in bounded batches.

    ``schema`` and ``batches`` MUST agree on names and types. ``batches`` MUST yield the columns asked for, in
    the order asked for, in batches of 1 to ``batch_rows`` rows, and MUST yield rows in the same order on
    every call while the source does not change, whatever the columns: a protocol reads the identifiers in one
    call and the measures in another and relies on row numbers. ``where`` keeps, of those rows and in that
    order, the ones for which the filter is true (see ``connectors.filters``), and SHOULD be evaluated at the
    source. Names that are not in the schema raise ``MissingColumn`` and filters that do not fit it
    ``InvalidFilter``, at the call and before any row is read.
    """

    def schema(self) -> pa.Schema:
        """Names and Arrow types of all columns, in the source's order."""
        ...

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read some columns of every row, or of those a filter keeps."""
        ...

    def close(self) -> None:
        """Give back whatever the source holds open. Closing twice is fine."""
        ...


def require_columns(columns: Sequence[str], schema: pa.Schema) -> tuple[str, ...]:
    """Check that a schema has each of the columns, once, and return them.

    Raises:
        MissingColumn: some are absent.
        InvalidSource: none are asked for, one is asked for twice, or the source has two of one name.
    """
    if not columns:
        raise InvalidSource("columns", "at least one column", "none")
    repeated = [name for name, times in Counter(columns).items() if times > 1]
    ambiguous = [name for name, times in Counter(schema.names).items() if times > 1]
    if repeated or ambiguous:
        raise InvalidSource("columns", "distinct names", ", ".join(repeated or ambiguous))
    absent = [name for name in columns if name not in schema.names]
    if absent:
        raise MissingColumn(absent, schema.names)
    return tuple(columns)


def rebatch(source: Iterator[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Cut batches down to ``batch_rows`` rows and drop empty ones."""
    for batch in source:
        for start in range(0, batch.num_rows, batch_rows):
            yield batch.slice(start, batch_rows)
