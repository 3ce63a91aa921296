"""Whole columns as the arrays that protocols take: identifiers, measures, group codes.

One column of one table is in memory at a time; its other columns are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.errors import InvalidValues, MissingColumn, MissingValues, WrongColumnType

__all__ = [
    "MISSING",
    "UNSEEN",
    "GroupCodes",
    "column_array",
    "group_codes",
    "label_codes",
    "measure_array",
    "number_array",
]

UNSEEN: Final = -1
MISSING: Final = -2
"""Codes of `label_codes` for a value that is none of the labels, and for a row without a value."""

Measures = NDArray[np.int64] | NDArray[np.float64] | NDArray[np.object_]


@dataclass(frozen=True)
class GroupCodes:
    """A column of groups: ``labels`` in ascending order, and ``codes`` int64[n] pointing into them."""

    labels: tuple[str, ...]
    codes: NDArray[np.int64]


def column_array(batches: Iterable[pa.RecordBatch], name: str) -> pa.Array:
    """Collect one column of some batches into one array.

    Raises:
        MissingColumn: a batch has no such column.
    """
    chunks = []
    for batch in batches:
        if name not in batch.schema.names:
            raise MissingColumn([name], batch.schema.names)
        chunks.append(batch.column(name))
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.null())


def measure_array(batches: Iterable[pa.RecordBatch], name: str) -> Measures:
    """Read a column of numbers exactly.

    Returns:
        int64[n] for integers and truth values, float64[n] for floats, object[n] of ``Decimal`` for decimals.

    Raises:
        MissingColumn: there is no such column.
        WrongColumnType: it holds no numbers, or unsigned ones beyond int64.
        MissingValues: with the number of rows without a value, NaN and infinities included.
    """
    array = column_array(batches, name)
    kind = array.type
    if pa.types.is_floating(kind):
        array = array.cast(pa.float64())
        finite = pc.sum(pc.is_finite(array)).as_py() or 0
        _require_complete(name, len(array) - finite)
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)
    if pa.types.is_decimal(kind):
        _require_complete(name, array.null_count)
        return np.array([*array.to_pylist(), None], dtype=object)[:-1]
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        _require_complete(name, array.null_count)
        try:
            return np.asarray(array.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
        except pa.ArrowInvalid:
            # Not chained: the cause quotes the value.
            raise InvalidValues(f"column {name}", "signed integers of at most 64 bits") from None
    raise WrongColumnType(name, "numbers", str(kind))


def group_codes(batches: Iterable[pa.RecordBatch], name: str) -> GroupCodes:
    """Read a column of groups: texts, integers, truth values or dates.

    Labels are texts in ascending order of the values, so two runs over the same data agree.

    Raises:
        MissingColumn: there is no such column.
        WrongColumnType: its values cannot be labels (floats are no groups).
        MissingValues: with the number of rows without a value.
    """
    array = _discrete_array(batches, name)
    _require_complete(name, array.null_count)
    values = pc.unique(array)
    values = values.take(pc.sort_indices(values))
    codes = pc.index_in(array, value_set=values).cast(pa.int64())
    labels = tuple(values.cast(pa.string()).to_pylist())
    return GroupCodes(labels, np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64))


def number_array(batches: Iterable[pa.RecordBatch], name: str) -> NDArray[np.float64]:
    """Read a column of numbers that may have holes, to the precision of floats.

    Returns:
        float64[n], NaN where a row has no value; infinities count as none.

    Raises:
        MissingColumn: there is no such column.
        WrongColumnType: it holds no numbers.
    """
    array = column_array(batches, name)
    kind = array.type
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    elif not (pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_integer(kind)):
        raise WrongColumnType(name, "numbers", str(kind))
    values = np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def label_codes(batches: Iterable[pa.RecordBatch], name: str, labels: Sequence[str]) -> NDArray[np.int64]:
    """Read a column of categories with known labels; it may have holes.

    Returns:
        int64[n]: the place of each value among ``labels``, `UNSEEN` or `MISSING`.

    Raises:
        MissingColumn: there is no such column.
        WrongColumnType: its values cannot be labels (floats are no categories).
    """
    array = _discrete_array(batches, name)
    codes = pc.index_in(array.cast(pa.string()), value_set=pa.array(labels, pa.string()))
    found = pc.if_else(pc.is_null(array), MISSING, pc.fill_null(codes, UNSEEN))
    return np.asarray(found.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def _discrete_array(batches: Iterable[pa.RecordBatch], name: str) -> pa.Array:
    array = column_array(batches, name)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    textual = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    discrete = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind)
    if not textual and not discrete:
        raise WrongColumnType(name, "texts, integers, truth values or dates", str(kind))
    return array


def _require_complete(name: str, missing: int) -> None:
    if missing:
        raise MissingValues(name, missing)
