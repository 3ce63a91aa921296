"""What the parties of a keyword query know in public: the shape, key and digests of one version of a list.

The owner signs the manifest or writes its digest on the ledger; every message of a query names that digest,
so a client and a server of different versions find out before anything is decoded.

A list is a matrix of bytes with a column a bin. The pseudorandom label of a key says its bin. A bin has
``capacity`` slots of one sealed record each, unused ones filled with random bytes, and a checksum. Records
beyond the capacity of their bin are in the stash, sealed like the rest, which every client holds beside the
hint.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from mpc import wire
from mpc.domain import Usage, separation_tag
from mpc.errors import InvalidInput, MalformedMessage

PROTOCOL: Final = "pir/keyword"
VERSION: Final = 1
TAG_BYTES: Final = 8
CHECKSUM_BYTES: Final = 16
DIGEST_BYTES: Final = 32
MAX_RECORD_BYTES: Final = 1024
MAX_ENTRIES: Final = 2**31
MAX_LIST_ID_BYTES: Final = 256
MIN_COLUMNS: Final = 16
MAX_COLUMNS: Final = 2**17


@dataclass(frozen=True)
class Shape:
    """The matrix of a list.

    Attributes:
        columns: number of bins.
        capacity: slots of a bin.
        record_bytes: size of each record.
    """

    columns: int
    capacity: int
    record_bytes: int

    @property
    def slot_bytes(self) -> int:
        """Size of a sealed record."""
        return TAG_BYTES + self.record_bytes

    @property
    def rows(self) -> int:
        """Bytes of a bin: its slots and its checksum."""
        return self.capacity * self.slot_bytes + CHECKSUM_BYTES

    @classmethod
    def of(cls, planned: int, record_bytes: int) -> Shape:
        """Choose the shape for a list that is planned to hold ``planned`` entries.

        As many columns, a power of two, as bytes in a bin, about, so that query and answer are of one size;
        a capacity of the mean and one standard deviation, so that the matrix is hardly larger than its
        entries while less than a tenth of a standard deviation of each bin goes to the stash.

        Raises:
            InvalidInput: a list without planned entries, or with more than `MAX_ENTRIES`, or records that
                are empty or larger than `MAX_RECORD_BYTES`.
        """
        if not 1 <= planned <= MAX_ENTRIES:
            raise InvalidInput(f"a list is planned for 1 to {MAX_ENTRIES} entries, got {planned}")
        if not 1 <= record_bytes <= MAX_RECORD_BYTES:
            raise InvalidInput(f"records have 1 to {MAX_RECORD_BYTES} bytes, got {record_bytes}")
        exponent = round(math.log2(planned * (TAG_BYTES + record_bytes)) / 2)
        columns = min(max(2**exponent, MIN_COLUMNS), MAX_COLUMNS)
        mean = planned / columns
        return cls(columns, math.ceil(mean + math.sqrt(mean)), record_bytes)


@dataclass(frozen=True)
class Manifest:
    """The public facts of one version of one list.

    Attributes:
        list_id: the list's name, at most 256 bytes of UTF-8.
        number: the version, counted from 1.
        epoch: epoch of the key of the pseudorandom function.
        public_key: the public key of that epoch, 32 bytes.
        entries: number of records.
        shape: the matrix.
        hint: SHA-256 of the hint.
        stash: SHA-256 of the stash.
        stash_entries: number of records in the stash.
    """

    list_id: str
    number: int
    epoch: int
    public_key: bytes
    entries: int
    shape: Shape
    hint: bytes
    stash: bytes
    stash_entries: int

    def encode(self) -> bytes:
        """Encode; equal manifests are equal bytes."""
        shape = self.shape
        return b"".join(
            (
                wire.encode_uint64(VERSION),
                wire.encode_array(np.frombuffer(self.list_id.encode(), dtype=np.uint8)),
                *map(wire.encode_uint64, (self.number, self.epoch, self.entries)),
                *map(wire.encode_uint64, (shape.columns, shape.capacity, shape.record_bytes)),
                wire.encode_uint64(self.stash_entries),
                *(_field(value) for value in (self.public_key, self.hint, self.stash)),
            )
        )

    @classmethod
    def decode(cls, payload: bytes) -> Manifest:
        """Decode; refuses anything `encode` does not write.

        Raises:
            MalformedMessage: a field is missing, out of range or left over.
        """
        reader = wire.Reader("manifest", payload)
        if (version := reader.uint64("version")) != VERSION:
            raise MalformedMessage(f"manifest: expected version {VERSION}, got {version}")
        name = reader.array("list id", "u1", (None,)).tobytes()
        number, epoch, entries = (reader.uint64(field) for field in ("number", "epoch", "entries"))
        columns, capacity, record_bytes = (
            reader.uint64(field) for field in ("columns", "capacity", "record bytes")
        )
        stash_entries = reader.uint64("stash entries")
        public_key, hint, stash = (
            reader.array(field, "u1", (DIGEST_BYTES,)).tobytes() for field in ("public key", "hint", "stash")
        )
        reader.finish()
        limits = {
            "list id": (len(name), 1, MAX_LIST_ID_BYTES),
            "entries": (entries, 0, MAX_ENTRIES),
            "columns": (columns, MIN_COLUMNS, MAX_COLUMNS),
            "capacity": (capacity, 1, MAX_ENTRIES // MIN_COLUMNS),
            "record bytes": (record_bytes, 1, MAX_RECORD_BYTES),
            "stash entries": (stash_entries, 0, entries),
        }
        for field, (value, least, most) in limits.items():
            if not least <= value <= most:
                raise MalformedMessage(f"manifest: expected {field} of {least} to {most}, got {value}")
        try:
            list_id = name.decode()
        except UnicodeDecodeError as error:
            raise MalformedMessage("manifest: the list id is not UTF-8") from error
        shape = Shape(columns, capacity, record_bytes)
        return cls(list_id, number, epoch, public_key, entries, shape, hint, stash, stash_entries)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 that names this version: 32 bytes."""
        return hashlib.sha256(self.encode()).digest()

    @property
    def matrix_seed(self) -> bytes:
        """Seed of the public matrix A: 16 bytes, fixed by list, epoch and shape, so nobody chooses it."""
        session = repr((self.list_id, self.epoch, self.shape.columns)).encode()
        return separation_tag(PROTOCOL, VERSION, Usage.PIR_MATRIX, session)[:16]


def _field(value: bytes) -> bytes:
    return wire.encode_array(np.frombuffer(value, dtype=np.uint8))
