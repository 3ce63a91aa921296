"""The contract of ``Connector``, checked while a connector of others is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from connectors.connector import BATCH_ROWS, Connector, require_columns
from connectors.errors import ContractBroken
from connectors.filters import Filter, check
from connectors.fingerprints import encode_schema

__all__ = ["Conforming"]


class Conforming:
    """A connector whose schema and batches are checked; the first that breaks the contract ends the read."""

    def __init__(self, kind: str, inner: Connector) -> None:
        """Check the schema.

        Raises:
            ContractBroken: ``inner`` is no connector, or its schema none.
            UnsupportedColumn: a column's type has no exact form here.
        """
        self._kind = kind
        if not isinstance(inner, Connector):
            raise ContractBroken(kind, "a connector", type(inner).__name__)
        self._inner = inner
        try:
            schema = inner.schema()
            if not isinstance(schema, pa.Schema):
                raise ContractBroken(kind, "an Arrow schema", type(schema).__name__)
            self._schema = schema.remove_metadata()
            encode_schema(self._schema)
            require_columns(self._schema.names, self._schema)
        except BaseException:
            inner.close()
            raise

    def __repr__(self) -> str:
        return f"Conforming({self._kind})"

    def schema(self) -> pa.Schema:
        """The schema as it was when the source was opened."""
        return self._schema

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read through the inner connector, and check each batch's names, types and size."""
        chosen = require_columns(columns, self._schema)
        if where is not None:
            check(where, self._schema)
        return self._checked(chosen, where, batch_rows)

    def close(self) -> None:
        """Close the inner connector."""
        self._inner.close()

    def _checked(
        self, chosen: tuple[str, ...], where: Filter | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        promised = pa.schema([self._schema.field(name) for name in chosen])
        for batch in self._inner.batches(chosen, where=where, batch_rows=batch_rows):
            if not isinstance(batch, pa.RecordBatch):
                raise ContractBroken(self._kind, "record batches", type(batch).__name__)
            if not batch.schema.equals(promised):
                raise ContractBroken(self._kind, "the columns and types that were asked for", "others")
            if not 1 <= batch.num_rows <= batch_rows:
                raise ContractBroken(self._kind, f"batches of 1 to {batch_rows} rows", f"{batch.num_rows}")
            try:
                batch.validate(full=True)
            except pa.ArrowInvalid:
                # Not chained: the cause may quote values.
                raise ContractBroken(self._kind, "valid Arrow data", "something else") from None
            yield batch.replace_schema_metadata(None)
