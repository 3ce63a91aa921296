"""Boosted trees over columns of two owners: losses, the label holder's part, scores, trees on shares."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, MIN_COHORT, REGULATOR, Stage, step

__all__ = ["fit", "on_shares", "own_part", "scored"]

_PEOPLE, _ALONE = 400, 40
_LEAST_ROWS: Final = 50
_TREES, _DEPTH, _BINS, _RATE, _L2, _LEAST = 2, 2, 8, 0.3, 1.0, 1.0
_COLUMNS: Final = {
    "lender": {
        "person": ("identifier", "AFTER_JOIN"),
        "late": ("label", "AFTER_AGGREGATE"),
        "debt": ("feature", "AFTER_AGGREGATE"),
    },
    "utility": {
        "person": ("identifier", "AFTER_JOIN"),
        "income": ("feature", "AFTER_COMPARE"),
        "age": ("feature", "AFTER_COMPARE"),
    },
}
_Floats = NDArray[np.float64]
_Rows = NDArray[np.bool_]


def fit(stage: Stage) -> tuple[object, object]:
    """The analyst learns how the loss fell with each tree."""
    answer = _trained(stage, ANALYST, {"loss": "recipients"}, "report/result", ())
    return [float(row[1]) for row in answer["rows"]], _plain()[0]


def own_part(stage: Stage) -> tuple[object, object]:
    """The lender, who has the label, asks, and reads the weights of all leaves."""
    answer = _trained(stage, "lender", {}, "model/trees", ())
    return [float(row[-1]) for row in answer["rows"] if row[-1] is not None], _plain()[1]


def scored(stage: Stage) -> tuple[object, object]:
    """How likely is each customer of the lender to pay late? The utility tells it sides of thresholds."""
    answer = _trained(stage, "lender", {}, "model/score-trees", ("debt",))
    return sorted(float(score) for _, score in answer["rows"]), sorted(_plain()[2])


def on_shares(stage: Stage) -> tuple[object, object]:
    """The analyst learns all splits and leaves, and nobody else any; the weights of the leaves."""
    answer = _trained(stage, ANALYST, {}, "report/result", (), component="model/boosting-shared")
    weights = [float(row[-1]) for row in answer["rows"] if row[-1] is not None]
    # A leaf that is not worth a split is further down in a complete tree.
    return sorted(weights), sorted(_plain(_LEAST_ROWS / 4)[1])


def _tables() -> dict[str, pa.Table]:
    generator = np.random.Generator(np.random.PCG64(37))
    debt, income = generator.normal(4_000, 1_500, _PEOPLE), generator.normal(2_500, 700, _PEOPLE)
    age = generator.integers(18, 80, _PEOPLE)
    fitted = (debt - 4_000) / 1_500 - (income - 2_500) / 700 + (age < 30)
    late = (generator.random(_PEOPLE) < 1 / (1 + np.exp(-fitted))).astype(np.int64)
    people = [f"C{number:04d}" for number in range(_PEOPLE)]
    lender = pa.table({"person": people, "late": late, "debt": debt})
    utility = pa.table({"person": people, "income": income, "age": age})
    return {"lender": lender.slice(0, _PEOPLE - _ALONE), "utility": utility.slice(_ALONE)}


def _plain(least: float = _LEAST) -> tuple[list[float], list[float], list[float]]:
    """The mean loss after each tree, the weights of all leaves and the scores of the rows that both know."""
    tables = _tables()
    joined = tables["lender"].join(tables["utility"], "person", join_type="inner")
    label = joined["late"].to_numpy().astype(float)
    columns = [joined[name].to_numpy().astype(float) for name in ("debt", "income", "age")]
    sides = [side for column in columns for side in _sides(column)]
    margins = np.full(len(label), np.log(label.mean() / (1 - label.mean())))
    losses, weights = [], list[float]()
    for _ in range(_TREES):
        predicted = 1 / (1 + np.exp(-margins))
        g, h = predicted - label, predicted * (1 - predicted)
        leaves = dict(sorted(_leaves(np.ones(len(label), dtype=np.bool_), 1, sides, g, h, least)))
        for rows in leaves.values():
            weights.append(float(-_RATE * g[rows].sum() / (h[rows].sum() + _L2)))
            margins[rows] += weights[-1]
        losses.append(float(np.mean(np.logaddexp(0, margins) - label * margins)))
    return losses, weights, (1 / (1 + np.exp(-margins))).tolist()


def _sides(column: _Floats) -> list[_Rows]:
    """Who is on the left of each cut between bins of about as many rows."""
    cuts = np.quantile(column, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
    return [column <= cut for cut in np.unique(cuts)]


def _leaves(
    rows: _Rows, node: int, sides: list[_Rows], g: _Floats, h: _Floats, least: float
) -> list[tuple[int, _Rows]]:
    """The leaves below a node, with their rows."""

    def score(some: _Rows) -> float:
        return float(g[some].sum() ** 2 / (h[some].sum() + _L2))

    best, left = 1e-6, None
    for side in sides if node < 2**_DEPTH else []:
        parts = (rows & side, rows & ~side)
        if min(float(h[part].sum()) for part in parts) < least:
            continue
        gain = score(parts[0]) + score(parts[1]) - score(rows)
        if gain > best:
            best, left = gain, side
    if left is None:
        return [(node, rows)]
    further = (sides, g, h, least)
    return [*_leaves(rows & left, 2 * node, *further), *_leaves(rows & ~left, 2 * node + 1, *further)]


def _trained(
    stage: Stage,
    asker: str,
    params: dict[str, Any],
    last: str,
    scored_by: tuple[str, ...],
    *,
    component: str = "model/boosting",
) -> dict[str, Any]:
    """Train, and read what came of it, or score the same rows by columns of the lender and the utility."""
    terms = {
        "operations": ["psi/ecdh", component, "model/score-trees"],
        "output_types": ["aggregate", "cardinality", "scores"],
    }
    controls, helper = _COLUMNS, dict[str, str]()
    if component == "model/boosting-shared":
        seen = dict.fromkeys(("income", "age"), ("feature", "AFTER_AGGREGATE"))
        controls = _COLUMNS | {"utility": _COLUMNS["utility"] | seen}
        helper = {"helper-1": stage.did(REGULATOR)}
    assets, agreements = {}, {}
    name = f"{component.partition('/')[2]}-{asker}-{last.partition('/')[2]}"
    for org, table in _tables().items():
        assets[org] = stage.publish(org, name, table, controls[org], terms)
        if org != asker:
            agreements[assets[org]] = stage.agree(assets[org], list(controls[org]), terms, asker=asker)
    lender, utility, asking = (stage.did(org) for org in ("lender", "utility", asker))

    def read(org: str, *columns: str) -> dict[str, object]:
        return {"asset": assets[org], "columns": [{"name": one, "decimals": 0} for one in columns]}

    matching = step(
        "match",
        "psi/ecdh",
        {"left": lender, "right": utility},
        inputs={"left": read("lender", "person"), "right": read("utility", "person")},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": MIN_COHORT},
    )
    training = step(
        "train",
        component,
        {"owner-1": lender, "owner-2": utility} | helper,
        inputs={"owner-1": read("lender", "late", "debt"), "owner-2": read("utility", "income", "age")},
        after=["match"],
        params={
            "label": "late",
            "min_cohort": _LEAST_ROWS,
            "trees": _TREES,
            "depth": _DEPTH,
            "bins": _BINS,
            **params,
        },
        recipients=[asking],
    )
    if scored_by:
        ending = step(
            "score",
            last,
            {"owner-1": lender, "owner-2": utility},
            inputs={"owner-1": read("lender", *scored_by), "owner-2": read("utility", "income", "age")},
            after=["match", "train"],
            params={"min_cohort": 50},
            recipients=[lender],
        )
    else:
        ending = step("read", last, {"reader": asking}, after=["train"])
    return dict(stage.run("Boosted trees", agreements, matching, training, ending, asker=asker))
