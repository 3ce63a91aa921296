"""Scores of rows by a model whose coefficients are split: every owner's part of them, and their sum.

A fitted value is the intercept and the sum over owners of the products of their own standardised columns with
their own coefficients. Each owner computes its part at its own node. The parts stay apart, to be evaluated on
shares (`federated.vertical.evaluation`), or are added up for the label's owner under masks that cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.aggregation import pairwise
from mpc.errors import InputsDisagree, InvalidInput, ValueOutOfRange
from mpc.mesh import Mesh, mesh_run
from mpc.randomness import Randomness
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES

__all__ = [
    "PART_LIMIT",
    "PIECE_ROWS",
    "SCORE_FRACTION",
    "SCORING",
    "bytes_sent",
    "open_scores",
    "part_of_scores",
    "rounds",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCORE_FRACTION: Final = 12
"""Fractional bits of fitted values: they are rounded by less than an eighth of a thousandth an owner."""
PART_LIMIT: Final = 2**8
"""An owner's part of a fitted value stays below it in magnitude."""
PIECE_ROWS: Final = 2**16
"""Rows of a message."""

_SIZES = "the number of rows that are scored, and who the owners are"

SCORING: Final = ProtocolSpec(
    name="vertical/scoring",
    version=1,
    roles=("owner",),
    adversary=Adversary.SEMI_HONEST,
    corruptions="any number; owner-1 and those that pool with it learn the sum of the others' parts",
    leaks={
        "owner": (
            _SIZES,
            "owner-1, where it gets the scores: for every row, the sum of the other owners' parts; with two "
            "owners, that is the other's columns weighted by its coefficients",
        )
    },
    cost="shared scores send nothing; scores for owner-1 take four rounds and 8 bytes a row from each other "
    "owner; to the byte by federated.vertical.scoring",
    source="additive masks of pairwise keys: Bonawitz et al. 2017",
    summary="Fitted values of a split model: each owner's part of them at its own node, or their sum for the "
    "label's owner.",
)


def part_of_scores(
    columns: Sequence[Floats],
    names: Sequence[str],
    means: Floats,
    deviations: Floats,
    coefficients: Floats,
    intercept: float,
) -> Ints:
    """One owner's part of the fitted value of each row.

    Args:
        columns: float64[rows] each, as they are in the source; at least one.
        names: of the columns, for errors.
        means: float64[columns], of the rows that the model was trained on.
        deviations: float64[columns], the same.
        coefficients: float64[columns], per deviation.
        intercept: of the model, at its owner; elsewhere 0.

    Returns:
        int64[rows], with `SCORE_FRACTION` fractional bits.

    Raises:
        ValueOutOfRange: values that are missing or not finite, counted by column; parts that reach
            `PART_LIMIT`.

    Security: local. Leaks: nothing; local. Cost: local. Source: none.
    """
    fitted = np.full(len(columns[0]), intercept)
    for column, name, mean, deviation, coefficient in zip(
        columns, names, means, deviations, coefficients, strict=True
    ):
        misfits = int(np.count_nonzero(~np.isfinite(column)))
        if misfits:
            raise ValueOutOfRange(
                f"column {name}: {misfits} of {len(column)} values are missing or not finite"
            )
        fitted += coefficient * ((column - mean) / deviation)
    misfits = int(np.count_nonzero(~(np.abs(fitted) < PART_LIMIT)))
    if misfits:
        raise ValueOutOfRange(
            f"scores: {misfits} of {len(fitted)} values are not below {PART_LIMIT}, unlike rows trained on"
        )
    parts: Ints = np.rint(fitted * 2.0**SCORE_FRACTION).astype(np.int64)
    return parts


def open_scores(mesh: Mesh, part: Ints, rng: Randomness) -> Floats | None:
    """Add up all owners' parts for rank 0.

    Args:
        mesh: of the owners alone, two and more.
        part: int64[rows], from `part_of_scores`.
        rng: for the keys of the masks.

    Returns:
        float64[rows] at rank 0; None elsewhere.

    Raises:
        InputsDisagree: owners with different numbers of rows.
        InvalidInput: one party only.
        TranscriptMismatch: at the end, parties saw different messages.

    Security: semi-honest. Leaks: see `SCORING`. Cost: see `bytes_sent` and `rounds`.
    Source: Bonawitz et al. 2017, section 4, without drop-outs.
    """
    if mesh.size < 2:
        raise InvalidInput(f"expected at least two owners, got {mesh.size}")
    with mesh_run(mesh, SCORING) as peers:
        peers.broadcast("rows", wire.encode_uint64(len(part)))
        for said in peers.gather("rows").values():
            reader = wire.Reader("rows", said)
            if (theirs := reader.uint64("rows")) != len(part):
                raise InputsDisagree("aligned rows", len(part), theirs)
            reader.finish()
        seeds = pairwise.agree(peers, range(mesh.size), SCORING, rng)
        total = part.view(np.uint64) + pairwise.zero_share(seeds, mesh.rank, 0, part.shape)
        for start in range(0, len(part), PIECE_ROWS):
            piece = total[start : start + PIECE_ROWS]
            if mesh.rank:
                peers[0].send("masked", wire.encode_array(piece))
                continue
            for peer in peers.peers:
                reader = wire.Reader("masked", peers[peer].receive("masked"))
                piece += reader.array("scores", "<u8", piece.shape)
                reader.finish()
        peers.confirm()
    return total.view(np.int64) * 2.0**-SCORE_FRACTION if mesh.rank == 0 else None


def bytes_sent(rank: int, owners: int, rows: int) -> int:
    """The bytes that one party of `open_scores` sends."""
    peers = owners - 1
    common = (8 + pairwise.MESSAGE_BYTES + CONFIRMATION_BYTES) * peers
    pieces = -(-rows // PIECE_ROWS)
    return common + (pieces * wire.array_bytes(8, 0) + 8 * rows if rank else 0)


def rounds(owners: int) -> int:
    """The receiving phases of each party of `open_scores`, over all its channels."""
    return 4 * (owners - 1)
