"""How far a stream is read: a folder of segments, or a table with a sequence column."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.errors import InvalidSource
from connectors.options import Options

__all__ = ["StreamOptions"]


@dataclass(frozen=True)
class StreamOptions:
    """How far a stream is read.

    Attributes:
        sequence: the column of integers that orders a table; a folder has none.
        position: the last segment's number or the last sequence value to read; None: what there is now.
        digest: the SHA-256 of the last segment when the position was published.
        rows: the number of rows up to the position when it was published, of a table.
    """

    sequence: str | None = None
    position: int | None = None
    digest: str | None = None
    rows: int | None = None

    @staticmethod
    def parse(value: object, *, is_table: bool) -> StreamOptions:
        """Read the options of a table or of a folder.

        Raises:
            InvalidSource: naming the field.
        """
        options = Options(value)
        position = options.number("position", 1, 2**63 - 1) if options.has("position") else None
        if is_table:
            rows = options.number("rows", 1, 2**63 - 1) if options.has("rows") else None
            found = StreamOptions(options.text("sequence", longest=200), position, rows=rows)
        else:
            digest = options.text("digest", longest=64) if options.has("digest") else None
            found = StreamOptions(position=position, digest=digest)
        options.end()
        if position is None and (found.digest is not None or found.rows is not None):
            raise InvalidSource("options.position", "a whole number, as its content is stated", "nothing")
        return found
