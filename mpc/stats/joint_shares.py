"""Additive shares of pooled figures over Z_2^128: how they are sealed, sent and put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.aggregation import pairwise
from mpc.aggregation.masks import Words
from mpc.errors import InvalidInput, MalformedMessage, SharesDisagree, ValueOutOfRange
from mpc.secrecy import Unprintable

LIMIT: Final = 2**120
"""Every owner's figure is below this magnitude, so that the sum over 100 owners fits 127 bits."""

_FORMAT: Final = 1
_LOW: Final = 2**64 - 1


@dataclass(frozen=True, repr=False, eq=False)
class JointShares(Unprintable):
    """One owner's share of the figures of the open cells.

    Attributes:
        opened: uint8[k], 1 where the cell is open. Known to all owners.
        shares: uint64[p * (1 + f), 2], of the count and then the figures of each of the p open cells; modulo
            2^128, low word first. All shares but one are uniform, whatever the data.
        picks: int64[p, q], the quantiles of each open cell. Known to all owners.
    """

    opened: NDArray[np.uint8]
    shares: Words
    picks: NDArray[np.int64]

    def __post_init__(self) -> None:
        cells = int(np.count_nonzero(self.opened))
        fits = self.opened.ndim == 1 and self.shares.ndim == 2 and self.picks.ndim == 2
        if not fits or self.shares.shape[1] != 2 or len(self.picks) != cells:
            raise InvalidInput(
                f"expected opened[k], shares[n, 2] and picks[p, q] with p = {cells}, got "
                f"{self.opened.shape}, {self.shares.shape} and {self.picks.shape}"
            )
        if len(self.shares) % cells if cells else len(self.shares):
            raise InvalidInput(f"expected as many shares for each of {cells} cells, got {len(self.shares)}")

    def encode(self) -> bytes:
        """Encode, for sealing to the recipient."""
        parts = (self.opened, self.shares, self.picks)
        return wire.encode_uint64(_FORMAT) + b"".join(wire.encode_array(part) for part in parts)

    @classmethod
    def decode(cls, payload: bytes) -> JointShares:
        """Decode what `encode` made.

        Raises:
            MalformedMessage: anything else.
        """
        reader = wire.Reader("joint shares", payload)
        if (version := reader.uint64("format")) != _FORMAT:
            raise MalformedMessage(f"joint shares: expected format {_FORMAT}, got {version}")
        opened = reader.array("opened", "u1", (None,))
        shares = reader.array("shares", "<u8", (None, 2))
        picks = reader.array("picks", "<i8", (None, None))
        reader.finish()
        if np.any(opened > 1):
            raise MalformedMessage("joint shares: a cell is neither open nor closed")
        try:
            return cls(opened, shares, picks)
        except InvalidInput as error:
            raise MalformedMessage(f"joint shares: {error}") from None


@dataclass(frozen=True)
class JointFigures:
    """What the recipient reads.

    Attributes:
        opened: the numbers of the open cells, ascending.
        counts: rows of each of them.
        figures: the figures of each of them.
        picks: the quantiles of each of them.
    """

    opened: tuple[int, ...]
    counts: tuple[int, ...]
    figures: tuple[tuple[int, ...], ...]
    picks: tuple[tuple[int, ...], ...]


def combine(parts: Sequence[JointShares]) -> JointFigures:
    """Put the figures together from the shares of all owners.

    Raises:
        SharesDisagree: shapes, open cells or quantiles differ.

    Security: none needed; whoever holds all shares is meant to learn the figures.
    Leaks: the figures, to the caller.
    Cost: local; one addition for each figure and owner.
    Source: additive secret sharing over Z_2^128.
    """
    first = parts[0]
    total = np.zeros_like(first.shares)
    for part in parts:
        if (
            part.shares.shape != first.shares.shape
            or not np.array_equal(part.opened, first.opened)
            or not np.array_equal(part.picks, first.picks)
        ):
            raise SharesDisagree("the owners' shares are not of one run: cells or quantiles differ")
        total = pairwise.add(total, part.shares)
    cells = np.flatnonzero(first.opened).tolist()
    width = len(total) // len(cells) if cells else 0
    numbers = to_integers(total)
    rows = [tuple(numbers[at * width : (at + 1) * width]) for at in range(len(cells))]
    return JointFigures(
        tuple(cells),
        tuple(row[0] for row in rows),
        tuple(row[1:] for row in rows),
        tuple(tuple(row) for row in first.picks.tolist()),
    )


def from_integers(values: Iterable[int]) -> Words:
    """Write integers in two's complement modulo 2^128; uint64[n, 2].

    Raises:
        ValueOutOfRange: a magnitude reaches `LIMIT`.
    """
    numbers = list(values)
    misfits = sum(not -LIMIT < number < LIMIT for number in numbers)
    if misfits:
        raise ValueOutOfRange(f"{misfits} of {len(numbers)} figures do not fit 120 bits")
    words = [(number & _LOW, (number >> 64) & _LOW) for number in numbers]
    return np.array(words, dtype=np.uint64).reshape(-1, 2)


def to_integers(words: Words) -> list[int]:
    """Read what `from_integers` wrote."""
    signed = zip(words[:, 0].tolist(), words[:, 1].view(np.int64).tolist(), strict=True)
    return [low + (high << 64) for low, high in signed]
