"""Rows of a table of the state by one of their members, made once for each content that the table had."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ledger.tables import Row, State

__all__ = ["RowIndex"]


class RowIndex:
    """Finds the rows in which a member has a value. Safe to use from several threads.

    It keeps the index of the content it saw last: a node decides many times between two changes of a table.

    Args:
        table: the table's name.
        member: the member of its rows.
    """

    def __init__(self, table: str, member: str) -> None:
        self._table, self._member = table, member
        self._last: tuple[bytes, Mapping[str, Sequence[Row]]] = (b"", {})

    def rows(self, state: State, value: str) -> Sequence[Row]:
        """Return the rows in which the member is ``value``."""
        table = state.rows(self._table)
        root, index = self._last
        if root != table.root:
            found: dict[str, list[Row]] = defaultdict(list)
            for row in table.values():
                if self._member in row:
                    found[row[self._member]].append(row)
            index = dict(found)
            self._last = (table.root, index)
        return index.get(value, ())
