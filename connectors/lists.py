"""Lists of identifiers (black, grey, white) that several maintainers keep, in a table or a file.

A list is a table with one identifier a row, perhaps attributes (a reason, a day), perhaps who maintains the
row. Other columns of the table are not part of the list and are never read. A list with an empty identifier,
or a row of a maintainer who is not among those named, is refused as a whole when it is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from connectors.connector import BATCH_ROWS, Connector, require_columns
from connectors.errors import EmptyIdentifiers, InvalidSource, UnknownMaintainers, WrongColumnType
from connectors.filters import Compare, Filter, In, IsNull, Not, Or, check
from connectors.options import Options

__all__ = ["COLOURS", "ListConnector", "ListOptions"]

COLOURS: Final = ("black", "grey", "white")


@dataclass(frozen=True)
class ListOptions:
    """How a list is described.

    Attributes:
        colour: what it means to be on it: ``black`` refused, ``grey`` to be looked at, ``white`` trusted.
        identifier: the column of identifiers.
        attributes: columns that say more about an identifier.
        maintainer: the column that says who maintains a row; None: the list's owner.
        maintainers: who may; empty: anyone.
    """

    colour: str
    identifier: str
    attributes: tuple[str, ...] = ()
    maintainer: str | None = None
    maintainers: tuple[str, ...] = ()

    @staticmethod
    def parse(value: object) -> ListOptions:
        """Read a description.

        Raises:
            InvalidSource: naming the field.
        """
        options = Options(value)
        found = ListOptions(
            colour=options.choice("colour", COLOURS),
            identifier=options.text("identifier", longest=200),
            attributes=options.texts("attributes"),
            maintainer=options.text("maintainer", longest=200) if options.has("maintainer") else None,
            maintainers=options.texts("maintainers"),
        )
        options.end()
        if found.maintainers and found.maintainer is None:
            raise InvalidSource("options.maintainer", "a column, because maintainers are named", "nothing")
        if len(set(found.columns)) != len(found.columns):
            raise InvalidSource("options", "distinct columns", "a column named twice")
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """The list's columns: identifier, attributes, maintainer."""
        last = () if self.maintainer is None else (self.maintainer,)
        return (self.identifier, *self.attributes, *last)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that are texts in a file, whatever they look like."""
        return (self.identifier,) if self.maintainer is None else (self.identifier, self.maintainer)


class ListConnector:
    """A list over the connector of its table, which it closes."""

    def __init__(self, table: Connector, options: ListOptions) -> None:
        """Check the list's rows at its source.

        Raises:
            MissingColumn: the table lacks a column of the list.
            WrongColumnType: identifiers are neither texts nor integers, or maintainers no texts.
            EmptyIdentifiers: with the number of rows that have none.
            UnknownMaintainers: with the number of rows of others than those named.
        """
        self._table, self.options = table, options
        whole = table.schema()
        names = require_columns(options.columns, whole)
        self._schema = pa.schema([whole.field(name) for name in names])
        try:
            self._check_rows()
        except BaseException:
            table.close()
            raise

    def __repr__(self) -> str:
        return f"ListConnector({self._table!r}, {self.options.colour})"

    @property
    def colour(self) -> str:
        """``black``, ``grey`` or ``white``."""
        return self.options.colour

    def schema(self) -> pa.Schema:
        """Identifier, attributes, maintainer."""
        return self._schema

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read some columns of every row, or of those a filter keeps, in the table's order."""
        chosen = require_columns(columns, self._schema)
        if where is not None:
            check(where, self._schema)
        return self._table.batches(chosen, where=where, batch_rows=batch_rows)

    def close(self) -> None:
        """Close the table."""
        self._table.close()

    def _check_rows(self) -> None:
        identifier, maintainer = self.options.identifier, self.options.maintainer
        kind = self._schema.field(identifier).type
        if not pa.types.is_string(kind) and not pa.types.is_integer(kind):
            raise WrongColumnType(identifier, "texts or integers", str(kind))
        empty: Filter = IsNull(identifier)
        if pa.types.is_string(kind):
            empty = Or((empty, Compare(identifier, "=", "")))
        count = self._count(empty)
        if count:
            raise EmptyIdentifiers(identifier, count)
        if maintainer is None:
            return
        if not pa.types.is_string(self._schema.field(maintainer).type):
            raise WrongColumnType(maintainer, "texts", str(self._schema.field(maintainer).type))
        stranger: Filter = Or((IsNull(maintainer), Compare(maintainer, "=", "")))
        if self.options.maintainers:
            stranger = Or((stranger, Not(In(maintainer, self.options.maintainers))))
        count = self._count(stranger)
        if count:
            raise UnknownMaintainers(maintainer, count)

    def _count(self, where: Filter) -> int:
        return sum(batch.num_rows for batch in self._table.batches([self.options.identifier], where=where))
