"""The quality report of a table: completeness, validity, uniqueness, duplicates, freshness, and its value.

All shares are whole millionths, rounded down, so that the report has one canonical form. It is made of counts
and may be shown to every member. The value coefficient is ``completeness x validity x uniqueness``: the share
of what the table seems to hold that can be counted on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.connector import Connector
from connectors.profiles import ColumnProfile, Profile
from exchange.publishing.content import CHECKED, Content, Tally, is_temporal

if TYPE_CHECKING:
    import duckdb

__all__ = ["WHOLE", "ColumnQuality", "QualityReport", "Survey", "report", "survey", "value_of"]

WHOLE: Final = 1_000_000
"""A share of one, in millionths."""

_SAMPLE_ROWS: Final = 200_000
"""Rows whose content is looked at one by one; of the batches behind them, every tenth."""
_STRIDE: Final = 10
_FIRST_DAY: Final = date(1900, 1, 1)


@dataclass(frozen=True)
class ColumnQuality:
    """Counts of one column.

    Attributes:
        name: the column.
        completeness: cells that hold something, in millionths.
        content: the kind of content that values were checked against; None: nothing was to check.
        looked_at: values checked.
        valid: how many of them are valid.
        uniqueness: different values among those present, in millionths; None for what is no identifier.
    """

    name: str
    completeness: int
    content: str | None
    looked_at: int
    valid: int
    uniqueness: int | None

    def as_json(self) -> dict[str, object]:
        """Write it as JSON without floats."""
        return {
            "name": self.name,
            "completeness": self.completeness,
            "content": self.content,
            "looked_at": self.looked_at,
            "valid": self.valid,
            "uniqueness": self.uniqueness,
        }


@dataclass(frozen=True)
class QualityReport:
    """Counts of a table.

    Attributes:
        rows: how many there are.
        columns: one by one.
        duplicate_rows: rows that another row equals in every column, beyond the first of each.
        freshness_days: days from the newest value of a time column to the day of the report; None without
            one.
    """

    rows: int
    columns: tuple[ColumnQuality, ...]
    duplicate_rows: int
    freshness_days: int | None

    @property
    def completeness(self) -> int:
        """Cells that hold something."""
        return sum(column.completeness for column in self.columns) // len(self.columns)

    @property
    def validity(self) -> int:
        """Valid values among those checked; whole where there was nothing to check."""
        looked_at = sum(column.looked_at for column in self.columns if column.content)
        valid = sum(column.valid for column in self.columns if column.content)
        return valid * WHOLE // looked_at if looked_at else WHOLE

    @property
    def uniqueness(self) -> int:
        """That of the identifier with the most repetitions; whole without an identifier."""
        return min((one.uniqueness for one in self.columns if one.uniqueness is not None), default=WHOLE)

    @property
    def value(self) -> int:
        """The value coefficient, in millionths."""
        return value_of(self.completeness, self.validity, self.uniqueness)

    def as_json(self) -> dict[str, object]:
        """Write the report as JSON without floats."""
        return {
            "v": 1,
            "rows": self.rows,
            "completeness": self.completeness,
            "validity": self.validity,
            "uniqueness": self.uniqueness,
            "value": self.value,
            "duplicate_rows": self.duplicate_rows,
            "freshness_days": self.freshness_days,
            "columns": [column.as_json() for column in self.columns],
        }


def value_of(completeness: int, validity: int, uniqueness: int) -> int:
    """Multiply shares in millionths; the product is rounded down once."""
    return completeness * validity * uniqueness // (WHOLE * WHOLE)


@dataclass(frozen=True)
class Survey:
    """What one more reading of a table found, apart from its profile.

    Attributes:
        tallies: of the content of each column, by name.
        distinct: different values of those columns for which the profile has only a lower bound.
        duplicate_rows: as in the report.
        newest: the newest value of each temporal column, as a day.
    """

    tallies: dict[str, Tally]
    distinct: dict[str, int]
    duplicate_rows: int
    newest: dict[str, date]

    def unique(self, column: ColumnProfile, rows: int) -> int:
        """Different values among those present, in millionths."""
        filled = rows - column.nulls - column.empties
        hashed = self.distinct.get(column.name)
        distinct = column.distinct if hashed is None else hashed - (column.nulls > 0)
        return min(distinct * WHOLE // filled, WHOLE) if filled else 0


def survey(connector: Connector, profile: Profile, names: Sequence[str]) -> Survey:
    """Read some columns of a table once and look at their content.

    Memory is 8 bytes for each row, and 8 more for each column that has too many values to be profiled
    exactly: duplicates are counted by 64-bit hashes.
    """
    schema = connector.schema()
    tallies = {name: Tally(schema.field(name)) for name in names}
    uncounted = [column.name for column in profile.columns if not column.distinct_exact]
    hashed = [name for name in names if name in uncounted and not pa.types.is_nested(schema.field(name).type)]
    hashes: dict[str, list[Any]] = {name: [] for name in ("", *hashed)}
    newest: dict[str, date] = {}
    rows = 0
    import duckdb

    with duckdb.connect(":memory:") as database:
        for number, batch in enumerate(connector.batches(names)):
            for name, values in _hashes(database, batch, hashed).items():
                hashes[name].append(values)
            if rows < _SAMPLE_ROWS or number % _STRIDE == 0:
                for name, array in zip(names, batch.columns, strict=True):
                    tallies[name].add(array)
            for name, array in zip(names, batch.columns, strict=True):
                _note_newest(newest, name, array)
            rows += batch.num_rows
    found = {name: _distinct(parts) for name, parts in hashes.items()}
    return Survey(tallies, {name: found[name] for name in hashed}, rows - found[""], newest)


def report(
    profile: Profile,
    surveyed: Survey,
    contents: dict[str, Content | None],
    identifiers: Collection[str],
    times: Collection[str],
    today: date | None = None,
) -> QualityReport:
    """Put a quality report together.

    Args:
        profile: of the table.
        surveyed: of the same table; its columns are those reported.
        contents: what each column is taken to hold.
        identifiers: columns with that role.
        times: columns with that role; only these say how fresh the table is.
        today: the day of the report.
    """
    today = today or datetime.now(UTC).date()
    columns = []
    for column in profile.columns:
        tally = surveyed.tallies.get(column.name)
        if tally is None:
            continue
        content = contents.get(column.name)
        checked = content in CHECKED and content in tally.valid
        unique = surveyed.unique(column, profile.rows) if column.name in identifiers else None
        columns.append(
            ColumnQuality(
                column.name,
                (profile.rows - column.nulls - column.empties) * WHOLE // profile.rows,
                content.value if content is not None and checked else None,
                tally.looked_at if checked else 0,
                tally.valid[content] if content is not None and checked else 0,
                unique,
            )
        )
    newest = [surveyed.newest[name] for name in times if name in surveyed.newest]
    freshness = max((today - max(newest)).days, 0) if newest else None
    return QualityReport(profile.rows, tuple(columns), surveyed.duplicate_rows, freshness)


def _hashes(
    database: duckdb.DuckDBPyConnection, batch: pa.RecordBatch, names: Iterable[str]
) -> dict[str, Any]:
    """64-bit hashes of the rows of a batch, under the empty name, and of single columns."""
    import duckdb

    columns = {name: [duckdb.ColumnExpression(name)] for name in names}
    columns[""] = [duckdb.ColumnExpression(name) for name in batch.schema.names]
    wanted = [
        duckdb.FunctionExpression("hash", *inputs).alias(f"h{number}")
        for number, inputs in enumerate(columns.values())
    ]
    found = database.from_arrow(pa.Table.from_batches([batch])).select(*wanted).fetchnumpy()
    return {name: found[f"h{number}"] for number, name in enumerate(columns)}


def _distinct(parts: Sequence[Any]) -> int:
    return len(np.unique(np.concatenate(parts))) if parts else 0


def _note_newest(newest: dict[str, date], name: str, array: pa.Array) -> None:
    if not is_temporal(array.type) or pa.types.is_time(array.type):
        return
    found = pc.max(array.cast(pa.date32(), safe=False)).as_py()
    if found is not None:
        newest[name] = max(found, newest.get(name, _FIRST_DAY))
