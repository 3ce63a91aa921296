"""Components ``sql/query`` and ``sql/rows``: the answer to a query over several owners' tables.

``sql/query`` shows figures of groups, none of fewer rows than the minimum cohort. ``sql/rows`` shows rows; it
is a component of its own, so that an owner who does not name it in its terms never lets rows out. So are
``sql/query-rr22`` and ``sql/rows-rr22``, whose joins an engine plays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Final, cast

import pyarrow as pa

from connectors import columns
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, whole_number
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.engines import OWN, SPU
from exchange.jobs.estimates import Estimate
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from exchange.sql.alignment import Joining
from exchange.sql.answers import Release, open_answer
from exchange.sql.costs import assumed, secret_costs
from exchange.sql.execution import Own, execute
from exchange.sql.explanation import BYTE_NS, join_costs, rows_bound
from exchange.sql.matching import ECDH
from exchange.sql.protocol import FAST, SPEC
from exchange.sql.steps import (
    COMPONENTS,
    VERSION,
    check_step,
    matching_of,
    parts_of,
    plan_of,
    program_of,
)
from exchange.sql.syntax import MAX_LENGTH
from policies.column_control import Level

__all__ = ["ALL"]

_COLUMN_ROLES: Final = frozenset({"identifier", "feature", "label", "measure", "group", "time", "text"})


def _run(context: StepContext) -> Outcome:
    step = context.step
    program = program_of(step)
    shown = program.minimum if program.query.is_grouped else 1
    if context.minimum_cohort > shown:
        raise JobFailed(f"step {step.id}: expected a minimum cohort of {context.minimum_cohort}, got {shown}")
    _require_known_rules(context)
    mesh = context.mesh()
    own = None if context.role not in step.inputs else _own(context)
    joining = Joining(matching_of(step), context.hand_over.spool, context.progress)
    executed = execute(mesh, program, own, context.rng, joining)
    release = Release.of(executed).encode()
    if not program.query.is_grouped:
        # As of a delivery: what is handed over are the rows themselves, not figures about them.
        return Outcome(local=b"", release=release, cohort=1)
    return Outcome(
        local=b"",
        release=release,
        cohort=program.minimum,
        figures=prod(executed.sizes),
        rows=executed.rows,
        groups=executed.groups,
    )


def _own(context: StepContext) -> Own:
    """This owner's table, read one column at a time."""
    program = program_of(context.step)
    number = int(context.role.rpartition("-")[2]) - 1
    part = parts_of(program.query)[number]
    table = next(table for table in program.tables if part in table.parts)
    names = dict(part.columns)

    def read(column: str) -> pa.Array:
        name = names[column]
        return columns.column_array(context.read(name), name)

    first = context.step.inputs[context.role].columns[0].name
    rows = sum(batch.num_rows for batch in context.read(first))
    return Own(table.name, read, rows)


def _require_known_rules(context: StepContext) -> None:
    """Check that the owner asks for no output check that a query cannot keep."""
    if replace(context.rules, review=False) != OutputRules.NONE:
        rules = "dominance, rounding or complementary suppression"
        raise JobFailed(f"step {context.step.id}: this owner's rules on {rules} are not kept by queries")


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    return open_answer(program_of(step), [Release.decode(release) for release in releases.values()])


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    program = program_of(step)
    counts = [rows[f"owner-{number}"] for number in range(1, len(step.inputs) + 1)]
    bound = rows_bound(program, counts)
    ranks = [*(f"owner-{number}" for number in range(1, len(counts) + 1))]
    ranks += [role for role in step.parties if role not in ranks]
    secret = secret_costs(program, assumed(program, bound), len(ranks))
    joins = [] if program.is_union else join_costs(program, counts, matching_of(step))
    found = {}
    for rank, role in enumerate(ranks):
        sent = sum(cost.sent[rank] if rank < 3 else cost.outside for cost in secret.values())
        matching = [sides[rank] for sides in joins if rank in sides]
        keys = sum(one.keys for one in matching)
        found[role] = Estimate(
            sent_bytes=sent + sum(one.sent for one in matching),
            received_bytes=(sent if rank < 3 else 0) + sum(one.received for one in matching),
            rounds=sum(cost.rounds for cost in secret.values()) + sum(one.rounds for one in matching),
            work_ns=sum(one.work_ns for one in matching) + BYTE_NS * sent,
            memory_bytes=200 * keys + 64 * bound,
            assumes="that every key matches, every column lacks values, and 8 groups of each owner's keys",
        )
    return found


def _check_query(value: object, at: str) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LENGTH:
        raise InvalidRequest(at, f"a query of 1 to {MAX_LENGTH} characters", type(value).__name__)


def _check_types(value: object, at: str) -> None:
    is_map = isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
    if not is_map or any(
        not isinstance(t, str)
        for one in cast("dict[str, dict[str, object]]", value).values()
        for t in one.values()
    ):
        raise InvalidRequest(at, "types by role and column", type(value).__name__)


def _check_digest(value: object, at: str) -> None:
    if not isinstance(value, str) or len(value) != 64:
        raise InvalidRequest(at, "a SHA-256 digest in hex", repr(value)[:40])


def _component(name: str) -> Component:
    is_grouped, matching = COMPONENTS[name]
    own = matching is ECDH
    level = Level.AFTER_AGGREGATE if is_grouped else Level.PLAINTEXT
    shown = (
        "over the tables of several owners: figures of groups, opened by who asked alone"
        if is_grouped
        else "over the tables of several owners that shows rows, where their owners let rows out"
    )
    return Component(
        name=name,
        version=VERSION,
        summary=f"A SELECT {shown}{'' if own else '; SPU matches the keys of joins'}.",
        roles={"owner": RoleInput(1, 64, _COLUMN_ROLES, level), "helper": None},
        params={
            "query": Param("the query, in its canonical text", _check_query),
            "types": Param("the type of each column that is read, by role", _check_types),
            "min_cohort": Param("the smallest number of rows behind a figure", whole_number(1, 2**31)),
            "plan": Param("SHA-256 of the query's plan, which every party compiles again", _check_digest),
        },
        output_type="aggregate" if is_grouped else "table/rows",
        needs=frozenset(),
        protocol=SPEC if own else FAST,
        run=_run,
        plan=plan_of,
        check_step=check_step,
        is_delivery=not is_grouped,
        estimate=_estimate,
        repeated={"owner": (2, 30), "helper": (0, 1)},
        helpers=frozenset({"helper"}),
        open_result=_open,
        engine=OWN if own else SPU,
    )


ALL: Final = tuple(_component(name) for name in COMPONENTS)
"""Figures of groups and rows, each by either way of matching."""
