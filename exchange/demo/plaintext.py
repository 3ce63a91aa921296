"""The answer that the joint computation must equal, from the unsplit file, by DuckDB alone.

Nothing of Parley is used here: the check would be worth nothing if both sides shared a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

__all__ = ["GROUPS", "MEASURES", "expected", "largest_error"]

MEASURES: Mapping[str, str] = {
    "default_next_month": '"default-payment-next-month"',
    "bill_amount": "BILL_AMT1",
    "payment_amount": "PAY_AMT1",
}
GROUPS: Mapping[str, str] = {
    "income_band": (
        "CASE WHEN LIMIT_BAL > (SELECT quantile_disc(LIMIT_BAL, 0.8) FROM source) THEN 5"
        " WHEN LIMIT_BAL > (SELECT quantile_disc(LIMIT_BAL, 0.6) FROM source) THEN 4"
        " WHEN LIMIT_BAL > (SELECT quantile_disc(LIMIT_BAL, 0.4) FROM source) THEN 3"
        " WHEN LIMIT_BAL > (SELECT quantile_disc(LIMIT_BAL, 0.2) FROM source) THEN 2 ELSE 1 END"
    ),
    "age_band": "AGE - AGE % 10",
    "education": (
        "CASE WHEN EDUCATION_1 = 1 THEN 1 WHEN EDUCATION_2 = 1 THEN 2 WHEN EDUCATION_3 = 1 THEN 3"
        " WHEN EDUCATION_4 = 1 THEN 4 WHEN EDUCATION_5 = 1 THEN 5 WHEN EDUCATION_6 = 1 THEN 6 ELSE 0 END"
    ),
}
_MEAN = Decimal("0.000001")


def expected(
    source: Path, people: Iterable[int], *, measures: Sequence[str], group: str, min_cohort: int
) -> dict[str, Any]:
    """Compute counts, sums and means by group over ``people``, leaving out groups below ``min_cohort``.

    If fewer people than that are left out, the next smallest groups go with them.
    """
    sums = ", ".join(f"sum(({MEASURES[name]})::DECIMAL(18, 2))" for name in measures)
    # The fragments are constants of this module; values travel as parameters.
    query = (
        "WITH source AS (SELECT * FROM read_csv(?, header = true)) "  # noqa: S608  # constants, see above
        f"SELECT {GROUPS[group]} AS label, count(*), {sums} FROM source "
        "WHERE ID IN (SELECT id FROM matched_people) GROUP BY label ORDER BY label"
    )
    with closing(duckdb.connect()) as database:
        database.register("matched_people", pa.table({"id": pa.array(sorted(people), pa.int64())}))
        found = database.execute(query, [str(source)]).fetchall()
    kept = [row for row in found if row[1] >= min_cohort]
    for row in sorted(kept, key=lambda row: int(row[1])):
        if not 0 < sum(row[1] for row in found if row not in kept) < min_cohort:
            break
        kept.remove(row)
    return {
        "matched": sum(row[1] for row in kept),
        "suppressed_groups": len(found) - len(kept),
        "groups": [
            {
                "group": str(label),
                "count": count,
                "sums": {name: str(total) for name, total in zip(measures, totals, strict=True)},
                "means": {
                    name: str((total / count).quantize(_MEAN))
                    for name, total in zip(measures, totals, strict=True)
                },
            }
            for label, count, *totals in kept
        ],
    }


def largest_error(result: Mapping[str, Any], wanted: Mapping[str, Any]) -> Decimal:
    """Return the largest absolute difference of any figure; infinite where the groups differ."""
    if [row["group"] for row in result["groups"]] != [row["group"] for row in wanted["groups"]]:
        return Decimal("Infinity")
    differences = [Decimal(int(result["matched"]) - int(wanted["matched"])).copy_abs()]
    for got, want in zip(result["groups"], wanted["groups"], strict=True):
        differences.append(Decimal(int(got["count"]) - int(want["count"])).copy_abs())
        for kind in ("sums", "means"):
            if set(got[kind]) != set(want[kind]):
                return Decimal("Infinity")
            differences += [
                (Decimal(got[kind][name]) - Decimal(want[kind][name])).copy_abs() for name in want[kind]
            ]
    return max(differences)
