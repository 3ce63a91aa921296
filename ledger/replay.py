"""Loading a log from its store: everything is recomputed, nothing stored is believed.

The same function serves start-up, recovery after a failed commit, and a member's own copy.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ledger.batches import EMPTY_HEAD, Head, verify_batch
from ledger.checkpoints import open_checkpoint
from ledger.entries import Entry
from ledger.errors import InvalidBatch, LedgerError, MalformedEntry, StoreCorrupt
from ledger.membership import Electorates, Network
from ledger.merkle import Tree, leaf_hash
from ledger.notes import Vkey
from ledger.state import SEAL
from ledger.store import LedgerStore, Record
from ledger.tables import State

__all__ = ["Loaded", "load"]

_KEPT_STATES = 1024
"""Batches a log may be ahead of its last final checkpoint and still tell the final state when restarted."""


@dataclass(frozen=True)
class Loaded:
    """A log as recomputed from its entries. ``states`` are the latest ones, with the sizes they stand at."""

    head: Head
    tree: Tree
    electorates: Electorates
    genesis: bytes
    states: tuple[tuple[int, State], ...]


def load(store: LedgerStore) -> Loaded:
    """Replay all entries and compare with seals, columns, head and checkpoints.

    Returns:
        The log; with size 0 if the store is empty.

    Raises:
        StoreCorrupt: a row differs from what the entries make it. The message names index, table and column.
    """
    head, tree, electorates = EMPTY_HEAD, Tree(), Electorates()
    states = deque([(0, State())], maxlen=_KEPT_STATES)
    pending: list[Record] = []
    entries: list[Entry] = []
    genesis = b""
    for page in store.pages():
        for record in page:
            entries.append(_check_columns(record, len(tree)))
            pending.append(record)
            tree.append(record.leaf)
            genesis = genesis or record.raw
            if record.type == SEAL:
                head = _replay_batch(head, pending, entries)
                electorates.record(head.state, head.size)
                states.append((head.size, head.state))
                pending, entries = [], []
    if pending:
        raise StoreCorrupt(f"ledger_entries index {pending[0].index}: expected a seal after it, found none")
    _check_head(store, tree)
    network = Network.of(head.state)
    _check_checkpoints(store, tree, None if network is None else network.log)
    return Loaded(head, tree, electorates, genesis, tuple(states))


def _check_columns(record: Record, index: int) -> Entry:
    where = f"ledger_entries index {index}"
    if record.index != index:
        raise StoreCorrupt(f"{where}: expected this entry, found index {record.index}")
    if leaf_hash(record.raw) != record.leaf:
        raise StoreCorrupt(f"{where}: raw and leaf: the bytes do not have the stored leaf hash")
    try:
        entry = record.entry
    except MalformedEntry as exc:
        raise StoreCorrupt(f"{where}: raw: {exc}") from exc
    for name in ("txid", "type", "actor"):
        if getattr(record, name) != getattr(entry, name):
            raise StoreCorrupt(f"{where}: {name}: it is not the entry's")
    return entry


def _replay_batch(head: Head, records: list[Record], entries: list[Entry]) -> Head:
    try:
        batch = verify_batch(head, entries, now=None, seen=lambda _: frozenset())
    except InvalidBatch as exc:
        raise StoreCorrupt(f"ledger_entries index {exc.index}: {exc}") from exc
    for record, code in zip(records, [*batch.codes, None], strict=True):
        if record.code != code:
            raise StoreCorrupt(
                f"ledger_entries index {record.index}: code: expected {code}, found {record.code}"
            )
    return batch.head


def _check_head(store: LedgerStore, tree: Tree) -> None:
    head = store.head()
    found = (head.size, head.root) if head else (0, tree.root(0).hex())
    expected = (len(tree), tree.root().hex())
    if found != expected:
        raise StoreCorrupt(f"ledger_heads: expected size and root {expected}, found {found}")


def _check_checkpoints(store: LedgerStore, tree: Tree, log: Vkey | None) -> None:
    for size, raw in store.checkpoints().items():
        where = f"ledger_checkpoints size {size}"
        if log is None or size > len(tree):
            raise StoreCorrupt(f"{where}: expected at most size {len(tree)}")
        try:
            checkpoint, _ = open_checkpoint(raw, log)
        except LedgerError as exc:
            raise StoreCorrupt(f"{where}: note: {exc}") from exc
        if (checkpoint.size, checkpoint.root) != (size, tree.root(size)):
            raise StoreCorrupt(f"{where}: note: expected the root of the entries below it")
