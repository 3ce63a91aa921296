"""One query over columns of two owners that nobody sees together, by each of the engines that answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from exchange.examples.stage import ANALYST, MIN_COHORT, REGULATOR, Stage, step

__all__ = ["asked_of"]

_ROWS = 200
_COLUMNS = {
    "lender": {"person": ("identifier", "AFTER_JOIN"), "debt": ("measure", "AFTER_AGGREGATE")},
    "utility": {
        "person": ("identifier", "AFTER_JOIN"),
        "income": ("measure", "AFTER_AGGREGATE"),
        "region": ("group", "AFTER_GROUP_BY"),
    },
}
_PARAMS: dict[str, Any] = {
    "columns": {
        "owner1.debt": {"kind": "number", "lower": "0", "upper": "10000"},
        "owner2.income": {"kind": "number", "lower": "1", "upper": "5000"},
        "owner2.region": {"kind": "category", "labels": ["islands", "north", "south"]},
    },
    "where": "debt > 2 * income",
    "by": [{"name": "region", "of": "region"}],
    "figures": [{"name": "excess", "figure": "sum", "of": "debt - 2 * income"}],
    "min_cohort": MIN_COHORT,
}
_HIDDEN = _PARAMS | {
    "columns": _PARAMS["columns"] | {"owner2.income": {"kind": "number", "lower": "0", "upper": "5000"}}
}
"""Rows without a match hold 0, so bounds include it."""
_SIDES = {"left": "lender", "right": "utility"}
_PLAINTEXT = (
    "SELECT region, count(*), sum(debt - 2 * income)::BIGINT FROM loans JOIN people USING (person) "
    "WHERE debt > 2 * income GROUP BY region ORDER BY region"
)


def _known(stage: Stage, assets: Mapping[str, str]) -> dict[str, Any]:
    """Both owners learn which of their people the other knows."""
    return step(
        "match",
        "psi/ecdh",
        {side: stage.did(org) for side, org in _SIDES.items()},
        inputs={side: _read(assets[org], ["person"]) for side, org in _SIDES.items()},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": MIN_COHORT},
    )


def _hidden(stage: Stage, assets: Mapping[str, str]) -> dict[str, Any]:
    """Nobody learns it: the columns go into shares over the people whom both know."""
    declared = {
        f"{side}.{column}": _HIDDEN["columns"][f"owner{number}.{column}"]
        for number, (side, org) in enumerate(_SIDES.items(), start=1)
        for column in list(_COLUMNS[org])[1:]
    }
    return step(
        "match",
        "psi/shared",
        {side: stage.did(org) for side, org in _SIDES.items()} | {"helper": stage.did(REGULATOR)},
        inputs={side: _read(assets[org], list(_COLUMNS[org])) for side, org in _SIDES.items()},
        params={
            "normalise": {"left": [], "right": []},
            "columns": declared,
            "minimum_matches": MIN_COHORT,
        },
    )


def _read(asset: str, columns: list[str]) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def asked_of(
    component: str, *, has_helper: bool, is_hidden: bool = False
) -> Callable[[Stage], tuple[object, object]]:
    """The example of one component: who owes more than twice an income that another owner knows?

    Args:
        component: ``compute/expression`` or one of its variants on an engine.
        has_helper: a third party computes too and enters nothing.
        is_hidden: nobody learns which people both owners know.
    """

    def ask(stage: Stage) -> tuple[object, object]:
        name = component.rpartition("/")[2]
        generator = np.random.Generator(np.random.PCG64(21))
        people = [f"C{number:04d}" for number in range(2 * _ROWS)]
        loans = pa.table({"person": people[:_ROWS], "debt": generator.integers(0, 10_000, _ROWS)})
        known = pa.table(
            {
                "person": people[_ROWS // 4 : _ROWS // 4 + _ROWS],
                "income": generator.integers(1, 5_000, _ROWS),
                "region": generator.choice(["islands", "north", "south"], _ROWS),
            }
        )
        matched_by = "psi/shared" if is_hidden else "psi/ecdh"
        terms = {"operations": [matched_by, component], "output_types": ["aggregate"]}
        assets, agreements = {}, {}
        for org, table in (("lender", loans), ("utility", known)):
            asset = f"{name}-hidden" if is_hidden else name
            assets[org], agreement = stage.share(org, asset, table, _COLUMNS[org], terms)
            agreements[assets[org]] = agreement
        lender, utility, analyst = (stage.did(org) for org in ("lender", "utility", ANALYST))
        params = _HIDDEN if is_hidden else _PARAMS
        matching = _hidden(stage, assets) if is_hidden else _known(stage, assets)
        helper = {"helper-1": stage.did(REGULATOR)} if has_helper else {}
        query = step(
            "query",
            component,
            {"owner-1": lender, "owner-2": utility, **helper},
            inputs={
                role: _read(assets[org], list(_COLUMNS[org])[1:])
                for role, org in (("owner-1", "lender"), ("owner-2", "utility"))
            },
            after=["match"],
            params=params,
            recipients=[analyst],
        )
        reading = step("read", "report/result", {"reader": analyst}, after=["query"])
        result = stage.run("Debt above income", agreements, matching, query, reading)
        answer = [[region, count, int(excess)] for region, count, excess in result["rows"]]
        with duckdb.connect() as database:
            database.register("loans", loans)
            database.register("people", known)
            return answer, [list(row) for row in database.sql(_PLAINTEXT).fetchall()]

    return ask
