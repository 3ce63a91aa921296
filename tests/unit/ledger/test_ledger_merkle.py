"""Merkle trees and proofs, by brute force against the definition of RFC 6962."""

import hashlib

import pytest

from ledger import merkle
from ledger.errors import InvalidConsistencyProof, InvalidInclusionProof, StoreCorrupt

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


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700, 1024])
def test_a_tree_that_reads_leaves_back_is_the_same_tree(size: int) -> None:
    leaves = [merkle.leaf_hash(str(number).encode()) for number in range(size)]
    whole = merkle.Tree(leaves)
    lean = merkle.Tree(leaves, leaves=lambda start, stop: leaves[start:stop])
    assert sum(len(level) for level in lean._levels[:8]) < 512
    assert (len(lean), lean.root()) == (size, whole.root())
    for prefix in {1, 2, 3, 250, 256, 300, 511, 512, 513, size} & set(range(1, size + 1)):
        assert lean.root(prefix) == whole.root(prefix)
        assert lean.consistency_proof(prefix) == whole.consistency_proof(prefix)
        for index in {0, prefix // 2, prefix - 1}:
            assert lean.inclusion_proof(index, prefix) == whole.inclusion_proof(index, prefix)
            assert lean.leaf(index) == leaves[index]
    for height in range(11):
        count = size >> height
        assert lean.nodes(height, 0, count) == whole.nodes(height, 0, count)
        with pytest.raises(ValueError, match="nodes at height"):
            lean.nodes(height, 0, count + 1)


def test_a_copy_grows_apart() -> None:
    leaves = [merkle.leaf_hash(str(number).encode()) for number in range(600)]
    tree = merkle.Tree(leaves[:500], leaves=lambda start, stop: leaves[start:stop])
    root = tree.root()
    twin = tree.copy()
    twin.extend(leaves[500:])
    assert (len(tree), tree.root()) == (500, root)
    assert twin.root() == merkle.Tree(leaves).root()


def test_leaves_that_were_altered_meanwhile_are_not_proved() -> None:
    leaves = [merkle.leaf_hash(str(number).encode()) for number in range(600)]
    tree = merkle.Tree(leaves, leaves=lambda start, stop: [bytes(32), *leaves[start + 1 : stop]])
    with pytest.raises(StoreCorrupt, match="tile 0"):
        tree.inclusion_proof(3)


def test_many_tiles_read_back_do_not_stay() -> None:
    leaves = [merkle.leaf_hash(str(number).encode()) for number in range(256 * 70)]
    tree = merkle.Tree(leaves, leaves=lambda start, stop: leaves[start:stop])
    for tile in range(70):
        assert tree.leaf(256 * tile) == leaves[256 * tile]
    assert len(tree._tiles) <= 64
