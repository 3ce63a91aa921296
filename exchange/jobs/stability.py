"""Component ``model/stability``: how far columns have moved between two sets of an owner's rows.

The owner works at its own node: the rows that a model was made for, such as those of last year, are expected,
and those of now are actual. It releases the population stability index of every column, not the histograms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    source,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from exchange.jobs.statistics_filters import check_where, columns_of
from exchange.jobs.statistics_rows import kept_rows
from exchange.web.kinds import read_as
from ledger import canonical
from policies.column_control import Level
from policies.plans import Aggregate, Compare, Filter, Operator, Plan, Reveal

__all__ = ["COMPONENT", "stability_index"]

PARTS: Final = ("expected", "actual")
USUAL_BINS: Final = 10
MAX_LABELS: Final = 256
SOME, LARGE = 0.1, 0.25
"""Siddiqi 2006: below the first the shift is small, from the second on a model should be made anew."""
_CELL_NS: Final = 200
_BASE_BYTES: Final = 128 * 2**20
_Counts = NDArray[np.int64]


@dataclass(frozen=True)
class _Release:
    expected: int
    actual: int
    indices: dict[str, str]


def stability_index(expected: _Counts, actual: _Counts) -> float:
    """The population stability index of two histograms over the same bins.

    The sum of (a - e) ln(a / e) over bins, where a and e are the parts of the rows in a bin, each count taken
    half a row larger so that no part is 0.

    Security: local. Leaks: nothing; local. Cost: local. Source: Jeffreys 1946; Siddiqi 2006.
    """
    e, a = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (expected, actual))
    return float(np.sum((a - e) * np.log(a / e)))


def _run(context: StepContext) -> Outcome:
    step = context.step
    rows = [_rows(context, step.params[part]) for part in PARTS]
    if len(np.intersect1d(rows[0], rows[1], assume_unique=True)):
        raise JobFailed(f"step {step.id}: expected filters that no row passes both of, found such rows")
    smallest = max(context.minimum_cohort, context.number("min_cohort"))
    for part, numbers in zip(PARTS, rows, strict=True):
        if len(numbers) < smallest:
            raise JobFailed(f"step {step.id}: expected at least {smallest} {part} rows, found fewer")
    indices = {}
    for name in _indexed(step):
        codes = _codes(context, name, rows[0])
        width = int(codes.max()) + 1
        counts = [np.bincount(codes[numbers], minlength=width) for numbers in rows]
        indices[name] = f"{stability_index(counts[0], counts[1]):.4f}"
        context.progress(len(indices), len(_indexed(step)))
    unit = context.rules.round_counts
    expected, actual = (len(numbers) // unit * unit for numbers in rows)
    return Outcome(
        local=b"",
        release=canonical.encode(asdict(_Release(expected, actual, indices))),
        cohort=min(map(len, rows)),
        figures=len(PARTS),
        rows=np.concatenate(rows),
        groups=np.repeat(np.arange(len(PARTS)), list(map(len, rows))),
    )


def _rows(context: StepContext, where: object) -> NDArray[np.int64]:
    """The numbers of the rows that a filter keeps."""
    kept, seen = [np.empty(0, dtype=np.int64)], 0
    for batch in context.hand_over.rows(columns_of(where)):
        kept.append(kept_rows(batch, seen, where)[0])
        seen += batch.num_rows
    return np.concatenate(kept)


def _codes(context: StepContext, name: str, expected: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bin of every row: of numbers by quantiles of the expected rows, else by value; missing apart.

    Raises:
        JobFailed: too many different values, or no value in any expected row.
    """
    array = connected.column_array(context.read(name), name)
    if _is_numeric(array.type):
        batch = pa.record_batch([array], names=[name])
        values = connected.number_array([batch], name)
        known = values[expected][~np.isnan(values[expected])]
        if not len(known):
            raise JobFailed(f"column {name}: all {len(expected)} values of the expected rows are missing")
        bins = context.step.params.get("bins", USUAL_BINS)
        assert isinstance(bins, int)  # noqa: S101 - the declaration has checked it
        edges = np.unique(np.quantile(known, np.arange(1, bins) / bins))
        places = np.searchsorted(edges, values, side="right")
        return np.where(np.isnan(values), len(edges) + 1, places).astype(np.int64)
    found = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    if len(found.dictionary) > MAX_LABELS:
        raise JobFailed(
            f"column {name}: expected at most {MAX_LABELS} different values, found {len(found.dictionary)}"
        )
    indices = found.indices.fill_null(len(found.dictionary))
    return np.asarray(indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _indexed(step: Step) -> list[str]:
    """The columns that no filter reads."""
    filtered = {name for part in PARTS for name in columns_of(step.params[part])}
    return [column.name for column in step.inputs["owner"].columns if column.name not in filtered]


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    found = read_as(_Release, canonical.decode(releases["owner"]), "release")
    if set(found.indices) != set(_indexed(step)):
        raise JobFailed(f"step {step.id}: the release is about other columns")
    rows = tuple((name, found.indices[name], _shift(float(found.indices[name]))) for name in _indexed(step))
    return ResultTable(
        ("column", "index", "shift"), rows, {"expected": found.expected, "actual": found.actual}
    )


def _shift(index: float) -> str:
    return "large" if index >= LARGE else "some" if index >= SOME else "small"


def _check(step: Step) -> None:
    at, given = f"steps.{step.id}", [column.name for column in step.inputs["owner"].columns]
    for part in PARTS:
        for name in columns_of(step.params[part]):
            if name not in given:
                raise InvalidRequest(f"{at}.params.{part}.{name}", f"one of {', '.join(given)}", "another")
    if not _indexed(step):
        raise InvalidRequest(f"{at}.inputs.owner.columns", "a column that no filter reads", "none")
    if not step.recipients:
        raise InvalidRequest(f"{at}.recipients", "who receives the indices", "nobody")


def _plan(step: Step) -> Plan:
    """Of both sets of rows, how many there are and figures over them, to the recipients."""
    given = source(step, "owner")
    operators: list[Operator] = [given]
    for part in PARTS:
        compared, kept, figures = (f"{step.id}.{part}-{word}" for word in ("compared", "rows", "figures"))
        indexed = tuple((name, "histogram", (name,)) for name in _indexed(step))
        operators += [
            Compare(compared, given.id, part, columns_of(step.params[part])),
            Filter(kept, compared, part),
            Aggregate(figures, kept, (), (("rows", "count", ()), *indexed)),
            Reveal(figures, ("rows", *_indexed(step)), step.recipients),
        ]
    return tuple(operators)


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    cells = rows["owner"] * len(step.inputs["owner"].columns)
    memory = _BASE_BYTES + 64 * rows["owner"]
    return {"owner": Estimate(0, 0, 0, work_ns=_CELL_NS * cells, memory_bytes=memory)}


_WHERE: Final = (
    "as JSON: {column, is, value}, {column, in}, {column, missing}, not, and, or; its columns get no index"
)

COMPONENT = Component(
    name="model/stability",
    version=1,
    summary="An owner tells how far its columns have moved between two sets of its rows, by the population "
    "stability index.",
    roles={
        "owner": RoleInput(
            2, 64, frozenset({"feature", "measure", "label", "group", "time"}), Level.AFTER_AGGREGATE
        )
    },
    params={
        "expected": Param(f"which rows a model was made for: a filter {_WHERE}", check_where),
        "actual": Param(f"which rows are compared with them: a filter {_WHERE}", check_where),
        "bins": Param(
            "bins of a column of numbers, by quantiles of the expected rows; 10",
            whole_number(2, 100),
            optional=True,
        ),
        "min_cohort": Param("fewest expected and fewest actual rows", whole_number(1, 2**31)),
    },
    output_type="aggregate",
    needs=frozenset(),
    protocol=None,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    open_result=_open,
)
