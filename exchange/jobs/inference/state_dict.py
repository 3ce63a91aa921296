"""The numbers of a network from a ``.safetensors`` file, as torch's users save a state dictionary.

A file is 8 bytes with the length of the header, little-endian, the header in JSON and then the tensors, one
right after the other in the order of their offsets. It is read without torch, never executed, and whatever
is not as the format has it is refused.

Source: https://huggingface.co/docs/safetensors, format of version 0.3 and later.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest
from exchange.jobs.inference.sequential import Sequential
from mpc.engines.networks import MAX_NUMBERS, Network

__all__ = ["MAX_BYTES", "network", "saved", "tensors"]

_MAX_HEADER: Final = 16 * 1024
_MAX_DIMENSIONS: Final = 2
_TYPES: Final = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}

MAX_BYTES: Final = 8 + _MAX_HEADER + 8 * MAX_NUMBERS
"""Of a file."""


def network(content: bytes, layers: Sequential) -> Network:
    """Read the numbers of a network whose layers are known.

    Args:
        content: of a file with the tensors ``N.weight`` and ``N.bias`` of the linear layer at place N, for
            every linear layer, and no others.
        layers: as the step states them.

    Raises:
        InvalidRequest: the file is no such file, by field; or numbers are not finite, counted.
    """
    found = tensors(content)
    wanted = {
        f"{place}.{part}": shape
        for place, one in zip(layers.places, layers.layers, strict=True)
        for part, shape in (("weight", (one.outputs, one.inputs)), ("bias", (one.outputs,)))
    }
    if set(found) != set(wanted):
        missing = sum(name not in found for name in wanted)
        actual = f"{len(found)} tensors, {missing} of these missing"
        raise InvalidRequest("model", f"the tensors {', '.join(wanted)}", actual)
    for name, shape in wanted.items():
        if found[name].shape != shape:
            raise InvalidRequest(f"model.{name}.shape", str(list(shape)), str(list(found[name].shape)))
        if infinite := int(np.count_nonzero(~np.isfinite(found[name]))):
            raise InvalidRequest(f"model.{name}", "finite numbers", f"{infinite} others")
    return Network(
        *(tuple(found[f"{place}.{part}"] for place in layers.places) for part in ("weight", "bias"))
    )


def tensors(content: bytes) -> dict[str, NDArray[np.float64]]:
    """Read every tensor of a file, by name.

    Raises:
        InvalidRequest: the file is too large, cut off, or not as the format has it, by field.
    """
    if len(content) > MAX_BYTES:
        raise InvalidRequest("model", f"at most {MAX_BYTES} bytes", str(len(content)))
    if len(content) < 8:
        raise InvalidRequest("model", "at least 8 bytes", str(len(content)))
    (size,) = struct.unpack_from("<Q", content)
    if not size <= min(_MAX_HEADER, len(content) - 8):
        expected = f"a header of at most {_MAX_HEADER} bytes, inside the file"
        raise InvalidRequest("model.header", expected, f"a length of {size}")
    described = _header(content[8 : 8 + size])
    described.pop("__metadata__", None)
    data = memoryview(content)[8 + size :]
    placed = sorted((_placed(name, one) for name, one in described.items()), key=lambda one: one[1:3])
    end = 0
    for name, start, stop, _, _ in placed:
        if start != end:
            raise InvalidRequest(f"model.{name}.data_offsets", f"data from byte {end} on", f"from {start}")
        end = stop
    if end != len(data):
        raise InvalidRequest("model", f"{end} bytes of tensors, as its header says", str(len(data)))
    return {
        name: np.frombuffer(data[start:stop], dtype=kind).reshape(shape).astype(np.float64)
        for name, start, stop, kind, shape in placed
    }


def saved(numbers: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Write a file with tensors by name, for who has a network without torch; `tensors` reads it."""
    header, data = {}, b""
    for name, one in numbers.items():
        end = len(data) + one.nbytes
        header[name] = {"dtype": "F32", "shape": list(one.shape), "data_offsets": [len(data), end]}
        data += one.astype("<f4").tobytes()
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _header(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError):
        # Not chained: the cause quotes the file.
        raise InvalidRequest("model.header", "JSON with distinct names", "something else") from None
    if not isinstance(found, dict) or not found:
        raise InvalidRequest("model.header", "an object of tensors", "something else")
    return found


def _placed(name: str, described: object) -> tuple[str, int, int, str, tuple[int, ...]]:
    """A tensor's name, first and last byte, type and shape; its name, which errors show, is a short one."""
    if not name.isascii() or not name.isprintable() or len(name) > 64:
        raise InvalidRequest("model.header", "names of at most 64 printable characters", "another")
    at = f"model.{name}"
    if not isinstance(described, Mapping) or set(described) != {"dtype", "shape", "data_offsets"}:
        raise InvalidRequest(at, "dtype, shape and data_offsets", "something else")
    kind = described["dtype"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise InvalidRequest(f"{at}.dtype", f"one of {', '.join(_TYPES)}", repr(kind)[:20])
    shape = _sizes(described["shape"], f"{at}.shape")
    offsets = _sizes(described["data_offsets"], f"{at}.data_offsets")
    if not 1 <= len(shape) <= _MAX_DIMENSIONS:
        raise InvalidRequest(f"{at}.shape", f"1 to {_MAX_DIMENSIONS} dimensions", str(len(shape)))
    if len(offsets) != 2:
        raise InvalidRequest(f"{at}.data_offsets", "two numbers", str(len(offsets)))
    wanted = math.prod(shape) * np.dtype(_TYPES[kind]).itemsize
    if offsets[1] - offsets[0] != wanted:
        raise InvalidRequest(f"{at}.data_offsets", f"{wanted} bytes", str(offsets[1] - offsets[0]))
    return name, offsets[0], offsets[1], _TYPES[kind], shape


def _sizes(value: object, at: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(one) is int and 0 <= one <= MAX_BYTES for one in value):
        raise InvalidRequest(at, f"a list of integers from 0 to {MAX_BYTES}", "something else")
    return tuple(value)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
