"""Component ``model/correlation``: correlation and variance inflation over aligned columns of several owners.

Three parties compute: the first three owners, or two owners and a helper that enters nothing. Each party
releases its share of the products of columns of different owners, and an owner those of its own columns; the
recipients alone can put them together. The inflation factors are made from the opened correlations, at the
recipients. With a threshold, correlations below it stay closed for everybody, and there is no inflation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import aligned_columns
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
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.secret_columns.encoding import check_rules
from exchange.jobs.spec import Step
from federated.vertical import Layout, correlation, costs, standardise
from mpc import replicated, wire
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Select

__all__ = ["COMPONENT", "FORMAT", "ROWS_PER_COLUMN"]

FORMAT: Final = 1
ROWS_PER_COLUMN: Final = 10
"""Fewer rows than that, and an owner that receives could solve for the other's rows."""
_MILLION: Final = 10**6
_CELL_NS: Final = 60
_PRODUCT_NS: Final = 5
_BASE_BYTES: Final = 200 * 2**20
_Floats = NDArray[np.float64]


def _run(context: StepContext) -> Outcome:
    step, threshold = context.step, _threshold(context.step)
    names = aligned_columns.names_of(context)
    is_owner = context.role in step.inputs
    rows = aligned_columns.aligned_rows(context) if is_owner else None
    smallest = max(context.minimum_cohort, context.number("min_cohort"))
    with replicated.run(context.mesh(), correlation.SPEC, context.rng) as rt:
        stated = None if rows is None else (len(rows), smallest)
        agreed = aligned_columns.agreed_rows(rt, stated, ROWS_PER_COLUMN * len(names))
        layout = Layout(agreed, aligned_columns.sizes_of(step, names))
        features = _own_features(context, smallest) if is_owner else None
        cross = correlation.correlate(rt, layout, features, threshold, context.progress)
        products = correlation.placed(layout, aligned_columns.own_share(rt, cross))
        if features is not None:
            own = slice(sum(layout.columns[: rt.rank]), sum(layout.columns[: rt.rank + 1]))
            products[own, own] = correlation.own_products(layout, features, threshold).view(np.uint64)
    return Outcome(
        local=b"",
        release=_released(agreed, names, products),
        cohort=agreed,
        figures=1,
        rows=rows,
        groups=None if rows is None else np.zeros(len(rows), dtype=np.int64),
    )


def _threshold(step: Step) -> float:
    return cast("int", step.params.get("threshold_micro", 0)) / _MILLION


def _own_features(context: StepContext, smallest: int) -> _Floats:
    """This owner's columns, standardised.

    Raises:
        JobFailed: an output rule that nobody can check on shares, or a column in which fewer rows than the
            minimum differ from the rest, so that a correlation would tell of them.
    """
    check_rules(context)
    columns = [column.name for column in context.step.inputs[context.role].columns]
    names, values = aligned_columns.own_columns(context, columns)
    for name, column in zip(names, values, strict=True):
        _, counts = np.unique(column, return_counts=True)
        if 0 < len(column) - counts.max() < smallest:
            raise JobFailed(
                f"column {name}: expected at least {smallest} rows beside its most frequent value, got fewer"
            )
    return standardise(values, names).values


def _released(rows: int, names: list[tuple[str, str]], products: NDArray[np.uint64]) -> bytes:
    head = wire.encode_uint64(FORMAT) + wire.encode_uint64(rows)
    return head + aligned_columns.encode_names(names) + wire.encode_array(products)


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    if set(releases) != set(step.parties):
        raise JobFailed(f"step {step.id}: expected the shares of {len(step.parties)} parties")
    stated, total = [], np.zeros((), dtype=np.uint64)
    for role in sorted(releases):
        reader = wire.Reader(f"release of {role}", releases[role])
        if (version := reader.uint64("format")) != FORMAT:
            raise JobFailed(f"release of {role}: expected format {FORMAT}, got {version}")
        rows, names = reader.uint64("rows"), aligned_columns.read_names(reader)
        stated.append((rows, names))
        total = total + reader.array("products", "<u8", (len(names), len(names)))
        reader.finish()
    matrix = correlation.correlations(rows, total.view(np.int64))
    # Shares of different runs sum to uniform words.
    if any(one != stated[0] for one in stated) or np.abs(matrix).max() > 1.001:
        raise JobFailed(f"step {step.id}: the shares of the parties are not of one run")
    labels = [f"{role}.{name}" for role, name in names]
    facts: dict[str, object] = {"rows": rows}
    is_whole = not _threshold(step)
    factors = correlation.inflation(matrix) if is_whole else np.full(len(names), np.nan)
    if is_whole:
        facts["collinear"] = [label for label, one in zip(labels, factors, strict=True) if np.isnan(one)]
    if (most := step.params.get("most_inflation")) is not None:
        stays = correlation.selected(matrix, cast("int", most))
        facts["left_out"] = [label for place, label in enumerate(labels) if place not in stays]
    lines = []
    for name, factor, line in zip(names, factors.tolist(), matrix.tolist(), strict=True):
        shown: list[Cell] = [f"{one:.6f}" if one or is_whole else None for one in line]
        lines.append((*name, None if np.isnan(factor) else f"{factor:.6g}", *shown))
    return ResultTable(("party", "column", "inflation", *labels), tuple(lines), facts)


