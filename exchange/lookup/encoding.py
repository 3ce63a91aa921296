"""Keys and records as the protocol takes them: keys as bytes of one form, records of one size.

A key of one column is its normalised text. A key of several columns writes the length before each, so that no
two keys share an encoding. A record is a length and the texts of its columns, each with its length, and zeros
up to the size of the service: two bytes, then ``3:abc`` for a value, ``-`` for none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors import identifiers
from exchange.errors import InvalidRequest
from exchange.lookup.errors import LookupFailed
from exchange.lookup.requests import KeyColumn

__all__ = ["LENGTH_BYTES", "Value", "decode_record", "encode_keys", "encode_records"]

LENGTH_BYTES: Final = 2

Value = str | int | bool | None


def encode_keys(columns: Sequence[pa.Array], keys: Sequence[KeyColumn]) -> pa.Array:
    """Normalise key columns and join them.

    Args:
        columns: an array for each of ``keys``, all of one length n.
        keys: names and rules.

    Returns:
        binary[n]; missing where a part of the key is missing or empty.

    Raises:
        WrongColumnType: a column holds neither texts nor integers.
    """
    parts = [
        identifiers.normalise(column, key.rules, key.column)
        for column, key in zip(columns, keys, strict=True)
    ]
    parts = [
        pc.if_else(pc.equal(pc.binary_length(part), 0), pa.scalar(None, pa.string()), part) for part in parts
    ]
    if len(parts) == 1:
        return parts[0].cast(pa.binary())
    return pc.binary_join_element_wise(*(_measured(part) for part in parts), "").cast(pa.binary())


def encode_records(columns: Sequence[pa.Array], rows: int, record_bytes: int) -> NDArray[np.uint8]:
    """Encode records.

    Args:
        columns: arrays of any type that has a text, all of ``rows`` values.
        rows: number of records.
        record_bytes: size of each.

    Returns:
        uint8[rows, record_bytes].

    Raises:
        InvalidRequest: records do not fit; with their number and the size that the longest needs.
    """
    if not columns:
        return np.zeros((rows, record_bytes), dtype=np.uint8)
    texts = [_measured(pc.fill_null(column.cast(pa.string()), "")) for column in columns]
    texts = [pc.if_else(pc.is_null(column), "-", text) for column, text in zip(columns, texts, strict=True)]
    whole = pc.binary_join_element_wise(*texts, "").cast(pa.large_binary())
    offsets = np.frombuffer(whole.buffers()[1], dtype=np.int64)[whole.offset : whole.offset + rows + 1]
    content = np.frombuffer(whole.buffers()[2] or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    lengths = np.diff(offsets)
    longest = int(lengths.max(initial=0)) + LENGTH_BYTES
    if longest > record_bytes:
        over = int(np.count_nonzero(lengths + LENGTH_BYTES > record_bytes))
        raise InvalidRequest(
            "record_bytes", f"at least {longest}, or shorter records", f"{record_bytes}, too small for {over}"
        )
    made = np.zeros((rows, record_bytes), dtype=np.uint8)
    made[:, 0], made[:, 1] = lengths >> 8, lengths & 0xFF
    starts = np.arange(rows, dtype=np.int64) * record_bytes + LENGTH_BYTES - (offsets[:-1] - offsets[0])
    made.reshape(-1)[np.repeat(starts, lengths) + np.arange(len(content))] = content
    return made


def decode_record(record: bytes, columns: Mapping[str, str]) -> dict[str, Value]:
    """Read a record.

    Args:
        record: as ``encode_records`` wrote it.
        columns: Arrow type by column name, as the ledger states the asset's schema, in the record's order.

    Raises:
        LookupFailed: it is no record of these columns.
    """
    length = int.from_bytes(record[:LENGTH_BYTES], "big")
    text, padding = record[LENGTH_BYTES : LENGTH_BYTES + length], record[LENGTH_BYTES + length :]
    try:
        found: dict[str, Value] = {}
        for name, kind in columns.items():
            if text[:1] == b"-":
                found[name], text = None, text[1:]
                continue
            size, _, rest = text.partition(b":")
            value, text = rest[: int(size)], rest[int(size) :]
            if len(value) != int(size):
                raise ValueError
            found[name] = _typed(value.decode(), kind)
    except ValueError:
        raise _no_record() from None
    if text or any(padding):
        raise _no_record()
    return found


def _no_record() -> LookupFailed:
    return LookupFailed("expected a record of the service's columns, got other bytes")


def _measured(text: pa.Array) -> pa.Array:
    """Write the length in bytes before each text; a missing one stays missing."""
    length = pc.binary_length(text).cast(pa.string())
    return pc.binary_join_element_wise(length, text, ":")


def _typed(text: str, kind: str) -> Value:
    if kind.startswith(("int", "uint")):
        return int(text)
    return text == "true" if kind == "bool" else text
