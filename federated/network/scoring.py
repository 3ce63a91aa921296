"""Scores of rows by a split network: columns and weights enter as shares, rank 0 alone gets the scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.network.layers import forward
from federated.network.settings import WEIGHT_LIMIT, Settings, check_sizes
from federated.network.weights import OwnWeights
from federated.vertical.inputs import shared_features
from federated.vertical.prediction import FITTED_FRACTION
from federated.vertical.scoring import SCORE_FRACTION
from federated.vertical.settings import WEIGHT_FRACTION, Layout
from mpc.errors import InvalidInput
from mpc.replicated import Runtime, Shared
from mpc.spec import Adversary, ProtocolSpec

__all__ = ["PIECE_ROWS", "SCORING", "score"]

Floats = NDArray[np.float64]

PIECE_ROWS: Final = 2**14
"""Rows that pass the network at once."""

_PUBLIC = "the number of rows that are scored, of units, and of columns of every owner"

SCORING: Final = ProtocolSpec(
    name="vertical/network-scoring",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={
        "owner": (
            _PUBLIC,
            "owner-1: the score of every row; no sum of a hidden unit and no part of another owner",
        ),
        "helper": (_PUBLIC,),
    },
    cost="29 rounds for each 16,384 rows, and for r rows and h units some 72 (h + 1) r bytes of every "
    "computing party and 40 (h + 1) r more of party 0; inputs take 8 bytes a row and column, 16 of an owner "
    "that does not compute; to the byte by federated.network.costs",
    source="forward pass of vertical/network",
    summary="Scores of rows by a network whose weights and columns stay shares; the label's owner alone "
    "learns them.",
)


def score(
    rt: Runtime,
    layout: Layout,
    settings: Settings,
    features: Floats | None,
    own: OwnWeights | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Floats | None:
    """Score rows for rank 0.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: rows to score, and columns of every owner.
        settings: family and units of the network.
        features: float64[columns, rows] of this owner, in the unit of the rows trained on; None where it has
            none.
        own: this owner's weights; None at a party that is no owner.
        progress: told after each piece of rows.

    Returns:
        float64[rows] at rank 0, sums of the output within the reach of the family, to 2^-12; None elsewhere.

    Raises:
        InvalidInput: arrays that do not fit the layout, or sizes beyond their limits.
        ValueOutOfRange: a value that is not finite or too large, before anything is sent of it.

    Security: as the runtime: semi-honest, one of three. Leaks: see `SCORING`. Cost: see
    `federated.network.costs.scoring`. Source: as `federated.network.layers.forward`.
    """
    check_sizes(layout)
    x = shared_features(rt, layout, features)
    hidden, output = _weights(rt, layout, settings, own)
    opened = []
    pieces = layout.batches(PIECE_ROWS)
    for done, part in enumerate(pieces, 1):
        fitted = forward(rt, settings.family, x[:, part], hidden, output).fitted
        opened.append(rt.open(rt.quotient(fitted, 2 ** (FITTED_FRACTION - SCORE_FRACTION)), [0]))
        progress(done, len(pieces))
    told = [one for one in opened if one is not None]
    return np.concatenate(told) * 2.0**-SCORE_FRACTION if told else None


def _weights(
    rt: Runtime, layout: Layout, settings: Settings, own: OwnWeights | None
) -> tuple[Shared, Shared]:
    """The weights of all owners, of both layers: int64[units, 1 + columns] and int64[1 + units]."""
    parts = list[Shared]()
    for owner in range(len(layout.columns)):
        if size := settings.told(layout, owner):
            encoded = _encode(own, size) if owner == rt.rank else None
            parts.append(rt.share(owner, encoded, size, limit=(WEIGHT_LIMIT << WEIGHT_FRACTION) + 1))
    split = parts[0].rows - 1 - settings.units
    blocks = [parts[0][:split], *parts[1:]]
    wide = [one.shares.reshape(len(one.shares), settings.units, one.rows // settings.units) for one in blocks]
    return Shared(np.concatenate(wide, axis=2)), parts[0][split:]


def _encode(own: OwnWeights | None, size: int) -> NDArray[np.int64]:
    numbers = np.zeros(0) if own is None else own.numbers
    if numbers.shape != (size,):
        raise InvalidInput(f"weights: expected {size} numbers of this owner, got {numbers.size}")
    encoded: NDArray[np.int64] = np.rint(numbers * 2.0**WEIGHT_FRACTION).astype(np.int64)
    return encoded
