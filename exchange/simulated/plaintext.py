"""The tables of all owners in one place, as no party of a real job ever has them, and their rows matched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors import columns, identifiers
from exchange.jobs.spec import ColumnInput, Step

__all__ = ["Plaintext", "decimals"]

Floats = NDArray[np.float64]

_EXACT: Final = Context(prec=60)
"""Holds every number that a step reads with its decimals."""


class Plaintext:
    """All tables of a job.

    Args:
        tables: by asset.
    """

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self._tables = tables

    def table(self, step: Step, role: str) -> pa.Table:
        """What a role of a step reads."""
        given = step.inputs[role]
        return self._tables[given.asset].select([column.name for column in given.columns])

    def matched(self, step: Step, keys: int | None = None) -> dict[str, NDArray[np.int64]]:
        """The rows that a matching step has to find, int64[matched] by role, in one order for all roles.

        Identifiers are brought to one form as the step says, and compared as they are; where one stands in
        several rows, the first counts.

        Args:
            step: that matches.
            keys: how many of the first columns of each role are identifiers; None: all.
        """
        rules = cast("dict[str, list[Any]]", step.params["normalise"])
        places = {role: self._places(step, role, rules[role], keys) for role in step.inputs}
        first, *others = places.values()
        shared = [key for key in first if all(key in other for other in others)]
        return {
            role: np.array([found[key] for key in shared], dtype=np.int64) for role, found in places.items()
        }

    def _places(self, step: Step, role: str, stated: Sequence[Any], keys: int | None) -> dict[str, int]:
        table = self.table(step, role)
        names = table.column_names[:keys]
        rules = stated if stated and isinstance(stated[0], list) else [stated] * len(names)
        texts = [
            identifiers.normalise(table.column(name), own, name)
            for name, own in zip(names, rules, strict=True)
        ]
        places: dict[str, int] = {}
        for row, key in enumerate(identifiers.compose(texts).to_pylist()):
            places.setdefault(key, row)
        return places

    def numbers(self, step: Step, role: str, name: str, rows: NDArray[np.int64]) -> Floats:
        """Values of a column of numbers at some rows: float64[rows]."""
        batches = self.table(step, role).select([name]).to_batches()
        return columns.measure_array(batches, name)[rows].astype(np.float64)

    def codes(
        self, step: Step, role: str, name: str, labels: Sequence[str], rows: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The place among labels of the value of a column at some rows: int64[rows]."""
        batches = self.table(step, role).select([name]).to_batches()
        return columns.label_codes(batches, name, labels)[rows]


def decimals(table: pa.Table, column: ColumnInput) -> list[Decimal]:
    """Values of a column, rounded exactly, half to even, to the digits that a step keeps of it.

    Raises:
        MissingValues, WrongColumnType: as a step that reads them.
    """
    values = columns.measure_array(table.select([column.name]).to_batches(), column.name).tolist()
    unit = Decimal(1).scaleb(-column.decimals)
    return [Decimal(value).quantize(unit, ROUND_HALF_EVEN, _EXACT) for value in values]
