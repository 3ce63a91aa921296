"""What a log shows its readers: checkpoints, tiles of hashes, bundles of entries (C2SP tlog-tiles).

Members that follow a log closely ask for its end again and again, so entries stay in memory until they are
final, if they are not too many. Everything older comes from the store. Thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from ledger import notes
from ledger.batches import Head
from ledger.checkpoints import Checkpoint
from ledger.errors import NotPublished, StoreCorrupt
from ledger.keys import SigningKey
from ledger.membership import Network
from ledger.merkle import Tree
from ledger.notes import Note
from ledger.store import LedgerStore
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, encode_entries

__all__ = ["Publisher", "signed_checkpoint"]

_RECENT_ENTRIES = 4096
_RECENT_NOTES = 256


class Publisher:
    """The public side of one log.

    Args:
        store: holds everything published.
        tree: over the entries published so far.
    """

    def __init__(self, store: LedgerStore, tree: Tree) -> None:
        self._store, self._tree = store, tree
        self._lock = threading.Lock()
        self._first, self._raws = len(tree), list[bytes]()
        self._notes: OrderedDict[int, Note] = OrderedDict()

    @property
    def tree(self) -> Tree:
        """The tree over the entries published so far; nobody changes it."""
        return self._tree

    def publish(self, tree: Tree, raws: Sequence[bytes]) -> None:
        """Show a batch, which is in the store: its entries, and the tree that ends with them."""
        with self._lock:
            self._tree = tree
            self._raws += raws
            if len(self._raws) > 2 * _RECENT_ENTRIES:
                self._forget(len(self._raws) - _RECENT_ENTRIES)

    def settle(self, final_size: int) -> None:
        """Leave the entries below ``final_size`` to the store."""
        with self._lock:
            self._forget(final_size - self._first)

    def _forget(self, count: int) -> None:
        if count > 0:
            self._first += min(count, len(self._raws))
            self._raws = self._raws[count:]

    def note(self, size: int) -> Note:
        """Return the log's checkpoint of one size, without cosignatures.

        Raises:
            NotPublished: no batch ends there.
        """
        with self._lock:
            found = self._notes.get(size)
        if found is not None:
            return found
        raw = self._store.checkpoint(size)
        if raw is None:
            raise NotPublished(f"there is no checkpoint of size {size}")
        note = Note.parse(raw)
        with self._lock:
            self._notes[size] = note
            if len(self._notes) > _RECENT_NOTES:
                self._notes.popitem(last=False)
        return note

    def entry_bundle(self, number: int, width: int) -> bytes:
        """Return ``width`` entries from index ``256 * number`` on, as an entry bundle.

        Raises:
            NotPublished: they are not all published.
        """
        _check_range(self._tree, number, width, height=0)
        start = number * TILE_WIDTH
        with self._lock:
            first, raws = self._first, self._raws
            recent = raws[start - first : start - first + width] if start >= first else None
        return encode_entries(recent if recent is not None else self._store.raws(start, start + width))

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Return ``width`` hashes of a tile.

        Raises:
            NotPublished: they are not all published.
        """
        if not 0 <= level < TILE_HEIGHT:
            raise NotPublished(f"expected a level below {TILE_HEIGHT}")
        tree, height = self._tree, level * TILE_HEIGHT
        _check_range(tree, number, width, height=height)
        return b"".join(tree.nodes(height, number * TILE_WIDTH, width))


def _check_range(tree: Tree, number: int, width: int, *, height: int) -> None:
    if number < 0 or not 1 <= width <= TILE_WIDTH:
        raise NotPublished(f"expected a tile number and a width of 1 to {TILE_WIDTH}")
    if (number * TILE_WIDTH + width) << height > len(tree):
        raise NotPublished(f"expected at most {len(tree)} entries")


def signed_checkpoint(head: Head, root: bytes, key: SigningKey) -> Note:
    """Sign the checkpoint of a log that stands at ``head``, as the log.

    Raises:
        StoreCorrupt: there is no network in the state.
    """
    network = Network.of(head.state)
    if network is None:
        raise StoreCorrupt("expected a network in the state, found none")
    text = Checkpoint(network.origin, head.size, root).encode()
    return Note(text, (notes.sign(text, network.origin, key),))
