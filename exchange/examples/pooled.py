"""Statistics over the rows of three owners that have the same columns; nobody sees another's figures."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from exchange.examples.stage import ANALYST, MIN_COHORT, OWNERS, PURPOSE, Stage, step
from exchange.sdk import Share, joint_spec

__all__ = ["present", "statistics"]

_KEYS = [{"column": "band", "labels": ["high", "low", "middle"]}]
_MEASURES = [
    {
        "column": "debt",
        "statistics": ["mean", "deviation", "median"],
        "bounds": {"lower": "0", "upper": "10000"},
    }
]


def statistics(stage: Stage) -> tuple[object, object]:
    """How much do customers of three owners owe, by band: mean, spread and median of all together?"""
    generator = np.random.Generator(np.random.PCG64(3))
    terms = {"operations": ["stats/joint"], "output_types": ["aggregate"]}
    columns = {"band": ("group", "AFTER_GROUP_BY"), "debt": ("measure", "PLAINTEXT")}
    tables, shares = [], []
    for number, org in enumerate(OWNERS, start=1):
        bands = generator.choice(["high", "low", "middle", "rare"], 60 * number, p=[0.3, 0.4, 0.29, 0.01])
        tables.append(pa.table({"band": bands, "debt": generator.integers(0, 10_000, len(bands))}))
        asset, agreement = stage.share(org, "customers", tables[-1], columns, terms)
        shares.append(Share(stage.did(org), asset, agreement))
    spec = joint_spec(
        job="",
        title="Debt by band",
        purpose=PURPOSE,
        reader=stage.did(ANALYST),
        shares=shares,
        min_cohort=MIN_COHORT,
        keys=_KEYS,
        measures=_MEASURES,
    )
    result = stage.run(spec["title"], spec["agreements"], *spec["steps"])
    answer = [[band, count, *map(float, figures)] for band, count, *figures in result["rows"]]
    with duckdb.connect() as database:
        database.register("pooled", pa.concat_tables(tables))
        query = f"""SELECT if(band = 'rare', '(other)', band) AS b, count(*), avg(debt), stddev_samp(debt),
            quantile_disc(debt, 0.5) FROM pooled GROUP BY b HAVING count(*) >= {MIN_COHORT}
            ORDER BY b = '(other)', b"""  # noqa: S608 - a number of this module
        expected = [list(row) for row in database.sql(query).fetchall()]
    return answer, expected


def present(stage: Stage) -> tuple[object, object]:
    """What do customers of the owners that stay to the end owe, by band? The answer says who they are."""
    generator = np.random.Generator(np.random.PCG64(4))
    terms = {"operations": ["stats/aggregate"], "output_types": ["aggregate"]}
    columns = {"band": ("group", "AFTER_GROUP_BY"), "debt": ("measure", "AFTER_AGGREGATE")}
    tables, agreements, inputs = [], {}, {}
    for number, org in enumerate(OWNERS, start=1):
        bands = generator.choice(["high", "low"], 40 * number)
        tables.append(pa.table({"band": bands, "debt": generator.integers(0, 10_000, len(bands))}))
        asset, agreements[asset] = stage.share(org, "debts-by-band", tables[-1], columns, terms)
        named = [{"name": name, "decimals": 0} for name in columns]
        inputs[f"owner-{number}"] = {"asset": asset, "columns": named}
    reader = stage.did(ANALYST)
    owners = {f"owner-{number}": stage.did(org) for number, org in enumerate(OWNERS, start=1)}
    adding = step(
        "add",
        "stats/aggregate",
        {**owners, "aggregator": reader},
        inputs=inputs,
        params={
            "min_cohort": MIN_COHORT,
            "threshold": len(OWNERS),
            "patience_s": 60,
            "groups": {"column": "band", "labels": ["high", "low"]},
        },
        recipients=[reader],
    )
    reading = step("read", "report/result", {"reader": reader}, after=["add"])
    result = stage.run("Debt by band, of who stays", agreements, adding, reading)
    answer = [[band, rows, *map(float, figures)] for band, _, rows, *figures in result["rows"][:2]]
    with duckdb.connect() as database:
        database.register("pooled", pa.concat_tables(tables))
        query = """SELECT band, count(*), sum(debt)::DOUBLE, avg(debt), var_samp(debt) FROM pooled
            GROUP BY band ORDER BY band"""
        expected = [list(row) for row in database.sql(query).fetchall()]
    return [answer, sorted(result["facts"]["present"])], [expected, sorted(owners.values())]
