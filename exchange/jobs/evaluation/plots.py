"""Plots of an evaluation, one file each; their points are the edges of its bins."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from federated.metrics import Binned
from federated.vertical.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BLUE", "GREY", "ORANGE", "drawn", "label", "png"]

BLUE, ORANGE, GREY = "#3b6ea5", "#c8702c", "#9a9a9a"


def drawn(evaluation: Evaluation) -> dict[str, bytes]:
    """PNG files by name: ROC, KS, gain, lift and calibration; of a linear model calibration alone."""
    plots = {"calibration": _calibration}
    if evaluation.errors is None:
        plots |= {"roc": _roc, "ks": _ks, "gain": _gain, "lift": _lift}
    return {f"{name}.png": png(partial(draw, evaluation=evaluation)) for name, draw in plots.items()}


def png(draw: Callable[[Axes], None]) -> bytes:
    """What is drawn into the axes of a figure, as a PNG file."""
    # Drawing is needed at the reader's node alone and takes half a second to import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.2), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=90)
    return out.getvalue()


def _roc(axes: Axes, evaluation: Evaluation) -> None:
    false, true = evaluation.binned.roc()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    axes.plot(false, true, color=BLUE, marker="o", markersize=3)
    label(axes, f"ROC, AUC {evaluation.auc:.3f}", "false positive rate", "true positive rate")


def _ks(axes: Axes, evaluation: Evaluation) -> None:
    false, true = evaluation.binned.roc()
    places, widest = _shares(evaluation.binned), int(np.argmax(np.abs(true - false)))
    axes.plot(places, true, color=BLUE, marker="o", markersize=3, label="label 1")
    axes.plot(places, false, color=ORANGE, marker="o", markersize=3, label="label 0")
    axes.vlines(places[widest], false[widest], true[widest], color=GREY, linestyle=":")
    axes.legend(frameon=False)
    label(axes, f"KS {evaluation.ks:.3f}", "part of rows, highest scores first", "part of each label")


def _gain(axes: Axes, evaluation: Evaluation) -> None:
    binned = evaluation.binned
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    axes.plot(_shares(binned), np.append(0, binned.gain()), color=BLUE, marker="o", markersize=3)
    label(axes, "Gain", "part of rows, highest scores first", "part of all rows with label 1")


def _lift(axes: Axes, evaluation: Evaluation) -> None:
    binned = evaluation.binned
    axes.axhline(1, color=GREY, linestyle=":")
    axes.plot(_shares(binned)[1:], binned.lift(), color=BLUE, marker="o", markersize=3)
    label(axes, "Lift", "part of rows, highest scores first", "rate of label 1, by that of all rows")


def _calibration(axes: Axes, evaluation: Evaluation) -> None:
    bins = evaluation.binned.calibration()
    ends = [min(bins.predicted.min(), bins.observed.min()), max(bins.predicted.max(), bins.observed.max())]
    axes.plot(ends, ends, color=GREY, linestyle=":")
    axes.plot(bins.predicted, bins.observed, color=BLUE, marker="o", markersize=3)
    label(axes, "Calibration", "mean score of a bin", "mean label of a bin")


def _shares(binned: Binned) -> NDArray[np.float64]:
    """The part of rows in the first 0, 1, 2, ... bins."""
    parts: NDArray[np.float64] = np.append(0, np.cumsum(binned.rows)) / binned.rows.sum()
    return parts


def label(axes: Axes, title: str, across: str, up: str) -> None:
    """Write what a plot shows, and what its axes are."""
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
