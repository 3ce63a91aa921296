"""Profile of a table: what its owner's steward sees before publishing, and the quality report of an asset.

A profile is made of counts. The smallest and largest value of a column are themselves somebody's data, so
they are only included when asked for, never for identifiers and texts, and a steward should know that a
range can identify the person at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from connectors.connector import Connector, require_columns
from connectors.errors import EmptyTable

__all__ = ["ColumnProfile", "Profile", "Role", "profile"]

DISTINCT_BOUND: Final = 100_000
_FEW_VALUES: Final = 50
_SCORE: Final = Decimal("0.0001")


class Role(StrEnum):
    """What a column is for."""

    IDENTIFIER = "identifier"
    FEATURE = "feature"
    LABEL = "label"
    MEASURE = "measure"
    GROUP = "group"
    TIME = "time"
    TEXT = "text"


_RANGED: Final = frozenset({Role.FEATURE, Role.LABEL, Role.MEASURE, Role.GROUP, Role.TIME})


@dataclass(frozen=True)
class ColumnProfile:
    """Counts of one column.

    Attributes:
        name: the column.
        type: its Arrow type.
        nulls: rows without a value.
        empties: rows whose text is empty or white space.
        distinct: different values, missing ones not counted.
        distinct_exact: False when counting stopped at the bound; ``distinct`` is then a lower bound.
        suggested_role: a guess from type and counts, for a person to confirm.
        minimum: smallest value as text, or None where not asked for or not allowed.
        maximum: largest value as text, likewise.
    """

    name: str
    type: str
    nulls: int
    empties: int
    distinct: int
    distinct_exact: bool
    suggested_role: Role
    minimum: str | None = None
    maximum: str | None = None


@dataclass(frozen=True)
class Profile:
    """Counts of a table."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    @property
    def completeness(self) -> Decimal:
        """Share of cells that hold something, 0 to 1, rounded down to four digits."""
        filled = sum(self.rows - column.nulls - column.empties for column in self.columns)
        return _share(filled, self.rows * len(self.columns))

    def as_json(self) -> dict[str, object]:
        """Write the profile as JSON without floats."""
        columns: list[dict[str, object]] = []
        for column in self.columns:
            written: dict[str, object] = {
                "name": column.name,
                "type": column.type,
                "nulls": column.nulls,
                "empties": column.empties,
                "distinct": column.distinct,
                "distinct_exact": column.distinct_exact,
                "completeness": str(_share(self.rows - column.nulls - column.empties, self.rows)),
                "suggested_role": column.suggested_role.value,
            }
            if column.minimum is not None and column.maximum is not None:
                written |= {"minimum": column.minimum, "maximum": column.maximum}
            columns.append(written)
        return {"rows": self.rows, "completeness": str(self.completeness), "columns": columns}


def profile(
    connector: Connector,
    *,
    roles: Mapping[str, str] | None = None,
    ranges: bool = False,
    distinct_bound: int = DISTINCT_BOUND,
) -> Profile:
    """Count what a table holds, reading it once.

    Args:
        connector: the table.
        roles: roles already chosen, by column; a suggestion stands in for the rest.
        ranges: include smallest and largest values of numbers and times. Not for identifiers, chosen or
            suggested.
        distinct_bound: different values to count per column before stopping; bounds the memory used.

    Raises:
        EmptyTable: there are no rows.
        MissingColumn: a role names a column that does not exist.
    """
    schema = connector.schema()
    chosen = dict(roles or {})
    if chosen:
        require_columns(tuple(chosen), schema)
    tallies = [_Tally(field, ranges, distinct_bound) for field in schema]
    rows = 0
    for batch in connector.batches(schema.names):
        rows += batch.num_rows
        for tally, array in zip(tallies, batch.columns, strict=True):
            tally.add(array)
    if rows == 0:
        raise EmptyTable
    return Profile(rows, tuple(tally.finish(rows, chosen.get(tally.name)) for tally in tallies))


class _Tally:
    """Running counts of one column."""

    def __init__(self, field: pa.Field, ranges: bool, distinct_bound: int) -> None:
        self.name, self._type, self._bound = field.name, field.type, distinct_bound
        self._textual = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        self._ranges = ranges and (_is_number(field.type) or _is_time(field.type))
        self._nulls = self._empties = 0
        self._seen: set[Any] = set()
        self._complete = not (pa.types.is_nested(field.type) or pa.types.is_binary(field.type))
        self._lowest: Any = None
        self._highest: Any = None

    def add(self, array: pa.Array) -> None:
        self._nulls += array.null_count
        if self._textual:
            blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(array)), 0)
            self._empties += pc.sum(blank).as_py() or 0
        if self._complete:
            self._seen.update(_hashable(pc.unique(array.drop_null())).to_pylist())
            self._complete = len(self._seen) <= self._bound
        if self._ranges:
            ends = pc.min_max(array).as_py()
            found = [
                end for end in (ends["min"], ends["max"], self._lowest, self._highest) if end is not None
            ]
            if found:
                self._lowest, self._highest = min(found), max(found)

    def finish(self, rows: int, role: str | None) -> ColumnProfile:
        distinct = min(len(self._seen), self._bound)
        suggested = self._suggest(rows, distinct)
        shown = self._ranges and (role or suggested) in _RANGED and self._lowest is not None
        return ColumnProfile(
            name=self.name,
            type=str(self._type),
            nulls=self._nulls,
            empties=self._empties,
            distinct=distinct,
            distinct_exact=self._complete,
            suggested_role=suggested,
            minimum=str(self._lowest) if shown else None,
            maximum=str(self._highest) if shown else None,
        )

    def _suggest(self, rows: int, distinct: int) -> Role:
        countable = self._textual or pa.types.is_integer(self._type)
        every_row_differs = not self._complete or distinct == rows
        if countable and every_row_differs and self._nulls == 0 and rows > 1:
            return Role.IDENTIFIER
        if _is_time(self._type):
            return Role.TIME
        if pa.types.is_boolean(self._type):
            return Role.LABEL
        if pa.types.is_floating(self._type) or pa.types.is_decimal(self._type):
            return Role.MEASURE
        few = self._complete and distinct <= _FEW_VALUES
        if countable and few:
            return Role.GROUP
        return Role.MEASURE if pa.types.is_integer(self._type) else Role.TEXT


def _hashable(array: pa.Array) -> pa.Array:
    """The same values in a form that is quick to make Python objects of, equal where the values are equal."""
    kind = array.type
    if pa.types.is_floating(kind):
        positive = pc.add(array.cast(pa.float64()), 0.0)  # one zero
        return pc.if_else(pc.is_nan(positive), float("nan"), positive).view(pa.int64())
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return array.view(pa.int32())
    if _is_time(kind):
        return array.view(pa.int64())
    if pa.types.is_decimal128(kind):
        width = pa.binary(kind.byte_width)
        return pa.Array.from_buffers(width, len(array), array.buffers(), offset=array.offset)
    return array


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind))


def _share(part: int, whole: int) -> Decimal:
    return (Decimal(part) / Decimal(whole)).quantize(_SCORE, ROUND_DOWN) if whole else Decimal(0)
