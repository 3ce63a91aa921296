"""Whom two owners both know: as a count, at one owner alone, in a large set, with figures of those people."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, MIN_COHORT, PURPOSE, Stage, step
from exchange.sdk import Identifier, Measure, Reference, Side, statistics_spec

__all__ = ["by_group", "counted", "few", "large", "one_receiver", "paid_by_group", "repeated"]

_PERSON = {"person": ("identifier", "AFTER_JOIN")}
_FEW, _LARGE = 300, 100_000


def counted(stage: Stage) -> tuple[object, object]:
    """How many people do two owners both know? Neither learns which."""
    bank, lender = _people(11, _FEW)
    shared = (("bank", "counted", _table(bank)), ("lender", "counted", _table(lender)))
    return _matched(stage, "psi/cardinality", shared), len(set(bank) & set(lender))


def repeated(stage: Stage) -> tuple[object, object]:
    """How many people do two owners both know by name and birthday, where some stand in several rows?

    Unmatched rows of the left owner are kept for a later step: a left join.
    """
    tables = []
    for seed in (12, 13):
        generator = np.random.Generator(np.random.PCG64(seed))
        names = [f"N{number:02d}" for number in generator.integers(0, 40, 200)]
        tables.append(pa.table({"name": names, "born": generator.integers(1950, 1960, 200).astype(str)}))
    keys = dict.fromkeys(("name", "born"), ("feature", "AFTER_JOIN"))
    shared = (("bank", "clients", tables[0]), ("lender", "clients", tables[1]))
    found = _matched(stage, "psi/ecdh", shared, keys, duplicates="first", join="left")
    left, right = (set(zip(*table.to_pydict().values(), strict=True)) for table in tables)
    return found, len(left & right)


def one_receiver(stage: Stage) -> tuple[object, object]:
    """How many of its own clients does the analyst share with the bank? The bank learns nothing."""
    own, other = _people(14, _FEW)
    mine, theirs, agreement = _with_bank(stage, "prospects", own, other, "psi/ecdh")
    matching = step(
        "match",
        "psi/ecdh",
        {"left": stage.did(ANALYST), "right": stage.did("bank")},
        inputs={"left": mine, "right": theirs},
        params={**_rules("left", "right"), "minimum_matches": MIN_COHORT, "receivers": "left"},
        recipients=[stage.did(ANALYST)],
    )
    result = stage.run("Clients in common", agreement, matching)
    return result["rows"][0][0], len(set(own) & set(other))


def few(stage: Stage) -> tuple[object, object]:
    """Which of 40 people are in the bank's large set? The bank does not learn who is asked about."""
    generator = np.random.Generator(np.random.PCG64(15))
    known = _ids(generator.choice(6_000, 3_000, replace=False))
    asked = _ids(generator.choice(6_000, 40, replace=False))
    mine, theirs, agreement = _with_bank(stage, "asked", asked, known, "psi/unbalanced")
    asking = step(
        "ask",
        "psi/unbalanced",
        {"client": stage.did(ANALYST), "server": stage.did("bank")},
        inputs={"client": mine, "server": theirs},
        params={**_rules("client", "server"), "minimum_matches": MIN_COHORT, "epoch": 1},
        recipients=[stage.did(ANALYST)],
    )
    result = stage.run("Few people in a large set", agreement, asking)
    members = set(known)
    return sorted(row for (row,) in result["rows"]), [i for i, one in enumerate(asked) if one in members]


def large(stage: Stage) -> tuple[object, object]:
    """How many people do two owners of 100,000 rows each both know?"""
    bank, utility = _people(16, _LARGE)
    shared = (("bank", "register", _table(bank)), ("utility", "register", _table(utility)))
    return _matched(stage, "psi/rr22", shared), len(set(bank) & set(utility))


def by_group(stage: Stage) -> tuple[object, object]:
    """What do people owe the lender, by the band in which the utility has them?"""
    generator = np.random.Generator(np.random.PCG64(17))
    lender, utility = _people(17, _FEW)
    loans = pa.table({"person": lender, "amount": generator.integers(0, 5_000, _FEW)})
    bands = pa.table({"person": utility, "band": generator.choice(["high", "low", "middle"], _FEW)})
    return _sums_by_band(stage, ("owed", loans), ("bands", bands), "refuse")


def paid_by_group(stage: Stage) -> tuple[object, object]:
    """What did people pay the lender, in several payments each, by the utility's band?

    Every pair of rows of one person is a row of the join.
    """
    generator = np.random.Generator(np.random.PCG64(18))
    lender, utility = _people(18, _FEW)
    payers = generator.choice(lender, 3 * _FEW)
    payments = pa.table({"person": payers, "amount": generator.integers(0, 500, 3 * _FEW)})
    bands = pa.table({"person": utility, "band": generator.choice(["high", "low", "middle"], _FEW)})
    return _sums_by_band(stage, ("paid", payments), ("payers", bands), "groups")


