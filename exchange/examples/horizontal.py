"""Models and clusters over the rows of three owners with the same columns; nobody sees another's sums."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, OWNERS, Stage, step

__all__ = ["averaged", "clustered", "own_model"]

_FEATURES: Final = ("debt", "income")
_COLUMNS: Final = {
    "late": ("label", "AFTER_AGGREGATE"),
    **dict.fromkeys(_FEATURES, ("feature", "AFTER_AGGREGATE")),
}
_TERMS: Final = {"operations": ["model/fedavg"], "output_types": ["aggregate"]}

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


def clustered(stage: Stage) -> tuple[object, object]:
    """Which groups of customers are there, by debt and income, at three owners together?"""
    agreements, inputs = {}, {}
    for number, org in enumerate(OWNERS, start=1):
        rows, _ = _grouped(number)
        table = pa.table({name: rows[:, at] for at, name in enumerate(_FEATURES)})
        asset = stage.publish(org, "customers", table, _CLUSTER_COLUMNS, _CLUSTER_TERMS)
        agreements[asset] = stage.agree(asset, list(_CLUSTER_COLUMNS), _CLUSTER_TERMS)
        named = [{"name": name, "decimals": 0} for name in _CLUSTER_COLUMNS]
        inputs[f"owner-{number}"] = {"asset": asset, "columns": named}
    owners = {f"owner-{number}": stage.did(org) for number, org in enumerate(OWNERS, start=1)}
    grouping = step(
        "group",
        "model/kmeans",
        {**owners, "aggregator": stage.did(ANALYST)},
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


def _weights(result: dict[str, Any]) -> list[list[object]]:
    return [[row[1], float(row[3])] for row in result["rows"]]


def _trained(stage: Stage, asker: str, model: str, reader: str) -> dict[str, Any]:
    agreements, inputs = {}, {}
    for number, org in enumerate(OWNERS, start=1):
        asset = stage.publish(org, f"late-{model}", _table(number), _COLUMNS, _TERMS)
        if org != asker:
            agreements[asset] = stage.agree(asset, list(_COLUMNS), _TERMS, asker=asker)
        named = [{"name": name, "decimals": 0} for name in _COLUMNS]
        inputs[f"owner-{number}"] = {"asset": asset, "columns": named}
    owners = {f"owner-{number}": stage.did(org) for number, org in enumerate(OWNERS, start=1)}
    training = step(
        "train",
        "model/fedavg",
        {**owners, "aggregator": stage.did(ANALYST)},
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
