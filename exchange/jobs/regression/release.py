"""What a party releases of a model trained on shares, and how its recipients put the releases together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.jobs import aligned_columns
from exchange.jobs.spec import Step
from federated.vertical.settings import WEIGHT_FRACTION
from mpc import wire
from mpc.secrecy import Unprintable

__all__ = ["FORMAT", "Opened", "is_split", "opened", "released"]

FORMAT: Final = 3
_MILLION: Final = 10**6
_Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Opened(Unprintable):
    """What the releases of all parties say together.

    Attributes:
        epochs: passes over the rows.
        rows: trained on.
        features: role and name of every column, of all owners in the order of their roles.
        losses: mean squared error of each epoch, to six decimals; empty where it was not asked for.
        numbers: float64[numbers], of the model; empty where it is split.
    """

    epochs: int
    rows: int
    features: list[tuple[str, str]]
    losses: list[float]
    numbers: _Floats


def is_split(step: Step) -> bool:
    """Whether each owner keeps what belongs to its own columns."""
    return step.params["coefficients"] == "split"


def released(
    epochs: int,
    rows: int,
    losses: Sequence[float],
    features: Sequence[tuple[str, str]],
    shares: NDArray[np.uint64],
) -> bytes:
    """Epochs and rows, the losses where this party knows them, the features, its shares; none where split."""
    millionths = np.rint(np.array(losses) * _MILLION).astype(np.uint64)
    return b"".join(
        (
            wire.encode_uint64(FORMAT),
            wire.encode_uint64(epochs),
            wire.encode_uint64(rows),
            wire.encode_array(millionths),
            aligned_columns.encode_names(features),
            wire.encode_array(shares),
        )
    )


def opened(step: Step, releases: Mapping[str, bytes], size: Callable[[int], int], limit: float) -> Opened:
    """Put the releases of all parties together.

    Args:
        step: that trained.
        releases: by role.
        size: how many numbers a model of so many features has.
        limit: no number reaches it in magnitude.

    Raises:
        JobFailed: releases of some parties only, of another format, or of different runs.
        MalformedMessage, InvalidRequest: a release that is none.
    """
    if set(releases) != set(step.parties):
        raise JobFailed(f"step {step.id}: expected the shares of {len(step.parties)} parties")
    parts, told = list[NDArray[np.uint64]](), list[int]()
    stated = list[tuple[int, int, list[tuple[str, str]]]]()
    for role in sorted(releases):
        reader = wire.Reader(f"release of {role}", releases[role])
        if (version := reader.uint64("format")) != FORMAT:
            raise JobFailed(f"release of {role}: expected format {FORMAT}, got {version}")
        epochs, rows = reader.uint64("epochs"), reader.uint64("rows")
        told = reader.array("losses", "<u8", (None,)).tolist() or told
        stated.append((epochs, rows, aligned_columns.read_names(reader)))
        parts.append(reader.array("shares", "<u8", (0 if is_split(step) else size(len(stated[0][2])),)))
        reader.finish()
    numbers = np.sum(parts, axis=0, dtype=np.uint64).view(np.int64) * 2.0**-WEIGHT_FRACTION
    # Shares of different runs sum to uniform words, of a magnitude of 2^63 units.
    if any(one != stated[0] for one in stated) or np.abs(numbers).max(initial=0) >= limit:
        raise JobFailed(f"step {step.id}: the shares of the parties are not of one run")
    return Opened(*stated[0], [loss / _MILLION for loss in told], numbers)
