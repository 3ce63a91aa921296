"""The whole log in a bundle: all entries under the checkpoint, and their execution up to the state root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ledger import canonical
from ledger.batches import Head, split_batches, verify_batch
from ledger.bundle.files import CHECKPOINT, TABLES, entry_name, guard, indexed, log_name
from ledger.checkpoints import Checkpoint
from ledger.errors import InvalidBatch, InvalidBundle
from ledger.merkle import leaf_hash, root_of
from ledger.tables import State
from ledger.tiles import TILE_WIDTH, decode_entries

__all__ = ["read_log", "replay"]


def read_log(members: Mapping[str, bytes], checkpoint: Checkpoint) -> list[bytes]:
    """Return all entries of the log, none if the bundle was exported without them.

    Raises:
        InvalidBundle: they are not those under the checkpoint.
    """
    files = indexed(members, "log/#")
    if not files:
        return []
    entries: list[bytes] = []
    for number in range(-(-checkpoint.size // TILE_WIDTH)):
        if number not in files:
            raise InvalidBundle(log_name(number), "expected this file of the log, found none")
        entries += guard(log_name(number), partial(decode_entries, files[number]))
        expected = min((number + 1) * TILE_WIDTH, checkpoint.size)
        if len(entries) != expected:
            raise InvalidBundle(log_name(number), f"expected entries up to {expected}, got {len(entries)}")
    for number in sorted(files):
        if number * TILE_WIDTH >= checkpoint.size:
            raise InvalidBundle(log_name(number), f"expected {checkpoint.size} entries, got more")
    if root_of([leaf_hash(raw) for raw in entries]) != checkpoint.root:
        raise InvalidBundle(CHECKPOINT, "the entries under log/ do not have its root")
    return entries


def replay(log: Sequence[bytes], tables: bytes, carried: State) -> None:
    """Execute all entries from the genesis on and compare with every seal and with the tables' roots.

    Args:
        log: from ``read_log``.
        tables: the bundle's ``tables.json``.
        carried: what the log began with; empty for a network's first log.

    Raises:
        InvalidBundle: the bundle holds no log, or a member that ran these entries would not have cosigned.
    """
    if not log:
        raise InvalidBundle(log_name(0), "expected all entries; export the bundle with everything")
    head, known = Head.empty(carried), set[str]()
    try:
        for batch in split_batches(log, 0):
            head = verify_batch(head, batch, now=None, seen=lambda txids: txids & known).head
            known.update(entry.txid for entry in batch)
    except InvalidBatch as exc:
        raise InvalidBundle(entry_name(exc.index), str(exc)) from exc
    if canonical.encode({name: root.hex() for name, root in head.state.table_roots().items()}) != tables:
        raise InvalidBundle(TABLES, "the roots are not those of the state that all entries make")
