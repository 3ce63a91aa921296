"""Random tables of three owners and random queries over them, for the comparison with DuckDB."""

# ruff: noqa: S608 - queries are what is tested here

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa

TEXTS = ("a", "b", "ä b", "", "longer than seven bytes", "'; DROP TABLE x; --", None)


class Maker:
    """Draws tables and queries; the same seed draws the same."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def tables(self) -> dict[str, pa.Table]:
        """Three tables whose keys overlap in part; every other column has missing values."""
        return {name: self._table(int(self._rng.integers(12, 40))) for name in ("a/one", "b/two", "c/three")}

    def query(self) -> str:
        """A SELECT of the documented subset over them."""
        return self._united() if self._chance(0.2) else self._joined()

    def _table(self, rows: int) -> pa.Table:
        keys = self._rng.permutation(45)[:rows]
        numbers = [self._sometimes(int(self._rng.integers(-50, 50))) for _ in range(rows)]
        amounts = [
            self._sometimes(Decimal(int(self._rng.integers(-9999, 9999))).scaleb(-2)) for _ in range(rows)
        ]
        days = [
            self._sometimes(date(2020, 1, 1) + timedelta(days=int(self._rng.integers(0, 9))))
            for _ in range(rows)
        ]
        flags = [self._sometimes(bool(self._rng.integers(0, 2))) for _ in range(rows)]
        texts = [TEXTS[int(self._rng.integers(0, len(TEXTS)))] for _ in range(rows)]
        few = [int(self._rng.integers(0, 3)) for _ in range(rows)]
        return pa.table(
            {
                "id": pa.array([None if key == 44 else f"p{key}" for key in keys], pa.string()),
                "n": pa.array(numbers, pa.int32()),
                "m": pa.array(amounts, pa.decimal128(10, 2)),
                "d": pa.array(days, pa.date32()),
                "f": pa.array(flags, pa.bool_()),
                "t": pa.array(texts, pa.string()),
                "g": pa.array(few, pa.int64()),
            }
        )

    def _sometimes(self, value: object) -> object:
        return None if self._chance(0.15) else value

    def _chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def _one(self, *choices: str) -> str:
        return choices[int(self._rng.integers(0, len(choices)))]

    def _joined(self) -> str:
        names = ["x", "y", "z"] if self._chance(0.5) else ["x", "y"]
        assets = {"x": "a.one", "y": "b.two", "z": "c.three"}
        source = f"{assets['x']} AS x"
        for at, name in enumerate(names[1:], start=1):
            kind = self._one("JOIN", "JOIN", "LEFT JOIN")
            parent = names[int(self._rng.integers(0, at))]
            source += f" {kind} {assets[name]} AS {name} ON {parent}.id = {name}.id"
        where = f" WHERE {self._condition(names, 2)}" if self._chance(0.7) else ""
        if self._chance(0.2):
            return f"SELECT {self._row_items(names)} FROM {source}{where}"
        keys = [self._key(names) for _ in range(int(self._rng.integers(0, 3)))]
        return f"SELECT {self._grouped(names, keys)} FROM {source}{where}{self._group_by(names, keys)}"

    def _united(self) -> str:
        source = "(SELECT n, m, d, f, t, g FROM a.one UNION ALL SELECT n, m, d, f, t, g FROM b.two"
        source += " UNION ALL SELECT n, m, d, f, t, g FROM c.three) AS u" if self._chance(0.5) else ") AS u"
        names = ["u"]
        where = f" WHERE {self._condition(names, 2)}" if self._chance(0.7) else ""
        keys = [self._key(names) for _ in range(int(self._rng.integers(0, 3)))]
        return f"SELECT {self._grouped(names, keys)} FROM {source}{where}{self._group_by(names, keys)}"

    def _grouped(self, names: Sequence[str], keys: Sequence[str]) -> str:
        figures = [self._figure(names) for _ in range(int(self._rng.integers(1, 4)))]
        # Without COUNT(*) the empty answer of no rows cannot be told from that of none that is shown.
        return ", ".join([*keys, "COUNT(*) AS c", *(f"{one} AS v{i}" for i, one in enumerate(figures))])

    def _group_by(self, names: Sequence[str], keys: Sequence[str]) -> str:
        text = f" GROUP BY {', '.join(map(str, range(1, len(keys) + 1)))}" if keys else ""
        if self._chance(0.4):
            text += f" HAVING {self._having(names)}"
        return text

    def _having(self, names: Sequence[str]) -> str:
        return self._one(
            "COUNT(*) > 1",
            f"SUM({self._number(names, 1)}) > {self._constant()}",
            f"AVG({self._number(names, 1)}) <= {self._constant()}",
            f"NOT MIN({self._number(names, 1)}) = MAX({self._number(names, 1)})",
            f"COUNT(*) <> 3 AND MAX({self._number(names, 1)}) IS NOT NULL",
        )

    def _figure(self, names: Sequence[str]) -> str:
        number = self._number(names, 2)
        return self._one(
            f"SUM({number})",
            f"AVG({number})",
            f"MIN({number})",
            f"MAX({self._name(names)}.d)",
            f"COUNT({number})",
            f"COUNT({self._name(names)}.t)",
            f"VARIANCE({self._name(names)}.n)",
            f"STDDEV_POP({self._name(names)}.m)",
            f"SUM({number}) / COUNT(*)",
            f"SUM(CASE WHEN {self._condition(names, 1)} THEN {number} ELSE 0 END)",
        )

    def _key(self, names: Sequence[str]) -> str:
        name = self._name(names)
        return self._one(
            *(f"{name}.{column}" for column in "tgfd"),
            f"{name}.g * 2 - 1",
            f"CASE WHEN {self._condition(names, 1)} THEN 'one' WHEN {name}.n > 3 THEN 'two' END",
            f"{name}.n < {self._name(names)}.n",
        )

    def _row_items(self, names: Sequence[str]) -> str:
        items = [
            self._one(
                self._number(names, 2),
                self._name(names) + ".t",
                self._name(names) + ".d",
                self._condition(names, 1),
            )
            for _ in range(3)
        ]
        return ", ".join(f"{one} AS r{i}" for i, one in enumerate(items))

    def _number(self, names: Sequence[str], depth: int) -> str:
        name = self._name(names)
        if depth == 0:
            return self._one(f"{name}.n", f"{name}.m", f"{name}.g", self._constant())
        one, other = self._number(names, depth - 1), self._number(names, depth - 1)
        return self._one(
            f"{name}.n",
            f"{name}.m",
            f"({one} + {other})",
            f"({one} - {other})",
            f"({name}.n * {self._name(names)}.g)",
            f"-({one})",
            f"COALESCE({one}, {other})",
            f"CASE WHEN {self._condition(names, depth - 1)} THEN {one} ELSE {other} END",
            f"CASE {name}.g WHEN 1 THEN {one} WHEN 2 THEN {other} END",
        )

    def _condition(self, names: Sequence[str], depth: int) -> str:
        name, other = self._name(names), self._name(names)
        if depth == 0:
            return self._one(
                f"{name}.n {self._operator()} {self._constant()}",
                f"{name}.m {self._operator()} {other}.n",
                f"{name}.n {self._operator()} {other}.n",
                f"{name}.t = 'a'",
                f"{name}.t <> 'ä b'",
                f"{name}.t IN ('b', '', 'none of them')",
                f"{name}.t >= 'a'",
                f"{name}.t = {other}.t",
                f"{name}.d BETWEEN DATE '2020-01-02' AND DATE '2020-01-06'",
                f"{name}.d < {other}.d",
                f"{name}.f",
                f"{name}.f = {other}.f",
                f"{name}.n IS NULL",
                f"{name}.m IN (1.5, 2, -3)",
                f"{name}.f IS TRUE",
                "NULL" if self._chance(0.2) else f"{name}.g IS NOT NULL",
            )
        left, right = self._condition(names, depth - 1), self._condition(names, depth - 1)
        return self._one(left, f"({left} AND {right})", f"({left} OR {right})", f"NOT ({left})")

    def _operator(self) -> str:
        return self._one("=", "<>", "<", "<=", ">", ">=")

    def _constant(self) -> str:
        return self._one("0", "1", "-7", "12.5", "-0.25", "1000")

    def _name(self, names: Sequence[str]) -> str:
        return self._one(*names)
