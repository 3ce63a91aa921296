"""How the keys of the two owners of a join are intersected: by Parley's own protocol, or by a faster engine.

Both tell the two owners the same, which of their rows match and how many keys the other has. Above
``most_keys`` an engine would tell more, so it is not used there. Which of them runs is the component that a
step names; nothing chooses it on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors import identifiers
from exchange.errors import InvalidRequest, JobFailed
from mpc.channel import Channel
from mpc.engines import rr22
from mpc.psi import ecdh
from mpc.psi.own_set import MAX_ROWS
from mpc.randomness import Randomness

__all__ = ["ECDH", "RR22", "Matching", "Progress", "chosen"]

Progress = Callable[[int, int], None]
Run = Callable[[Channel, pa.Array, Randomness, Path | None, Progress], NDArray[np.int64]]


@dataclass(frozen=True)
class Matching:
    """One way to intersect.

    Attributes:
        name: of its protocol.
        key_ns: work for a key of sets of equal size, in nanoseconds of the reference machine.
        start_ns: work whatever the sizes.
        most_keys: up to so many of each side the two learn nothing but what every matching tells.
        rounds: receiving phases, from the sizes of the own set and of the other.
        sends: payload bytes of a side, from the same and whether it is the table that is joined to.
        play: see ``run``.
    """

    name: str
    key_ns: int
    start_ns: int
    most_keys: int
    rounds: Callable[[int, int], int]
    sends: Callable[[int, int, bool], int]
    play: Run

    def run(
        self, channel: Channel, keys: pa.Array, rng: Randomness, folder: Path | None, progress: Progress
    ) -> NDArray[np.int64]:
        """Play one side.

        Args:
            channel: to the other owner.
            keys: string[n], distinct, none missing or empty.
            rng: own randomness.
            folder: where an engine makes its private folder.
            progress: called with work done and in all.

        Returns:
            int64[m], which of the keys the other owner has too, in an order common to both.

        Raises:
            JobFailed: more keys than ``most_keys``.
        """
        if len(keys) > self.most_keys:
            raise JobFailed(f"expected at most {self.most_keys} keys for {self.name}, got {len(keys)}")
        return self.play(channel, keys, rng, folder, progress)


def _by_ecdh(
    channel: Channel, keys: pa.Array, rng: Randomness, folder: Path | None, progress: Progress
) -> NDArray[np.int64]:
    del folder
    return ecdh.run(channel, identifiers.to_bytes(keys), rng, progress=progress).rows


def _by_rr22(
    channel: Channel, keys: pa.Array, rng: Randomness, folder: Path | None, progress: Progress
) -> NDArray[np.int64]:
    del rng
    if folder is None:
        raise JobFailed(f"expected a folder for the engine of {rr22.SPEC.name}, got none")
    return rr22.run(channel, keys, folder, progress=progress).rows


ECDH: Final = Matching(
    name=ecdh.SPEC.name,
    key_ns=65_000,
    start_ns=0,
    most_keys=MAX_ROWS,
    rounds=ecdh.rounds,
    sends=lambda own, other, joined_to: ecdh.bytes_sent(own, other),
    play=_by_ecdh,
)
RR22: Final = Matching(
    name=rr22.SPEC.name,
    key_ns=5_400,
    start_ns=1_000_000_000,
    most_keys=rr22.BUCKET_ROWS,
    rounds=lambda own, other: rr22.ROUNDS,
    sends=lambda own, other, joined_to: rr22.bytes_sent(own, other, encodes=joined_to),
    play=_by_rr22,
)
_ALL: Final = (ECDH, RR22)


def chosen(name: str, rows: Iterable[int]) -> Matching:
    """The matching of a protocol, for tables of some numbers of rows.

    Raises:
        InvalidRequest: there is none of that name, or it does not take so many.
    """
    found = next((one for one in _ALL if one.name == name), None)
    if found is None:
        raise InvalidRequest("matching", f"one of {', '.join(one.name for one in _ALL)}", name[:40])
    most = max(rows, default=0)
    if most > found.most_keys:
        expected = f"{ECDH.name} for tables of more than {found.most_keys:,} rows"
        raise InvalidRequest("matching", expected, f"{name} for {most:,}")
    return found
