"""Loading a log from its store: everything is recomputed, nothing stored is believed.

The bytes of every entry are hashed and have to lead to the stored head's root and to every checkpoint. The
state is recomputed from the entries after the snapshot; the snapshot's own rows have to have the root that
the seal at its size states. So a start costs a hash for each entry and an execution for the last of them.
``ledger.fsck`` executes everything from the genesis on.

The same function serves start-up, recovery after a failed commit, and a member's own copy.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ledger.batches import Head, read_seal, verify_batch
from ledger.checkpoints import Checkpoint, open_checkpoint
from ledger.entries import Entry
from ledger.errors import InvalidBatch, LedgerError, MalformedEntry, StoreCorrupt
from ledger.membership import Electorates, Network
from ledger.merkle import Tree, leaf_hash
from ledger.notes import Note
from ledger.state import EPOCH, SEAL
from ledger.store import LedgerStore, Record, Snapshot
from ledger.tables import State
from ledger.times import parse_time
from ledger.verification import Verifier

__all__ = ["Loaded", "load"]

_KEPT_STATES = 1024
"""Batches a log may be ahead of its last final checkpoint and still tell the final state when restarted."""


@dataclass(frozen=True)
class Loaded:
    """A log as recomputed from its entries. ``states`` are the latest ones, with the sizes they stand at.

    ``carried`` is what the log of the epoch before left to it.
    """

    head: Head
    tree: Tree
    electorates: Electorates
    genesis: bytes
    states: tuple[tuple[int, State], ...]
    snapshot: Snapshot | None
    carried: State


def load(store: LedgerStore, verifier: Verifier | None = None) -> Loaded:
    """Recompute the log and compare it with seals, columns, head, checkpoints and snapshot.

    Returns:
        The log; with size 0 if the store is empty.

    Raises:
        StoreCorrupt: a row differs from what the entries make it. The message names index, table and column.
    """
    verifier = verifier or Verifier()
    snapshot, checkpoints, carried = store.snapshot(), _Checkpoints(store), store.carried()
    _check_carried(store, carried)
    tree = _hashed(store, snapshot.size if snapshot else 0, checkpoints)
    head = _resume(store, snapshot, tree) if snapshot else Head.empty(carried)
    electorates = Electorates()
    if snapshot:
        electorates.record(snapshot.state, snapshot.size)
    states = deque([(head.size, head.state)], maxlen=_KEPT_STATES)
    pending: list[tuple[Record, Entry]] = []
    for page in store.pages(after=len(tree) - 1):
        entries = [_check_columns(record, page[0].index + i) for i, record in enumerate(page)]
        verifier.mark(head.state, entries)
        for record, entry in zip(page, entries, strict=True):
            if record.index != len(tree):
                raise StoreCorrupt(f"ledger_entries index {len(tree)}: expected this entry, found another")
            pending.append((record, entry))
            tree.append(record.leaf)
            if record.type == SEAL:
                head = _replay_batch(head, pending)
                electorates.record(head.state, head.size)
                states.append((head.size, head.state))
                checkpoints.compare(tree, Network.of(head.state))
                pending = []
    if pending:
        raise StoreCorrupt(
            f"ledger_entries index {pending[0][0].index}: expected a seal after it, found none"
        )
    _check_head(store, tree)
    checkpoints.expect_none()
    genesis = store.raws(0, 1)
    return Loaded(head, tree, electorates, genesis[0] if genesis else b"", tuple(states), snapshot, carried)


def _check_carried(store: LedgerStore, carried: State) -> None:
    """Compare the carried state with the root that entry 0 states. With a snapshot nothing else reads it."""
    raw = store.raws(0, 1)
    try:
        first = Entry.parse(raw[0])
        stated = first.body["previous"]["state"] if first.type == EPOCH else State().root().hex()
    except (IndexError, KeyError, TypeError, MalformedEntry):
        return  # a log that has not begun, or one whose first entry the replay names
    if stated != (found := carried.root().hex()):
        raise StoreCorrupt(f"ledger_carried: expected the state root {stated}, found {found}")


class _Checkpoints:
    """The stored checkpoints in order, compared with the tree while it grows."""

    def __init__(self, store: LedgerStore) -> None:
        self._rows = store.checkpoints()
        self._next = next(self._rows, None)

    def compare(self, tree: Tree, network: Network | None = None) -> None:
        """Compare the checkpoint of the tree's size, if there is one.

        Its signature is checked if ``network`` is given.

        Raises:
            StoreCorrupt: it shows another root or size, or is not the log's; or one was passed by.
        """
        if self._next is None or self._next[0] > len(tree):
            return
        (size, raw), self._next = self._next, next(self._rows, None)
        where = f"ledger_checkpoints size {size}"
        try:
            if network is None:
                checkpoint = Checkpoint.parse(Note.parse(raw).text)
            else:
                checkpoint, _ = open_checkpoint(raw, network.log)
        except LedgerError as exc:
            raise StoreCorrupt(f"{where}: note: {exc}") from exc
        if size != len(tree):
            raise StoreCorrupt(f"{where}: size: expected the end of a batch")
        if (checkpoint.size, checkpoint.root) != (size, tree.root()):
            raise StoreCorrupt(f"{where}: note: expected the root of the entries below it")

    def expect_none(self) -> None:
        """Check that no checkpoint is left.

        Raises:
            StoreCorrupt: there is one beyond the last entry.
        """
        if self._next is not None:
            raise StoreCorrupt(
                f"ledger_checkpoints size {self._next[0]}: expected no larger size than the log's"
            )


def _hashed(store: LedgerStore, stop: int, checkpoints: _Checkpoints) -> Tree:
    """The tree over the bytes of the first ``stop`` entries."""
    tree = Tree(leaves=store.leaves)
    for index, raw, leaf in store.stored_bytes(stop):
        if index != len(tree):
            raise StoreCorrupt(f"ledger_entries index {len(tree)}: expected this entry, found index {index}")
        if leaf_hash(raw) != leaf:
            raise StoreCorrupt(
                f"ledger_entries index {index}: raw and leaf: the bytes do not have the stored leaf hash"
            )
        tree.append(leaf)
        checkpoints.compare(tree)
    if len(tree) != stop:
        raise StoreCorrupt(f"ledger_entries: expected the {stop} entries of the snapshot, found {len(tree)}")
    return tree


def _resume(store: LedgerStore, snapshot: Snapshot, tree: Tree) -> Head:
    """Where the log stood at the snapshot: as the seal there says, if its state is the snapshot's."""
    index = snapshot.size - 1
    where = f"ledger_snapshots size {snapshot.size}"
    raw = store.raws(index, index + 1)
    try:
        seal = Entry.parse(raw[0])
        body = read_seal(seal, index)
    except (IndexError, MalformedEntry, InvalidBatch) as exc:
        raise StoreCorrupt(f"{where}: expected a seal before it") from exc
    root = snapshot.state.root().hex()
    if seal.type != SEAL or body["state"] != root:
        raise StoreCorrupt(f"ledger_state: expected the state root {body['state']} of the seal, found {root}")
    time = parse_time(body["time"])
    return Head(snapshot.state, snapshot.size, body["height"] + 1, tree.leaf(index).hex(), time)


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


def _replay_batch(head: Head, sealed: list[tuple[Record, Entry]]) -> Head:
    try:
        batch = verify_batch(head, [entry for _, entry in sealed], now=None, seen=lambda _: frozenset())
    except InvalidBatch as exc:
        raise StoreCorrupt(f"ledger_entries index {exc.index}: {exc}") from exc
    for (record, _), code in zip(sealed, [*batch.codes, None], strict=True):
        where = f"ledger_entries index {record.index}"
        if record.time != batch.time:
            raise StoreCorrupt(f"{where}: time: expected {batch.time}, found {record.time}")
        if record.code != code:
            raise StoreCorrupt(f"{where}: code: expected {code}, found {record.code}")
    return batch.head


def _check_head(store: LedgerStore, tree: Tree) -> None:
    head = store.head()
    found = (head.size, head.root) if head else (0, tree.root(0).hex())
    expected = (len(tree), tree.root().hex())
    if found != expected:
        raise StoreCorrupt(f"ledger_heads: expected size and root {expected}, found {found}")