def _check(step: Step) -> None:
    aligned_columns.check_parties(step)
    if {"threshold_micro", "most_inflation"} <= set(step.params):
        at = f"steps.{step.id}.params.most_inflation"
        raise InvalidRequest(at, "no threshold_micro beside it, with which there are no factors", "both")
    if not step.recipients:
        raise InvalidRequest(f"steps.{step.id}.recipients", "who receives the correlations", "nobody")


def _plan(step: Step) -> Plan:
    """Correlations of all columns to the recipients."""
    sources = [source(step, role) for role in step.inputs]
    together = f"{step.id}.together"
    every = tuple(f"{one.id}.{name}" for one in sources for name in one.columns)
    return (
        *sources,
        Select(together, tuple(one.id for one in sources), rows=step.after[0]),
        Aggregate(step.id, together, (), (("rows", "count", ()), ("correlations", "fit", every))),
        Reveal(step.id, ("rows", "correlations"), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    roles = COMPONENT.ranks(step)
    columns = tuple(len(step.inputs[role].columns) for role in aligned_columns.owners_of(step))
    layout, parties = Layout(min(rows.values()), columns), len(roles)
    cost = costs.correlation(layout, _threshold(step)) + runtime_costs.stated(parties, 0)
    whole, told = runtime_costs.run(parties), runtime_costs.stated(parties, aligned_columns.STATED).outside
    sent = {
        role: costs.sent(layout, cost, rank)
        + (whole.sent[0] if rank < len(whole.sent) else whole.outside)
        + (told if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    width = sum(columns)
    products = layout.rows * sum(correlation.cross_sizes(layout))
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sum(sent.values()) // parties,
            rounds=cost.rounds + whole.rounds,
            work_ns=_CELL_NS * layout.rows * width + _PRODUCT_NS * products,
            memory_bytes=_BASE_BYTES
            + 24 * layout.rows * (columns[rank] if role in step.inputs else 0)
            + 64 * min(layout.rows, correlation.CHUNK_ROWS) * width,
            assumes="that the intersection is the smallest input, and one column for each that is named",
        )
        for rank, role in enumerate(roles)
    }


COMPONENT = Component(
    name="model/correlation",
    version=1,
    summary="Correlations and variance inflation factors over columns of several owners on secret shares; "
    "nobody sees a row but its owner.",
    roles={
        "owner": RoleInput(1, 64, frozenset({"feature", "measure", "label", "group"}), Level.AFTER_AGGREGATE),
        "helper": None,
    },
    repeated={"owner": (2, 16), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    params={
        "min_cohort": Param(
            "fewest aligned rows, and fewest rows beside the most frequent value of a column",
            whole_number(1, 2**31),
        ),
        "threshold_micro": Param(
            "correlations of a smaller magnitude, in millionths, stay closed for everybody; the recipients "
            "then learn no inflation factors",
            whole_number(1, _MILLION),
            optional=True,
        ),
        "most_inflation": Param(
            "the result names columns to leave out, that of the largest factor first, until none is larger",
            whole_number(1, 10_000),
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=aligned_columns.READABLE,
    takes_rows=True,
    protocol=correlation.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    check_follows=aligned_columns.check_follows,
    estimate=_estimate,
    open_result=_open,
)
