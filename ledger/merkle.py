"""The Merkle tree of RFC 6962, section 2.1 (the same as RFC 9162, section 2.1), with SHA-256.

Pure functions for hashing and for checking proofs, and an append-only ``Tree`` that keeps every complete
subtree so that roots and proofs of any earlier size cost a logarithmic number of hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from ledger.errors import InvalidConsistencyProof, InvalidInclusionProof

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
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


class Tree:
    """An append-only tree of leaf hashes. Not thread-safe: the owner holds a lock."""

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaf_hashes:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """Append a leaf hash and return its index."""
        if len(leaf) != HASH_SIZE:
            raise ValueError(f"expected a leaf hash of {HASH_SIZE} bytes, got {len(leaf)}")
        index = len(self)
        node, height, position = leaf, 0, index
        self._levels[0].append(node)
        while position % 2:
            node = node_hash(self._levels[height][position - 1], node)
            height, position = height + 1, position // 2
            if height == len(self._levels):
                self._levels.append([])
            self._levels[height].append(node)
        return index

    def truncate(self, size: int) -> None:
        """Forget all leaves from index ``size`` on."""
        self._known(size)
        for height, level in enumerate(self._levels):
            del level[size >> height :]

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first ``size`` leaves; of all by default."""
        size = self._known(len(self) if size is None else size)
        return self._hash(0, size) if size else EMPTY_ROOT

    def leaf(self, index: int) -> bytes:
        """Return the leaf hash at ``index``."""
        return self._levels[0][index]

    def nodes(self, height: int, start: int, count: int) -> list[bytes]:
        """Return ``count`` roots of complete subtrees of ``2**height`` leaves, from number ``start``."""
        found = self._levels[height][start : start + count] if height < len(self._levels) else []
        if len(found) != count:
            raise ValueError(f"expected {count} nodes at height {height}, the tree has {len(found)}")
        return found

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the audit path of leaf ``index`` in the tree of ``size`` leaves (RFC 6962, 2.1.1)."""
        size = self._known(len(self) if size is None else size)
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
        new = self._known(len(self) if new is None else new)
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
        if not 0 <= size <= len(self):
            raise ValueError(f"expected a size of at most {len(self)}, got {size}")
        return size

    def _hash(self, start: int, stop: int) -> bytes:
        """Hash of leaves ``start`` to ``stop``, where ``start`` is aligned as in the definition."""
        count = stop - start
        if count & (count - 1) == 0:
            height = count.bit_length() - 1
            return self._levels[height][start >> height]
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
