"""Additive shares of per-group sums over Z_2^64: how they are sealed, sent and put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.errors import InvalidInput, MalformedMessage, SharesDisagree
from mpc.secrecy import Unprintable

SUPPRESSED: Final = -1
_FORMAT: Final = 1


@dataclass(frozen=True, repr=False, eq=False)
class GroupShares(Unprintable):
    """One party's share of the sums of each group.

    Attributes:
        counts: int64[k], rows of each group; `SUPPRESSED` where the cohort was too small. Not secret.
        shares: uint64[k, m]; alone it is uniform and says nothing. Zero sums where suppressed.
    """

    counts: NDArray[np.int64]
    shares: NDArray[np.uint64]

    def __post_init__(self) -> None:
        if self.counts.ndim != 1 or self.shares.ndim != 2 or len(self.counts) != len(self.shares):
            raise InvalidInput(
                f"expected counts[k] and shares[k, m], got {self.counts.shape} and {self.shares.shape}"
            )

    def encode(self) -> bytes:
        """Encode, for sealing to the recipient."""
        return wire.encode_uint64(_FORMAT) + wire.encode_array(self.counts) + wire.encode_array(self.shares)

    @classmethod
    def decode(cls, payload: bytes) -> GroupShares:
        """Decode what `encode` made.

        Raises:
            MalformedMessage: anything else.
        """
        reader = wire.Reader("group shares", payload)
        if (version := reader.uint64("format")) != _FORMAT:
            raise MalformedMessage(f"group shares: expected format {_FORMAT}, got {version}")
        counts = reader.array("counts", "<i8", (None,))
        shares = reader.array("shares", "<u8", (len(counts), None))
        reader.finish()
        if np.any(counts < SUPPRESSED):
            raise MalformedMessage("group shares: a count is negative")
        return cls(counts, shares)


def combine(first: GroupShares, second: GroupShares) -> NDArray[np.int64]:
    """Reconstruct the sums from both parties' shares.

    Args:
        first: the share of one party.
        second: the share of the other, from the same run.

    Returns:
        int64[k, m]; 0 where the count is `SUPPRESSED`, which means not released, not zero.

    Raises:
        SharesDisagree: shapes or counts differ, or a suppressed group does not add up to zero.

    Security: none needed; whoever holds both shares is meant to learn the sums.
    Leaks: the sums, to the caller.
    Cost: local; one addition for each sum.
    Source: additive secret sharing over Z_2^64.
    """
    if first.shares.shape != second.shares.shape:
        raise SharesDisagree(f"expected shares of one shape, got {first.shares.shape}, {second.shares.shape}")
    if not np.array_equal(first.counts, second.counts):
        raise SharesDisagree("the two parties' counts differ")
    sums = (first.shares + second.shares).view(np.int64)
    if np.any(sums[first.counts == SUPPRESSED]):
        raise SharesDisagree("a suppressed group does not add up to zero: the shares are not of one run")
    return sums
