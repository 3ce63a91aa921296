"""The files of a version: names, shapes, and the encodings of stash and delta."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.errors import CorruptHint, InvalidInput, MalformedMessage
from mpc.pir.manifest import CHECKSUM_BYTES, DIGEST_BYTES, Manifest, Shape
from mpc.pir.simple import DIMENSION

MANIFEST: Final = "manifest"
HINT: Final = "hint"
STASH: Final = "stash"
DELTA: Final = "delta"
MATRIX: Final = "matrix"
LABELS: Final = "labels"
STASH_LABELS: Final = "stash-labels"


@dataclass(eq=False)
class Stash:
    """Sealed records beyond the capacity of their bins.

    Attributes:
        bins: int64[s], the bin of each.
        sealed: uint8[s, slot_bytes].
    """

    bins: NDArray[np.int64]
    sealed: NDArray[np.uint8]

    def encode(self) -> bytes:
        """Encode for a file."""
        return wire.encode_array(self.bins) + wire.encode_array(self.sealed)

    @classmethod
    def decode(cls, data: bytes, shape: Shape) -> Self:
        """Decode; refuses bins that ``shape`` does not have.

        Raises:
            MalformedMessage: another form.
        """
        reader = wire.Reader("stash", data)
        bins = reader.array("bins", "<i8", (None,))
        sealed = reader.array("sealed", "u1", (len(bins), shape.slot_bytes))
        reader.finish()
        if not np.all((bins >= 0) & (bins < shape.columns)):
            raise MalformedMessage(f"stash: expected bins below {shape.columns}")
        return cls(bins, sealed)

    def of_bin(self, column: int) -> NDArray[np.uint8]:
        """Return the sealed records of one bin."""
        found: NDArray[np.uint8] = self.sealed[self.bins == column]
        return found


@dataclass(frozen=True, eq=False)
class Delta:
    """What changed from one version to the next.

    Attributes:
        previous: digest of the manifest before.
        slot_columns, slots: int64[c], which slots changed.
        slots_before, slots_after: uint8[c, slot_bytes].
        bins: int64[b], the bins whose checksum changed.
        checksums_before, checksums_after: uint8[b, 16].
        stash: the new stash file, or nothing where it is the same.
    """

    previous: bytes
    slot_columns: NDArray[np.int64]
    slots: NDArray[np.int64]
    slots_before: NDArray[np.uint8]
    slots_after: NDArray[np.uint8]
    bins: NDArray[np.int64]
    checksums_before: NDArray[np.uint8]
    checksums_after: NDArray[np.uint8]
    stash: bytes

    def encode(self) -> bytes:
        """Encode for a file."""
        fields: tuple[NDArray[Any], ...] = (
            np.frombuffer(self.previous, dtype=np.uint8),
            self.slot_columns,
            self.slots,
            self.slots_before,
            self.slots_after,
            self.bins,
            self.checksums_before,
            self.checksums_after,
            np.frombuffer(self.stash, dtype=np.uint8),
        )
        return b"".join(map(wire.encode_array, fields))

    @classmethod
    def decode(cls, data: bytes, shape: Shape) -> Self:
        """Decode; refuses slots and bins that ``shape`` does not have.

        Raises:
            MalformedMessage: another form.
        """
        reader = wire.Reader("delta", data)
        previous = reader.array("previous", "u1", (DIGEST_BYTES,)).tobytes()
        columns = reader.array("columns", "<i8", (None,))
        slots = reader.array("slots", "<i8", (len(columns),))
        before, after = (
            reader.array(f"slots {when}", "u1", (len(columns), shape.slot_bytes))
            for when in ("before", "after")
        )
        bins = reader.array("bins", "<i8", (None,))
        sums_before, sums_after = (
            reader.array(f"checksums {when}", "u1", (len(bins), CHECKSUM_BYTES))
            for when in ("before", "after")
        )
        stash = reader.array("stash", "u1", (None,)).tobytes()
        reader.finish()
        limits = ((columns, shape.columns), (bins, shape.columns), (slots, shape.capacity))
        if not all(np.all((values >= 0) & (values < limit)) for values, limit in limits):
            raise MalformedMessage(
                f"delta: expected bins below {shape.columns}, slots below {shape.capacity}"
            )
        return cls(previous, columns, slots, before, after, bins, sums_before, sums_after, stash)

    def pieces(
        self, shape: Shape
    ) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int16]], ...]:
        """Return the changes as `simple.patch_hint` takes them: of slots, then of checksums."""
        ends = np.full(len(self.bins), shape.rows - CHECKSUM_BYTES, dtype=np.int64)
        return (
            (
                self.slot_columns,
                self.slots * shape.slot_bytes,
                _difference(self.slots_before, self.slots_after),
            ),
            (self.bins, ends, _difference(self.checksums_before, self.checksums_after)),
        )


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a version."""
    return Manifest.decode((directory / MANIFEST).read_bytes())


def array_file(path: Path, kind: str, shape: tuple[int, ...], *, new: bool = False) -> NDArray[Any]:
    """Map a file as an array; a change of the array is one of the file.

    Raises:
        InvalidInput: the file has another size.
    """
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if not new and path.stat().st_size != size:
        raise InvalidInput(f"{path.name}: expected {size} bytes, got {path.stat().st_size}")
    mapped = np.memmap(path, dtype=kind, mode="w+" if new else "r+", shape=shape)
    return np.asarray(mapped)


def hint_shape(shape: Shape) -> tuple[int, int]:
    """Return the shape of a hint."""
    return DIMENSION, shape.rows


def slots_of(matrix: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    """View the slots of a matrix: uint8[columns, capacity, slot_bytes]."""
    sizes = (shape.columns, shape.capacity, shape.slot_bytes)
    strides = (shape.rows, shape.slot_bytes, 1)
    return np.lib.stride_tricks.as_strided(matrix, sizes, strides)


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and have it on disk before returning."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync(directory: Path) -> None:
    """Have every file of a directory on disk."""
    for path in (*directory.iterdir(), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def hint_digest(hint: NDArray[np.uint32]) -> bytes:
    """Digest a hint: SHA-256 of its little-endian words."""
    return hashlib.sha256(np.ascontiguousarray(hint, dtype="<u4").data).digest()


def check_public(manifest: Manifest, hint: NDArray[np.uint32], stash: bytes) -> None:
    """Check that hint and stash are those of the manifest.

    Raises:
        CorruptHint: one of them is not.
    """
    if hint.shape != hint_shape(manifest.shape) or hint_digest(hint) != manifest.hint:
        raise CorruptHint(f"version {manifest.number}: the hint has not the digest of the manifest")
    if hashlib.sha256(stash).digest() != manifest.stash:
        raise CorruptHint(f"version {manifest.number}: the stash has not the digest of the manifest")


def _difference(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.int16]:
    return after.view(np.int8).astype(np.int16) - before.view(np.int8)
