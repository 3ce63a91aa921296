"""Weight of evidence over columns of two owners, an owner's own bins, and a scorecard over both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, MIN_COHORT, REGULATOR, Stage, step

__all__ = ["information_values", "own_bins", "points"]

_PEOPLE, _ALONE = 500, 50
_COLUMNS = {
    "lender": {
        "person": ("identifier", "AFTER_JOIN"),
        "late": ("label", "AFTER_AGGREGATE"),
        "debt": ("feature", "AFTER_AGGREGATE"),
    },
    "utility": {
        "person": ("identifier", "AFTER_JOIN"),
        "income": ("feature", "AFTER_AGGREGATE"),
        "tariff": ("group", "AFTER_AGGREGATE"),
    },
}
_EDGES = {"debt": [3_000, 4_000, 5_000], "income": [2_000, 2_500, 3_000]}
_TARIFFS = ("day", "night", "social")
_READ = {"lender": ("late", "debt"), "utility": ("income", "tariff")}


def information_values(stage: Stage) -> tuple[object, object]:
    """Which columns of two owners tell who pays late? The analyst reads the information values."""
    answer = _answered(stage, ANALYST, {"iv": "recipients"}, "report/result")
    got = [[name, float(value)] for _, name, value in answer["rows"]]
    return got, [[name, value] for name, (_, value) in _pooled().items()]


def own_bins(stage: Stage) -> tuple[object, object]:
    """The utility asks, and reads the weights of the bins of its own income column."""
    answer = _answered(stage, "utility", {"iv": "split"}, "model/bins")
    return [float(row[4]) for row in answer["rows"] if row[0] == "income"], _pooled()["income"][0].tolist()


def points(stage: Stage) -> tuple[object, object]:
    """The analyst reads a scorecard over the columns of both: base points, and points by bin."""
    answer = _answered(stage, ANALYST, {"iv": "split"}, "report/result", is_scored=True)
    return [float(row[4]) for row in answer["rows"]], _card()


def _tables() -> dict[str, pa.Table]:
    generator = np.random.Generator(np.random.PCG64(47))
    debt, income = generator.normal(4_000, 1_500, _PEOPLE), generator.normal(2_500, 700, _PEOPLE)
    tariff = generator.integers(0, len(_TARIFFS), _PEOPLE)
    fitted = (debt - 4_000) / 1_500 - (income - 2_500) / 700 + (tariff == 2)
    late = (generator.random(_PEOPLE) < 1 / (1 + np.exp(-fitted))).astype(np.int64)
    people = [f"C{number:04d}" for number in range(_PEOPLE)]
    lender = pa.table({"person": people, "late": late, "debt": debt})
    utility = pa.table({"person": people, "income": income, "tariff": [_TARIFFS[code] for code in tariff]})
    return {"lender": lender.slice(0, _PEOPLE - _ALONE), "utility": utility.slice(_ALONE)}


def _pooled() -> dict[str, tuple[NDArray[np.float64], float]]:
    """The weights of each bin, and the information value, over the people whom both know."""
    late, codes = _joined()
    found = {}
    for name, places in codes.items():
        events, others = np.bincount(places[late]) / late.sum(), np.bincount(places[~late]) / (~late).sum()
        weights = np.log(others / events)
        found[name] = weights, float((others - events) @ weights)
    return found


def _joined() -> tuple[NDArray[np.bool_], dict[str, NDArray[np.int64]]]:
    """Who is late, and the bin of each column, of the people whom both know."""
    tables = _tables()
    joined = tables["lender"].join(tables["utility"], "person", join_type="inner")
    codes = {name: np.searchsorted(edges, joined[name].to_numpy(), "right") for name, edges in _EDGES.items()}
    codes["tariff"] = np.array([_TARIFFS.index(one) for one in joined["tariff"].to_pylist()])
    return joined["late"].to_numpy() == 1, codes


def _card() -> list[float]:
    """Base points and those of each bin, by Newton's method; bins of tariffs by their share of events."""
    late, codes = _joined()
    weights = {name: own for name, (own, _) in _pooled().items()}
    columns = {name: weights[name][places] for name, places in codes.items()}
    x = np.vstack([np.ones(len(late)), *((one - one.mean()) / one.std() for one in columns.values())])
    fitted = np.zeros(len(x))
    for _ in range(30):
        chance = 1 / (1 + np.exp(-fitted @ x))
        fitted -= np.linalg.solve((x * (chance * (1 - chance))) @ x.T, x @ (chance - late))
    factor = 20 / np.log(2)
    found = [float(600 - factor * (np.log(50) + fitted[0]))]
    for coefficient, (name, column) in zip(fitted[1:], columns.items(), strict=True):
        shown = np.sort(weights[name])[::-1] if name == "tariff" else weights[name]
        found += (-factor * coefficient * (shown - column.mean()) / column.std()).tolist()
    return found


def _answered(
    stage: Stage, asker: str, params: dict[str, Any], reader: str, *, is_scored: bool = False
) -> dict[str, Any]:
    operations = ["psi/ecdh", "model/woe", *(["model/scorecard"] if is_scored else [])]
    terms = {"operations": operations, "output_types": ["aggregate", "cardinality"]}
    name = f"scorecard-{asker}-{len(operations)}"
    assets, agreements = {}, {}
    for org, table in _tables().items():
        assets[org] = stage.publish(org, name, table, _COLUMNS[org], terms)
        if org != asker:
            agreements[assets[org]] = stage.agree(assets[org], list(_COLUMNS[org]), terms, asker=asker)
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
    given = {f"owner-{number}.{name}": edges for number, (name, edges) in enumerate(_EDGES.items(), start=1)}
    parties = {"owner-1": lender, "owner-2": utility, "helper-1": stage.did(REGULATOR)}
    inputs = {f"owner-{number}": read(org, *_READ[org]) for number, org in enumerate(_READ, start=1)}
    weighing = step(
        "weigh",
        "model/woe",
        parties,
        inputs=inputs,
        after=["match"],
        params={
            "label": "late",
            "min_cohort": 20,
            "merge": "none",
            "edges": {name: [str(edge) for edge in edges] for name, edges in given.items()},
            **params,
        },
        recipients=[asking],
    )
    scoring = step(
        "score",
        "model/scorecard",
        parties,
        inputs=inputs,
        after=["match", "weigh"],
        params={
            "label": "late",
            "coefficients": "recipients",
            "min_cohort": 20,
            "batch": 512,
            "epochs": 120,
            "points": "exact",
        },
        recipients=[asking],
    )
    steps = [matching, weighing, *([scoring] if is_scored else [])]
    reading = step("read", reader, {"reader": asking}, after=[steps[-1]["id"]])
    return dict(stage.run("Weight of evidence", agreements, *steps, reading, asker=asker))
