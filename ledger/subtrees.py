"""Subtrees of a log's tree and their consistency proofs (draft-ietf-plants-merkle-tree-certs, section 4).

A subtree covers the leaves ``start`` to ``end`` (exclusive), where ``start`` is a multiple of the smallest
power of two that is not below ``end - start``. Its root is the Merkle tree hash of those leaves alone. The
proof shows that the tree of ``size`` leaves with a given root contains exactly them there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ledger.errors import InvalidConsistencyProof
from ledger.merkle import node_hash

__all__ = ["HashOf", "is_subtree", "subtree_proof", "verify_subtree"]

HashOf = Callable[[int, int], bytes]
"""Merkle tree hash of the leaves from the first number up to the second. Asked for nodes of the tree only."""


def is_subtree(start: int, end: int) -> bool:
    """Tell whether ``[start, end)`` is aligned as a subtree."""
    return 0 <= start < end and start % (1 << (end - start - 1).bit_length()) == 0


def subtree_proof(start: int, end: int, size: int, hash_of: HashOf) -> list[bytes]:
    """Prove that the tree of ``size`` leaves contains the subtree ``[start, end)`` (section 4.4.1).

    Raises:
        ValueError: no subtree of a tree of that size.
    """
    if not is_subtree(start, end) or end > size:
        raise ValueError(f"expected a subtree within {size} leaves, got {start} to {end}")
    path: list[bytes] = []
    low, high, complete = 0, size, True
    while (start, end) != (low, high):
        middle = low + (1 << ((high - low - 1).bit_length() - 1))
        if end <= middle:
            path.append(hash_of(middle, high))
            high = middle
        else:
            path.append(hash_of(low, middle))
            # a subtree that spans the middle starts at low; what is left to prove is its right part
            complete = complete and start >= middle
            low, start = middle, max(start, middle)
    if not complete:
        path.append(hash_of(low, high))
    return path[::-1]


def verify_subtree(
    start: int, end: int, subtree_root: bytes, size: int, root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the tree ``(size, root)`` contains the subtree ``[start, end)`` with ``subtree_root``.

    Section 4.4.3; variable names follow the draft.

    Raises:
        InvalidConsistencyProof: the proof does not show it.
    """
    if not is_subtree(start, end) or end > size:
        raise InvalidConsistencyProof(f"leaves {start} to {end} are no subtree of a tree of {size}")
    fn, sn, tn = start, end - 1, size - 1
    while fn != sn and (sn == tn or sn & 1):
        fn, sn, tn = fn >> 1, sn >> 1, tn >> 1
    nodes = list(path)
    if fn != sn:
        if not nodes:
            raise InvalidConsistencyProof("the proof is empty")
        fr = sr = nodes.pop(0)
    else:
        fr = sr = subtree_root
    for c in nodes:
        if tn == 0:
            raise InvalidConsistencyProof("the proof is longer than the tree is high")
        if sn & 1 or sn == tn:
            if fn < sn:
                fr = node_hash(c, fr)
            sr = node_hash(c, sr)
            while not sn & 1:
                fn, sn, tn = fn >> 1, sn >> 1, tn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn, tn = fn >> 1, sn >> 1, tn >> 1
    if tn != 0 or fr != subtree_root or sr != root:
        raise InvalidConsistencyProof("the proof does not connect the subtree with the root")
