"""One owner's part of joint statistics: its rows, filtered, put into cells and added up, in one pass.

Rows stream in record batches. Sums are exact: numpy adds up the two halves of each value, DuckDB products,
some hundred thousand at a time, in 128 bits. What is kept of each row is its number and cell, and, where a
quantile or a dominance rule needs them, its values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors import columns
from connectors.arrow_filters import to_arrow
from connectors.errors import MissingValues
from exchange.jobs import disclosure
from exchange.jobs.component import StepContext
from exchange.jobs.disclosure import Dominated, OutputRules
from exchange.jobs.noise import draw
from exchange.jobs.statistics_filters import columns_of, read_where
from exchange.jobs.statistics_question import Key, Measure, Question
from mpc import fixed_point
from mpc.errors import ValueOutOfRange
from mpc.stats.joint import Part

__all__ = ["OwnRows", "add_up", "kept_rows"]

CHUNK_ROWS: Final = 500_000
EXACT_ROWS: Final = 2**20
_THREADS: Final = 2


@dataclass(frozen=True)
class OwnRows:
    """What an owner enters, and whose rows it is about.

    Attributes:
        part: for the protocol.
        rows: int64[m], numbers of the rows that the filter keeps.
        cells: int64[m], the cell of each.
    """

    part: Part
    rows: NDArray[np.int64]
    cells: NDArray[np.int64]


def add_up(context: StepContext, question: Question) -> OwnRows:
    """Read this owner's rows once and add them up.

    Raises:
        MissingValues, WrongColumnType, InvalidFilter: a column does not hold what the question takes.
        ValueOutOfRange: a value or a sum does not fit.
    """
    rules, pooled = context.rules, _Sums(question)
    keeps_values = rules.dominance_percent > 0 or rules.p_percent > 0
    keeps_values |= any(measure.picks() for measure in question.measures)
    kept = _Kept(keeps_values)
    for numbers, batch in _filtered(context, question):
        cells = _cells_of(batch, question)
        values = [_encoded(batch, one, question, rules) for one in question.measures]
        pooled.add(cells, values)
        kept.add(numbers, cells, values)
    counts, figures = _with_noise(question, *pooled.totals())
    rows, cells, values = kept.whole(len(question.measures))
    part = Part(counts, figures, *_by_cell(question, rules, cells, values))
    return OwnRows(part, rows, cells)


def _filtered(context: StepContext, question: Question) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
    """Batches of the rows that the filter keeps, with their numbers."""
    where = context.step.params.get("where")
    wanted = dict.fromkeys((*question.columns(), *(() if where is None else columns_of(where))))
    if not wanted:
        wanted = dict.fromkeys([context.step.inputs[context.role].columns[0].name])
    seen = 0
    for batch in context.hand_over.rows(list(wanted)):
        yield kept_rows(batch, seen, where)
        seen += batch.num_rows
        context.progress(seen, seen)


def kept_rows(batch: pa.RecordBatch, first: int, where: object) -> tuple[NDArray[np.int64], pa.RecordBatch]:
    """The rows of a batch that a filter keeps, with their numbers; all where there is no filter.

    Args:
        batch: with the columns of the filter.
        first: the number of its first row.
        where: the filter as a step states it, or None.

    Raises:
        InvalidRequest, MissingColumn, InvalidFilter: it does not fit the batch.
    """
    numbers = np.arange(first, first + batch.num_rows, dtype=np.int64)
    if where is None:
        return numbers, batch
    expression = to_arrow(read_where(where, batch.schema), batch.schema)
    left = batch.append_column(_free(batch.schema), pa.array(numbers)).filter(expression)
    return np.asarray(left.columns[-1].to_numpy(), dtype=np.int64), left.select(batch.schema.names)


def _free(schema: pa.Schema) -> str:
    """A name that no column has."""
    return "row" + "_" * max((len(name) for name in schema.names), default=0)


def _cells_of(batch: pa.RecordBatch, question: Question) -> NDArray[np.int64]:
    """The cell of each row; the last key varies fastest."""
    cells = np.zeros(batch.num_rows, dtype=np.int64)
    for key in question.keys:
        cells = cells * key.cells + _places(batch, key, question.decimals[key.column])
    return cells


def _places(batch: pa.RecordBatch, key: Key, decimals: int) -> NDArray[np.int64]:
    """The place of each row's value among the labels or bins of one key."""
    if key.edges:
        numbers = _fixed(columns.measure_array([batch], key.column), decimals)
        return np.searchsorted(np.array(key.numbers(decimals, "edges")), numbers, side="right")
    array = batch.column(key.column)
    if array.null_count:
        raise MissingValues(key.column, array.null_count)
    different = array.dictionary_encode()
    found = columns.group_codes([pa.record_batch([different.dictionary], names=[key.column])], key.column)
    place = {label: number for number, label in enumerate(key.labels)}
    places = np.array([place.get(label, len(place)) for label in found.labels], dtype=np.int64)
    of_rows: NDArray[np.int64] = places[found.codes][different.indices.to_numpy()]
    return of_rows


def _encoded(
    batch: pa.RecordBatch, measure: Measure, question: Question, rules: OutputRules
) -> NDArray[np.int64]:
    """What each row adds: fixed point, rounded by the owner's rules, clipped where noise asks for it."""
    decimals = question.decimals[measure.column]
    values = _fixed(columns.measure_array([batch], measure.column), decimals)
    values = disclosure.rounded(values, rules.base_of(measure.column, decimals))
    if question.privacy is None:
        return values
    low, high = question.privacy.bounds[measure.column].encoded(decimals, "privacy.bounds")
    return np.clip(values, low, high)


