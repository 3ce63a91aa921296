"""Joint statistics and queries in plaintext: what DuckDB answers on all owners' tables in one database."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import combinations, pairwise
from typing import Any, Final

import duckdb
import pyarrow as pa

from connectors.arrow_filters import to_arrow
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import ColumnInput, Step
from exchange.jobs.statistics_filters import read_where
from exchange.jobs.statistics_question import OTHER, Key, Measure, Question
from exchange.simulated.figures import Figure, Value, beside
from exchange.simulated.parties import PlayedStep
from exchange.simulated.plaintext import decimals
from exchange.simulated.references import NoReference, Reason, Run
from exchange.sql.expressions import Aggregate, Kind, aggregates_in, number
from exchange.sql.query import Item, render
from exchange.sql.steps import program_of

__all__ = ["joint_statistics", "query"]

_DIGITS: Final = 30
"""Of every number that a step of statistics reads."""
_ROWS: Final = "rows of the group"
_SQL: Final = {
    "sum": "sum({0})",
    "mean": "avg({0})",
    "variance": "var_samp({0})",
    "deviation": "stddev_samp({0})",
    "minimum": "min({0})",
    "median": "quantile_disc({0}, 0.5)",
    "maximum": "max({0})",
}


def joint_statistics(run: Run, played: PlayedStep) -> list[Figure]:
    """Figures of the cells that are large enough."""
    step, question = played.step, Question.of(played.step)
    if question.privacy is not None:
        raise NoReference(Reason.NOISE)
    wanted = dict(_figures(question))
    cells = [f"{_cell(key)} AS {_name(f'cell {place}')}" for place, key in enumerate(question.keys)]
    chosen = ", ".join([*cells, "count(*)", *wanted.values()])
    least = step.params["min_cohort"]
    asked = f"SELECT {chosen} FROM pooled GROUP BY ALL HAVING count(*) >= {least}"  # noqa: S608 - names in quotes
    with duckdb.connect() as database:
        database.register("pooled", _pooled(run, step, question))
        found = database.sql(asked).fetchall()
    width = len(cells)
    plain = {tuple(map(str, row[:width])): list(row[width:]) for row in found}
    opened = run.result(played)
    names = ["count", *wanted]
    return beside(_by_cell(opened, width, names), plain, names)


def _by_cell(opened: ResultTable, width: int, names: list[str]) -> dict[tuple[str, ...], list[Value]]:
    """Figures as opened, in the order of ``names``, by the names of the cell."""
    places = [opened.columns.index(name, width) for name in names]
    return {tuple(map(str, row[:width])): [_number(row[place]) for place in places] for row in opened.rows}


def _pooled(run: Run, step: Step, question: Question) -> pa.Table:
    """The rows of all owners that the filter keeps: labels, and numbers with the digits that are kept."""
    return pa.concat_tables(_read(run.plain.table(step, role), step, question) for role in step.inputs)


def _read(table: pa.Table, step: Step, question: Question) -> pa.Table:
    if "where" in step.params:
        table = table.filter(to_arrow(read_where(step.params["where"], table.schema), table.schema))
    # A table without columns would have no rows.
    made = {"": pa.nulls(len(table))}
    made |= {f"label {key.column}": table.column(key.column) for key in question.keys if key.labels}
    numbers = [key.column for key in question.keys if key.edges]
    for name in dict.fromkeys((*numbers, *(measure.column for measure in question.measures))):
        kept = question.decimals[name]
        made[name] = pa.array(decimals(table, ColumnInput(name, kept)), pa.decimal128(_DIGITS, kept))
    return pa.table(made)


def _figures(question: Question) -> Iterator[tuple[str, str]]:
    """The columns of the result behind the count, and what they are in SQL."""
    for measure in question.measures:
        yield from _of(measure)
    if question.together:
        for one, other in combinations([measure.column for measure in question.measures], 2):
            columns = f"{_name(one)}, {_name(other)}"
            yield f"covariance {one} {other}", f"covar_samp({columns})"
            yield f"correlation {one} {other}", f"corr({columns})"


def _of(measure: Measure) -> Iterator[tuple[str, str]]:
    for statistic in measure.statistics:
        yield f"{statistic} {measure.column}", _SQL[statistic].format(_name(measure.column))
    for part in measure.quantiles:
        yield f"quantile {part} {measure.column}", f"quantile_disc({_name(measure.column)}, {part})"


def _cell(key: Key) -> str:
    """The name of the cell of a row, by one key."""
    if key.labels:
        listed = ", ".join(map(_text, key.labels))
        text = f"CAST({_name(f'label {key.column}')} AS VARCHAR)"
        return f"CASE WHEN {text} IN ({listed}) THEN {text} ELSE {_text(OTHER)} END"
    column, (below, *inner, above) = _name(key.column), key.names()
    cases = [f"WHEN {column} < {key.edges[0]} THEN {_text(below)}"]
    cases += [
        f"WHEN {column} < {high} THEN {_text(name)}"
        for (_, high), name in zip(pairwise(key.edges), inner, strict=True)
    ]
    return f"CASE {' '.join(cases)} ELSE {_text(above)} END"


def query(run: Run, played: PlayedStep) -> list[Figure]:
    """Figures of the groups that are large enough; one that is not shown is not compared."""
    program = program_of(played.step)
    asked = program.query
    if not asked.is_grouped or asked.limit is not None:
        raise NoReference(Reason.ROWS)
    keyed = [place for place, item in enumerate(asked.items) if not aggregates_in(item.value)]
    if len({asked.items[place].value for place in keyed}) < len(asked.keys):
        raise NoReference(Reason.UNNAMED)
    figures = [place for place in range(len(asked.items)) if place not in keyed]

    def split(rows: Iterable[Sequence[Any]]) -> dict[tuple[str, ...], list[Value]]:
        return {
            tuple(_label(row[place], asked.items[place].value.type.kind) for place in keyed): [
                _number(row[place]) for place in figures
            ]
            for row in rows
        }

    counted = Item(_ROWS, Aggregate("count", None, number()))
    text = render(dataclasses.replace(asked, items=(*asked.items, counted)))
    found = [row for row in _answered(run, played.step, text) if row[-1] >= program.minimum]
    private, plain = split(run.result(played).rows), split(found)
    for group in set(private) & set(plain):
        shown = zip(private[group], plain[group], strict=True)
        plain[group] = [None if one is None else other for one, other in shown]
    names = [asked.items[place].name for place in figures]
    return [Figure("groups", len(private), len(plain)), *beside(private, plain, names)]


def _answered(run: Run, step: Step, text: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        for role, given in step.inputs.items():
            owner, _, name = given.asset.partition("/")
            database.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(owner)}")
            database.register("given", run.plain.table(step, role))
            database.execute(f"CREATE TABLE {_name(owner)}.{_name(name)} AS FROM given")
            database.unregister("given")
        return database.sql(text).fetchall()


def _label(value: object, kind: Kind) -> str:
    """One form for the names of groups; DuckDB and a result write numbers with other digits."""
    read = value if kind is Kind.TEXT else _number(value)
    return f"{read.normalize():f}" if isinstance(read, Decimal) else str(read)


def _number(value: object) -> Value:
    """A cell of a result, or a value of DuckDB: a number where it is one, else its text."""
    if value is None or isinstance(value, bool | float):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return str(value)


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
