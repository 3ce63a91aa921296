"""Tables of partial scores: for each person of an asset, what its columns add to the score, found at once.

A table is one file, made once for a version of the asset: keyed hashes of the identifiers in ascending order,
the partial scores beside them and, where reasons are told, what each column adds: 16 bytes a person, and 8
for each such column, mapped into memory. Without this node's key it names
nobody. Two of ten million persons have the same hash of 64 bits with a probability below 3e-6; then the table
is not made, as with an identifier that is there twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors import identifiers
from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers
from exchange.jobs.keyed_hashes import keyed_hashes
from exchange.scoring.served import ServedPart

__all__ = ["PartialTable", "make_table"]

_Floats = NDArray[np.float64]


def make_table(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    key_column: str,
    rules: Sequence[str],
    part: ServedPart,
    secret: bytes,
    *,
    by_column: bool = False,
) -> int:
    """Make the table of an asset's rows; what is at ``path`` stays until it is whole.

    Args:
        path: of the file.
        batches: the key column and the columns of the part.
        key_column: names a person.
        rules: bring identifiers to one form.
        part: of the model.
        secret: 1 to 64 bytes, of this node; keys the hashes.
        by_column: also keep what each column adds, for reasons.

    Returns:
        Number of persons.

    Raises:
        EmptyIdentifiers: with the number of rows without one.
        DuplicateIdentifiers: with the number of rows beyond the first of each.
        MissingValues, WrongColumnType, InvalidInput: of a column.
    """
    lines, empty = [np.zeros((2 + len(part.columns) * by_column, 0), np.uint64)], 0
    for batch in batches:
        texts = identifiers.normalise(batch.column(key_column), rules, key_column)
        empty += identifiers.count_empty([texts])
        if not empty:
            own = part.contributions(batch)
            scores = np.stack([part.base + own.sum(axis=0), *(own if by_column else ())])
            lines.append(np.concatenate([_hashed(texts, secret)[None], scores.view(np.uint64)]))
    if empty:
        raise EmptyIdentifiers(key_column, empty)
    table = np.concatenate(lines, axis=1)
    table = table[:, np.argsort(table[0])]
    if doubled := int(np.count_nonzero(table[0, 1:] == table[0, :-1])):
        raise DuplicateIdentifiers(key_column, doubled)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, table)
    os.replace(partial, path)
    return int(table.shape[1])


def _hashed(texts: pa.Array, secret: bytes) -> NDArray[np.uint64]:
    return keyed_hashes(pc.cast(texts, pa.large_binary()), secret)


class PartialTable:
    """A table that ``make_table`` made. Thread-safe.

    Args:
        path: of the file.
        rules: as it was made with.
        secret: as it was made with.
    """

    def __init__(self, path: Path, rules: Sequence[str], secret: bytes) -> None:
        table = np.load(path, mmap_mode="r")
        self._hashes, self._scores = table[0], table[1:].view(np.float64)
        self._rules, self._secret = tuple(rules), secret

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, persons: Sequence[str]) -> _Floats:
        """The partial scores of some persons, and what each column adds where that is kept.

        Args:
            persons: identifiers, in any form that the rules bring to the table's.

        Returns:
            float64[1 + columns, persons]; NaN of those who are not in the table.

        Raises:
            InvalidIdentifiers: some are none, by the rules; with their number.
        """
        wanted = _hashed(identifiers.normalise(pa.array(persons, pa.string()), self._rules), self._secret)
        places = np.minimum(np.searchsorted(self._hashes, wanted), max(len(self) - 1, 0))
        if not len(self):
            return np.full((len(self._scores), len(persons)), np.nan)
        return np.where(self._hashes[places] == wanted, self._scores[:, places], np.nan)
