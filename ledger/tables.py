"""The replicated state: named tables of canonical rows, with a Merkle root.

A ``State`` is immutable. ``put`` returns a new one that shares every untouched table and bucket with the old.
Rows are plain JSON objects that nobody may change in place; each carries ``index``, the log index of the
entry that last changed it.

The root is a tree in three levels, so that one table can be disclosed whole and checked without the others:
rows sorted by key under a bucket (chosen by the first byte of the key's SHA-256), 256 buckets under a table,
non-empty tables sorted by name under the state. All hashing is RFC 6962's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from ledger import canonical
from ledger.merkle import leaf_hash, root_of

__all__ = ["Row", "State", "Table", "combine_table_roots"]

Row = Mapping[str, Any]

_BUCKETS = 256


class _Cell:
    """One row and, once asked for, its leaf hash."""

    def __init__(self, key: str, row: Row) -> None:
        self.key, self.row = key, row

    @cached_property
    def leaf(self) -> bytes:
        return leaf_hash(canonical.encode([self.key, self.row]))


class _Bucket:
    """The rows of one bucket and, once asked for, their root as a leaf of the table's tree."""

    def __init__(self, cells: Mapping[str, _Cell]) -> None:
        self.cells = cells

    def put(self, key: str, row: Row) -> _Bucket:
        return _Bucket({**self.cells, key: _Cell(key, row)})

    @cached_property
    def leaf(self) -> bytes:
        return leaf_hash(root_of([self.cells[key].leaf for key in sorted(self.cells)]))


_EMPTY_BUCKET = _Bucket({})


class Table(Mapping[str, Row]):
    """A read-only mapping of keys to rows. Iterates in key order."""

    def __init__(self, buckets: tuple[_Bucket, ...] = (_EMPTY_BUCKET,) * _BUCKETS, size: int = 0) -> None:
        self._buckets = buckets
        self._size = size

    @classmethod
    def of(cls, rows: Mapping[str, Row]) -> Table:
        """Build a table from all its rows."""
        table = cls()
        for key, row in rows.items():
            table = table.put(key, row)
        return table

    def put(self, key: str, row: Row) -> Table:
        """Return the table with one row added or replaced."""
        number = _bucket_of(key)
        bucket = self._buckets[number]
        buckets = (*self._buckets[:number], bucket.put(key, row), *self._buckets[number + 1 :])
        return Table(buckets, self._size + (key not in bucket.cells))

    @cached_property
    def root(self) -> bytes:
        """The root over the buckets."""
        return root_of([bucket.leaf for bucket in self._buckets])

    def __getitem__(self, key: str) -> Row:
        return self._buckets[_bucket_of(key)].cells[key].row

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(key for bucket in self._buckets for key in bucket.cells))

    def __len__(self) -> int:
        return self._size


_EMPTY_TABLE = Table()


class State:
    """What the entries so far have made: see the module for its shape and root."""

    def __init__(self, tables: Mapping[str, Table] | None = None) -> None:
        self._tables = dict(tables or {})

    def get(self, table: str, key: str) -> Row | None:
        """Return one row, or None."""
        return self.rows(table).get(key)

    def rows(self, table: str) -> Table:
        """Return a table; an empty one if nothing was put there."""
        return self._tables.get(table, _EMPTY_TABLE)

    def put(self, table: str, key: str, row: Row, *, index: int) -> State:
        """Return the state with one row added or replaced by the entry at ``index``."""
        return State({**self._tables, table: self.rows(table).put(key, {**row, "index": index})})

    def table_roots(self) -> dict[str, bytes]:
        """Return the root of every table that has rows."""
        return {name: table.root for name, table in self._tables.items()}

    def root(self) -> bytes:
        """Return the state root that a seal records."""
        return combine_table_roots(self.table_roots())


def combine_table_roots(roots: Mapping[str, bytes]) -> bytes:
    """Return the state root over the roots of all tables that have rows."""
    return root_of([leaf_hash(canonical.encode([name, roots[name].hex()])) for name in sorted(roots)])


def _bucket_of(key: str) -> int:
    return hashlib.sha256(key.encode()).digest()[0]
