"""What is wrong with a query, and where in its text."""

from __future__ import annotations

from exchange.errors import InvalidRequest

__all__ = ["InvalidQuery"]


class InvalidQuery(InvalidRequest):
    """A query is outside the documented subset, or names or compares what does not fit.

    Args:
        line: of the text, from 1.
        column: of the line, from 1.
        expected: what may stand there.
        actual: what does.
    """

    code = "sql.invalid"

    def __init__(self, line: int, column: int, expected: str, actual: str) -> None:
        super().__init__(f"query, line {line}, column {column}", expected, actual)
        self.line, self.column = line, column
