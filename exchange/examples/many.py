"""People whom three owners know, or two of them within a month; and what common customers of two owe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from exchange.examples.stage import ANALYST, MIN_COHORT, OWNERS, Stage, step

__all__ = ["at_several", "common", "hidden_figures"]

_START = datetime(2026, 1, 1)  # noqa: DTZ001 - as a table without zones has it
_RULES = ["trim", "upper"]


def _people(seed: int, size: int) -> list[list[str]]:
    """For each owner, customers among twice as many people."""
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = [generator.choice(2 * size, size, replace=False).tolist() for _ in OWNERS]
    return [[f"C{person:06d}" for person in one] for one in drawn]


def common(stage: Stage) -> tuple[object, object]:
    """How many people are customers of all three owners? Each learns which of its own, none anything else."""
    sets = _people(3, 120)
    terms = {"operations": ["psi/many"], "output_types": ["cardinality"]}
    agreements, inputs, roles = {}, {}, ("leader", "party-1", "party-2")
    for role, org, people in zip(roles, OWNERS, sets, strict=True):
        columns = {"person": ("identifier", "AFTER_JOIN")}
        asset, agreements[asset] = stage.share(org, "customers", pa.table({"person": people}), columns, terms)
        inputs[role] = {"asset": asset, "columns": [{"name": "person", "decimals": 0}]}
    result = _asked(
        stage,
        "Customers of all",
        "psi/many",
        agreements,
        inputs,
        {"minimum_matches": MIN_COHORT, "receivers": "all"},
    )
    return result["rows"][0][0], len(set.intersection(*map(set, sets)))


def at_several(stage: Stage) -> tuple[object, object]:
    """How many people opened accounts at two owners or three in January? Nobody learns of the others."""
    terms = {"operations": ["psi/over-threshold"], "output_types": ["cardinality"]}
    columns = {"person": ("feature", "AFTER_JOIN"), "opened": ("time", "AFTER_COMPARE")}
    agreements, inputs, holders = {}, {}, Counter[str]()
    for number, (org, people) in enumerate(zip(OWNERS, _people(4, 150), strict=True), start=1):
        twice = people + people[:30]
        opened = [_START + timedelta(days=row % 50) for row in range(len(twice))]
        holders.update({one for one, day in zip(twice, opened, strict=True) if day.month == 1})
        table = pa.table({"person": twice, "opened": opened})
        asset, agreements[asset] = stage.share(org, "accounts", table, columns, terms)
        inputs[f"party-{number}"] = {"asset": asset, "columns": [{"name": n, "decimals": 0} for n in columns]}
    result = _asked(
        stage,
        "Accounts at several owners",
        "psi/over-threshold",
        agreements,
        inputs,
        {
            "threshold": 2,
            "capacity": 200,
            "minimum_matches": MIN_COHORT,
            "result": "count",
            "window": {"from": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"},
        },
        helper="aggregator",
    )
    return result["rows"][0][0], sum(count >= 2 for count in holders.values())


def hidden_figures(stage: Stage) -> tuple[object, object]:
    """What do customers whom two owners have in common owe them? Neither learns who they are, or how many."""
    generator = np.random.Generator(np.random.PCG64(5))
    sets = _people(5, 200)[:2]
    debts = [generator.integers(0, 5_000, len(people)).tolist() for people in sets]
    terms = {"operations": ["psi/sum"], "output_types": ["aggregate"]}
    columns = {"person": ("identifier", "AFTER_AGGREGATE"), "debt": ("measure", "AFTER_AGGREGATE")}
    agreements, inputs = {}, {}
    for role, org, people, owed in zip(("left", "right"), OWNERS, sets, debts, strict=False):
        table = pa.table({"person": people, "debt": owed})
        asset, agreements[asset] = stage.share(org, "debtors", table, columns, terms)
        inputs[role] = {"asset": asset, "columns": [{"name": n, "decimals": 0} for n in columns]}
    params = {"min_cohort": MIN_COHORT, "figures": "mean"}
    result = _asked(
        stage, "Debts of common customers", "psi/sum", agreements, inputs, params, helper="helper"
    )
    shared = set(sets[0]) & set(sets[1])
    expected = [
        sum(debt for one, debt in zip(people, owed, strict=True) if one in shared)
        for people, owed in zip(sets, debts, strict=True)
    ]
    return [int(row[2]) for row in result["rows"]], expected


def _asked(
    stage: Stage,
    title: str,
    component: str,
    agreements: Mapping[str, str],
    inputs: Mapping[str, Mapping[str, object]],
    params: Mapping[str, object],
    *,
    helper: str | None = None,
) -> Mapping[str, Any]:
    """Run one step over the owners' inputs; the analyst reads and, where one is needed, is the helper."""
    analyst = stage.did(ANALYST)
    parties = {role: stage.did(str(given["asset"]).partition("/")[0]) for role, given in inputs.items()}
    if helper is not None:
        parties[helper] = analyst
    joint = step(
        "ask",
        component,
        parties,
        inputs=inputs,
        params={"normalise": dict.fromkeys(inputs, _RULES), **params},
        recipients=[analyst],
    )
    reading = step("read", "report/result", {"reader": analyst}, after=["ask"])
    return stage.run(title, agreements, joint, reading)
