"""The replicated state: named tables of canonical rows, with a Merkle root.

A ``State`` is immutable. ``put`` returns a new one that shares every untouched part with the old, so that
what changed between two states is found without looking at the rest. Rows are plain JSON objects that nobody
may change in place; each carries ``index``, the log index of the entry that last changed it.

A table is a binary trie over the SHA-256 of its keys, most significant bit first. A subtree with one row is
that row's leaf ``leaf_hash([key, row])``; one with more rows is ``node_hash(left, right)``, where a side
without rows counts as the hash of the empty tree. So the root depends on the rows alone, not on how they came
in, and changing a row costs as many hashes as the trie is deep: about the logarithm of the number of rows.
The state's root is the RFC 6962 root over ``[name, root]`` of every table that has rows, sorted by name, so
that one table can be disclosed whole and checked without the others.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from functools import lru_cache
from operator import attrgetter
from typing import Any

from ledger import canonical
from ledger.merkle import EMPTY_ROOT, leaf_hash, node_hash, root_of

__all__ = ["Row", "State", "Table", "changes", "combine_table_roots"]

Row = Mapping[str, Any]

_KNOWN_PATHS = 8192
_TOP = 255
"""Number of the bit of a key's hash that chooses at the root."""


class _Leaf:
    """One row and, once asked for, its hash."""

    __slots__ = ("_hash", "key", "path", "row")

    def __init__(self, key: str, path: int, row: Row) -> None:
        self.key, self.path, self.row = key, path, row
        self._hash: bytes | None = None

    @property
    def hash(self) -> bytes:
        if self._hash is None:
            self._hash = leaf_hash(canonical.encode([self.key, self.row]))
        return self._hash


class _Fork:
    """Two subtrees, at most one of them empty and together at least two rows."""

    __slots__ = ("_hash", "left", "right")

    def __init__(self, left: _Node, right: _Node) -> None:
        self.left, self.right = left, right
        self._hash: bytes | None = None

    @property
    def hash(self) -> bytes:
        if self._hash is None:
            self._hash = node_hash(_hash(self.left), _hash(self.right))
        return self._hash


_Node = _Leaf | _Fork | None


class Table(Mapping[str, Row]):
    """A read-only mapping of keys to rows. Iterates in key order."""

    __slots__ = ("_root", "_size")

    def __init__(self, root: _Node = None, size: int = 0) -> None:
        self._root, self._size = root, size

    @classmethod
    def of(cls, rows: Mapping[str, Row]) -> Table:
        """Build a table from all its rows."""
        leaves = sorted((_Leaf(key, _path(key), row) for key, row in rows.items()), key=attrgetter("path"))
        return cls(_built(leaves, _TOP), len(leaves))

    def put(self, key: str, row: Row) -> Table:
        """Return the table with one row added or replaced."""
        path = _path(key)
        root, is_new = _put(self._root, _Leaf(key, path, row), _TOP)
        return Table(root, self._size + is_new)

    @property
    def root(self) -> bytes:
        """The root over all rows."""
        return _hash(self._root)

    def __getitem__(self, key: str) -> Row:
        node, path, bit = self._root, _path(key), _TOP
        while isinstance(node, _Fork):
            node = node.right if path >> bit & 1 else node.left
            bit -= 1
        if node is None or node.key != key:
            raise KeyError(key)
        return node.row

    def __iter__(self) -> Iterator[str]:
        return (leaf.key for leaf in self._sorted())

    def __len__(self) -> int:
        return self._size

    def items(self) -> ItemsView[str, Row]:
        """Return a view of keys and rows; walking it descends the trie once, not once for each key."""
        return _Items(self)

    def values(self) -> ValuesView[Row]:
        """Return a view of the rows, as ``items`` does."""
        return _Values(self)

    def _sorted(self) -> list[_Leaf]:
        return sorted(_leaves(self._root), key=attrgetter("key"))


class _Items(ItemsView[str, Row]):
    _mapping: Table

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        return ((leaf.key, leaf.row) for leaf in self._mapping._sorted())


class _Values(ValuesView[Row]):
    _mapping: Table

    def __iter__(self) -> Iterator[Row]:
        return (leaf.row for leaf in self._mapping._sorted())


_EMPTY_TABLE = Table()


class State:
    """What the entries so far have made: see the module for its shape and root."""

    __slots__ = ("_tables",)

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


def changes(old: State, new: State) -> Iterator[tuple[str, str, Row]]:
    """Yield ``(table, key, row)`` for every row of ``new`` that ``old`` has not.

    Costs as much as there are changes if ``new`` was made from ``old``. Rows are never taken away, so this is
    all that differs.
    """
    for name, table in new._tables.items():
        for leaf in _changed(old.rows(name)._root, table._root):
            yield name, leaf.key, leaf.row


@lru_cache(_KNOWN_PATHS)
def _path(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")


def _hash(node: _Node) -> bytes:
    return EMPTY_ROOT if node is None else node.hash


def _put(node: _Node, leaf: _Leaf, bit: int) -> tuple[_Node, bool]:
    """Put ``leaf`` under ``node``, which ``bit`` divides; tell whether its key is new there."""
    if node is None:
        return leaf, True
    if isinstance(node, _Leaf):
        return (leaf, False) if node.key == leaf.key else (_fork(node, leaf, bit), True)
    if leaf.path >> bit & 1:
        right, is_new = _put(node.right, leaf, bit - 1)
        return _Fork(node.left, right), is_new
    left, is_new = _put(node.left, leaf, bit - 1)
    return _Fork(left, node.right), is_new


def _built(leaves: list[_Leaf], bit: int) -> _Node:
    """Build the trie of leaves in the order of their paths, which agree above ``bit``."""
    if len(leaves) < 2:
        return leaves[0] if leaves else None
    middle = bisect_left(leaves, 1, key=lambda leaf: leaf.path >> bit & 1)
    return _Fork(_built(leaves[:middle], bit - 1), _built(leaves[middle:], bit - 1))


def _fork(one: _Leaf, other: _Leaf, bit: int) -> _Fork:
    """Part two leaves with different paths, down to the first bit in which they differ."""
    side, other_side = one.path >> bit & 1, other.path >> bit & 1
    if side == other_side:
        below = _fork(one, other, bit - 1)
        return _Fork(None, below) if side else _Fork(below, None)
    return _Fork(other, one) if side else _Fork(one, other)


def _leaves(node: _Node) -> Iterator[_Leaf]:
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, _Fork):
            stack += (top.right, top.left)
        elif top is not None:
            yield top


def _changed(old: _Node, new: _Node) -> Iterator[_Leaf]:
    stack = [(old, new)]
    while stack:
        before, after = stack.pop()
        if before is after:
            continue
        if isinstance(before, _Fork) and isinstance(after, _Fork):
            stack += ((before.right, after.right), (before.left, after.left))
            continue
        known = {leaf.key: leaf for leaf in _leaves(before)}
        yield from (leaf for leaf in _leaves(after) if known.get(leaf.key) is not leaf)
