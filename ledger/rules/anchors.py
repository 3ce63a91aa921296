"""Anchors: the checkpoint of another ledger on record in this one.

A ledger is told apart by its genesis and its log key. Of each, the table ``anchors`` holds the latest
checkpoint, and the next one has to come with a proof that the log has only grown since. So whoever holds that
log key cannot show this ledger two histories, through whichever member they arrive.

What is not judged here is whether the other ledger's members cosigned: their keys are its own affair. The
lines stand on record, and a reader of its evidence bundles checks them.
"""

from __future__ import annotations

import hashlib

from ledger import canonical
from ledger.checkpoints import Checkpoint, open_checkpoint
from ledger.errors import InvalidConsistencyProof, LedgerError, Refusal
from ledger.merkle import verify_consistency
from ledger.notes import ED25519, Vkey
from ledger.rules import shapes
from ledger.rules.act import Act, require
from ledger.tables import State

__all__ = ["ANCHORS", "anchor", "anchor_key"]

ANCHORS = "anchors"
"""The table: the latest anchored checkpoint of each ledger."""

_MAX_NOTE = 16_384
_MAX_PROOF = 64
_ANCHOR = shapes.record(
    {
        "origin": shapes.SENTENCE,
        "genesis": shapes.DIGEST,
        "log": shapes.text(400),
        "size": shapes.POSITIVE,
        "root": shapes.DIGEST,
        "checkpoint": shapes.text(_MAX_NOTE),
        "proof": shapes.list_of(shapes.DIGEST, most=_MAX_PROOF, distinct=False),
    }
)


def anchor_key(genesis: str, log: str) -> str:
    """Return the key of a ledger's row: SHA-256 of its genesis hash and its log's verifier key."""
    return hashlib.sha256(canonical.encode([genesis, log])).hexdigest()


def anchor(state: State, act: Act) -> State:
    """Put the next checkpoint of another ledger on record."""
    body = _ANCHOR(act.entry.body, "body")
    checkpoint = _checkpoint(body["checkpoint"], body["log"])
    stated = (body["origin"], body["size"], body["root"])
    is_stated = stated == (checkpoint.origin, checkpoint.size, checkpoint.root.hex())
    require(is_stated, "anchor.other-checkpoint", "expected origin, size and root of the checkpoint")
    key = anchor_key(body["genesis"], body["log"])
    previous = state.get(ANCHORS, key)
    proof = [bytes.fromhex(node) for node in body["proof"]]
    if previous is None:
        require(not proof, "anchor.inconsistent", "expected no proof with the first anchor of a ledger")
    else:
        _check_growth(previous["size"], previous["root"], checkpoint, proof)
    row = {name: body[name] for name in ("origin", "genesis", "log", "size", "root")}
    return act.put(state, ANCHORS, key, {**row, "anchored_by": act.actor})


def _checkpoint(note: str, log: str) -> Checkpoint:
    try:
        vkey = Vkey.parse(log)
        require(vkey.type == ED25519, "anchor.invalid-checkpoint", "expected an Ed25519 log key")
        return open_checkpoint(note.encode(), vkey)[0]
    except Refusal:
        raise
    except LedgerError as exc:
        raise Refusal("anchor.invalid-checkpoint", f"expected a checkpoint signed by the log: {exc}") from exc


def _check_growth(size: int, root: str, checkpoint: Checkpoint, proof: list[bytes]) -> None:
    """Refuse what is not a later checkpoint of the same history."""
    require(checkpoint.size >= size, "anchor.smaller", f"expected a size above {size}, got {checkpoint.size}")
    if checkpoint.size == size:
        require(checkpoint.root.hex() == root, "anchor.fork", f"another root is anchored at size {size}")
        raise Refusal("anchor.exists", f"the checkpoint of size {size} is anchored already")
    try:
        verify_consistency(size, bytes.fromhex(root), checkpoint.size, checkpoint.root, proof)
    except InvalidConsistencyProof as exc:
        raise Refusal("anchor.inconsistent", f"expected a proof of growth from size {size}: {exc}") from exc
