"""Tables of two owners before a model is trained on them: related, holed and moved columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, MIN_COHORT, REGULATOR, Stage, step

__all__ = ["correlation", "prepared", "stability"]

_PEOPLE, _ALONE = 400, 40
_COLUMNS = {
    "lender": {
        "person": ("identifier", "AFTER_JOIN"),
        "spent": ("label", "AFTER_AGGREGATE"),
        "debt": ("feature", "AFTER_AGGREGATE"),
    },
    "utility": {
        "person": ("identifier", "AFTER_JOIN"),
        "income": ("feature", "AFTER_AGGREGATE"),
        "age": ("feature", "AFTER_AGGREGATE"),
        "region": ("group", "AFTER_AGGREGATE"),
    },
}


def correlation(stage: Stage) -> tuple[object, object]:
    """Which columns of two owners go together, and how far is each made up of the others?"""
    assets, agreements = _shared(stage, ["psi/ecdh", "model/correlation"])
    asking = stage.did(ANALYST)
    matching = _matching(stage, assets)
    relating = step(
        "relate",
        "model/correlation",
        _owners(stage),
        inputs={
            "owner-1": _read(assets["lender"], "spent"),
            "owner-2": _read(assets["utility"], "income", "age"),
        },
        after=["match"],
        params={"min_cohort": 50},
        recipients=[asking],
    )
    reading = step("read", "report/result", {"reader": asking}, after=["relate"])
    answer = stage.run("Correlation", agreements, matching, relating, reading)
    got = [[row[1], float(row[2]), *map(float, row[3:])] for row in answer["rows"]]
    joined = _joined()
    names = ("spent", "income", "age")
    matrix = np.corrcoef([joined[name].to_numpy() for name in names])
    factors = np.diag(np.linalg.inv(matrix))
    rows = zip(names, factors.tolist(), matrix.tolist(), strict=True)
    return got, [[name, factor, *line] for name, factor, line in rows]


def prepared(stage: Stage) -> tuple[object, object]:
    """What goes with an amount, where one owner's column has holes and the other's is a category?"""
    assets, agreements = _shared(stage, ["psi/ecdh", "model/linear", "model/prepare"])
    asking, owners = stage.did(ANALYST), _owners(stage)
    preparing = step(
        "prepare",
        "model/prepare",
        {role: owners[role] for role in ("owner-1", "owner-2")},
        inputs={"owner-1": _read(assets["lender"], "debt"), "owner-2": _read(assets["utility"], "region")},
        after=["match"],
        params={
            "columns": {
                "owner-1": {"debt": {"kind": "number", "missing": "median"}},
                "owner-2": {
                    "region": {"kind": "category", "labels": ["north", "south", "west"], "baseline": "west"}
                },
            },
            "min_cohort": 50,
        },
    )
    training = step(
        "train",
        "model/linear",
        owners,
        inputs={
            "owner-1": _read(assets["lender"], "spent", "debt"),
            "owner-2": _read(assets["utility"], "income", "region"),
        },
        after=["prepare"],
        params={
            "label": "spent",
            "coefficients": "recipients",
            "min_cohort": 50,
            "batch": 512,
            "epochs": 240,
        },
        recipients=[asking],
    )
    reading = step("read", "report/result", {"reader": asking}, after=["train"])
    answer = stage.run("Prepared", agreements, _matching(stage, assets), preparing, training, reading)
    got = [[name, float(value)] for _, name, value in answer["rows"]]
    names = ("(intercept)", "debt", "income", "region=north", "region=south")
    return got, [[name, float(weight)] for name, weight in zip(names, _least_squares(), strict=True)]


def stability(stage: Stage) -> tuple[object, object]:
    """Have the amounts of this year's customers moved away from those that a model was made for?"""
    generator = np.random.Generator(np.random.PCG64(41))
    years = np.repeat([2023, 2024], _PEOPLE)
    spent = np.append(generator.normal(900, 100, _PEOPLE), generator.normal(1_000, 100, _PEOPLE))
    table = pa.table({"year": years, "spent": spent})
    columns = {"year": ("time", "AFTER_AGGREGATE"), "spent": ("feature", "AFTER_AGGREGATE")}
    terms = {"operations": ["model/stability"], "output_types": ["aggregate"]}
    asset, agreement = stage.share("lender", "preparation-stability", table, columns, terms)
    asking = stage.did(ANALYST)
    parts = {"expected": 2023, "actual": 2024}
    comparing = step(
        "compare",
        "model/stability",
        {"owner": stage.did("lender")},
        inputs={"owner": _read(asset, "year", "spent")},
        params={
            "min_cohort": 50,
            **{part: {"column": "year", "is": "=", "value": year} for part, year in parts.items()},
        },
        recipients=[asking],
    )
    reading = step("read", "report/result", {"reader": asking}, after=["compare"])
    answer = stage.run("Stability", {asset: agreement}, comparing, reading)
    edges = np.quantile(spent[:_PEOPLE], np.arange(1, 10) / 10)
    bins = [np.searchsorted(edges, part, side="right") for part in np.split(spent, 2)]
    e, a = ((np.bincount(one, minlength=10) + 0.5) / (_PEOPLE + 5) for one in bins)
    index = float(np.sum((a - e) * np.log(a / e)))
    return [[row[0], float(row[1])] for row in answer["rows"]], [["spent", index]]