def _sums_by_band(
    stage: Stage, amounts: tuple[str, pa.Table], bands: tuple[str, pa.Table], duplicates: str
) -> tuple[object, object]:
    """Rows and sums of the lender's amounts by the utility's band, and the same from the tables together."""
    terms = {"operations": ["psi/ecdh", "stats/group-sums"], "output_types": ["aggregate", "report"]}
    amount, band = ("measure", "AFTER_AGGREGATE"), ("group", "AFTER_GROUP_BY")
    # What repeats in a table identifies no row of it: there it is published as a feature.
    key = _PERSON if duplicates == "refuse" else {"person": ("feature", "AFTER_JOIN")}
    sides = [
        Side(stage.did(org), agreement, Identifier(Reference(asset, "person"), ("trim",)))
        for org, (asset, agreement) in (
            ("lender", stage.share("lender", *amounts, {**key, "amount": amount}, terms)),
            ("utility", stage.share("utility", *bands, {**_PERSON, "band": band}, terms)),
        )
    ]
    spec = statistics_spec(
        job="",
        title="Amounts by band of another",
        purpose=PURPOSE,
        reader=stage.did(ANALYST),
        sides=sides,
        measures=[Measure(Reference(f"lender/{amounts[0]}", "amount"), 0)],
        group=Reference(f"utility/{bands[0]}", "band"),
        min_cohort=MIN_COHORT,
    )
    spec["steps"][0]["params"]["duplicates"] = duplicates
    result = stage.run(spec["title"], spec["agreements"], *spec["steps"])
    answer = [[one["group"], one["count"], int(one["sums"]["amount"])] for one in result["groups"]]
    with duckdb.connect() as database:
        database.register("amounts", amounts[1])
        database.register("bands", bands[1])
        query = (
            "SELECT band, count(*), sum(amount)::BIGINT FROM amounts JOIN bands USING (person) GROUP BY band"
        )
        return sorted(answer), [list(row) for row in sorted(database.sql(query).fetchall())]


def _ids(numbers: NDArray[np.int64]) -> list[str]:
    return [f"P{number:07d}" for number in numbers.tolist()]


def _people(seed: int, size: int) -> list[list[str]]:
    """For each of two owners, people among twice as many."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return [_ids(generator.choice(2 * size, size, replace=False)) for _ in range(2)]


def _table(people: list[str]) -> pa.Table:
    return pa.table({"person": people})


def _rules(*roles: str) -> dict[str, object]:
    return {"normalise": {role: ["trim"] for role in roles}}


def _input(asset: str, columns: Mapping[str, object] = _PERSON) -> dict[str, object]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def _matched(
    stage: Stage,
    component: str,
    shared: tuple[tuple[str, str, pa.Table], tuple[str, str, pa.Table]],
    keys: Mapping[str, tuple[str, str]] = _PERSON,
    **params: object,
) -> object:
    """How many people two owners both know, as the analyst reads it."""
    terms = {"operations": [component], "output_types": ["cardinality"]}
    parties, inputs, agreements = {}, {}, {}
    for role, (org, name, table) in zip(("left", "right"), shared, strict=True):
        asset, agreements[asset] = stage.share(org, name, table, keys, terms)
        parties[role], inputs[role] = stage.did(org), _input(asset, keys)
    reader = stage.did(ANALYST)
    matching = step(
        "match",
        component,
        parties,
        inputs=inputs,
        params={**_rules("left", "right"), "minimum_matches": MIN_COHORT, **params},
        recipients=[reader],
    )
    result = stage.run(
        "People in common",
        agreements,
        matching,
        step("read", "report/result", {"reader": reader}, after=["match"])
        if component == "psi/cardinality"
        else step("read", "report/table", {"reader": reader}, after=["match"], params={"plot": "none"}),
    )
    return result["rows"][0][0] if component == "psi/cardinality" else result["matched"]


def _with_bank(
    stage: Stage, name: str, own: list[str], other: list[str], component: str
) -> tuple[dict[str, object], dict[str, object], dict[str, str]]:
    """Inputs of the analyst, who is an owner here, and of the bank, and the agreement with the bank."""
    terms = {"operations": [component], "output_types": ["cardinality"]}
    mine = stage.publish(ANALYST, name, _table(own), _PERSON, terms)
    theirs, agreement = stage.share("bank", name, _table(other), _PERSON, terms)
    return _input(mine), _input(theirs), {theirs: agreement}
