"""Repeats, look-up and a common order of millions of texts, by 64-bit fingerprints and compiled loops.

Fingerprints decide nothing alone: where two texts of one set share one, which happens with probability 2**-25
for a million, the texts themselves are compared, at Arrow's pace. They are no secret and no commitment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["TextSet", "buffers", "holds_only"]

_OFFSET_BASIS: Final = 0xCBF29CE484222325
_PRIME: Final = 0x100000001B3
_MIX: Final = 0xFF51AFD7ED558CCD


def buffers(texts: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Where each text begins and ends, int64[n + 1] from 0, and the UTF-8 of all, uint8[total]."""
    whole = pa.concat_arrays([texts.cast(pa.large_string())])  # a slice's offsets do not begin at 0
    _, offsets, content = whole.buffers()
    if not len(whole):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, dtype=np.int64, count=len(whole) + 1)
    if not ends[-1]:
        return ends, np.zeros(0, np.uint8)
    return ends, np.frombuffer(content, dtype=np.uint8, count=int(ends[-1]))


def holds_only(texts: pa.Array, allowed: bytes) -> bool:
    """Whether all texts are of these bytes alone; far faster than a pattern on each text."""
    return not buffers(texts)[1].tobytes().translate(None, allowed)


@cache
def _loop() -> Any:  # noqa: ANN401 - numba has no types
    import numba

    def fingerprints(ends: Any, content: Any, prints: Any) -> None:  # noqa: ANN401
        for number in range(len(prints)):
            state = np.uint64(_OFFSET_BASIS)
            for at in range(ends[number], ends[number + 1]):
                state = (state ^ np.uint64(content[at])) * np.uint64(_PRIME)
            state = (state ^ (state >> np.uint64(33))) * np.uint64(_MIX)
            prints[number] = state ^ (state >> np.uint64(29))

    return numba.njit(nogil=True)(fingerprints)


def _fingerprints(texts: pa.Array) -> NDArray[np.uint64]:
    """FNV-1a with a final mix (Fowler, Noll, Vo 1991; Appleby 2011), uint64[n]."""
    prints = np.empty(len(texts), np.uint64)
    _loop()(*buffers(texts), prints)
    return prints


@dataclass(frozen=True)
class TextSet:
    """Texts with their rows in the order of their fingerprints.

    Attributes:
        texts: string[n], none missing.
        prints: uint64[n], ascending.
        rows: int64[n], the row of each.
    """

    texts: pa.Array
    prints: NDArray[np.uint64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, texts: pa.Array) -> TextSet:
        """Order texts; those of one fingerprint by their UTF-8."""
        prints = _fingerprints(texts)
        rows = np.argsort(prints, kind="stable")
        ordered = prints[rows]
        shared = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(shared):
            doubtful = np.unique(np.concatenate([shared, shared + 1]))
            among = texts.take(pa.array(rows[doubtful])).cast(pa.large_binary())
            table = pa.table({"print": ordered[doubtful], "text": among})
            order = pc.sort_indices(table, sort_keys=[("print", "ascending"), ("text", "ascending")])
            rows[doubtful] = rows[doubtful][np.asarray(order)]
        return cls(texts, ordered, rows)

    def repeats(self) -> int:
        """How many texts are the same as another before them."""
        shared = np.flatnonzero(self.prints[1:] == self.prints[:-1])
        if not len(shared):
            return 0
        first, second = (self.texts.take(pa.array(self.rows[at])) for at in (shared, shared + 1))
        return int(pc.sum(pc.equal(first, second)).as_py())

    def find(self, wanted: TextSet) -> NDArray[np.int64] | None:
        """The rows here of other texts, in the common order of both; None unless each is here.

        Both hold each text once.
        """
        if np.any(self.prints[1:] == self.prints[:-1]):
            return self._find_slowly(wanted)
        at = np.searchsorted(self.prints, wanted.prints)
        if len(at) and (at[-1] >= len(self.prints) or np.any(self.prints[at] != wanted.prints)):
            return None
        rows = self.rows[at]
        same = pc.equal(self.texts.take(pa.array(rows)), wanted.texts.take(pa.array(wanted.rows)))
        return rows if pc.all(same).as_py() in (True, None) else None

    def _find_slowly(self, wanted: TextSet) -> NDArray[np.int64] | None:
        rows: pa.Array = pc.index_in(wanted.texts.take(pa.array(wanted.rows)), value_set=self.texts)
        return None if rows.null_count else np.array(rows, dtype=np.int64)
