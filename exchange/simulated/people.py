"""People in common: twins of two owners share no identifier, so a share of their rows gets the same ones.

A twin's identifiers are made up and match nobody. Of every two tables that a job matches, as many rows as the
share says, of the smaller one, are given the identifiers of rows of the other; which rows is drawn. All other
values stay as they are, so that what the matched rows say together is chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.errors import InvalidRequest
from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec
from exchange.sql.steps import COMPONENTS as QUERIES
from policies.plans import Compare, Compute, Filter, Join, Operator, Reveal, Source

__all__ = ["Matching", "matchings_of", "with_people_in_common"]

_FIRST_NUMBER = 10**8
"""Of numbers that stand for people where one owner's identifiers are texts and another's integers."""


@dataclass(frozen=True)
class Matching:
    """Columns that name the same people, by asset: as many of each, in the same order.

    ``repeats`` says that a person may stand in several rows.
    """

    keys: Mapping[str, tuple[str, ...]]
    repeats: bool


def matchings_of(spec: JobSpec, registry: Registry) -> list[Matching]:
    """What the steps of a job match, in order: the joins of assets' columns in their plans."""
    found = []
    for step in spec.steps:
        plan = registry.get(step.component).plan
        stated = () if plan is None else plan(step)
        operators = {one.id: one for one in stated if not isinstance(one, Reveal)}
        repeats = step.component in QUERIES or step.params.get("duplicates", "refuse") != "refuse"
        for join in (one for one in operators.values() if isinstance(one, Join)):
            sides = zip(*join.keys, strict=True)
            keys: dict[str, tuple[str, ...]] = {}
            for relation, columns in zip((join.left, join.right), sides, strict=True):
                places = [_origin(operators, relation, column) for column in columns]
                if (assets := {asset for asset, _ in places}) and "" not in assets and len(assets) == 1:
                    keys[assets.pop()] = tuple(column for _, column in places)
            if len(keys) == 2:
                found.append(Matching(keys, repeats))
    return found


def _origin(operators: Mapping[str, Operator], relation: str, column: str) -> tuple[str, str]:
    """The asset and the column that a column of a relation is read from; no asset where it is made."""
    match operators.get(relation):
        case Source(asset=asset, columns=columns) if column in columns:
            return asset, column
        case Filter(of=of) | Compare(of=of) | Compute(of=of):
            return _origin(operators, of, column)
        case Join(left=left, right=right):
            for side in (left, right):
                if column.startswith(f"{side}."):
                    return _origin(operators, side, column.removeprefix(f"{side}."))
    return "", column


def with_people_in_common(
    tables: Mapping[str, pa.Table], matchings: Sequence[Matching], share: float, rng: np.random.Generator
) -> dict[str, pa.Table]:
    """Give rows of tables that are matched the same identifiers.

    Args:
        tables: by asset.
        matchings: which columns name the same people.
        share: of the rows of the smallest matched table, above 0 and at most 1.
        rng: draws which rows.

    Returns:
        All tables, by asset; without rows that repeat an identifier that may stand once only.

    Raises:
        InvalidRequest: the share is out of range, or a column of identifiers is of a type that cannot hold
            another owner's.
    """
    if not 0 < share <= 1:
        raise InvalidRequest("share", "above 0 and at most 1", f"{share:g}")
    made = dict(tables)
    for one in matchings:
        if not one.repeats:
            for asset, names in one.keys.items():
                made[asset] = made[asset].take(_once(made[asset], names, ()))
    matched = {asset for one in matchings for asset in one.keys}
    count = int(share * min((made[asset].num_rows for asset in matched), default=0))
    rows = {asset: rng.permutation(made[asset].num_rows)[:count] for asset in matched}
    named: set[tuple[str, str]] = set()
    for one in matchings:
        for columns in zip(*one.keys.values(), strict=True):
            places = list(zip(one.keys, columns, strict=True))
            _name(made, places, rows, named)
            named |= set(places)
    for one in matchings:
        if not one.repeats:
            for asset, names in one.keys.items():
                kept = _once(made[asset], names, rows[asset].tolist())
                made[asset] = made[asset].take(kept)
                rows[asset] = np.flatnonzero(np.isin(kept, rows[asset]))
    return made


def _name(
    tables: dict[str, pa.Table],
    places: Sequence[tuple[str, str]],
    rows: Mapping[str, NDArray[np.int64]],
    named: set[tuple[str, str]],
) -> None:
    """Write the people of one column into the columns that are matched with it."""
    source = next((place for place in places if place in named), places[0])
    others = [place for place in places if place != source and place not in named]
    people = tables[source[0]].column(source[1]).take(pa.array(rows[source[0]])).combine_chunks()
    kinds = {pa.types.is_integer(tables[asset].schema.field(name).type) for asset, name in places}
    if len(kinds) > 1 and source not in named:
        people = pa.array(np.arange(_FIRST_NUMBER, _FIRST_NUMBER + len(people)))
        others = list(places)
    for asset, name in others:
        tables[asset] = _with(tables[asset], name, rows[asset], people)


def _with(table: pa.Table, name: str, rows: NDArray[np.int64], people: pa.Array) -> pa.Table:
    """A table in which some rows of a column have other values."""
    field, old = table.schema.field(name), table.column(name).combine_chunks()
    try:
        values = people.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        expected = f"a type that holds identifiers of {people.type}"
        raise InvalidRequest(f"columns.{name}", expected, str(field.type)) from None
    places = np.arange(len(old))
    places[rows] = len(old) + np.arange(len(rows))
    mixed = pa.chunked_array([old, values]).take(pa.array(places)).combine_chunks()
    return table.set_column(table.schema.get_field_index(name), field, mixed)


def _once(table: pa.Table, names: Sequence[str], first: Sequence[int]) -> pa.Array:
    """The rows, int64[n], whose key stands in no other; of equal ones that in ``first`` is kept."""
    keys = list(zip(*(table.column(name).cast(pa.string()).to_pylist() for name in names), strict=True))
    chosen = dict[tuple[str | None, ...], int]()
    for row in (*first, *range(len(keys))):
        chosen.setdefault(keys[row], row)
    return pa.array(sorted(chosen.values()), pa.int64())
