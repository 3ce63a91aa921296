"""The wire format: one encoding for each value, and nothing else accepted."""

from __future__ import annotations

import numpy as np
import pytest

from mpc import wire
from mpc.errors import InvalidInput, MalformedMessage


def test_arrays_of_every_type_come_back() -> None:
    for dtype, name in ((np.uint8, "u1"), (np.int64, "<i8"), (np.uint64, "<u8")):
        for shape in ((0,), (3,), (2, 3), (0, 4)):
            array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
            payload = wire.encode_array(array)
            assert len(payload) == wire.array_bytes(array.itemsize, *shape)
            reader = wire.Reader("test", payload)
            read = reader.array("field", name, shape)
            reader.finish()
            assert read.dtype == dtype
            assert np.array_equal(read, array)


def test_byte_order_and_memory_layout_do_not_change_the_encoding() -> None:
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert wire.encode_array(np.asfortranarray(array)) == wire.encode_array(array)
    assert wire.encode_array(array.astype(">i8")) == wire.encode_array(array)


def test_read_arrays_cannot_be_written() -> None:
    read = wire.Reader("test", wire.encode_array(np.zeros(2, dtype=np.uint8))).array("field", "u1", (2,))
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 1


@pytest.mark.parametrize(
    "array", [np.zeros((1, 1, 1), np.uint8), np.array(0, np.uint8), np.zeros(1), np.zeros(1, np.int32)]
)
def test_other_arrays_have_no_encoding(array: np.ndarray) -> None:
    with pytest.raises(InvalidInput):
        wire.encode_array(array)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_integers_outside_64_bits_are_refused(value: int) -> None:
    with pytest.raises(InvalidInput):
        wire.encode_uint64(value)


def test_a_free_dimension_accepts_any_size_and_a_fixed_one_only_its_own() -> None:
    payload = wire.encode_array(np.zeros((2, 3), dtype=np.uint8))
    assert wire.Reader("test", payload).array("field", "u1", (None, 3)).shape == (2, 3)
    with pytest.raises(MalformedMessage, match=r"expected field of shape \(2, 4\), got \(2, 3\)"):
        wire.Reader("test", payload).array("field", "u1", (2, 4))


@pytest.mark.parametrize("dtype", ["u1", "<u8"])
def test_another_type_or_dimension_is_refused(dtype: str) -> None:
    payload = wire.encode_array(np.zeros(3, dtype=np.int64))
    with pytest.raises(MalformedMessage, match="not an array"):
        wire.Reader("test", payload).array("field", dtype, (3,))
    with pytest.raises(MalformedMessage, match="not an array"):
        wire.Reader("test", payload).array("field", "<i8", (3, 1))


def test_every_truncation_and_any_trailing_byte_is_refused() -> None:
    payload = wire.encode_uint64(7) + wire.encode_array(np.arange(3, dtype=np.uint64))

    def read(data: bytes) -> None:
        reader = wire.Reader("test", data)
        reader.uint64("number")
        reader.array("field", "<u8", (None,))
        reader.finish()

    read(payload)
    for end in range(len(payload)):
        with pytest.raises(MalformedMessage):
            read(payload[:end])
    with pytest.raises(MalformedMessage, match="1 trailing bytes"):
        read(payload + b"\0")


def test_a_huge_count_is_refused_without_allocating() -> None:
    payload = b"".join(wire.encode_uint64(value) for value in (3, 2, 2**63, 2**63))
    with pytest.raises(MalformedMessage, match="ends inside"):
        wire.Reader("test", payload).array("field", "<u8", (None, None))
