"""Models, trees, clusters and an app over rows of three owners with the same columns; each keeps its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, OWNERS, Stage, step

__all__ = ["app_averaged", "averaged", "boosted", "clustered", "own_model"]

_FEATURES: Final = ("debt", "income")
_COLUMNS: Final = {
    "late": ("label", "AFTER_AGGREGATE"),
    **dict.fromkeys(_FEATURES, ("feature", "AFTER_AGGREGATE")),
}
_TERMS: Final = {"operations": ["model/fedavg"], "output_types": ["aggregate"]}

_TREE_FEATURES: Final = ("complaints", "months")
_TREE_COLUMNS: Final = {
    "left": ("label", "AFTER_AGGREGATE"),
    **dict.fromkeys(_TREE_FEATURES, ("feature", "AFTER_AGGREGATE")),
}
_TREE_TERMS: Final = {"operations": ["model/fedboost"], "output_types": ["aggregate"]}
_TREES, _LEAST, _RATE, _L2 = 3, 20, 0.3, 1.0

_APP_TERMS: Final = {"operations": ["bridge/flower"], "output_types": ["aggregate"]}
_APP_CONFIG: Final = {
    "rounds": 4,
    "steps": 5,
    "rate-percent": 50,
    "debt-middle": 4_000,
    "debt-scale": 1_500,
    "income-middle": 2_500,
    "income-scale": 700,
}
"""Of the app: what it scales columns by is stated, because no owner tells its means."""

_MIDDLES: Final = np.array([[1_500.0, 900.0], [5_000.0, 2_500.0], [8_000.0, 800.0]])
"""Of debt and income, around which rows of clusters lie, far from those of other clusters."""
_CLUSTER_COLUMNS: Final = dict.fromkeys(_FEATURES, ("feature", "AFTER_AGGREGATE"))
_CLUSTER_TERMS: Final = {"operations": ["model/kmeans"], "output_types": ["aggregate"]}


def averaged(stage: Stage) -> tuple[object, object]:
    """Which columns go with late payment, at three owners together? The analyst reads the model."""
    found = _trained(stage, ANALYST, "recipients", "report/result")
    return _weights(found), _pooled()


def own_model(stage: Stage) -> tuple[object, object]:
    """The same, asked by an owner that reads the model at its own node; nobody else receives it."""
    return _weights(_trained(stage, OWNERS[0], "owners", "model/joint")), _pooled()


def app_averaged(stage: Stage) -> tuple[object, object]:
    """The same by an app of Flower's that owners and analyst have read; needs a Python that has flwr."""
    app = resources.files("exchange.examples") / "apps" / "late_payment.py"
    agreements, inputs = _published(stage, "late-app", _table, _COLUMNS, _APP_TERMS)
    training = step(
        "train",
        "bridge/flower",
        {**_owners(stage), "aggregator": stage.did(ANALYST)},
        inputs=inputs,
        params={
            "app": stage.install(app.read_bytes()),
            "arrays": [{"name": "weights", "shape": [3]}],
            "model": "recipients",
            "min_cohort": 50,
            "threshold": len(OWNERS),
            "patience_s": 60,
            "messages": 2 * _APP_CONFIG["rounds"],
            "train_metrics": ["loss"],
            "evaluate_metrics": ["loss"],
            "config": _APP_CONFIG,
        },
        recipients=[stage.did(ANALYST)],
    )
    reading = step("read", "report/result", {"reader": stage.did(ANALYST)}, after=["train"])
    found = dict(stage.run("Late payment by an app", agreements, training, reading))
    return [float(row[2]) for row in found["rows"]], _averaged_in_the_clear()


def boosted(stage: Stage) -> tuple[object, object]:
    """Which customers leave, by complaints and months with a contract, at three owners together?"""
    agreements, inputs = _published(stage, "contracts", _customers, _TREE_COLUMNS, _TREE_TERMS)
    growing = step(
        "grow",
        "model/fedboost",
        {**_owners(stage), "aggregator": stage.did(ANALYST)},
        inputs=inputs,
        params={
            "label": "left",
            "bounds": {
                "complaints": {"lower": "0", "upper": "4"},
                "months": {"lower": "0", "upper": "12"},
            },
            "model": "recipients",
            "trees": _TREES,
            "depth": 1,
            "min_cohort": _LEAST,
            "threshold": len(OWNERS),
            "patience_s": 60,
        },
        recipients=[stage.did(ANALYST)],
    )
    reading = step("read", "report/result", {"reader": stage.did(ANALYST)}, after=["grow"])
    rows = dict(stage.run("Customers who leave", agreements, growing, reading))["rows"]
    trees = [rows[at : at + 3] for at in range(0, len(rows), 3)]
    found = [[root[2], left[6], float(left[5]), right[6], float(right[5])] for root, left, right in trees]
    return found, _pooled_trees()


