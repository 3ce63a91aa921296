"""Subtree consistency proofs against hashing every subtree by hand."""

import hashlib

import pytest

from ledger.errors import InvalidConsistencyProof
from ledger.merkle import Tree, leaf_hash, node_hash, root_of
from ledger.subtrees import is_subtree, subtree_proof, verify_subtree

LEAVES = [leaf_hash(bytes([index])) for index in range(40)]


def hash_of(start: int, end: int) -> bytes:
    return root_of(LEAVES[start:end])


def every_subtree(size: int) -> list[tuple[int, int]]:
    return [
        (start, end) for start in range(size) for end in range(start + 1, size + 1) if is_subtree(start, end)
    ]


def test_alignment() -> None:
    assert [(start, end) for start, end in every_subtree(5)] == [
        (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2), (2, 3), (2, 4), (3, 4), (4, 5),
    ]  # fmt: skip
    assert not is_subtree(4, 4)
    assert not is_subtree(-1, 1)


@pytest.mark.parametrize("size", range(1, 41))
def test_every_subtree_of_every_small_tree(size: int) -> None:
    root = hash_of(0, size)
    for start, end in every_subtree(size):
        path = subtree_proof(start, end, size, hash_of)
        subtree = hash_of(start, end)
        verify_subtree(start, end, subtree, size, root, path)
        for wrong in {tuple(path[1:]), tuple(path[:-1]), (*path, bytes(32)), (bytes(32), *path)} - {
            tuple(path)
        }:
            with pytest.raises(InvalidConsistencyProof):
                verify_subtree(start, end, subtree, size, root, wrong)
        for position in range(len(path)):
            flipped = [*path]
            flipped[position] = hashlib.sha256(flipped[position]).digest()
            with pytest.raises(InvalidConsistencyProof):
                verify_subtree(start, end, subtree, size, root, flipped)
        for claimed, whole in ((bytes(32), root), (subtree, bytes(32))):
            with pytest.raises(InvalidConsistencyProof):
                verify_subtree(start, end, claimed, size, whole, path)


def test_a_subtree_from_the_start_has_the_trees_own_consistency_proof() -> None:
    tree = Tree(LEAVES)
    for size in range(1, 41):
        for end in range(1, size + 1):
            assert subtree_proof(0, end, size, hash_of) == tree.consistency_proof(end, size)


def test_another_place_is_refused() -> None:
    path = subtree_proof(8, 12, 20, hash_of)
    for start, end, size in [(4, 8, 20), (12, 16, 20), (8, 12, 16), (8, 12, 40), (8, 11, 20)]:
        with pytest.raises(InvalidConsistencyProof):
            verify_subtree(start, end, hash_of(8, 12), size, hash_of(0, 20), path)


def test_an_incomplete_subtree_needs_a_proof() -> None:
    with pytest.raises(InvalidConsistencyProof, match="empty"):
        verify_subtree(0, 3, hash_of(0, 3), 8, hash_of(0, 8), [])


def test_what_is_no_subtree_is_refused() -> None:
    for start, end, size in [(1, 3, 8), (0, 0, 8), (0, 9, 8), (6, 9, 8)]:
        with pytest.raises(InvalidConsistencyProof, match="no subtree"):
            verify_subtree(start, end, bytes(32), size, bytes(32), [])
        with pytest.raises(ValueError, match="expected a subtree"):
            subtree_proof(start, end, size, hash_of)


def test_by_hand() -> None:
    """Leaves 2 and 3 in a tree of five: up to the node over 0 to 3, then to the root."""
    right = node_hash(LEAVES[2], LEAVES[3])
    left = node_hash(LEAVES[0], LEAVES[1])
    root = node_hash(node_hash(left, right), LEAVES[4])
    verify_subtree(2, 4, right, 5, root, [left, LEAVES[4]])
    assert subtree_proof(2, 4, 5, hash_of) == [left, LEAVES[4]]
