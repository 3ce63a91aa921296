"""Component ``compute/expression``: one query over the aligned columns of two and more owners.

Three parties compute: the first three owners, or two owners and a helper that enters nothing. Every computing
party releases its share of the answer, sealed to the recipient, who alone can put them together.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import cast

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import aligned_columns
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, text_like, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.intersection import rows_of
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.secret_columns import figures, hidden
from exchange.jobs.secret_columns.encoding import check_rules, encoded
from exchange.jobs.secret_columns.language import MAX_LENGTH
from exchange.jobs.secret_columns.nodes import RATIO_DECIMALS
from exchange.jobs.secret_columns.plan import plan_of
from exchange.jobs.secret_columns.query import Figure, Query, check_columns, check_figures, check_keys
from exchange.jobs.spec import Step
from mpc import replicated, wire
from mpc.errors import InputsDisagree
from mpc.replicated import costs
from mpc.replicated.tally import Tally
from policies.column_control import Level

__all__ = ["COMPONENT", "FORMAT", "own_columns"]

FORMAT = 1
_STATED = 3
"""Numbers that each owner tells all others: its rows, its minimum, and whether cells are closed in pairs."""
_BYTE_NS = 12
_BLOCK_BYTES = 48
_EXACT = decimal.Context(prec=60, rounding=decimal.ROUND_HALF_EVEN)


def _run(context: StepContext) -> Outcome:
    query = Query.of(context.step)
    before = context.step.after[0]
    is_owner = context.role in context.step.inputs
    part = hidden.part_of(context)
    own: dict[str, NDArray[np.int64]] = {}
    rows: NDArray[np.int64] | None = None
    if is_owner and part is None:
        own, rows = own_columns(context, query), rows_of(context.earlier[before])
    elif is_owner and part is not None:
        # Which of its rows match no owner knows: the figures are about all of them.
        check_rules(context)
        rows = np.arange(part.own_rows, dtype=np.int64)
    entries = 0 if rows is None else len(rows) if part is None else part.entries
    with replicated.run(context.mesh(), replicated.SPEC, context.rng) as rt:
        smallest = max(context.minimum_cohort, context.number("min_cohort"))
        said = None if rows is None else (entries, smallest, int(context.rules.complementary))
        stated = list(rt.state(said, _STATED).values())
        for other in stated:
            if other[0] != stated[0][0]:
                raise InputsDisagree("aligned rows", stated[0][0], other[0])
        minimum = figures.Minimum(max(one[1] for one in stated), any(one[2] for one in stated))
        ranks = {role: rank for rank, role in enumerate(context.ranks)}
        given = None
        if part is not None:
            given = hidden.joined(rt, part, context.before[before], stated[0][0])
        table = figures.compute(rt, query, ranks, own, stated[0][0], minimum, given)
        released = aligned_columns.own_share(rt, table)
    return Outcome(
        local=b"",
        release=wire.encode_uint64(FORMAT) + wire.encode_array(released),
        cohort=minimum.rows,
        figures=query.cells,
        rows=rows,
        groups=None if rows is None else np.zeros(len(rows), dtype=np.int64),
    )


def own_columns(context: StepContext, query: Query) -> dict[str, NDArray[np.int64]]:
    """The aligned rows of this owner's columns: units, codes, or 0 and 1.

    Raises:
        JobFailed: values outside the declared bounds or labels, counted; or an output rule that nobody can
            check on figures that nobody sees.
    """
    check_rules(context)
    rows = rows_of(context.earlier[context.step.after[0]])
    return {
        column.name: encoded(context, query.columns[context.role, column.name])[rows]
        for column in context.step.inputs[context.role].columns
    }


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    query = Query.of(step)
    values = [*figures.summed(query), *figures.picking(query)]
    sizes = [figures.released_values(one) for one in values]
    shape = (query.cells, 2 + sum(sizes))
    total = np.zeros(shape, dtype=np.uint64)
    for role in sorted(releases):
        reader = wire.Reader(f"release of {role}", releases[role])
        if (version := reader.uint64("format")) != FORMAT:
            raise JobFailed(f"release of {role}: expected format {FORMAT}, got {version}")
        total += reader.array("shares", "<u8", shape)
        reader.finish()
    table = total.view(np.int64)
    if set(releases) != set(step.parties) or np.any((table[:, 0] != 0) & (table[:, 0] != 1)):
        raise JobFailed(f"step {step.id}: the shares of the parties are not of one run")
    starts = dict(zip(values, np.cumsum([2, *sizes]).tolist(), strict=False))
    names = [name for figure in query.figures for name in _names(figure)]
    lines: list[tuple[Cell, ...]] = []
    for labels, line in zip(query.labels, table.tolist(), strict=True):
        shown: list[Cell] = [None] * (1 + len(names))
        if line[0]:
            cells = [
                cell for figure in query.figures for cell in _cells(figure, line[1], line[starts[figure] :])
            ]
            shown = [line[1], *cells]
        lines.append((*labels, *shown))
    suppressed = int(np.count_nonzero(table[:, 0] == 0))
    header = (*(key.name for key in query.keys), "rows", *names)
    return ResultTable(header, tuple(lines), {"cells": query.cells, "suppressed": suppressed})


def _names(figure: Figure) -> Iterator[str]:
    if figure.kind != "correlation":
        yield figure.name
        return
    for first, second in combinations(range(1, len(figure.nodes) + 1), 2):
        yield f"{figure.name}.{first}.{second}"


def _cells(figure: Figure, rows: int, values: list[int]) -> Iterator[Cell]:
    node = figure.nodes[0]
    unit = 10**node.decimals
    match figure.kind:
        case "mean":
            yield _text(Fraction(values[0], unit * rows), node.decimals + RATIO_DECIMALS)
        case "variance":
            yield _variance(values[0], values[1], rows, node.decimals)
        case "correlation":
            yield from _correlations(values, len(figure.nodes), rows)
        case _:
            yield _text(Fraction(values[0], unit), node.decimals)


def _variance(total: int, squares: int, rows: int, decimals: int) -> Cell:
    """The sample variance, of one row None."""
    if rows < 2:
        return None
    spread = Fraction(rows * squares - total * total, rows * (rows - 1))
    return _text(spread / 100**decimals, 2 * decimals + RATIO_DECIMALS)


def _correlations(values: list[int], size: int, rows: int) -> Iterator[Cell]:
    """Pearson's coefficients, of a constant None; decimals of the operands cancel."""
    products = dict(zip(zip(*np.triu_indices(size), strict=True), values[size:], strict=False))
    spread = {
        (first, second): rows * product - values[first] * values[second]
        for (first, second), product in products.items()
    }
    for pair in combinations(range(size), 2):
        both = spread[pair[0], pair[0]] * spread[pair[1], pair[1]]
        if not both:
            yield None
            continue
        root = _EXACT.sqrt(Decimal(both))
        yield str(_EXACT.divide(Decimal(spread[pair]), root).quantize(Decimal("0.000001"), context=_EXACT))


