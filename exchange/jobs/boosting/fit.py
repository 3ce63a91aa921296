"""What recipients learn of how well trees fit: losses, and figures of rows trained on and held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exchange.jobs.boosting.part import text
from federated import boosting
from federated.boosting import Ensemble, Objective, Settings

__all__ = ["figures_of", "shown_cells"]

_Floats = NDArray[np.float64]


def figures_of(holder: Ensemble, label: _Floats, least: int, settings: Settings) -> dict[str, object]:
    """The figures, those of rows held out under names that say so.

    Args:
        holder: the label holder's part.
        label: float64[rows], those held out last.
        least: rows that have to be behind an area under a curve, at either label, and behind a cell of a
            confusion table.
        settings: as agreed.
    """
    rows = holder.sizes.rows
    told: dict[str, object] = {
        "losses": [text(loss) for loss in holder.losses],
        "held_out_losses": [text(loss) for loss in holder.held_out_losses],
    }
    parts = {"": slice(rows)} | ({"held_out_": slice(rows, None)} if holder.sizes.held_out else {})
    for name, part in parts.items():
        margins, own = holder.margins[:, part], label[part]
        if settings.objective is Objective.SOFTMAX:
            table = boosting.confusion(margins, own)
            told[f"{name}accuracy"] = text(float(np.trace(table) / table.sum()))
            told[f"{name}confusion"] = shown_cells(table, least)
        elif settings.objective is Objective.LOGISTIC:
            positives = int(own.sum())
            if min(positives, len(own) - positives) >= least:
                told[f"{name}auc"] = text(boosting.auc(margins[0], own))
    return told


def shown_cells(table: NDArray[np.int64], least: int) -> list[list[int | None]]:
    """The cells of a confusion table; None for those of fewer rows, and for what would give these away.

    The accuracy and the number of rows tell the sum of the diagonal and that of all other cells, so in each
    of the two as many of the smallest cells are hidden as have ``least`` rows together (complementary
    suppression).
    """
    hidden = table < least
    is_right = np.eye(len(table), dtype=np.bool_)
    for cells in (is_right, ~is_right):
        while np.any(hidden & cells) and table[hidden & cells].sum() < least and np.any(cells & ~hidden):
            smallest = np.where(cells & ~hidden, table, np.iinfo(np.int64).max).argmin()
            hidden.flat[smallest] = True
    return [
        [None if is_hidden else int(cell) for cell, is_hidden in zip(*line, strict=True)]
        for line in zip(table, hidden, strict=True)
    ]
