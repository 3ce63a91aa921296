"""A synthetic twin of a table: same schema, like distributions with noise, and not one row of the data.

Each column is drawn by itself from its noisy distribution; identifiers and texts are made up. Then every row
is compared with the source: one whose values occur there together in fewer than ``FLOOR`` rows is drawn
again, and so is one with an identifier or text that the source has. The noise makes a guess about a single
person a poor one; it is no proof of differential privacy for the table as a whole, and none is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors.connector import Connector
from connectors.profiles import Profile, Role
from exchange.errors import Conflict
from exchange.publishing import made_up
from exchange.publishing.content import Content, is_numeric, is_temporal
from exchange.publishing.marginals import FLOOR, Categories, Histogram, numbers_of

if TYPE_CHECKING:
    import duckdb

__all__ = ["TwinColumn", "make"]

_FEW: Final = 200
"""Up to so many different values a column is drawn by category."""
_SAMPLE: Final = 100_000
_ROUNDS: Final = 20
_POOL: Final = 4
"""Values drawn of each column for a row that is wanted; rows that are drawn again take others."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class TwinColumn:
    """One column to be drawn: its role, grade and content decide how."""

    name: str
    role: str
    sensitivity: str
    content: Content | None


def make(
    connector: Connector,
    profile: Profile,
    columns: Sequence[TwinColumn],
    *,
    rows: int,
    epsilon: float,
    rng: np.random.Generator,
) -> pa.Table:
    """Draw a twin; reads the source three times.

    Args:
        connector: the source.
        profile: of it.
        columns: those of the twin, in order.
        rows: how many to draw.
        epsilon: noise of all columns together; each gets its equal part.
        rng: seeded from secret randomness.

    Returns:
        A table of the source's types; a few rows less than asked for where the source has nearly every
        combination of values.

    Raises:
        Conflict: the source has so few combinations of values that hardly a row could be told from it.
    """
    names = [column.name for column in columns]
    schema = pa.schema([connector.schema().field(name).remove_metadata() for name in names])
    invented = [column.name for column in columns if _is_invented(column, schema, profile)]
    empty = {one.name for one in profile.columns if one.nulls == profile.rows}
    drawn = [name for name in names if name not in invented]
    marginals = _marginals(connector, schema, drawn, profile)
    contents = {column.name: column.content for column in columns}
    share = epsilon / max(len(drawn), 1)
    pools = {name: one.draw(rows * _POOL, share, rng) for name, one in marginals.items()}

    def column(name: str, count: int) -> pa.Array:
        if name in pools:
            return pools[name].take(pa.array(rng.integers(0, rows * _POOL, count)))
        if name in empty:
            return pa.nulls(count, schema.field(name).type)
        return made_up.values(schema.field(name).type, contents[name], count, rng)

    import duckdb

    def draw(count: int) -> pa.Table:
        return pa.table([column(name, count) for name in names], schema=schema)

    kept: list[pa.Table] = []
    missing = rows
    with duckdb.connect(":memory:") as database:
        known = _Known(database, connector, drawn, invented)
        for _ in range(_ROUNDS):
            table = draw(missing)
            kept.append(table.filter(pa.array(known.lets_pass(table))))
            missing = rows - sum(part.num_rows for part in kept)
            if not missing:
                break
    if missing * 10 > rows * 9:
        raise Conflict("nearly every combination of values occurs in the data; no twin can be made of it")
    return pa.concat_tables(kept).combine_chunks()


def _is_invented(column: TwinColumn, schema: pa.Schema, profile: Profile) -> bool:
    """Whether values are made up; what is neither number, time nor one of few categories always is."""
    kind = schema.field(column.name).type
    counted = next(one for one in profile.columns if one.name == column.name)
    if column.role in (Role.IDENTIFIER, Role.TEXT) or column.sensitivity == "secret":
        return True
    if is_numeric(kind) or is_temporal(kind) or pa.types.is_boolean(kind):
        return counted.nulls == profile.rows
    return not counted.distinct_exact or counted.distinct > _FEW or counted.distinct == 0


def _marginals(
    connector: Connector, schema: pa.Schema, names: Sequence[str], profile: Profile
) -> dict[str, Histogram | Categories]:
    if not names:
        return {}
    counted = {one.name: one for one in profile.columns}
    measured = []
    marginals: dict[str, Histogram | Categories] = {}
    for name in names:
        kind, one = schema.field(name).type, counted[name]
        if (is_numeric(kind) or is_temporal(kind)) and not (one.distinct_exact and one.distinct <= FLOOR):
            measured.append(name)
        else:
            marginals[name] = Categories(kind)
    for name, sample in _samples(connector, measured).items():
        marginals[name] = Histogram(schema.field(name).type, sample)
    for batch in connector.batches(names):
        for name, array in zip(names, batch.columns, strict=True):
            marginals[name].add(array)
    return marginals


def _samples(connector: Connector, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The first values of columns, from which ranges are taken."""
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    rows = 0
    for batch in connector.batches(names) if names else ():
        for name, array in zip(names, batch.columns, strict=True):
            parts[name].append(numbers_of(array))
        rows += batch.num_rows
        if rows >= _SAMPLE:
            break
    found = {name: np.concatenate(values) for name, values in parts.items()}
    return {name: values if len(values) else np.zeros(1) for name, values in found.items()}


class _Known:
    """What the source has, as 64-bit hashes: combinations of drawn columns in few rows, invented values."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        connector: Connector,
        drawn: Sequence[str],
        invented: Sequence[str],
    ) -> None:
        self._database = database
        self._drawn, self._invented = list(drawn), list(invented)
        self._compares = len(drawn) > 1  # a single value is nobody's row
        hashed: dict[str, list[Hashes]] = {name: [] for name in ("", *invented)}
        for batch in connector.batches([*drawn, *invented]):
            for name, values in self._hashes(pa.Table.from_batches([batch])).items():
                hashed[name].append(values)
        self._values = {name: np.unique(np.concatenate(hashed[name])) for name in invented}
        self._rare = np.zeros(0, dtype=np.uint64)
        if self._compares:
            combinations, counts = np.unique(np.concatenate(hashed[""]), return_counts=True)
            self._rare = combinations[counts < FLOOR]

    def lets_pass(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows of a twin show nothing that the source has in few rows."""
        hashes = self._hashes(table)
        passes = np.ones(table.num_rows, dtype=np.bool_)
        if self._compares:
            passes &= ~np.isin(hashes[""], self._rare)
        for name in self._invented:
            is_null = np.asarray(table.column(name).is_null().to_numpy(), dtype=np.bool_)
            passes &= is_null | ~np.isin(hashes[name], self._values[name])
        return passes

    def _hashes(self, table: pa.Table) -> Mapping[str, Any]:
        if not self._invented and not self._compares:
            return {}
        import duckdb

        wanted = {name: [name] for name in self._invented} | ({"": self._drawn} if self._compares else {})
        expressions = [
            duckdb.FunctionExpression("hash", *map(duckdb.ColumnExpression, names)).alias(f"h{number}")
            for number, names in enumerate(wanted.values())
        ]
        found = self._database.from_arrow(table).select(*expressions).fetchnumpy()
        return {name: found[f"h{number}"] for number, name in enumerate(wanted)}
