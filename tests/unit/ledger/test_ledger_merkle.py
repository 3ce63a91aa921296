"""Merkle trees and proofs, by brute force against the definition of RFC 6962."""

import hashlib

import pytest

from ledger import merkle
from ledger.errors import InvalidConsistencyProof, InvalidInclusionProof

SIZE = 64
LEAVES = [merkle.leaf_hash(bytes([i])) for i in range(SIZE)]


@pytest.fixture(scope="module")
def tree() -> merkle.Tree:
    return merkle.Tree(LEAVES)


def defined_root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def test_roots_follow_the_definition(tree: merkle.Tree) -> None:
    for size in range(SIZE + 1):
        assert tree.root(size) == defined_root(LEAVES[:size]) == merkle.root_of(LEAVES[:size])


def test_every_inclusion_proof_verifies_and_no_other_leaf_does(tree: merkle.Tree) -> None:
    for size in range(1, SIZE + 1):
        root = tree.root(size)
        for index in range(size):
            path = tree.inclusion_proof(index, size)
            merkle.verify_inclusion(root, size, index, LEAVES[index], path)
            for wrong in ((index + 1) % size, size):
                if wrong != index:
                    with pytest.raises(InvalidInclusionProof):
                        merkle.verify_inclusion(root, size, wrong, LEAVES[index], path)


def test_every_consistency_proof_verifies(tree: merkle.Tree) -> None:
    for new in range(SIZE + 1):
        for old in range(new + 1):
            path = tree.consistency_proof(old, new)
            merkle.verify_consistency(old, tree.root(old), new, tree.root(new), path)


def test_damaged_inclusion_proofs_are_refused(tree: merkle.Tree) -> None:
    for size in (1, 2, 3, 7, 33, 64):
        root = tree.root(size)
        for index in range(size):
            path = tree.inclusion_proof(index, size)
            damaged = [[*path, path[0] if path else root], path[:-1]] if path else [[root]]
            damaged += [[*path[:i], bytes(32), *path[i + 1 :]] for i in range(len(path))] + [path[::-1]] * (
                len(path) > 1
            )
            for bad in damaged:
                with pytest.raises(InvalidInclusionProof):
                    merkle.verify_inclusion(root, size, index, LEAVES[index], bad)


def test_damaged_consistency_proofs_are_refused(tree: merkle.Tree) -> None:
    for new in (2, 3, 8, 21, 64):
        for old in range(new):
            path = tree.consistency_proof(old, new)
            damaged = [[*path, bytes(32)]] + [path[:i] + path[i + 1 :] for i in range(len(path))]
            damaged += [[*path[:i], bytes(32), *path[i + 1 :]] for i in range(len(path))]
            for bad in damaged:
                with pytest.raises(InvalidConsistencyProof):
                    merkle.verify_consistency(old, tree.root(old), new, tree.root(new), bad)
            with pytest.raises(InvalidConsistencyProof):
                merkle.verify_consistency(old, bytes(32), new, tree.root(new), path)
            with pytest.raises(InvalidConsistencyProof):
                merkle.verify_consistency(new, tree.root(new), old, tree.root(old), path)


def test_equal_sizes_need_equal_roots(tree: merkle.Tree) -> None:
    with pytest.raises(InvalidConsistencyProof):
        merkle.verify_consistency(5, tree.root(5), 5, tree.root(6), [])


def test_nodes_are_the_hashes_of_tiles(tree: merkle.Tree) -> None:
    assert tree.nodes(0, 3, 2) == LEAVES[3:5]
    assert tree.nodes(3, 1, 1) == [defined_root(LEAVES[8:16])]
    with pytest.raises(ValueError, match="expected 2 nodes"):
        tree.nodes(5, 1, 2)
    with pytest.raises(ValueError, match="expected 1 nodes"):
        tree.nodes(9, 0, 1)


@pytest.mark.parametrize("index", [-1, 8])
def test_a_proof_outside_the_tree_does_not_exist(tree: merkle.Tree, index: int) -> None:
    with pytest.raises(ValueError, match="expected an index"):
        tree.inclusion_proof(index, 8)
    with pytest.raises(InvalidInclusionProof):
        merkle.verify_inclusion(tree.root(8), 8, index, LEAVES[0], [])


def test_sizes_beyond_the_tree_are_refused(tree: merkle.Tree) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        tree.root(SIZE + 1)
    with pytest.raises(ValueError, match="expected an old size"):
        tree.consistency_proof(9, 8)
    with pytest.raises(ValueError, match="leaf hash of 32 bytes"):
        merkle.Tree([b"short"])
