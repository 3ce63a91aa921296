"""Scores of other rows by trees whose parts stay apart.

label holder                                     owner of columns
  sizes        rows, splits of that owner  <--->  rows, splits
                           <---  sides    of every row at each of its splits, some rows at a time

The label holder has the structure and follows every row down every tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.boosting import messages
from federated.boosting.trees import ROOT, OwnSplit, Tree
from mpc import wire
from mpc.errors import InputsDisagree, InvalidInput, ValueOutOfRange
from mpc.mesh import ConfirmedMesh
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES

__all__ = [
    "PIECE_ROWS",
    "SCORING",
    "bytes_sent",
    "followed",
    "margins_of",
    "rounds",
    "sides",
    "splits_of",
    "tell_sides",
]

Floats = NDArray[np.float64]
Sides = NDArray[np.bool_]
Progress = Callable[[int, int], None]

PIECE_ROWS: Final = 2**13
"""Rows whose sides are told together."""
_SIZES_BYTES: Final = 16

SCORING: Final = ProtocolSpec(
    name="vertical/tree-scoring",
    version=1,
    roles=("owner",),
    adversary=Adversary.SEMI_HONEST,
    corruptions="the label holder alone, or any of the other owners together",
    leaks={
        "owner": (
            "all: the number of rows that are scored",
            "the label holder, of every other owner: for every split on its columns, on which side each "
            "scored row is, also where the row's way does not lead there; and so the scores",
            "every other owner: nothing else",
        )
    },
    cost="1 bit a row and split to the label holder; two rounds of confirmation; to the byte by "
    "federated.boosting.scoring",
    source="Cheng, Fan, Jin, Liu, Chen, Papadopoulos, Yang 2019 (SecureBoost), inference, with all sides "
    "told at once, so that no other owner learns a row's way",
    summary="Scores by boosted trees for the label holder: every owner tells the sides of rows at its own "
    "splits.",
)


def margins_of(
    peers: ConfirmedMesh,
    base: Sequence[float],
    trees: Sequence[Tree],
    columns: Sequence[Floats],
    own: Sequence[OwnSplit],
    *,
    progress: Progress = lambda done, total: None,
) -> Floats:
    """Play the label holder, rank 0.

    Args:
        peers: a run of `SCORING` with the other owners, in the order of training.
        base: the margins before the first tree, one or one for each class.
        trees: structure and leaves, by round, and in a round by class.
        columns: own columns, float64[rows] each, in the order of training; at least one.
        own: own splits, by record.
        progress: told after each piece of rows.

    Returns:
        float64[classes or 1, rows].

    Raises:
        InvalidInput: another rank, or no columns.
        InputsDisagree: an owner has another number of rows, or splits of other trees.
        ValueOutOfRange: own values that are not finite, counted.
        ProtocolAbort: a message is not as the protocol has it, or an owner aborted.

    Security: semi-honest; see `SCORING`. Leaks: see `SCORING`. Cost: `bytes_sent`. Source: see `SCORING`.
    """
    if peers.rank != 0:
        raise InvalidInput(f"expected the label holder at rank 0, got rank {peers.rank}")
    rows = _checked(columns)
    counts = splits_of(trees, peers.size)
    for peer in peers.peers:
        peers[peer].send("sizes", _sizes(rows, counts[peer]))
    for peer in peers.peers:
        _check_sizes(peers[peer].receive("sizes"), rows, counts[peer])
    found = [np.zeros((len(base), 0))]
    for start in range(0, rows, PIECE_ROWS):
        piece = [column[start : start + PIECE_ROWS] for column in columns]
        told, size = [sides(piece, own)], len(piece[0])
        width = -(-size // 8)
        for peer in peers.peers:
            payload = messages.receive_bytes(peers[peer], "sides", counts[peer] * width)
            packed = np.frombuffer(payload, dtype=np.uint8).reshape(counts[peer], width)
            told.append(messages.unpacked_sides(packed, size))
        found.append(followed(base, trees, told, size))
        progress(start + size, rows)
    peers.confirm()
    return np.concatenate(found, axis=1)


def tell_sides(
    peers: ConfirmedMesh,
    columns: Sequence[Floats],
    own: Sequence[OwnSplit],
    *,
    progress: Progress = lambda done, total: None,
) -> None:
    """Play an owner without the label, any rank but 0; arguments and errors as of `margins_of`."""
    if peers.rank == 0:
        raise InvalidInput("expected another rank than the label holder's, got rank 0")
    rows, peer = _checked(columns), peers[0]
    peer.send("sizes", _sizes(rows, len(own)))
    _check_sizes(peer.receive("sizes"), rows, len(own))
    for start in range(0, rows, PIECE_ROWS):
        piece = [column[start : start + PIECE_ROWS] for column in columns]
        messages.send_bytes(peer, "sides", np.packbits(sides(piece, own), axis=1).tobytes())
        progress(start + len(piece[0]), rows)
    peers.confirm()


def bytes_sent(rank: int, rows: int, splits: Sequence[int]) -> int:
    """The payload bytes that an owner sends.

    Args:
        rank: of the owner.
        rows: that are scored.
        splits: of each owner, by rank.
    """
    peers = len(splits) - 1
    confirmed = CONFIRMATION_BYTES * peers
    if rank == 0:
        return _SIZES_BYTES * peers + confirmed
    # All pieces but the last have whole bytes.
    return _SIZES_BYTES + splits[rank] * -(-rows // 8) + confirmed


def rounds(owners: int, rank: int) -> int:
    """The receiving phases of an owner over all its channels."""
    confirmed = 2 * (owners - 1)
    return (owners - 1 if rank == 0 else 1) + confirmed


def _checked(columns: Sequence[Floats]) -> int:
    """The number of rows."""
    if len({len(column) for column in columns}) != 1:
        raise InvalidInput("expected columns of one length")
    for number, column in enumerate(columns):
        misfits = int(np.count_nonzero(~np.isfinite(column)))
        if misfits:
            raise ValueOutOfRange(f"column {number}: {misfits} of {len(column)} values are not finite")
    return len(columns[0])


def _sizes(rows: int, splits: int) -> bytes:
    return wire.encode_uint64(rows) + wire.encode_uint64(splits)


def _check_sizes(payload: bytes, rows: int, splits: int) -> None:
    reader = wire.Reader("sizes", payload)
    for name, own in (("scored rows", rows), ("splits", splits)):
        if (theirs := reader.uint64(name)) != own:
            raise InputsDisagree(name, own, theirs)
    reader.finish()


def sides(columns: Sequence[Floats], own: Sequence[OwnSplit]) -> Sides:
    """Which rows go left at each own split: bool[splits, rows].

    Args:
        columns: own columns, float64[rows] each, in the order of training; at least one.
        own: own splits, by record.

    Security: local. Leaks: nothing; local. Cost: local. Source: see `SCORING`.
    """
    found = [columns[one.column] <= one.threshold for one in own]
    return np.array(found, dtype=np.bool_).reshape(len(own), len(columns[0]))


def splits_of(trees: Sequence[Tree], owners: int) -> tuple[int, ...]:
    """How many splits each owner has, by rank."""
    counts = Counter(split.owner for tree in trees for split in tree.splits.values())
    return tuple(counts[owner] for owner in range(owners))


def followed(base: Sequence[float], trees: Sequence[Tree], told: Sequence[Sides], rows: int) -> Floats:
    """The margins of rows whose sides at the splits of each owner are known.

    Args:
        base: the margins before the first tree, one or one for each class.
        trees: structure and leaves, by round, and in a round by class.
        told: bool[splits, rows] of each owner, by rank.
        rows: their number.

    Returns:
        float64[classes or 1, rows].

    Security: local. Leaks: nothing; local. Cost: local. Source: see `SCORING`.
    """
    margins: Floats = np.repeat(np.array(base)[:, None], rows, axis=1)
    for number, tree in enumerate(trees):
        place = np.full(rows, ROOT, dtype=np.int64)
        # A parent has a lower number than its children.
        for node, split in sorted(tree.splits.items()):
            at = np.nonzero(place == node)[0]
            place[at] = 2 * node + 1 - told[split.owner][split.record][at]
        leaves = sorted(tree.leaves)
        weights = np.array([tree.leaves[leaf] for leaf in leaves])
        margins[number % len(base)] += weights[np.searchsorted(leaves, place)]
    return margins
