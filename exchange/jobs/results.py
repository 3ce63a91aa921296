"""What a person reads of a step: a table, and a few words on it.

A component that releases to a recipient states how the releases of its roles are put together
(``Component.open_result``); ``report/result`` does it at the recipient's node.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exchange.jobs.spec import Step
from ledger import canonical

__all__ = ["Cell", "OpenResult", "ResultTable"]

Cell = str | int | bool | None
"""A value of a result. Numbers that are no integers are decimal texts; None is a suppressed or null value."""


@dataclass(frozen=True)
class ResultTable:
    """The answer of one step.

    Attributes:
        columns: names, at least one.
        rows: of as many cells each.
        facts: what else is to be known of the answer: suppressed cells, noise, rounding.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    facts: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        misfits = sum(len(row) != len(self.columns) for row in self.rows)
        if misfits:
            raise ValueError(f"{misfits} rows have another number of cells than {len(self.columns)}")

    def files(self) -> dict[str, bytes]:
        """Write ``result.json`` and ``table.csv``."""
        value = {
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "facts": dict(self.facts),
        }
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerows((self.columns, *self.rows))
        return {"result.json": canonical.encode(value), "table.csv": text.getvalue().encode()}


OpenResult = Callable[[Step, Mapping[str, bytes]], ResultTable]
"""From a step and the releases of its roles, the answer; raises a domain error where they do not fit."""
