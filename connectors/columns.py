"""Whole columns as the arrays that protocols take: identifiers, measures, group codes.

One column of one table is in memory at a time; its other columns are not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors.errors import InvalidValues, MissingColumn, MissingValues, WrongColumnType

__all__ = ["GroupCodes", "column_array", "group_codes", "measure_array"]

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
    array = column_array(batches, name)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    textual = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    discrete = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind)
    if not textual and not discrete:
        raise WrongColumnType(name, "texts, integers, truth values or dates", str(kind))
    _require_complete(name, array.null_count)
    values = pc.unique(array)
    values = values.take(pc.sort_indices(values))
    codes = pc.index_in(array, value_set=values).cast(pa.int64())
    labels = tuple(values.cast(pa.string()).to_pylist())
    return GroupCodes(labels, np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64))


def _require_complete(name: str, missing: int) -> None:
    if missing:
        raise MissingValues(name, missing)
