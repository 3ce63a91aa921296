"""Component ``stats/aggregate``: means and variances over the tables of many owners, some of whom may vanish.

Each owner adds up its own rows, by group where groups are declared, and enters the sums into a secure
aggregation with drop-outs; the aggregator opens the totals of the owners that stayed. Owners that fail or
vanish before are absent: the job goes on without them as long as the threshold stays.

An owner enters a group only where it has the minimum cohort itself: so no total is about fewer rows, nor is
the difference between two totals of which one lacks an owner. The aggregator opens totals before the owners'
output checks compare them with earlier ones; what those refuse, and totals that fewer than three owners
entered, is not released, but the aggregator's node has had it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors import columns
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import cohorts, disclosure
from exchange.jobs.aggregate_question import Groups, Question, check_groups, from_words, to_words
from exchange.jobs.aggregate_result import AGGREGATOR, Present, Totals, open_result
from exchange.jobs.component import (
    Absences,
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    source,
    whole_number,
)
from exchange.jobs.disclosure import Dominated
from exchange.jobs.estimates import Estimate
from exchange.jobs.spec import ColumnInput, Step
from mpc import fixed_point
from mpc.aggregation import secagg
from mpc.errors import ValueOutOfRange
from mpc.stats import group_sums
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Source, Union

__all__ = ["COMPONENT"]

MAX_OWNERS: Final = 30
LEAST_OWNERS: Final = 3
"""Fewest owners behind a released total; of two, each would know the other's."""

_ROW_NS: Final = 60
_WORD_NS: Final = 4
_OWNER_NS: Final = 400_000
"""A row and column; a word and owner; agreeing on keys with an owner and sharing two secrets with it."""


def _run(context: StepContext) -> Outcome:
    return _aggregate(context) if context.role == AGGREGATOR else _enter(context)


def _enter(context: StepContext) -> Outcome:
    question, owners = Question.of(context.step), _owners(context.step)
    minimum = max(context.minimum_cohort, context.number("min_cohort"))
    if context.rules.round_counts != 1:
        raise JobFailed(f"step {context.step.id}: counts are not rounded here, as this owner's rules ask")
    places = _cells_of(context, question)
    values = [_encoded(context, measure) for measure in question.measures]
    open_cells = _open_cells(context, question, places, values, minimum)
    if not open_cells.any():
        raise JobFailed(
            f"step {context.step.id}: no group has {minimum} rows here, or enough that none dominates"
        )
    figures = _add_up(question, places, values, open_cells)
    numbers = secagg.owner(
        context.channel(AGGREGATOR),
        to_words(figures),
        number=owners.index(context.role) + 1,
        owners=len(owners),
        threshold=context.number("threshold"),
        session=context.session,
        rng=context.rng,
    )
    present = tuple(owners[number - 1] for number in numbers)
    counts = np.bincount(places, minlength=question.cells)
    return Outcome(
        local=b"",
        release=Present(present).encode(),
        cohort=int(counts[open_cells].min()),
        figures=int(open_cells.sum()),
        rows=np.arange(len(places), dtype=np.int64),
        groups=np.where(open_cells[places], places, cohorts.LEFT_OUT),
        absent=_absent(owners, present),
    )


def _cells_of(context: StepContext, question: Question) -> NDArray[np.int64]:
    """The cell of each row."""
    if question.groups is None:
        name = question.measures[0].name
        return np.zeros(len(columns.measure_array(context.read(name), name)), dtype=np.int64)
    found = columns.group_codes(context.read(question.groups.column), question.groups.column)
    place = {label: number for number, label in enumerate(question.groups.labels)}
    places = np.array([place.get(label, len(place)) for label in found.labels], dtype=np.int64)
    of_rows: NDArray[np.int64] = places[found.codes]
    return of_rows


def _encoded(context: StepContext, measure: ColumnInput) -> NDArray[np.int64]:
    values = columns.measure_array(context.read(measure.name), measure.name)
    encoded = fixed_point.encode(list(values) if values.dtype == object else values, measure.decimals)
    return disclosure.rounded(encoded, context.rules.base_of(measure.name, measure.decimals))


