"""Taking a checkpoint from one ledger into another, as the body of an ``evidence.anchor`` entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ledger.bundle.earlier import Consistent
from ledger.bundle.exporting import cosigned
from ledger.checkpoints import Checkpoint
from ledger.errors import NotFinal
from ledger.membership import Network, electorate
from ledger.notes import Note
from ledger.rules.anchors import ANCHORS, anchor_key
from ledger.tables import State

if TYPE_CHECKING:
    from ledger.store import LedgerStore

__all__ = ["ANCHOR", "anchor_body", "anchored_size"]

ANCHOR = "evidence.anchor"


def anchor_body(
    store: LedgerStore, final_size: int, *, genesis: str, tree: Consistent, state: State, after: int = 0
) -> dict[str, Any]:
    """Make the body of an anchor for another ledger.

    Args:
        store: a copy of the log, with the cosignatures of the checkpoint at ``final_size``.
        final_size: size of a checkpoint that is final.
        genesis: hash of this ledger's genesis.
        tree: the copy's tree, of at least ``final_size`` leaves.
        state: what the entries below ``final_size`` make.
        after: the size that the other ledger has on record; 0 if it has none.

    Raises:
        NotFinal: ``after`` is beyond ``final_size``, or that is not the size of a final checkpoint.
    """
    network = Network.of(state)
    if network is None or after > final_size:
        raise NotFinal(f"expected a final checkpoint of at least size {after}, the copy has {final_size}")
    voters = electorate(state).vkeys
    note = cosigned(store, final_size)
    kept = [line for line in note.signatures if any(line.is_by(vkey) for vkey in (network.log, *voters))]
    checkpoint = Checkpoint.parse(note.text)
    return {
        "origin": checkpoint.origin,
        "genesis": genesis,
        "log": network.log.encode(),
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "checkpoint": _encoded(replace(note, signatures=tuple(kept))),
        "proof": [node.hex() for node in tree.consistency_proof(after, final_size)] if after else [],
    }


def anchored_size(state: State, body: Mapping[str, Any]) -> int:
    """Return the size at which the ledger of ``body`` is anchored in a state; 0 if it is not."""
    row = state.get(ANCHORS, anchor_key(str(body["genesis"]), str(body["log"])))
    return 0 if row is None else int(row["size"])


def _encoded(note: Note) -> str:
    return note.encode().decode()