def clustered(stage: Stage) -> tuple[object, object]:
    """Which groups of customers are there, by debt and income, at three owners together?"""
    agreements, inputs = _published(stage, "customers", _clusters, _CLUSTER_COLUMNS, _CLUSTER_TERMS)
    grouping = step(
        "group",
        "model/kmeans",
        {**_owners(stage), "aggregator": stage.did(ANALYST)},
        inputs=inputs,
        params={
            "clusters": 3,
            "bounds": {name: {"lower": "0", "upper": "10000"} for name in _FEATURES},
            "seed": 1,
            "min_cohort": 20,
            "threshold": len(OWNERS),
            "patience_s": 60,
        },
        recipients=[stage.did(ANALYST)],
    )
    reading = step("read", "report/result", {"reader": stage.did(ANALYST)}, after=["group"])
    found = dict(stage.run("Groups of customers", agreements, grouping, reading))
    return _centres([[int(row[1]), row[3], float(row[4])] for row in found["rows"]]), _pooled_centres()


def _pooled_trees() -> list[list[object]]:
    """Boosted stumps over the rows of all: of each its column, and rows and weight on either side."""
    table = pa.concat_tables([_customers(number) for number in range(1, len(OWNERS) + 1)])
    label: NDArray[np.float64] = table["left"].to_numpy().astype(np.float64)
    margins = np.full(len(label), np.log(label.mean() / (1 - label.mean())))
    found: list[list[object]] = []
    for _ in range(_TREES):
        fitted = 1 / (1 + np.exp(-margins))
        g, h = fitted - label, fitted * (1 - fitted)
        stumps = []
        for name in _TREE_FEATURES:
            values: NDArray[np.int64] = table[name].to_numpy()
            for value in np.unique(values)[:-1]:
                sides = (values <= value, values > value)
                gain = sum(g[side].sum() ** 2 / (h[side].sum() + _L2) for side in sides)
                stumps.append((gain, name, sides))
        _, name, sides = max(stumps, key=lambda stump: float(stump[0]))
        stump: list[object] = [name]
        for side in sides:
            weight = -_RATE * float(g[side].sum()) / (float(h[side].sum()) + _L2)
            stump += [int(side.sum()), weight]
            margins = margins + weight * side
        found.append(stump)
    return found


def _centres(lines: list[list[Any]]) -> list[list[object]]:
    """Clusters by debt, as rows, column and centre; their own order is that of their start."""
    pairs = [lines[at : at + len(_FEATURES)] for at in range(0, len(lines), len(_FEATURES))]
    return [line for pair in sorted(pairs, key=lambda pair: float(pair[0][2])) for line in pair]


def _pooled_centres() -> list[list[object]]:
    parts = [_grouped(number) for number in range(1, len(OWNERS) + 1)]
    rows, groups = (np.concatenate(one) for one in zip(*parts, strict=True))
    members = [rows[groups == group] for group in range(len(_MIDDLES))]
    return [
        [len(own), name, float(own[:, at].mean())] for own in members for at, name in enumerate(_FEATURES)
    ]


def _customers(number: int) -> pa.Table:
    generator = np.random.Generator(np.random.PCG64(number))
    rows = 300 + 40 * number
    complaints, months = generator.integers(0, 5, rows), generator.integers(0, 12, rows)
    fitted = 0.8 * (complaints - 2) - 0.25 * (months - 6)
    left = (generator.random(rows) < 1 / (1 + np.exp(-fitted))).astype(np.int64)
    return pa.table({"left": left, "complaints": complaints, "months": months})


def _clusters(number: int) -> pa.Table:
    rows, _ = _grouped(number)
    return pa.table({name: rows[:, at] for at, name in enumerate(_FEATURES)})