def _fixed(values: NDArray[Any], decimals: int) -> NDArray[np.int64]:
    return fixed_point.encode(list(values) if values.dtype == object else values, decimals)


@dataclass
class _Kept:
    """Numbers, cells and perhaps values of all rows, batch by batch."""

    with_values: bool
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]]]] = field(
        default_factory=list
    )

    def add(
        self, numbers: NDArray[np.int64], cells: NDArray[np.int64], values: list[NDArray[np.int64]]
    ) -> None:
        self.parts.append((numbers, cells, values if self.with_values else []))

    def whole(self, measures: int) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]]]:
        """All rows' numbers, cells and values; no values where none are kept."""

        def joined(arrays: list[NDArray[np.int64]]) -> NDArray[np.int64]:
            return np.concatenate([np.empty(0, dtype=np.int64), *arrays])

        values = [joined([part[2][at] for part in self.parts]) for at in range(measures * self.with_values)]
        return joined([part[0] for part in self.parts]), joined([part[1] for part in self.parts]), values


class _Sums:
    """Counts, sums and sums of products by cell, exact."""

    def __init__(self, question: Question) -> None:
        self._products = question.products()
        self._sums = np.zeros((question.cells, 1 + len(question.measures)), dtype=object)
        self._of_products = np.zeros((question.cells, len(self._products)), dtype=object)
        self._names = ["cell", *(f"m{place}" for place in range(len(question.measures)))]
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, cells: NDArray[np.int64], values: list[NDArray[np.int64]]) -> None:
        """Take some rows."""
        for start in range(0, len(cells), EXACT_ROWS):
            some = slice(start, start + EXACT_ROWS)
            self._sums[:, 0] += np.bincount(cells[some], minlength=len(self._sums)).astype(object)
            for place, column in enumerate(values, start=1):
                self._sums[:, place] += _by_halves(cells[some], column[some], len(self._sums))
        if self._products:
            self._waiting.append(pa.record_batch([cells, *values], names=self._names))
            self._rows += len(cells)
            if self._rows >= CHUNK_ROWS:
                self._multiply()

    def totals(self) -> tuple[NDArray[np.int64], list[int]]:
        """Counts int64[k], and the figures cell by cell."""
        self._multiply()
        figures = np.concatenate([self._sums[:, 1:], self._of_products], axis=1)
        return self._sums[:, 0].astype(np.int64), figures.ravel().tolist()

    def _multiply(self) -> None:
        """Add up the products of the rows that wait."""
        if not self._rows:
            return
        terms = (f"sum(m{one}::HUGEINT * m{other})" for one, other in self._products)
        query = f"SELECT cell, {', '.join(terms)} FROM chunk GROUP BY cell"  # noqa: S608 - own names
        with duckdb.connect(config={"threads": _THREADS}) as database:
            database.register("chunk", pa.Table.from_batches(self._waiting))
            try:
                found = database.execute(query).fetchall()
            except duckdb.OutOfRangeException:
                # Not chained: the cause quotes values.
                raise ValueOutOfRange("a sum of products does not fit 128 bits") from None
        for cell, *numbers in found:
            self._of_products[cell] += np.array(numbers, dtype=object)
        self._waiting, self._rows = [], 0


def _by_halves(cells: NDArray[np.int64], values: NDArray[np.int64], count: int) -> NDArray[np.object_]:
    """Sums by cell of at most ``EXACT_ROWS`` values; those of each half of 64 bits are exact in a float64."""
    high = np.bincount(cells, weights=values >> 32, minlength=count).astype(np.int64).astype(object)
    low = np.bincount(cells, weights=values & 0xFFFFFFFF, minlength=count).astype(np.int64).astype(object)
    sums: NDArray[np.object_] = high * 2**32 + low
    return sums


def _with_noise(
    question: Question, counts: NDArray[np.int64], figures: list[int]
) -> tuple[NDArray[np.int64], list[int]]:
    """Add this owner's own full noise to every count and sum, so that whoever opens a cell opens noise."""
    if question.privacy is None:
        return counts, figures
    noise = draw(question.privacy, question.sensitivities(), question.cells)
    noised = [figure + added for figure, added in zip(figures, noise[:, 1:].ravel().tolist(), strict=True)]
    return counts + noise[:, 0], noised


def _by_cell(
    question: Question, rules: OutputRules, cells: NDArray[np.int64], values: list[NDArray[np.int64]]
) -> tuple[NDArray[np.bool_], tuple[NDArray[np.int64], ...], tuple[NDArray[np.int64], ...]]:
    """The cells this owner closes, and for each measure its values by cell, ascending, and their starts.

    Dominance is judged by own rows alone: others' rows only make a row's part of a sum smaller, unless signs
    differ.
    """
    closed = np.zeros(question.cells, dtype=np.bool_)
    sorted_values, starts = [], []
    for measure, column in zip(question.measures, values, strict=False):
        order = np.lexsort((column, cells))
        sorted_values.append(column[order])
        starts.append(np.searchsorted(cells[order], np.arange(question.cells + 1)))
        if rules.dominance_percent or rules.p_percent:
            for cell in range(question.cells):
                inside = sorted_values[-1][starts[-1][cell] : starts[-1][cell + 1]]
                closed[cell] |= _is_dominated(rules, inside, measure.column)
    return closed, tuple(sorted_values), tuple(starts)


def _is_dominated(rules: OutputRules, values: NDArray[np.int64], column: str) -> bool:
    try:
        if len(values):
            disclosure.check_dominance(rules, values, len(values), column)
    except Dominated:
        return True
    return False
