"""Invisible marks in a table: which delivery a copy came from, told from the last digits of some numbers.

For every row, a keyed hash of its anchor (an identifier) says whether the row is marked, in which column, and
with which bit; the last kept digit of that number is then made even or odd. Only who has the key knows which
rows, so the mark cannot be found by looking, and it survives reordering, leaving rows out and dropping
columns other than the anchor. One number in ``every`` rows changes, by at most one unit in its last digit.

Against: a receiver that copies, cuts or reorders. Not against two receivers that compare their copies, one
that replaces the anchors, or one that changes the last digit of every number.
Source: Agrawal, Kiernan 2002, Watermarking Relational Databases (VLDB); the bound is Hoeffding 1963.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    import duckdb

__all__ = ["Found", "TableMark", "is_markable"]

_PRF = "SELECT sha256($outer || sha256($inner || anchor)) AS digest FROM anchors"
_LARGEST = 2.0**52


@dataclass(frozen=True)
class Found:
    """How a copy fits a mark.

    Attributes:
        fitting: marked places whose digit is as the mark says.
        places: marked places in the copy.
    """

    fitting: int
    places: int

    @property
    def chance(self) -> float:
        """Upper bound of the probability that an unmarked copy fits as well; 1 if it fits no better."""
        if self.places == 0:
            return 1.0
        excess = max(0.0, self.fitting / self.places - 0.5)
        return math.exp(-2 * self.places * excess * excess)


@dataclass(frozen=True)
class TableMark:
    """The mark of one delivery.

    Attributes:
        key: 32 secret bytes, another for each delivery; not in ``repr``.
        anchor: the column that names the row.
        columns: numbers that may change, each with the decimal digits that count (for floating point only:
            whole numbers and decimals change in the last digit they have).
        every: one row in so many is marked, at least 1.
    """

    key: bytes = field(repr=False)
    anchor: str
    columns: Mapping[str, int]
    every: int

    def mark(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches with the marks in them.

        Raises:
            InvalidRequest: a column is missing, or cannot carry a mark.
        """
        import duckdb

        with duckdb.connect() as connection:
            for batch in batches:
                rows, places, bits = self._places(connection, batch)
                arrays = list(batch.columns)
                for number, (name, decimals) in enumerate(self.columns.items()):
                    at = batch.schema.get_field_index(name)
                    chosen = places == number
                    arrays[at] = _with_digits(arrays[at], decimals, rows[chosen], bits[chosen])
                yield pa.RecordBatch.from_arrays(arrays, schema=batch.schema)

    def find(self, batches: Iterable[pa.RecordBatch]) -> Found:
        """Count how many of this mark's places in a copy have the digit that the mark says.

        Marked columns that the copy has lost count as no places.

        Raises:
            InvalidRequest: the copy has lost the anchor, or a marked column is no number any more.
        """
        fitting = total = 0
        import duckdb

        with duckdb.connect() as connection:
            for batch in batches:
                rows, places, bits = self._places(connection, batch)
                for number, (name, decimals) in enumerate(self.columns.items()):
                    if name in batch.schema.names:
                        chosen = places == number
                        digits, known = _digits(batch.column(name), name, decimals, rows[chosen])
                        fitting += int(np.sum((digits == bits[chosen]) & known))
                        total += int(np.sum(known))
        return Found(fitting, total)

    def _places(
        self, connection: duckdb.DuckDBPyConnection, batch: pa.RecordBatch
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Rows that are marked, which of the columns in each, and the bit: int64[m], int64[m], uint8[m]."""
        if self.anchor not in batch.schema.names:
            raise InvalidRequest("anchor", f"the column {self.anchor}", "a table without it")
        anchors = pa.table({"anchor": pc.fill_null(batch.column(self.anchor).cast(pa.string()), "")})
        inner, outer = (hmac.digest(self.key, use, hashlib.sha256).hex() for use in (b"inner", b"outer"))
        connection.register("anchors", anchors)
        digests = connection.execute(_PRF, {"inner": inner, "outer": outer}).fetchnumpy()["digest"]
        connection.unregister("anchors")
        words = np.frombuffer(bytes.fromhex("".join(digests)), dtype=">u8").reshape(-1, 4)
        rows = np.flatnonzero(words[:, 0] % self.every == 0).astype(np.int64)
        drawn = words[rows, 1].astype(np.uint64)
        places = ((drawn >> np.uint64(8)) % np.uint64(len(self.columns))).astype(np.int64)
        return rows, places, (drawn & np.uint64(1)).astype(np.uint8)


def is_markable(kind: pa.DataType) -> bool:
    """Whether numbers of this type can carry a mark."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal128(kind))


def _with_digits(
    array: pa.Array, decimals: int, rows: NDArray[np.int64], bits: NDArray[np.uint8]
) -> pa.Array:
    if not is_markable(array.type):
        raise InvalidRequest("marked", "columns of numbers", str(array.type))
    values = _numbers(array)
    if pa.types.is_decimal128(array.type):
        values[rows, 0] = (values[rows, 0] & np.uint64(2**64 - 2)) | bits
    elif pa.types.is_floating(array.type):
        scaled = np.rint(values.astype(np.float64) * 10.0**decimals)
        fits = np.abs(scaled) < _LARGEST  # not for NaN and infinities
        whole = np.where(fits, scaled, 0).astype(np.int64)
        whole[rows] = (whole[rows] & ~np.int64(1)) | bits
        # All values are rounded, or the marked ones would be those with few digits.
        values = np.where(fits, whole / 10.0**decimals, values).astype(values.dtype)
    else:
        one = values.dtype.type(1)
        values[rows] = (values[rows] & ~one) | bits.astype(values.dtype)
    return _array(array, values)


def _digits(
    array: pa.Array, name: str, decimals: int, rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The last digit's parity in each row, and where it can be told."""
    if not is_markable(array.type):
        raise InvalidRequest(name, "a column of numbers", str(array.type))
    known = ~np.asarray(array.is_null())[rows]
    values = _numbers(array)
    if pa.types.is_decimal128(array.type):
        return (values[rows, 0] & np.uint64(1)).astype(np.uint8), known
    if pa.types.is_floating(array.type):
        scaled = np.rint(values[rows].astype(np.float64) * 10.0**decimals)
        known &= np.abs(scaled) < _LARGEST
        return (np.where(known, scaled, 0).astype(np.int64) & 1).astype(np.uint8), known
    return (values[rows] & values.dtype.type(1)).astype(np.uint8), known


def _numbers(array: pa.Array) -> NDArray[Any]:
    """A writable copy of the values: shape [n], or [n, 2] words, low first, for decimals."""
    if pa.types.is_decimal128(array.type):
        words = np.frombuffer(array.buffers()[1], dtype="<u8").reshape(-1, 2)
        return words[array.offset : array.offset + len(array)].copy()
    kind = pa.array([], array.type).to_numpy(zero_copy_only=False).dtype
    data = np.frombuffer(array.buffers()[1], dtype=kind)
    return data[array.offset : array.offset + len(array)].copy()


def _array(like: pa.Array, values: NDArray[Any]) -> pa.Array:
    """An array of these values with the missing ones of ``like``."""
    missing = np.asarray(like.is_null())
    if pa.types.is_decimal128(like.type):
        validity = None if like.null_count == 0 else _bitmap(~missing)
        return pa.Array.from_buffers(like.type, len(like), [validity, pa.py_buffer(values.tobytes())])
    return pa.array(values, type=like.type, mask=missing if like.null_count else None)


def _bitmap(valid: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
