"""What owners put into the computation on shares, called alike at every party of the run.

Each expression of one owner is shared once in each form: a number with its mask, a condition as bits, a
condition as the integers 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exchange.sql.expressions import (
    Case,
    Column,
    Expression,
    IsNull,
    IsTrue,
    Literal,
    children,
    tables_in,
)
from exchange.sql.local import LocalRows
from exchange.sql.secret import Secret, Truth
from mpc.replicated.runtime import Runtime
from mpc.replicated.sharing import Shared

__all__ = ["Inputs", "Side", "may_be_missing"]


@dataclass(frozen=True)
class Side:
    """This party's own rows: of which table; None where it brings none."""

    table: str
    rows: LocalRows


class Inputs:
    """Shared inputs of joined rows.

    Args:
        runtime: the run.
        count: how many joined rows there are.
        ranks: of each table's owner.
        missing: which columns lack some value, as their owners have stated.
        side: this party's own rows, or None.
    """

    def __init__(
        self,
        runtime: Runtime,
        count: int,
        ranks: Mapping[str, int],
        missing: frozenset[Column],
        side: Side | None,
    ) -> None:
        self._rt, self.count, self._ranks, self._missing, self._side = runtime, count, ranks, missing, side
        self._weights: dict[Expression, Shared] = {}

    def number(self, node: Expression) -> Secret | None:
        """A number, date or text of one owner; None where it is of several."""
        table = self._table(node)
        if table is None or isinstance(node, Literal):
            return None
        rows = self.own(table)
        values, valid = (None, None) if rows is None else rows.comparable(node)
        rank = self._ranks[table]
        value = self._rt.share(rank, values, self.count)
        if not may_be_missing(node, self._missing):
            return Secret(value, None)
        return Secret(value, self._rt.share_bits(rank, valid, self.count))

    def truth(self, node: Expression) -> Truth | None:
        """A condition of one owner; None where it is of several."""
        table = self._table(node)
        if table is None or isinstance(node, Literal):
            return None
        rows = self.own(table)
        holds, fails = (None, None) if rows is None else rows.truths(node)
        rank = self._ranks[table]
        shared = self._rt.share_bits(rank, holds, self.count)
        if not may_be_missing(node, self._missing):
            return Truth(shared, None)
        return Truth(shared, self._rt.share_bits(rank, fails, self.count))

    def weight(self, node: Expression) -> Shared:
        """A condition of one owner as 0 and 1."""
        table = self._table(node)
        assert table is not None  # noqa: S101 - asked of conditions of one owner alone
        if node not in self._weights:
            rows = self.own(table)
            values = None if rows is None else rows.truths(node)[0].astype(np.int64)
            self._weights[node] = self._rt.share(self._ranks[table], values, self.count)
        return self._weights[node]

    def is_local(self, node: Expression) -> bool:
        """Whether a single owner can calculate an expression."""
        return self._table(node) is not None

    def is_certain(self, node: Expression) -> bool:
        """Whether an expression has a value in every row, which is public."""
        return not may_be_missing(node, self._missing)

    def own(self, table: str) -> LocalRows | None:
        """This party's rows of a table; None where they are another's."""
        return self._side.rows if self._side is not None and self._side.table == table else None

    def share(self, table: str, values: NDArray[np.int64] | None, shape: tuple[int, ...]) -> Shared:
        """Integers of a table's owner."""
        return self._rt.share(self._ranks[table], values, shape)

    def _table(self, node: Expression) -> str | None:
        tables = tables_in(node)
        if len(tables) > 1:
            return None
        return next(iter(tables), next(iter(self._ranks)))


def may_be_missing(node: Expression, missing: frozenset[Column]) -> bool:
    """Whether an expression may have no value, from which columns lack some."""
    match node:
        case Column():
            return node in missing
        case Literal(value=value):
            return value is None
        case IsNull() | IsTrue():
            return False
        case Case():
            values = (*(value for _, value in node.branches), node.otherwise)
            return any(may_be_missing(value, missing) for value in values)
    return any(may_be_missing(part, missing) for part in children(node))
