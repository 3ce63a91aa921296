r"""Fingerprint of a table: the Merkle root that names a dataset version on the ledger.

The tree is RFC 6962's over one leaf for the schema and one per row, in the source's order, each hashed with
the owner's salt: ``SHA-256(0x00 || salt || bytes)``. Without the salt nobody can test a guess of a row
against a leaf. The salt is one secret per version: whoever is given it to check one row can test guesses of
the others.

The bytes of a row are its cells, each followed by a comma. A cell is a netstring without its comma,
``<length in bytes>:<content>``, or ``-`` for a missing value; so no two rows share an encoding. Contents,
chosen so that a table has one fingerprint whatever source holds it:

    integer            decimal digits
    boolean            ``true`` or ``false``
    float              the bits of the IEEE 754 double as a signed decimal integer; one zero, one NaN
    decimal/<scale>    the unscaled value, 16 bytes little-endian two's complement
    text, binary       the bytes, text as UTF-8
    date               days since 1970-01-01, decimal digits
    time               microseconds since midnight, decimal digits
    timestamp[-utc]    microseconds since 1970-01-01T00:00, decimal digits; ``-utc`` where a zone is known

The schema's bytes are encoded as a row of texts: ``parley-table/v1``, then name and type of each column, the
type as written on the left. Widths and precisions are not part of a type; a decimal's scale is.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.connector import Connector, require_columns
from connectors.errors import DatasetChanged, EmptyTable, InvalidSource, InvalidValues, UnsupportedColumn

__all__ = ["DatasetVersion", "check_version", "dataset_version", "encode_schema"]

SALT_BYTES: Final = (16, 64)
_SCHEMA_TAG: Final = b"parley-table/v1"
_BATCH_ROWS: Final = 16_384
_PLAIN_ROWS: Final = 65_536
"""So many rows are hashed one by one, before compiled loops are worth loading."""
_LANES: Final = "connectors.sha256_lanes"
_WORDS: Final = np.dtype(">u4")
_COLON, _COMMA, _MISSING, _NOTHING = (pa.scalar(text, pa.large_binary()) for text in (b":", b",", b"-", b""))


@dataclass(frozen=True)
class DatasetVersion:
    """A table's fingerprint: the Merkle root in lower hex and the number of rows."""

    root: str
    rows: int


def dataset_version(
    connector: Connector, salt: bytes, columns: Sequence[str] | None = None
) -> DatasetVersion:
    """Compute the version of a table, or of some of its columns in the order given.

    Reads the table once, in bounded batches.

    Args:
        connector: the table.
        salt: 16 to 64 random bytes, kept by the owner.
        columns: names to cover; all of them by default.

    Raises:
        EmptyTable: there are no rows.
        UnsupportedColumn: a column's type has no canonical form.
        InvalidValues: a value has no canonical form (a time finer than a microsecond).
        MissingColumn: a name is not in the table.
    """
    least, most = SALT_BYTES
    if not least <= len(salt) <= most:
        raise InvalidSource("salt", f"{least} to {most} bytes", f"{len(salt)}")
    schema = connector.schema()
    names = require_columns(schema.names if columns is None else columns, schema)
    tree = _Tree()
    prefix = b"\x00" + salt
    tree.append(
        hashlib.sha256(prefix + encode_schema(pa.schema([schema.field(name) for name in names]))).digest()
    )
    for rows in _encoded(connector.batches(names, batch_rows=_BATCH_ROWS)):
        if tree.size < _PLAIN_ROWS and _LANES not in sys.modules:
            tree.extend_plainly(prefix, rows)
        else:
            tree.extend(prefix, rows)
    if tree.size == 1:
        raise EmptyTable
    return DatasetVersion(tree.root().hex(), tree.size - 1)


def check_version(
    connector: Connector, salt: bytes, expected: str, columns: Sequence[str] | None = None
) -> DatasetVersion:
    """Compute the version and check that it is the published one, then return it.

    Raises:
        DatasetChanged: it is another.
    """
    actual = dataset_version(connector, salt, columns)
    if actual.root != expected:
        raise DatasetChanged(expected, actual.root)
    return actual


def encode_schema(schema: pa.Schema) -> bytes:
    """Encode names and types for the first leaf; see the module's text."""
    cells = [_SCHEMA_TAG]
    for field in schema:
        cells += [field.name.encode(), _type_name(field).encode()]
    return b"".join(b"%d:%b," % (len(cell), cell) for cell in cells)


