"""A party's own set: hashed, brought into a secret order, checked for duplicates; on disk where it is large.

Each item is hashed to 64 uniform bytes, and those encrypted by AES under a key of this run are its place: the
set is sorted by them. Distinct items have distinct places, equal items the same, so one sort gives the secret
order and finds the duplicates. Partitions of the places are sorted one at a time. Nobody else sees where one
ends, since the sorted rows are sent in chunks of one size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from mpc import ristretto255
from mpc.errors import DuplicateItems, InvalidInput
from mpc.psi.spool import Spool
from mpc.randomness import Randomness
from mpc.ristretto255 import UNIFORM_BYTES

MAX_ROWS: Final = 2**31
MAX_ITEM_BYTES: Final = 1024
_PLACE_BYTES: Final = 16
_ROW_BYTES: Final = 8
_RECORD_BYTES: Final = _PLACE_BYTES + UNIFORM_BYTES + _ROW_BYTES


class Duplicates(StrEnum):
    """What happens to rows with the same item."""

    REFUSE = "refuse"
    FIRST = "first"
    GROUPS = "groups"


class OwnSet:
    """The distinct items of one party in their secret order. A context manager; nothing of it outlives that.

    Attributes:
        rows: int64[r], the party's rows in the secret order, those of one item together.
        starts: int64[n + 1], where the rows of each item begin in ``rows``.
    """

    def __init__(
        self,
        batches: Iterable[Sequence[bytes]],
        separation: bytes,
        rng: Randomness,
        duplicates: Duplicates,
        folder: Path | None,
    ) -> None:
        """Hash and order the items of all batches; row numbers run through them.

        Raises:
            InvalidInput: an item is empty or too long, or there are too many.
            DuplicateItems: an item repeats, and duplicates are refused.
        """
        self._spool = Spool(_RECORD_BYTES, folder)
        try:
            self._read(batches, separation, rng.bytes(16))
            self._order(duplicates)
        except BaseException:
            self._spool.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.__exit__(kind, value, trace)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first row of the item at each position."""
        rows: NDArray[np.int64] = self.rows[self.starts[positions]]
        return rows

    def counts_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows the item at each position has."""
        counts: NDArray[np.int64] = self.starts[positions + 1] - self.starts[positions]
        return counts

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the uniform bytes of ``size`` items at a time, in the secret order; of fewer at last."""
        held = np.empty((0, UNIFORM_BYTES), np.uint8)
        for records in self._sorted_parts():
            distinct = np.flatnonzero(_begins(records))
            uniform = records[distinct, _PLACE_BYTES : _PLACE_BYTES + UNIFORM_BYTES]
            held = np.concatenate([held, uniform])
            full = len(held) // size * size
            for start in range(0, full, size):
                yield held[start : start + size].tobytes()
            held = held[full:]
        if len(held):
            yield held.tobytes()

    def _read(self, batches: Iterable[Sequence[bytes]], separation: bytes, key: bytes) -> None:
        place_of = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  # one block an item
        count = 0
        for items in batches:
            misfits = sum(not 0 < len(item) <= MAX_ITEM_BYTES for item in items)
            if misfits:
                raise InvalidInput(
                    f"items are 1 to {MAX_ITEM_BYTES} bytes each: {misfits} of {len(items)} are not"
                )
            if count + len(items) > MAX_ROWS:
                raise InvalidInput(f"expected at most {MAX_ROWS} items, got more")
            records = np.empty((len(items), _RECORD_BYTES), np.uint8)
            uniform = np.frombuffer(ristretto255.expand(items, separation), np.uint8)
            records[:, _PLACE_BYTES : _PLACE_BYTES + UNIFORM_BYTES] = uniform.reshape(-1, UNIFORM_BYTES)
            blocks = np.ascontiguousarray(records[:, _PLACE_BYTES : 2 * _PLACE_BYTES])
            places = np.frombuffer(place_of.update(blocks.tobytes()), np.uint8)
            records[:, :_PLACE_BYTES] = places.reshape(-1, _PLACE_BYTES)
            numbers = np.arange(count, count + len(items), dtype="<i8")
            records[:, -_ROW_BYTES:] = numbers.view(np.uint8).reshape(-1, _ROW_BYTES)
            self._spool.append(records)
            count += len(items)

    def _order(self, duplicates: Duplicates) -> None:
        rows, lengths = [], []
        surplus = 0
        for records in self._sorted_parts():
            begins = _begins(records)
            numbers = np.ascontiguousarray(records[:, -_ROW_BYTES:]).view("<i8").reshape(-1)
            surplus += int(len(records) - begins.sum())
            if duplicates is Duplicates.GROUPS:
                rows.append(numbers)
                lengths.append(np.diff(np.append(np.flatnonzero(begins), len(records))))
            else:
                rows.append(numbers[begins])
                lengths.append(np.ones(len(rows[-1]), np.int64))
        if surplus and duplicates is Duplicates.REFUSE:
            raise DuplicateItems(surplus)
        self.rows = np.concatenate(rows).astype(np.int64)
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])

    def _sorted_parts(self) -> Iterator[NDArray[np.uint8]]:
        for records in self._spool.parts():
            places = np.ascontiguousarray(records[:, :_PLACE_BYTES]).view(">u8").astype(np.uint64)
            # Stable: of rows with one item the first comes first.
            yield records[np.lexsort((places[:, 1], places[:, 0]))]


def _begins(records: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where another item than the one before begins, bool[m]."""
    begins = np.ones(len(records), np.bool_)
    begins[1:] = np.any(records[1:, :_PLACE_BYTES] != records[:-1, :_PLACE_BYTES], axis=1)
    return begins