def _open_cells(
    context: StepContext,
    question: Question,
    places: NDArray[np.int64],
    values: Sequence[NDArray[np.int64]],
    minimum: int,
) -> NDArray[np.bool_]:
    """Which cells this owner enters: bool[k]."""
    if not len(places):
        return np.zeros(question.cells, dtype=np.bool_)
    rules = context.rules
    counts = group_sums.count_cohorts(places, question.cells, minimum, complementary=rules.complementary)
    is_open = counts > 0
    if rules.dominance_percent or rules.p_percent:
        for cell in np.flatnonzero(is_open):
            inside = places == cell
            is_open[cell] = not any(
                _is_dominated(context, column[inside], measure.name)
                for measure, column in zip(question.measures, values, strict=True)
            )
    return is_open


def _is_dominated(context: StepContext, values: NDArray[np.int64], column: str) -> bool:
    try:
        disclosure.check_dominance(context.rules, values, len(values), column)
    except Dominated:
        return True
    return False


def _add_up(
    question: Question,
    places: NDArray[np.int64],
    values: Sequence[NDArray[np.int64]],
    open_cells: NDArray[np.bool_],
) -> list[int]:
    """The figures of all cells, one after the other; nothing but zeros of those that are not open."""
    names = ["cell", *(f"m{number}" for number in range(len(values)))]
    table = pa.table([places, *values], names=names)
    sums = (f"sum({name}::HUGEINT), sum({name}::HUGEINT * {name})" for name in names[1:])
    query = f"SELECT {', '.join(('cell', '1', 'count(*)', *sums))} FROM own GROUP BY cell"  # noqa: S608 - own names
    with duckdb.connect(config={"threads": 2}) as database:
        database.register("own", table)
        try:
            found = {row[0]: list(row[1:]) for row in database.execute(query).fetchall()}
        except duckdb.OutOfRangeException:
            # Not chained: the cause quotes values.
            raise ValueOutOfRange("a sum of squares does not fit 128 bits") from None
    nothing = [0] * question.figures
    return [
        int(figure)
        for cell in range(question.cells)
        for figure in (found[cell] if open_cells[cell] else nothing)
    ]


def _aggregate(context: StepContext) -> Outcome:
    question, owners = Question.of(context.step), _owners(context.step)
    minimum = max(context.minimum_cohort, context.number("min_cohort"))
    channels = {number: context.late_channel(role) for number, role in enumerate(owners, start=1)}
    found = secagg.aggregator(
        channels,
        question.words,
        threshold=context.number("threshold"),
        session=context.session,
        patience_s=context.number("patience_s"),
    )
    present = tuple(owners[number - 1] for number in found.survivors)
    figures = from_words(found.total)
    cells = [figures[at : at + question.figures] for at in range(0, len(figures), question.figures)]
    is_open = [entered >= LEAST_OWNERS and rows >= minimum for entered, rows, *_ in cells]
    if not any(is_open):
        raise JobFailed(
            f"step {context.step.id}: no group was entered by {LEAST_OWNERS} owners with {minimum} rows each"
        )
    shown = tuple(tuple(map(str, cell)) if open_ else () for cell, open_ in zip(cells, is_open, strict=True))
    return Outcome(
        local=b"",
        release=Totals(present, shown).encode(),
        cohort=min(cell[1] for cell, open_ in zip(cells, is_open, strict=True) if open_),
        figures=sum(is_open),
        absent=_absent(owners, present),
    )


