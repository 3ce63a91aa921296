"""The Merkle tree of RFC 6962, section 2.1 (the same as RFC 9162, section 2.1), with SHA-256.

Pure functions for hashing and for checking proofs, and an append-only ``Tree`` that keeps complete subtrees,
so that roots and proofs of any earlier size cost a logarithmic number of hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from ledger.errors import InvalidConsistencyProof, InvalidInclusionProof, StoreCorrupt

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "Leaves",
    "Tree",
    "leaf_hash",
    "node_hash",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256().digest()

_LEAF_PREFIX = b"\x00"
_NODE_PREFIX = b"\x01"


def leaf_hash(entry: bytes) -> bytes:
    """Hash one entry as a leaf."""
    return hashlib.sha256(_LEAF_PREFIX + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent."""
    return hashlib.sha256(_NODE_PREFIX + left + right).digest()


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, level by level.

    Pairing neighbours and carrying an odd last node up gives the same tree as splitting at the largest power
    of two.
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        parents = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            parents.append(level[-1])
        level = parents
    return level[0]


Leaves = Callable[[int, int], Sequence[bytes]]
"""Reads back the leaf hashes from an index up to another."""

_TILE_HEIGHT = 8
_TILE = 1 << _TILE_HEIGHT
_KEPT_TILES = 64


class Tree:
    """An append-only tree of leaf hashes. Not thread-safe: grow a ``copy`` and swap it in.

    Args:
        leaf_hashes: the first leaves.
        leaves: reads leaf hashes back. With it, only the leaves of the last, unfinished tile of 256 stay in
            memory, and of the nodes above only the roots of whole tiles and what is built on them: about a
            third of a byte for each leaf. Without it, everything stays.
    """

    def __init__(self, leaf_hashes: Iterable[bytes] = (), *, leaves: Leaves | None = None) -> None:
        self._leaves = leaves
        self._levels: list[list[bytes]] = [[]]
        self._size = 0
        self._base = 0  # leaves and nodes below a tile's root are in memory from this leaf on
        self._tiles: dict[int, Tree] = {}
        self.extend(leaf_hashes)

    def __len__(self) -> int:
        return self._size

    def copy(self) -> Tree:
        """Return a tree with the same leaves that grows apart from this one."""
        twin = Tree(leaves=self._leaves)
        twin._levels = [level.copy() for level in self._levels]
        twin._size, twin._base, twin._tiles = self._size, self._base, self._tiles
        return twin

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append leaf hashes."""
        for leaf in leaf_hashes:
            self.append(leaf)

    def append(self, leaf: bytes) -> int:
        """Append a leaf hash and return its index."""
        if len(leaf) != HASH_SIZE:
            raise ValueError(f"expected a leaf hash of {HASH_SIZE} bytes, got {len(leaf)}")
        index = self._size
        node, height, position = leaf, 0, index
        self._levels[0].append(node)
        while position & 1:
            node = node_hash(self._levels[height][-2], node)
            height, position = height + 1, position >> 1
            if height == len(self._levels):
                self._levels.append([])
            self._levels[height].append(node)
        self._size += 1
        if self._leaves is not None and self._size % _TILE == 0:
            self._base = self._size
            for level in self._levels[:_TILE_HEIGHT]:
                level.clear()
        return index

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first ``size`` leaves; of all by default."""
        size = self._known(self._size if size is None else size)
        return self._hash(0, size) if size else EMPTY_ROOT

    def leaf(self, index: int) -> bytes:
        """Return the leaf hash at ``index``."""
        return self._node(0, index)

    def nodes(self, height: int, start: int, count: int) -> list[bytes]:
        """Return ``count`` roots of complete subtrees of ``2**height`` leaves, from number ``start``."""
        complete = self._size >> height
        if not 0 <= start <= start + count <= complete:
            raise ValueError(f"expected {count} nodes at height {height}, the tree has {complete}")
        return [self._node(height, number) for number in range(start, start + count)]

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the audit path of leaf ``index`` in the tree of ``size`` leaves (RFC 6962, 2.1.1)."""
        size = self._known(self._size if size is None else size)
        if not 0 <= index < size:
            raise ValueError(f"expected an index below {size}, got {index}")
        path: list[bytes] = []
        start, stop = 0, size
        while stop - start > 1:
            middle = start + _split(stop - start)
            if index < middle:
                path.append(self._hash(middle, stop))
                stop = middle
            else:
                path.append(self._hash(start, middle))
                start = middle
        return path[::-1]

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Prove that the tree of ``old`` leaves is a prefix of that of ``new`` (RFC 6962, 2.1.2)."""
        new = self._known(self._size if new is None else new)
        if not 0 <= old <= new:
            raise ValueError(f"expected an old size of at most {new}, got {old}")
        if old in (0, new):
            return []
        path: list[bytes] = []
        start, stop, complete = 0, new, True
        while stop != old:
            middle = start + _split(stop - start)
            if old <= middle:
                path.append(self._hash(middle, stop))
                stop = middle
            else:
                path.append(self._hash(start, middle))
                start, complete = middle, False
        if not complete:
            path.append(self._hash(start, stop))
        return path[::-1]

    def _known(self, size: int) -> int:
        if not 0 <= size <= self._size:
            raise ValueError(f"expected a size of at most {self._size}, got {size}")
        return size

    def _node(self, height: int, number: int) -> bytes:
        """Root of the complete subtree ``number`` of ``2**height`` leaves."""
        if height >= _TILE_HEIGHT:
            return self._levels[height][number]
        forgotten = self._base >> height
        if number >= forgotten:
            return self._levels[height][number - forgotten]
        tile = number << height >> _TILE_HEIGHT
        return self._tile(tile)._levels[height][number - (tile << _TILE_HEIGHT >> height)]

    def _tile(self, number: int) -> Tree:
        found = self._tiles.get(number)
        if found is None:
            read = self._leaves(number * _TILE, (number + 1) * _TILE) if self._leaves else ()
            found = Tree(read)
            if len(found) != _TILE or found.root() != self._levels[_TILE_HEIGHT][number]:
                raise StoreCorrupt(
                    f"the leaf hashes of tile {number} are not those that the tree was built of"
                )
            if len(self._tiles) >= _KEPT_TILES:
                self._tiles.clear()
            self._tiles[number] = found
        return found

    def _hash(self, start: int, stop: int) -> bytes:
        """Hash of leaves ``start`` to ``stop``, where ``start`` is aligned as in the definition."""
        count = stop - start
        if count & (count - 1) == 0:
            height = count.bit_length() - 1
            return self._node(height, start >> height)
        middle = start + _split(count)
        return node_hash(self._hash(start, middle), self._hash(middle, stop))