def _encoded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.LargeBinaryArray]:
    """Encode batches in order, one ahead in another thread: Arrow encodes while this thread hashes."""
    with ThreadPoolExecutor(1, "encoding") as ahead:
        pending: Future[pa.Array] | None = None
        for batch in batches:
            following = ahead.submit(_join, batch)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def _join(batch: pa.RecordBatch) -> pa.LargeBinaryArray:
    pieces = []
    for index, field in enumerate(batch.schema):
        contents = _contents(batch.column(index), field)
        lengths = pc.binary_length(contents).cast(pa.large_string()).cast(pa.large_binary())
        cell = [lengths, _COLON, contents]
        if contents.null_count:
            cell = [pc.binary_join_element_wise(*cell, _NOTHING).fill_null(_MISSING)]
        pieces += [*cell, _COMMA]
    return pc.binary_join_element_wise(*pieces, _NOTHING)


def _type_name(field: pa.Field) -> str:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_decimal(kind) and kind.scale >= 0:
        return f"decimal/{kind.scale}"
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamp-utc"
    named = (
        (pa.types.is_integer, "integer"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_floating, "float"),
        (pa.types.is_date, "date"),
        (pa.types.is_time, "time"),
    )
    for holds, name in named:
        if holds(kind):
            return name
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return "text"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "binary"
    raise UnsupportedColumn(field.name, str(field.type))


def _contents(array: pa.Array, field: pa.Field) -> pa.Array:
    """Turn a column into the contents of its cells, as large binary."""
    name = _type_name(field)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        match name.partition("/")[0]:
            case "text" | "binary":
                return array.cast(pa.large_binary())
            case "integer" | "boolean":
                return _text(array)
            case "float":
                return _text(_float_bits(array.cast(pa.float64())))
            case "decimal":
                return _decimal_bytes(array.cast(pa.decimal128(38, array.type.scale)))
            case "date":
                return _text(array.cast(pa.date32()).cast(pa.int32()))
            case "time":
                return _text(array.cast(pa.time64("us")).cast(pa.int64()))
            case _:
                return _text(array.cast(pa.timestamp("us", tz=array.type.tz)).cast(pa.int64()))
    except pa.ArrowInvalid:
        # Not chained: the cause quotes the value.
        raise InvalidValues(f"column {field.name}", f"values that are exactly {name}") from None


def _text(array: pa.Array) -> pa.Array:
    return array.cast(pa.large_string()).cast(pa.large_binary())


def _float_bits(array: pa.Array) -> pa.Array:
    one_zero = pc.if_else(pc.equal(array, 0.0), pa.scalar(0.0), array)
    one_nan = pc.if_else(pc.is_nan(one_zero), pa.scalar(float("nan")), one_zero)
    return one_nan.view(pa.int64())


def _decimal_bytes(array: pa.Array) -> pa.Array:
    width = pa.binary(16)
    raw = pa.FixedSizeBinaryArray.from_buffers(width, len(array), array.buffers(), offset=array.offset)
    return raw.cast(pa.large_binary())


class _Tree:
    """Streaming RFC 6962 root: by level, the complete subtree that still waits for its right neighbour."""

    def __init__(self) -> None:
        self.size = 0
        self._waiting: dict[int, bytes] = {}

    def append(self, leaf: bytes) -> None:
        node, level = leaf, 0
        while (left := self._waiting.pop(level, None)) is not None:
            node, level = hashlib.sha256(b"\x01" + left + node).digest(), level + 1
        self._waiting[level] = node
        self.size += 1

    def extend_plainly(self, prefix: bytes, rows: pa.LargeBinaryArray) -> None:
        leaf = hashlib.sha256(prefix)
        for row in rows.to_pylist():
            hashed = leaf.copy()
            hashed.update(row)
            self.append(hashed.digest())

    def extend(self, prefix: bytes, rows: pa.LargeBinaryArray) -> None:
        """As ``extend_plainly``, with compiled loops."""
        from connectors import (
            sha256_lanes,  # the compiler takes half a second that a small table need not wait
        )

        if not len(rows):
            return
        _, ends, content = rows.buffers()
        nodes = sha256_lanes.digests(
            np.frombuffer(prefix, np.uint8),
            np.frombuffer(ends, np.int64, len(rows) + 1, rows.offset * 8),
            np.frombuffer(content, np.uint8),
        )
        self.size += len(nodes)
        level = 0
        while len(nodes):
            if (left := self._waiting.pop(level, None)) is not None:
                nodes = np.vstack([np.frombuffer(left, _WORDS).astype(np.uint32), nodes])
            if len(nodes) % 2:
                self._waiting[level] = nodes[-1].astype(_WORDS).tobytes()
            nodes, level = sha256_lanes.parents(nodes[: len(nodes) // 2 * 2]), level + 1

    def root(self) -> bytes:
        levels = sorted(self._waiting)
        node = self._waiting[levels[0]]
        for level in levels[1:]:
            node = hashlib.sha256(b"\x01" + self._waiting[level] + node).digest()
        return node
