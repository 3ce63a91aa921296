"""The one encoding of protocol messages: little-endian 64-bit fields and arrays with a type and shape header.

An encoding is a sequence of fields. An unsigned integer takes 8 bytes. An array takes an 8-byte type code,
an 8-byte number of dimensions, 8 bytes for each dimension and then its elements in C order. Every reader
states what it expects; anything else, and anything left over, is refused before a value is used. There is
one encoding for each value, so equal messages are equal bytes.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, MalformedMessage

Array = NDArray[Any]

_TYPE_CODES: Final = {"u1": 1, "<i8": 2, "<u8": 3}
_UINT64: Final = struct.Struct("<Q")
_MAX_DIMENSIONS: Final = 2


def _code(dtype: np.dtype[Any]) -> int:
    name = dtype.newbyteorder("<").str.lstrip("|")
    if name not in _TYPE_CODES:
        raise InvalidInput(f"arrays of type {name} have no encoding; known are {sorted(_TYPE_CODES)}")
    return _TYPE_CODES[name]


def encode_uint64(value: int) -> bytes:
    """Encode one integer between 0 and 2**64 - 1.

    Raises:
        InvalidInput: the value is outside that range.
    """
    if not 0 <= value < 2**64:
        raise InvalidInput("an integer field must lie between 0 and 2**64 - 1")
    return _UINT64.pack(value)


def encode_array(array: Array) -> bytes:
    """Encode a one- or two-dimensional array of uint8, int64 or uint64.

    Raises:
        InvalidInput: another element type or number of dimensions.
    """
    if not 1 <= array.ndim <= _MAX_DIMENSIONS:
        raise InvalidInput(f"arrays have 1 or {_MAX_DIMENSIONS} dimensions, got {array.ndim}")
    header = (_code(array.dtype), array.ndim, *array.shape)
    body = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return b"".join(map(_UINT64.pack, header)) + body.tobytes()


def array_bytes(itemsize: int, *shape: int) -> int:
    """Return the encoded size of an array, for cost formulas."""
    return 8 * (2 + len(shape)) + itemsize * math.prod(shape)


class Reader:
    """Reads the fields of one payload in order; `finish` refuses what is left over.

    Raises:
        MalformedMessage: from every method, when the payload is not what is expected there.
    """

    __slots__ = ("_offset", "_payload", "_what")

    def __init__(self, what: str, payload: bytes) -> None:
        self._what, self._payload, self._offset = what, payload, 0

    def uint64(self, field: str) -> int:
        """Read one integer."""
        end = self._offset + _UINT64.size
        if end > len(self._payload):
            raise MalformedMessage(f"{self._what}: ends inside {field}")
        (value,) = _UINT64.unpack_from(self._payload, self._offset)
        self._offset = end
        return int(value)

    def array(self, field: str, dtype: str, shape: tuple[int | None, ...]) -> Array:
        """Read one array.

        Args:
            field: its name, for messages.
            dtype: ``"u1"``, ``"<i8"`` or ``"<u8"``; no other type is accepted in its place.
            shape: the expected size of each dimension; None accepts any.

        Returns:
            A read-only array of the native byte order.
        """
        code, ndim = self.uint64(field), self.uint64(field)
        if (code, ndim) != (_TYPE_CODES[dtype], len(shape)):
            raise MalformedMessage(f"{self._what}: {field} is not an array of {len(shape)}x {dtype}")
        actual = tuple(self.uint64(field) for _ in shape)
        if any(want is not None and want != got for want, got in zip(shape, actual, strict=True)):
            raise MalformedMessage(f"{self._what}: expected {field} of shape {shape}, got {actual}")
        element = np.dtype(dtype)
        count = math.prod(actual)
        end = self._offset + count * element.itemsize
        if end > len(self._payload):
            raise MalformedMessage(f"{self._what}: ends inside {field}")
        flat = np.frombuffer(self._payload, dtype=element, count=count, offset=self._offset)
        self._offset = end
        return flat.reshape(actual).astype(element.newbyteorder("="), copy=False)

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if self._offset != len(self._payload):
            raise MalformedMessage(f"{self._what}: {len(self._payload) - self._offset} trailing bytes")
