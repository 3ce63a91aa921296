"""The public RFC 6962 vectors."""

import json
from pathlib import Path

from ledger import merkle

VECTORS = json.loads((Path(__file__).parent / "rfc6962.json").read_text())


def test_roots_equal_the_published_ones() -> None:
    tree = merkle.Tree()
    assert tree.root().hex() == VECTORS["empty_root"]
    for leaf, root in zip(VECTORS["leaves"], VECTORS["roots"], strict=True):
        tree.append(merkle.leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == root
    assert [tree.root(size).hex() for size in range(1, 9)] == VECTORS["roots"]


def test_the_level_wise_root_is_the_same_tree() -> None:
    leaves = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
    assert merkle.root_of([]).hex() == VECTORS["empty_root"]
    assert [merkle.root_of(leaves[:size]).hex() for size in range(1, 9)] == VECTORS["roots"]
