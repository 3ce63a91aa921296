"""An owner's own columns, put into bins at its node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors import columns as connected
from connectors.errors import WrongColumnType
from federated.binning import Bins, category_bins, edge_bins, groups_of, quantile_bins
from federated.merging import summed
from mpc.errors import InvalidInput
from mpc.secrecy import Unprintable

__all__ = ["Column", "Fine", "fine_bins", "read_column"]

MAX_CATEGORIES: Final = 1000
"""Of a column, before rare ones are put together: more are identifiers rather than categories."""


@dataclass(frozen=True, repr=False, eq=False)
class Column(Unprintable):
    """The aligned rows of a column: numbers, or categories.

    Attributes:
        name: of the column.
        values: float64[rows] of numbers, NaN where there is none; int64[rows] of places in the labels of
            categories, -1 where there is none.
        labels: of categories; None for numbers.
    """

    name: str
    values: NDArray[np.float64] | NDArray[np.int64]
    labels: tuple[str, ...] | None

    def codes(self, bins: Bins) -> NDArray[np.int64]:
        """The bin of each row.

        Raises:
            InvalidInput: the bins are of another kind of column, or have none for some rows; counted.
        """
        if bins.is_category != (self.labels is not None):
            raise InvalidInput(f"column {self.name}: expected numbers, or categories, as when bins were made")
        if self.labels is None:
            return bins.of_numbers(self.values.astype(np.float64), self.name)
        return bins.of_categories(self.labels, self.values.astype(np.int64), self.name)


@dataclass(frozen=True, repr=False, eq=False)
class Fine(Unprintable):
    """Fine bins of a column, each with enough rows.

    Attributes:
        name: of the column.
        bins: in order.
        codes: uint8[rows], the bin of each row.
        rows: int64[bins].
    """

    name: str
    bins: Bins
    codes: NDArray[np.uint8]
    rows: NDArray[np.int64]


def read_column(
    read: Callable[[str], Iterable[pa.RecordBatch]], name: str, rows: NDArray[np.int64]
) -> Column:
    """Read the aligned rows of one column.

    Raises:
        WrongColumnType: neither numbers nor texts, truth values or dates.
    """
    array = connected.column_array(read(name), name).take(pa.array(rows))
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = array.cast(pa.float64(), safe=False)
        return Column(name, np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64), None)
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    textual = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not textual and not pa.types.is_boolean(kind) and not pa.types.is_date(kind):
        raise WrongColumnType(name, "numbers, texts, truth values or dates", str(kind))
    encoded = array.cast(pa.string()).dictionary_encode()
    if len(encoded.dictionary) > MAX_CATEGORIES:
        found = len(encoded.dictionary)
        raise InvalidInput(f"column {name}: expected at most {MAX_CATEGORIES} categories, found {found}")
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return Column(name, np.asarray(codes, dtype=np.int64), tuple(encoded.dictionary.to_pylist()))


def fine_bins(column: Column, most: int, edges: Sequence[float] | None, least: int) -> Fine:
    """Put a column into fine bins, and join neighbours until each has enough rows.

    Args:
        column: as read.
        most: bins, besides that of missing values.
        edges: given ones; None for quantiles, and for categories.
        least: rows of a bin.

    Raises:
        InvalidInput: edges for categories, or more categories with enough rows than bins.
        ValueOutOfRange: infinite values, counted.
    """
    name = column.name
    if column.labels is not None:
        if edges is not None:
            raise InvalidInput(f"column {name}: expected numbers, as edges are given, got categories")
        bins = category_bins(column.labels, column.values.astype(np.int64), name)
    else:
        numbers = column.values.astype(np.float64)
        bins = quantile_bins(numbers, most, name) if edges is None else edge_bins(numbers, edges, name)
    codes = column.codes(bins)
    rows = np.bincount(codes, minlength=bins.count)
    starts = groups_of(rows[None], least)
    merged = bins.merged(starts)
    if merged.count > most + merged.alone:
        found = merged.count - merged.alone
        raise InvalidInput(
            f"column {name}: expected at most {most} categories of {least} rows, found {found}"
        )
    return Fine(name, merged, (np.cumsum(starts) - 1)[codes].astype(np.uint8), summed(rows, starts))
