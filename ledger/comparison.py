"""Comparing a log, as it is served now, with one's own copy of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ledger.checkpoints import open_checkpoint
from ledger.errors import LedgerError
from ledger.merkle import Tree, leaf_hash
from ledger.notes import Vkey
from ledger.source import LogSource
from ledger.tiles import TILE_WIDTH, decode_entries

__all__ = ["Difference", "compare"]

_NOTHING = "nothing"


@dataclass(frozen=True)
class Difference:
    """Where the log shows something else than one's own copy."""

    where: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.actual}"


def compare(source: LogSource, log: Vkey, tree: Tree) -> list[Difference]:
    """Fetch the whole log and compare it with a tree.

    Args:
        source: where the log is served.
        log: its key.
        tree: the own copy's leaf hashes.

    Returns:
        Every difference below the tree's size.
    """
    checkpoint, _ = open_checkpoint(source.checkpoint(), log)
    differences: list[Difference] = []
    if checkpoint.size <= len(tree) and checkpoint.root != tree.root(checkpoint.size):
        root = tree.root(checkpoint.size).hex()
        where = f"checkpoint at size {checkpoint.size}"
        differences.append(Difference(where, f"root {root}", checkpoint.root.hex()))
    for start in range(0, len(tree), TILE_WIDTH):
        width = min(TILE_WIDTH, len(tree) - start)
        try:
            found = decode_entries(source.entry_bundle(start // TILE_WIDTH, width))
        except LedgerError as exc:
            where = f"entries {start} to {start + width - 1}"
            differences.append(Difference(where, "to be served", str(exc)))
            continue
        differences += _differing(start, tree.nodes(0, start, width), found)
    return differences


def _differing(start: int, leaves: Sequence[bytes], found: Sequence[bytes]) -> Iterator[Difference]:
    for position in range(max(len(leaves), len(found))):
        actual = leaf_hash(found[position]).hex() if position < len(found) else _NOTHING
        expected = leaves[position].hex() if position < len(leaves) else _NOTHING
        if actual != expected:
            yield Difference(f"entry {start + position}", f"leaf hash {expected}", actual)