def _grouped(number: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """An owner's rows of debt and income, and the group of each; owners have other parts of the groups."""
    generator = np.random.Generator(np.random.PCG64(number))
    groups = generator.choice(len(_MIDDLES), 150, p=np.roll([0.6, 0.3, 0.1], number))
    rows: NDArray[np.float64] = _MIDDLES[groups] + generator.uniform(-400, 400, (150, 2))
    return rows, groups


def _table(number: int) -> pa.Table:
    generator = np.random.Generator(np.random.PCG64(number))
    rows = 150 + 50 * number
    debt, income = generator.normal(4_000, 1_500, rows), generator.normal(2_500, 700, rows)
    fitted = (debt - 4_000) / 1_500 - (income - 2_500) / 700
    late = (generator.random(rows) < 1 / (1 + np.exp(-fitted))).astype(np.int64)
    return pa.table({"late": late, "debt": debt, "income": income})


def _pooled() -> list[list[object]]:
    """Fit by Newton's method to the rows of all, standardised under ones."""
    table = pa.concat_tables([_table(number) for number in range(1, len(OWNERS) + 1)])
    columns = [table[name].to_numpy() for name in _FEATURES]
    x = np.vstack([np.ones(len(table)), *((one - one.mean()) / one.std() for one in columns)])
    label: NDArray[np.int64] = table["late"].to_numpy()
    weights = np.zeros(len(x))
    for _ in range(30):
        fitted = 1 / (1 + np.exp(-weights @ x))
        weights -= np.linalg.solve((x * (fitted * (1 - fitted))) @ x.T, x @ (fitted - label))
    return [[name, float(one)] for name, one in zip(("(intercept)", *_FEATURES), weights, strict=True)]


def _averaged_in_the_clear() -> list[float]:
    """What the app does, on all rows at one place."""
    config, weights = _APP_CONFIG, np.zeros(3)
    tables = []
    for number in range(1, len(OWNERS) + 1):
        table = _table(number)
        scaled = [
            (table[name].to_numpy() - config[f"{name}-middle"]) / config[f"{name}-scale"]
            for name in _FEATURES
        ]
        tables.append((np.column_stack([np.ones(len(table)), *scaled]), table["late"].to_numpy()))
    for _ in range(config["rounds"]):
        total = np.zeros(3)
        for x, label in tables:
            own = weights.copy()
            for _ in range(config["steps"]):
                fitted = 1 / (1 + np.exp(-x @ own))
                own -= config["rate-percent"] / 100 * (fitted - label) @ x / len(label)
            total += len(label) * own
        weights = total / sum(len(label) for _, label in tables)
    return [float(one) for one in weights]


def _weights(result: dict[str, Any]) -> list[list[object]]:
    return [[row[1], float(row[3])] for row in result["rows"]]


def _owners(stage: Stage) -> dict[str, str]:
    return {f"owner-{number}": stage.did(org) for number, org in enumerate(OWNERS, start=1)}


def _published(
    stage: Stage,
    asset: str,
    table: Callable[[int], pa.Table],
    columns: Mapping[str, tuple[str, str]],
    terms: dict[str, Any],
    asker: str = ANALYST,
) -> tuple[dict[str, str], dict[str, Any]]:
    """Have every owner publish its table and agree to its use: the agreements, and a step's inputs."""
    agreements, inputs = {}, {}
    for number, org in enumerate(OWNERS, start=1):
        name = stage.publish(org, asset, table(number), columns, terms)
        if org != asker:
            agreements[name] = stage.agree(name, list(columns), terms, asker=asker)
        named = [{"name": column, "decimals": 0} for column in columns]
        inputs[f"owner-{number}"] = {"asset": name, "columns": named}
    return agreements, inputs


def _trained(stage: Stage, asker: str, model: str, reader: str) -> dict[str, Any]:
    agreements, inputs = _published(stage, f"late-{model}", _table, _COLUMNS, _TERMS, asker)
    training = step(
        "train",
        "model/fedavg",
        {**_owners(stage), "aggregator": stage.did(ANALYST)},
        inputs=inputs,
        params={
            "label": "late",
            "family": "logistic",
            "model": model,
            "min_cohort": 50,
            "threshold": len(OWNERS),
            "patience_s": 60,
            "rounds": 25,
            "batch": 50,
            "rate_micro": 300_000,
        },
        recipients=[stage.did(asker)],
    )
    reading = step("read", reader, {"reader": stage.did(asker)}, after=["train"])
    return dict(stage.run("Late payment at several owners", agreements, training, reading, asker=asker))
