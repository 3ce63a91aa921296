"""A neural network over columns of two owners: how well it fits, and scores for the label's owner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, MIN_COHORT, REGULATOR, Stage, step
from federated import metrics

__all__ = ["fit", "scored"]

_PEOPLE, _ALONE = 740, 40
_UNITS, _EPOCHS, _RATE = 16, 60, 2.0
_Floats = NDArray[np.float64]


def fit(stage: Stage) -> tuple[object, object]:
    """The analyst learns all weights, and how far off the network is; another start has other weights."""
    params = {"coefficients": "recipients", "loss": "owners"}
    facts = _trained(stage, ANALYST, params, "AFTER_AGGREGATE")["facts"]
    _, losses = _plain()
    return [facts["units"], float(facts["losses"][-1])], [_UNITS, losses[-1]]


def scored(stage: Stage) -> tuple[object, object]:
    """How well do the scores that the lender learns tell who pays late? Neither column alone does."""
    answer = _trained(stage, "lender", {"coefficients": "split"}, "AS_JOIN_PAYLOAD")
    scores = {row: float(score) for row, score in answer["rows"]}
    late = _tables()["lender"]["late"].to_numpy()[sorted(scores)].astype(float)
    told = metrics.auc(np.array([scores[row] for row in sorted(scores)]), late)
    _, label = _pooled()
    return [len(scores), told], [len(label), metrics.auc(_plain()[0], label)]


def _tables() -> dict[str, pa.Table]:
    """Late are those whose debt and income are both high or both low."""
    generator = np.random.Generator(np.random.PCG64(43))
    debt, income = generator.normal(4_000, 1_500, _PEOPLE), generator.normal(2_500, 700, _PEOPLE)
    late = ((debt > 4_000) == (income > 2_500)).astype(np.int64)
    people = [f"C{number:04d}" for number in range(_PEOPLE)]
    lender = pa.table({"person": people, "late": late, "debt": debt})
    utility = pa.table({"person": people, "income": income})
    return {"lender": lender.slice(0, _PEOPLE - _ALONE), "utility": utility.slice(_ALONE)}


def _pooled() -> tuple[_Floats, _Floats]:
    """Standardised columns under ones, and the label, of the people whom both know."""
    tables = _tables()
    joined = tables["lender"].join(tables["utility"], "person", join_type="inner")
    columns = [joined[name].to_numpy().astype(float) for name in ("debt", "income")]
    x = np.vstack([np.ones(len(joined)), *((one - one.mean()) / one.std() for one in columns)])
    return x, joined["late"].to_numpy().astype(float)


def _plain() -> tuple[_Floats, list[float]]:
    """The same descent in the clear, from a start of its own: fitted values, and the loss of each epoch."""
    x, label = _pooled()
    generator = np.random.Generator(np.random.PCG64(7))
    hidden = np.hstack([np.zeros((_UNITS, 1)), generator.normal(0, 1, (_UNITS, 2))])
    output = np.concatenate([[0.0], generator.normal(0, np.sqrt(2 / _UNITS), _UNITS)])
    losses = []
    for epoch in range(_EPOCHS):
        sums = hidden @ x
        activations = np.vstack([np.ones(len(label)), np.maximum(sums, 0)])
        residual = 1 / (1 + np.exp(-output @ activations)) - label
        losses.append(float(np.mean(residual**2)))
        rate = _RATE * min(1.0, 2 * (1 - epoch / _EPOCHS)) / len(label)
        back = output[1:, None] * residual * (sums > 0)
        output = output - rate * activations @ residual
        hidden -= rate * back @ x.T
    return output @ np.vstack([np.ones(len(label)), np.maximum(hidden @ x, 0)]), losses


def _trained(stage: Stage, asker: str, params: dict[str, Any], level: str) -> dict[str, Any]:
    """Train, and read the weights, or score the same rows; ``level`` is that of the utility's column."""
    is_split = params["coefficients"] == "split"
    terms = {
        "operations": ["psi/ecdh", "model/network", "model/score-network"],
        "output_types": ["aggregate", "cardinality", "scores"],
    }
    controls = {
        "lender": {
            "person": ("identifier", "AFTER_JOIN"),
            "late": ("label", "AFTER_AGGREGATE"),
            "debt": ("feature", "AFTER_AGGREGATE"),
        },
        "utility": {"person": ("identifier", "AFTER_JOIN"), "income": ("feature", level)},
    }
    assets, agreements = {}, {}
    for org, table in _tables().items():
        assets[org] = stage.publish(org, f"network-{params['coefficients']}", table, controls[org], terms)
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
    computing = {"owner-1": lender, "owner-2": utility, "helper-1": stage.did(REGULATOR)}
    inputs = {"owner-1": read("lender", "late", "debt"), "owner-2": read("utility", "income")}
    training = step(
        "train",
        "model/network",
        computing,
        inputs=inputs,
        after=["match"],
        params={
            "label": "late",
            "family": "logistic",
            "min_cohort": 50,
            "units": _UNITS,
            "epochs": _EPOCHS,
            "batch": 1024,
            "rate_micro": round(_RATE * 10**6),
            **params,
        },
        recipients=[asking],
    )
    ending = step("read", "report/result", {"reader": asking}, after=["train"])
    if is_split:
        ending = step(
            "score",
            "model/score-network",
            computing,
            inputs=inputs,
            after=["match", "train"],
            params={"min_cohort": 50},
            recipients=[lender],
        )
    return dict(stage.run("A neural network", agreements, matching, training, ending, asker=asker))