def _absent(owners: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    return tuple(role for role in owners if role not in present)


def _owners(step: Step) -> list[str]:
    return [role for role in COMPONENT.ranks(step) if role != AGGREGATOR]


def _check(step: Step) -> None:
    at, owners, threshold = f"steps.{step.id}", len(step.inputs), cast(int, step.params["threshold"])
    if not max(owners // 2, LEAST_OWNERS - 1) < threshold <= owners:
        expected = f"{max(owners // 2 + 1, LEAST_OWNERS)} to {owners}, more than half of the owners"
        raise InvalidRequest(f"{at}.params.threshold", expected, str(threshold))
    first, *others = step.inputs.values()
    if any(other.columns != first.columns for other in others):
        raise InvalidRequest(f"{at}.inputs", "the same columns of every owner", "others")
    names = [column.name for column in first.columns]
    if len(set(names)) != len(names):
        raise InvalidRequest(f"{at}.inputs", "each column once", "one twice")
    groups = Groups.of(step)
    if groups is not None and groups.column not in names:
        raise InvalidRequest(f"{at}.params.groups.column", f"one of {', '.join(names)}", groups.column)


def _plan(step: Step) -> Plan:
    """Every owner's rows are one table, of which aggregator and recipients see the totals, by group."""
    question, sources = Question.of(step), [source(step, role) for role in _owners(step)]
    operators: list[Source | Union] = [*sources]
    rows = sources[0].id
    for number, other in enumerate(sources[1:], start=2):
        operators.append(Union(f"{step.id}.rows-{number}", rows, other.id))
        rows = f"{step.id}.rows-{number}"
    keys = () if question.groups is None else (question.groups.column,)
    figures: list[tuple[str, str, tuple[str, ...]]] = [("rows", "count", ())]
    for one in question.measures:
        figures.append((f"sum {one.name}", "sum", (one.name,)))
        figures.append((f"variance {one.name}", "variance", (one.name,)))
    shown = (*keys, *(name for name, _, _ in figures))
    to = dict.fromkeys((step.parties[AGGREGATOR], *step.recipients))
    return (*operators, Aggregate(step.id, rows, keys, tuple(figures)), Reveal(step.id, shown, tuple(to)))


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    question, owners = Question.of(step), _owners(step)
    count, words = len(owners), question.words
    sent, answered = (secagg.bytes_sent(role, count, words) for role in ("owner", AGGREGATOR))
    width, assumes = 1 + len(question.measures), "that no owner is absent"
    estimates = {
        role: Estimate(
            sent_bytes=sent,
            received_bytes=answered,
            rounds=secagg.rounds("owner"),
            work_ns=_ROW_NS * rows.get(role, 0) * width + (_WORD_NS * words + _OWNER_NS) * count,
            memory_bytes=16 * rows.get(role, 0) * width + 16 * words,
            assumes=assumes,
        )
        for role in owners
    }
    estimates[AGGREGATOR] = Estimate(
        sent_bytes=answered * count,
        received_bytes=sent * count,
        rounds=secagg.rounds(AGGREGATOR) * count,
        work_ns=(_WORD_NS * words + _OWNER_NS) * count,
        memory_bytes=8 * words * (count + 1),
        assumes=assumes,
    )
    return estimates


COMPONENT = Component(
    name="stats/aggregate",
    version=1,
    summary="Counts, sums, means, variances by group over the tables of many owners; some may vanish.",
    roles={
        AGGREGATOR: None,
        "owner": RoleInput(1, 17, frozenset({"measure", "label", "feature", "group"}), Level.AFTER_AGGREGATE),
    },
    params={
        "min_cohort": Param(
            "fewest rows of a group with which an owner enters it, and of a group that is released",
            whole_number(2, 2**31),
        ),
        "threshold": Param(
            "fewest owners that stay: at least three and more than half; the others may be absent",
            whole_number(LEAST_OWNERS, MAX_OWNERS),
        ),
        "patience_s": Param(
            "how long each round waits for the slowest owner, its reading included, in seconds",
            whole_number(1, 600),
        ),
        "groups": Param(
            "group column and its labels; rows with none of them count under (other)",
            check_groups,
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=frozenset(),
    protocol=secagg.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    repeated={"owner": (secagg.MIN_OWNERS, MAX_OWNERS)},
    helpers=frozenset({AGGREGATOR}),
    absences=Absences("owner", "threshold"),
    open_result=open_result,
)
