"""An owner's columns in bins, made at its own node: trees split between bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.secrecy import Unprintable

__all__ = ["Binned", "bin_columns"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Binned(Unprintable):
    """Columns of one owner in bins.

    Attributes:
        names: of the columns.
        cuts: for each column, ascending: cut c separates values up to and including it from larger ones.
        codes: uint8[columns, rows], how many cuts are below a value.
    """

    names: tuple[str, ...]
    cuts: tuple[Floats, ...]
    codes: NDArray[np.uint8]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many cuts each column has; none where all values are equal."""
        return tuple(len(one) for one in self.cuts)


def bin_columns(columns: Sequence[Floats], names: Sequence[str], bins: int, *, held_out: int = 0) -> Binned:
    """Put columns into at most ``bins`` bins each, of about as many rows.

    A column of few values has a bin for each. One whose values are all equal has one bin and is never split.

    Args:
        columns: float64[rows] each, of one length.
        names: of the columns, for messages.
        bins: 2 to 64.
        held_out: rows at the end from whose values no cut is made.

    Raises:
        InvalidInput: no rows, or none but those held out, or columns of different lengths.
        ValueOutOfRange: a value is not finite; the column is named.

    Security: local. Leaks: nothing. Cost: one sort a column. Source: Chen, Guestrin 2016, section 3.3, with
    exact quantiles.
    """
    lengths = {len(one) for one in columns}
    if len(lengths) != 1 or not 0 <= held_out < (rows := lengths.pop()):
        raise InvalidInput("expected columns of one length, with rows")
    for column, name in zip(columns, names, strict=True):
        misfits = int(np.count_nonzero(~np.isfinite(column)))
        if misfits:
            raise ValueOutOfRange(f"column {name}: {misfits} of {len(column)} values are not finite")
    cuts = tuple(_cuts(column[: rows - held_out], bins) for column in columns)
    codes = [np.searchsorted(cut, column, side="left") for cut, column in zip(cuts, columns, strict=True)]
    return Binned(tuple(names), cuts, np.stack(codes).astype(np.uint8))


def _cuts(column: Floats, bins: int) -> Floats:
    distinct: Floats = np.unique(column)
    if len(distinct) <= bins:
        return distinct[:-1]
    quantiles = np.quantile(column, np.arange(1, bins) / bins, method="inverted_cdf")
    cuts: Floats = np.unique(quantiles[quantiles < distinct[-1]])
    return cuts