def _text(value: Fraction, places: int) -> str:
    exact = _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
    return str(exact.quantize(Decimal(1).scaleb(-places), context=_EXACT))


def _check(step: Step) -> None:
    owners = len(step.inputs)
    if (owners == 2) != ("helper-1" in step.parties):
        at = f"steps.{step.id}.parties"
        raise InvalidRequest(at, "a helper with two owners, none with more", f"{owners} owners")
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step that aligned the rows", str(len(step.after)))
    Query.of(step)


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    return _counted(step, min(rows.values()), None, "as many aligned rows as the step before leaves")


def _estimate_after(step: Step, before: Sequence[Step], rows: Mapping[str, int]) -> dict[str, Estimate]:
    """After ``psi/shared`` there is a row for each of the left's, and its columns are inputs of all three."""
    if before[0].component != hidden.COMPONENT_NAME:
        return _estimate(step, rows)
    return _counted(step, rows[hidden.SIDES["left"]], before[0], "")


def _counted(step: Step, aligned: int, before: Step | None, assumes: str) -> dict[str, Estimate]:
    """Play the query with sizes alone; ``before`` is the step whose hidden rows it takes over, if it does."""
    query, roles = Query.of(step), COMPONENT.ranks(step)
    tally, parties = Tally(len(roles)), len(roles)
    ranks = {role: rank for rank, role in enumerate(roles)}
    minimum = figures.Minimum(cast(int, step.params["min_cohort"]), complementary=False)
    try:
        given = None if before is None else hidden.tallied(tally, before, aligned)
        figures.compute(tally, query, ranks, {}, aligned, minimum, given)
    except JobFailed:  # for so many rows the step will say so
        return {}
    cost, alone = tally.take(), costs.run(parties).outside
    told = costs.stated(parties, _STATED).outside
    sent = {
        role: (cost.sent[rank] if rank < len(cost.sent) else alone + tally.inputs[rank])
        + (told if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    received = dict(zip(roles, costs.received(list(sent.values()), _STATED), strict=True))
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=received[role],
            rounds=cost.rounds + 1,
            work_ns=_BYTE_NS * sent[role],
            memory_bytes=_BLOCK_BYTES * min(query.cells * aligned, figures.BLOCK_VALUES) + 64 * aligned,
            assumes=assumes,
        )
        for role in roles
    }


COMPONENT = Component(
    name="compute/expression",
    version=1,
    summary="Counts, sums, means, spreads, extremes, quantiles and correlations of expressions over columns "
    "of several owners, by groups, where nobody sees a row but its owner.",
    roles={
        "owner": RoleInput(1, 16, frozenset({"measure", "label", "feature", "group"}), Level.AFTER_AGGREGATE),
        "helper": None,
    },
    repeated={"owner": (2, 30), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    params={
        "columns": Param(
            "of each column, such as owner1.balance: its kind, number with lower and upper, category with "
            "labels, or truth",
            check_columns,
        ),
        "where": Param(
            "which rows count: an expression", text_like(f"(?s).{{1,{MAX_LENGTH}}}"), optional=True
        ),
        "by": Param(
            "up to two groupings: name, and of, a category or truth value", check_keys, optional=True
        ),
        "figures": Param(
            "besides the rows of each group: name, figure (sum, mean, variance, minimum, maximum, quantile "
            "with part, correlation) and of, an expression",
            check_figures,
            optional=True,
        ),
        "min_cohort": Param("smallest group that may be released", whole_number(1, 2**31)),
    },
    output_type="aggregate",
    needs=frozenset({"psi/ecdh", "psi/many", "psi/rr22", hidden.COMPONENT_NAME}),
    takes_rows=True,
    protocol=replicated.SPEC,
    run=_run,
    plan=plan_of,
    check_step=_check,
    check_follows=hidden.check_follows,
    open_result=_open,
    estimate=_estimate,
    estimate_after=_estimate_after,
)
