"""One model over the rows of three owners that have the same columns; nobody sees another's update."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, OWNERS, Stage, step

__all__ = ["averaged", "own_model"]

_FEATURES: Final = ("debt", "income")
_COLUMNS: Final = {
    "late": ("label", "AFTER_AGGREGATE"),
    **dict.fromkeys(_FEATURES, ("feature", "AFTER_AGGREGATE")),
}
_TERMS: Final = {"operations": ["model/fedavg"], "output_types": ["aggregate"]}


def averaged(stage: Stage) -> tuple[object, object]:
    """Which columns go with late payment, at three owners together? The analyst reads the model."""
    found = _trained(stage, ANALYST, "recipients", "report/result")
    return _weights(found), _pooled()


def own_model(stage: Stage) -> tuple[object, object]:
    """The same, asked by an owner that reads the model at its own node; nobody else receives it."""
    return _weights(_trained(stage, OWNERS[0], "owners", "model/joint")), _pooled()


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
