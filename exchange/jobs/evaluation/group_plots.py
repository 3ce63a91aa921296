"""Plots of figures by group, one file each: a point for each group, joined where groups are periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from exchange.jobs.evaluation.group_tables import GroupLine, lines_of
from exchange.jobs.evaluation.grouping import By
from exchange.jobs.evaluation.plots import BLUE, GREY, ORANGE, label, png
from exchange.jobs.stability import LARGE, SOME
from federated.vertical import Family
from federated.vertical.by_group import GroupFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["drawn_groups"]

_GREEN = "#4c8c4a"
_NONE = float("nan")
_LONGEST = 12
_UPRIGHT = 6


def drawn_groups(by: By, family: Family, groups: GroupFigures) -> dict[str, bytes]:
    """PNG files by name: means, stability, AUC or errors; of groups that are no periods rates too."""
    lines = lines_of(by, groups)
    is_logistic = family is Family.LOGISTIC
    means = {
        "positive rate" if is_logistic else "mean label": [line.mean_label for line in lines],
        "mean score": [line.mean_score for line in lines],
    }
    plots = {"means": ("Labels and scores", means), "stability": ("Stability", _stability(lines))}
    if is_logistic:
        plots["auc"] = ("AUC", {"AUC": [line.auc for line in lines]})
    else:
        plots["errors"] = ("Errors", {"mean squared error": [line.mse for line in lines]})
    if not by.is_over_time:
        for place, cutoff in enumerate(by.cutoffs):
            plots[f"rates-{place + 1}"] = (f"Scores of {cutoff} and more", _rates(lines, place))
    return {
        f"group-{name}.png": png(partial(_draw, by=by, lines=lines, title=title, series=series))
        for name, (title, series) in plots.items()
    }


def _draw(
    axes: Axes, by: By, lines: Sequence[GroupLine], title: str, series: Mapping[str, Sequence[float]]
) -> None:
    style = "-" if by.is_over_time else "none"
    places = range(len(lines))
    for (name, values), color in zip(series.items(), (BLUE, ORANGE, _GREEN), strict=False):
        axes.plot(places, values, color=color, marker="o", markersize=4, linestyle=style, label=name)
    if title == "Stability":
        for bound in (SOME, LARGE):
            axes.axhline(bound, color=GREY, linestyle=":")
    if len(series) > 1:
        axes.legend(frameon=False)
    names = [_name(by, line.label) for line in lines]
    is_crowded = len(names) > _UPRIGHT or any(len(name) > _LONGEST // 2 for name in names)
    axes.set_xticks(list(places), names, rotation=90 if is_crowded else 0)
    axes.margins(x=0.1, y=0.1)
    label(
        axes, title, "period" if by.is_over_time else "group", next(iter(series)) if len(series) == 1 else ""
    )


def _name(by: By, text: str) -> str:
    """A label, or its number among all where the fonts of plots may not have its signs."""
    return text[:_LONGEST] if text.isascii() else str(by.labels.index(text) + 1)


def _stability(lines: Sequence[GroupLine]) -> dict[str, list[float]]:
    return {"stability index": [line.stability for line in lines]}


def _rates(lines: Sequence[GroupLine], place: int) -> dict[str, list[float]]:
    counts = [None if line.counts is None else line.counts[place] for line in lines]
    return {
        "selected": [line.selected[place] / line.rows for line in lines],
        "true positive rate": [_NONE if one is None else one.recall for one in counts],
        "false positive rate": [_NONE if one is None else one.fall_out for one in counts],
    }
