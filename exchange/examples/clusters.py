"""Clusters by columns of two owners, on shares: nobody sees a distance, a sum, or a row's cluster."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, MIN_COHORT, REGULATOR, Stage, step

__all__ = ["assigned", "joined"]

_PEOPLE, _ALONE = 400, 40
_MIDDLES: Final = np.array([[1_500.0, 900.0, 30.0], [5_000.0, 2_500.0, 50.0], [8_000.0, 800.0, 65.0]])
"""Of debt, income and age, around which rows of clusters lie, far from those of other clusters."""
_SPREAD: Final = np.array([400.0, 300.0, 8.0])
_NAMES: Final = ("debt", "income", "age")
_TERMS: Final = {
    "operations": ["psi/ecdh", "model/kmeans-columns", "model/assign-clusters"],
    "output_types": ["aggregate", "cardinality", "scores"],
}


def joined(stage: Stage) -> tuple[object, object]:
    """Which groups do common customers fall into, by debt at one owner and income and age at the other?"""
    answer = _asked(stage, ANALYST, "recipients")
    return _by_debt([[row[1], row[4], float(row[5])] for row in answer["rows"]]), _plain()


def assigned(stage: Stage) -> tuple[object, object]:
    """Which customers of the lender are in one group? The utility lets it learn that of each."""
    answer = _asked(stage, "lender", "split")
    groups: dict[int, list[int]] = {}
    for row, cluster in answer["rows"]:
        groups.setdefault(int(cluster), []).append(int(row))
    _, kinds = _rows()
    both = np.arange(_ALONE, _PEOPLE - _ALONE)
    return sorted(groups.values()), sorted(
        both[kinds[both] == kind].tolist() for kind in range(len(_MIDDLES))
    )


def _asked(stage: Stage, asker: str, centres: str) -> dict[str, Any]:
    """Find clusters; read them, or which one each of the asking lender's rows is in."""
    is_split = centres == "split"
    level = "AS_JOIN_PAYLOAD" if is_split else "AFTER_AGGREGATE"
    assets, agreements = {}, {}
    for org, table in _tables().items():
        columns = {
            name: ("identifier", "AFTER_JOIN") if name == "person" else ("feature", level)
            for name in table.column_names
        }
        assets[org] = stage.publish(org, f"grouped-{centres}", table, columns, _TERMS)
        if org != asker:
            agreements[assets[org]] = stage.agree(assets[org], list(columns), _TERMS, asker=asker)
    lender, utility, asking = stage.did("lender"), stage.did("utility"), stage.did(asker)

    def read(org: str, *columns: str) -> dict[str, object]:
        return {"asset": assets[org], "columns": [{"name": one, "decimals": 0} for one in columns]}

    matching = step(
        "match",
        "psi/ecdh",
        {"left": lender, "right": utility},
        inputs={"left": read("lender", "person"), "right": read("utility", "person")},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": MIN_COHORT},
    )
    parties = {"owner-1": lender, "owner-2": utility, "helper-1": stage.did(REGULATOR)}
    inputs = {"owner-1": read("lender", "debt"), "owner-2": read("utility", "income", "age")}
    grouping = step(
        "group",
        "model/kmeans-columns",
        parties,
        inputs=inputs,
        after=["match"],
        params={
            "clusters": len(_MIDDLES),
            "bounds": {
                "owner-1": {"debt": {"lower": "0", "upper": "10000"}},
                "owner-2": {
                    "income": {"lower": "0", "upper": "4000"},
                    "age": {"lower": "18", "upper": "80"},
                },
            },
            "seed": 1,
            "min_cohort": 20,
            "end": "settled",
            "centres": centres,
        },
        recipients=[] if is_split else [asking],
    )
    last = step("read", "report/result", {"reader": asking}, after=["group"])
    if is_split:
        last = step(
            "assign",
            "model/assign-clusters",
            parties,
            inputs=inputs,
            after=["match", "group"],
            params={"min_cohort": 20},
            recipients=[asking],
        )
    return dict(stage.run("Groups of common customers", agreements, matching, grouping, last, asker=asker))


def _by_debt(lines: list[list[object]]) -> list[list[object]]:
    """Clusters by debt, as rows, column and centre; their own order is that of their start."""
    clusters = [lines[at : at + len(_NAMES)] for at in range(0, len(lines), len(_NAMES))]
    return [line for one in sorted(clusters, key=lambda one: float(str(one[0][2]))) for line in one]


def _rows() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Everybody's debt, income and age, and the group of each."""
    generator = np.random.Generator(np.random.PCG64(43))
    groups = generator.choice(len(_MIDDLES), _PEOPLE, p=[0.5, 0.3, 0.2])
    return np.rint(_MIDDLES[groups] + _SPREAD * generator.uniform(-1, 1, (_PEOPLE, 3))), groups


def _tables() -> dict[str, pa.Table]:
    debt, income, age = _rows()[0].T.astype(np.int64)
    people = [f"C{number:04d}" for number in range(_PEOPLE)]
    lender = pa.table({"person": people, "debt": debt})
    utility = pa.table({"person": people, "income": income, "age": age})
    return {"lender": lender.slice(0, _PEOPLE - _ALONE), "utility": utility.slice(_ALONE)}


def _plain() -> list[list[object]]:
    """Of each group, the people whom both know and their means."""
    both = slice(_ALONE, _PEOPLE - _ALONE)
    rows, groups = (one[both] for one in _rows())
    members = [rows[groups == group] for group in range(len(_MIDDLES))]
    return [[len(own), name, float(own[:, at].mean())] for own in members for at, name in enumerate(_NAMES)]
