"""Tables of an owner's part of the scores of all persons of an asset, found at once.

A table is one file, made once for a version of the asset: keyed hashes of the identifiers in ascending order,
8 bytes a person, and beside them what the part keeps of each (`ServedPart.words`): the partial score, what
each column adds where reasons are told, or sides at splits. It is mapped into memory. Without this node's
key it names nobody. Two of ten million persons have the same hash of 64 bits with a probability below 3e-6;
then the table is not made, as with an identifier that is there twice.
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
        by_column: as `ServedPart.words` has it.

    Returns:
        Number of persons.

    Raises:
        EmptyIdentifiers: with the number of rows without one.
        DuplicateIdentifiers: with the number of rows beyond the first of each.
        MissingValues, WrongColumnType, InvalidInput: of a column.
    """
    lines, empty = [np.zeros((1 + part.width(by_column=by_column), 0), np.uint64)], 0
    for batch in batches:
        texts = identifiers.normalise(batch.column(key_column), rules, key_column)
        empty += identifiers.count_empty([texts])
        if not empty:
            words = part.words(batch, by_column=by_column)
            lines.append(np.concatenate([_hashed(texts, secret)[None], words]))
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
        self._hashes, self._words = table[0], table[1:]
        self._rules, self._secret = tuple(rules), secret

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, persons: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """What is kept of some persons.

        Args:
            persons: identifiers, in any form that the rules bring to the table's.

        Returns:
            uint64[width, persons], which means nothing of those who are not in the table, and bool[persons],
            who is.

        Raises:
            InvalidIdentifiers: some are none, by the rules; with their number.
        """
        wanted = _hashed(identifiers.normalise(pa.array(persons, pa.string()), self._rules), self._secret)
        places = np.minimum(np.searchsorted(self._hashes, wanted), max(len(self) - 1, 0))
        if not len(self):
            return np.zeros((len(self._words), len(persons)), np.uint64), np.zeros(len(persons), np.bool_)
        return self._words[:, places], self._hashes[places] == wanted
