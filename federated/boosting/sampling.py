"""Gradient-based one-side sampling: rows that are fitted badly count all, of the others some count for all.

The label holder draws at its own node, anew for each round. A row that was not drawn has zeros for gradient
and hessian, encrypted like any other row's, so no other owner learns which rows were drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.boosting.settings import Settings
from mpc.randomness import Randomness

__all__ = ["drawn_weights"]

Floats = NDArray[np.float64]


def drawn_weights(magnitudes: Floats, settings: Settings, rng: Randomness) -> Floats:
    """By what gradient and hessian of each row are multiplied in the next round of trees.

    Of n rows the ``top_rate`` n with the largest magnitudes have 1; of the others ``other_rate`` n are drawn
    and have (n - top) / drawn, so that sums over any rows keep their mean; the rest have 0.

    Args:
        magnitudes: float64[rows], of the gradients, those of all classes added up.
        settings: as agreed.
        rng: of the label holder.

    Security: local. Leaks: nothing. Cost: one sort. Source: Ke et al. 2017 (LightGBM), algorithm 2, with the
    ratio of whole numbers of rows, as LightGBM has it.
    """
    rows = len(magnitudes)
    if not settings.samples:
        return np.ones(rows)
    top, drawn = max(int(rows * settings.top_rate), 1), max(int(rows * settings.other_rate), 1)
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(rng.bytes(16))))
    order = np.argsort(-magnitudes, kind="stable")
    weights = np.zeros(rows)
    weights[order[:top]] = 1.0
    if others := min(drawn, rows - top):
        weights[generator.choice(order[top:], others, replace=False)] = (rows - top) / others
    return weights