def _least_squares() -> NDArray[np.float64]:
    """Coefficients of the prepared columns of the people whom both know, all standardised."""
    joined = _joined()
    debt, region = joined["debt"].to_numpy(), joined["region"].to_numpy()
    columns = [
        np.where(np.isnan(debt), np.nanmedian(debt), debt),
        joined["income"].to_numpy(),
        *((region == label).astype(float) for label in ("north", "south")),
    ]
    label, *features = ((one - one.mean()) / one.std() for one in (joined["spent"].to_numpy(), *columns))
    design = np.vstack([np.ones(len(label)), *features])
    weights: NDArray[np.float64] = np.linalg.lstsq(design.T, label, rcond=None)[0]
    return weights


def _joined() -> pa.Table:
    tables = _tables()
    return tables["lender"].join(tables["utility"], "person", join_type="inner")


def _tables() -> dict[str, pa.Table]:
    generator = np.random.Generator(np.random.PCG64(37))
    income = generator.normal(2_500, 700, _PEOPLE)
    debt = 2 * income + generator.normal(0, 1_500, _PEOPLE)
    age = generator.integers(18, 80, _PEOPLE)
    people = [f"C{number:04d}" for number in range(_PEOPLE)]
    region = generator.choice(["north", "south", "west"], _PEOPLE)
    holes = generator.random(_PEOPLE) < 0.1
    spent = 900 + 0.1 * income + 200 * (region == "south") + generator.normal(0, 50, _PEOPLE)
    lender = pa.table({"person": people, "spent": spent, "debt": pa.array(debt, mask=holes)})
    utility = pa.table({"person": people, "income": income, "age": age, "region": region})
    return {"lender": lender.slice(0, _PEOPLE - _ALONE), "utility": utility.slice(_ALONE)}


def _shared(stage: Stage, operations: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Publish both tables and agree on them; the assets, and the agreements by asset."""
    terms = {"operations": operations, "output_types": ["aggregate", "cardinality"]}
    name = "preparation-" + operations[-1].removeprefix("model/")
    assets, agreements = {}, {}
    for org, table in _tables().items():
        assets[org], agreement = stage.share(org, name, table, _COLUMNS[org], terms)
        agreements[assets[org]] = agreement
    return assets, agreements


def _owners(stage: Stage) -> dict[str, str]:
    """Who computes: both owners, and the regulator as the helper."""
    roles = {"owner-1": "lender", "owner-2": "utility", "helper-1": REGULATOR}
    return {role: stage.did(org) for role, org in roles.items()}


def _matching(stage: Stage, assets: dict[str, str]) -> dict[str, Any]:
    return step(
        "match",
        "psi/ecdh",
        {"left": stage.did("lender"), "right": stage.did("utility")},
        inputs={"left": _read(assets["lender"], "person"), "right": _read(assets["utility"], "person")},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": MIN_COHORT},
    )


def _read(asset: str, *columns: str) -> dict[str, object]:
    return {"asset": asset, "columns": [{"name": one, "decimals": 0} for one in columns]}