def _split(count: int) -> int:
    """Return the largest power of two smaller than ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def verify_inclusion(root: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> None:
    """Check that ``leaf`` is the leaf hash at ``index`` of the tree ``(size, root)``.

    RFC 9162, section 2.1.3.2; variable names follow the RFC.

    Raises:
        InvalidInclusionProof: the path does not lead to ``root``.
    """
    if not 0 <= index < size:
        raise InvalidInclusionProof(f"index {index} is outside a tree of {size}")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            raise InvalidInclusionProof("the path is longer than the tree is high")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or r != root:
        raise InvalidInclusionProof("the path does not lead to the root")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the tree ``(old_size, old_root)`` is a prefix of ``(new_size, new_root)``.

    RFC 9162, section 2.1.4.2; variable names follow the RFC.

    Raises:
        InvalidConsistencyProof: the proof does not show it.
    """
    if not 0 <= old_size <= new_size:
        raise InvalidConsistencyProof(f"size {old_size} is not a prefix of size {new_size}")
    if old_size in (0, new_size):
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if path or old_root != expected:
            raise InvalidConsistencyProof("the roots of an empty or equal prefix do not match")
        return
    if not path:
        raise InvalidConsistencyProof("the proof is empty")
    nodes = list(path)
    if old_size & (old_size - 1) == 0:
        nodes.insert(0, old_root)
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = nodes[0]
    for c in nodes[1:]:
        if sn == 0:
            raise InvalidConsistencyProof("the proof is longer than the tree is high")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or fr != old_root or sr != new_root:
        raise InvalidConsistencyProof("the proof does not connect the two roots")
