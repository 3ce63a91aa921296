"""Sums over three owners, and a score by another's model, under homomorphic encryption."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from exchange.examples.stage import ANALYST, MIN_COHORT, OWNERS, Stage, step

__all__ = ["scores", "sums"]

_MODEL = {"age": 0.75, "debt": -0.5, "intercept": 0.25}


def sums(stage: Stage) -> tuple[object, object]:
    """What do three owners' customers owe together, and how much on average? Nobody sees another's total."""
    generator = np.random.Generator(np.random.PCG64(1))
    terms = {"operations": ["he/sums"], "output_types": ["aggregate"]}
    owed, agreements, inputs = [], {}, {}
    for number, org in enumerate(OWNERS, start=1):
        debts = generator.integers(0, 10_000, 50 + number)
        owed += debts.tolist()
        columns = {"debt": ("measure", "AFTER_AGGREGATE")}
        asset, agreements[asset] = stage.share(org, "debts", pa.table({"debt": debts}), columns, terms)
        inputs[f"owner-{number}"] = {"asset": asset, "columns": [{"name": "debt", "decimals": 0}]}
    reader = stage.did(ANALYST)
    parties = {f"owner-{number}": stage.did(org) for number, org in enumerate(OWNERS, start=1)}
    adding = step(
        "add",
        "he/sums",
        {**parties, "reader": reader},
        inputs=inputs,
        params={"min_cohort": MIN_COHORT},
        recipients=[reader],
    )
    result = stage.run(
        "Debts together", agreements, adding, step("open", "he/open", {"reader": reader}, after=["add"])
    )
    return [float(cell) for cell in result["rows"][0][1:]], [sum(owed), round(sum(owed) / len(owed), 6)]


def scores(stage: Stage) -> tuple[object, object]:
    """How does the bank's model score the analyst's clients? Neither sees the other's numbers."""
    generator = np.random.Generator(np.random.PCG64(2))
    features = generator.uniform(-2, 2, (20, 2))
    terms = {"operations": ["he/scoring"], "output_types": ["scores"], "min_cohort": 1}
    model = pa.table({"name": list(_MODEL), "weight": list(_MODEL.values())})
    columns = {"name": ("text", "AFTER_AGGREGATE"), "weight": ("measure", "AFTER_AGGREGATE")}
    weights, agreement = stage.share("bank", "model", model, columns, terms)
    clients = pa.table({"age": features[:, 0], "debt": features[:, 1]})
    private = dict.fromkeys(("age", "debt"), ("feature", "ENCRYPTED_ONLY"))
    own = stage.publish(ANALYST, "clients", clients, private, terms)
    scoring = step(
        "score",
        "he/scoring",
        {"client": stage.did(ANALYST), "model_owner": stage.did("bank")},
        inputs={
            "client": {"asset": own, "columns": [{"name": name, "decimals": 0} for name in private]},
            "model_owner": {"asset": weights, "columns": [{"name": name, "decimals": 0} for name in columns]},
        },
        params={"link": "linear", "bound": "2.0", "decimals": 3, "min_cohort": 1},
        recipients=[stage.did(ANALYST)],
    )
    result = stage.run("Scores of clients", {weights: agreement}, scoring)
    expected = features @ [_MODEL["age"], _MODEL["debt"]] + _MODEL["intercept"]
    return [float(score) for _, score in result["rows"]], expected.tolist()
