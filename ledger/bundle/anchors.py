"""Proving from another ledger's bundle that a bundle's checkpoint stands on record there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.bundle.files import earlier_name, entry_name
from ledger.bundle.walk import Walk
from ledger.checkpoints import Checkpoint
from ledger.errors import InvalidBundle

__all__ = ["ELSEWHERE", "find_anchor"]

ELSEWHERE = "anchored-in"
"""What precedes the name of a file of the other bundle in an error."""

_ANCHOR = "evidence.anchor"


def find_anchor(
    genesis: str, log: str, checkpoints: Mapping[int, Checkpoint], elsewhere: Walk
) -> tuple[int, Mapping[str, Any]]:
    """Find the largest of a ledger's checkpoints that stands on record in another ledger.

    Args:
        genesis: hash of the ledger's genesis.
        log: its log's verifier key.
        checkpoints: its checkpoints, by size, each proved to be a prefix of the bundle's.
        elsewhere: the walk of the other ledger's bundle, verified.

    Returns:
        The index of the entry there, and its body.

    Raises:
        InvalidBundle: there is none, or one that contradicts a checkpoint.
    """
    anchors = {
        int(entry.body["size"]): (index, entry.body)
        for index, entry in elsewhere.entries.items()
        if entry.type == _ANCHOR
        and elsewhere.code(index) is None
        and (entry.body["genesis"], entry.body["log"]) == (genesis, log)
    }
    if not anchors:
        raise InvalidBundle(ELSEWHERE, "expected an anchor of this ledger, found none")
    shared = sorted(set(anchors) & set(checkpoints))
    for size in shared:
        index, body = anchors[size]
        if body["root"] != checkpoints[size].root.hex():
            reason = f"another history: root {body['root']} is on record for size {size}"
            raise InvalidBundle(f"{ELSEWHERE}/{entry_name(index)}", reason)
    if not shared:
        size = max(anchors)
        raise InvalidBundle(earlier_name(size), f"expected a proof from the anchored size {size}, found none")
    return anchors[shared[-1]]
