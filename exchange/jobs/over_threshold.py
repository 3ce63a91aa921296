"""Component ``psi/over-threshold``: which people are known to k or more of n owners within a time window.

Each owner keeps, at its own node, which of its people they are. The recipients learn how many there are and,
if so agreed, at how many owners they are. The owners' second column is the time of each row; rows outside the
window, or without a time, take no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors import columns
from connectors.errors import WrongColumnType
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    one_of,
    source,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.many_parties import (
    NORMALISE,
    Identified,
    agreed_count,
    check_roles,
    distinct,
    joins,
    minimum_of,
    read_identifiers,
)
from exchange.jobs.releases import Cardinality
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from ledger import canonical
from mpc.over_threshold import protocol, reconstruction, tables
from mpc.over_threshold.protocol import Terms
from policies.column_control import Level
from policies.plans import Aggregate, Compare, Filter, Operator, Plan, Reveal

__all__ = ["COMPONENT", "ByHolders", "Range", "grouped", "in_utc"]

_AGGREGATOR: Final = "aggregator"
_IN_WINDOW: Final = "in_window"
_ITEM_NS: Final = 500
_CELL_NS: Final = 25
_OPERATION_NS: Final = 2
"""Placing an item in a table and filling a cell, for threshold 3, and an operation of the aggregator."""


@dataclass(frozen=True)
class Range:
    """How many people are known to ``least`` to ``most`` owners."""

    least: int
    most: int
    matched: int


@dataclass(frozen=True)
class ByHolders:
    """What the aggregator releases: the count, and how it is made up."""

    matched: int
    ranges: tuple[Range, ...]

    def encode(self) -> bytes:
        """Encode, for sealing."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, release: bytes) -> ByHolders:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(release), "release")


def _moment(value: object, at: str) -> datetime:
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise InvalidRequest(at, "a time with its zone, as 2026-01-31T00:00:00Z", repr(value)[:40])
    return read.astimezone(UTC)


def _check_window(value: object, at: str) -> None:
    if not isinstance(value, dict) or set(value) != {"from", "until"}:
        raise InvalidRequest(at, "from and until", repr(value)[:40])
    if _moment(value["from"], f"{at}.from") >= _moment(value["until"], f"{at}.until"):
        raise InvalidRequest(at, "a time from that is before until", "another order")


def _check(step: Step) -> None:
    check_roles(step)
    at, owners = f"steps.{step.id}", len(step.inputs)
    threshold, expected = cast(int, step.params["threshold"]), 2 if "window" in step.params else 1
    if threshold > owners:
        raise InvalidRequest(f"{at}.params.threshold", f"at most {owners}, the owners", str(threshold))
    for role, given in step.inputs.items():
        if len(given.columns) != expected:
            columns_of = "an identifier and its time" if expected == 2 else "an identifier, and no window"
            raise InvalidRequest(f"{at}.inputs.{role}.columns", columns_of, str(len(given.columns)))


def _run(context: StepContext) -> Outcome:
    terms = Terms(
        context.number("capacity"), context.number("threshold"), minimum_of(context, "minimum_matches")
    )
    if context.role == _AGGREGATOR:
        holders = protocol.aggregator(context.mesh(), terms, progress=context.progress)
        return _counted(context, holders.counts, holders.minimum)
    known = _within_window(context)
    if len(known.items) > terms.capacity:
        raise JobFailed(f"step {context.step.id}: expected at most {terms.capacity} identifiers, found more")
    found = protocol.party(context.mesh(), known.items, terms, context.rng, progress=context.progress)
    rows = known.rows[found.rows]
    return Outcome(
        local=rows.astype("<i8").tobytes(),
        release=Cardinality(found.total).encode(),
        cohort=found.total,
        figures=1,
        rows=rows,
        groups=np.zeros(len(rows), dtype=np.int64),
    )


def _within_window(context: StepContext) -> Identified:
    """Each identifier of the window once, with its first row."""
    given = context.step.inputs[context.role].columns
    named = read_identifiers(context)
    rows = np.arange(len(named), dtype=np.int64)
    if "window" in context.step.params:
        window = cast("dict[str, str]", context.step.params["window"])
        times = in_utc(columns.column_array(context.read(given[1].name), given[1].name), given[1].name)
        start, end = (pa.scalar(_moment(window[one], one), times.type) for one in ("from", "until"))
        inside = pc.and_(pc.greater_equal(times, start), pc.less(times, end)).fill_null(False)
        named, rows = named.filter(inside), rows[inside.to_numpy(zero_copy_only=False)]
    return distinct(named, rows, given[0].name)


def in_utc(times: pa.Array, column: str) -> pa.Array:
    """Take times to UTC, dates as their midnights and times without a zone as they stand; microseconds."""
    kind = times.type
    if pa.types.is_date(kind):
        return times.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    if not pa.types.is_timestamp(kind):
        raise WrongColumnType(column, "dates or times", str(kind))
    return times.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us", "UTC"))


def _counted(context: StepContext, counts: NDArray[np.int64], minimum: int) -> Outcome:
    total = int(counts.sum())
    if context.step.params["result"] == "count":
        return Outcome(local=b"", release=Cardinality(total).encode(), cohort=total, figures=1)
    told = ByHolders(total, grouped(counts, context.number("threshold"), minimum))
    smallest = min(one.matched for one in told.ranges)
    return Outcome(local=b"", release=told.encode(), cohort=smallest, figures=len(told.ranges))


def grouped(counts: NDArray[np.int64], threshold: int, minimum: int) -> tuple[Range, ...]:
    """Join numbers of holders to ranges with at least ``minimum`` identifiers each, from the most down.

    Args:
        counts: int64[n + 1], identifiers by number of holders.
        threshold: the fewest holders.
        minimum: at most the sum of all counts.

    Returns:
        Ranges in ascending order, from ``threshold`` on.
    """
    ranges: list[Range] = []
    most, held = len(counts) - 1, 0
    for least in range(most, threshold - 1, -1):
        held += int(counts[least])
        if held >= max(minimum, 1):
            ranges.append(Range(least, most, held))
            most, held = least - 1, 0
    if most >= threshold:
        # What is left is too few: it goes to the lowest range.
        lowest = ranges.pop() if ranges else Range(most, most, 0)
        ranges.append(Range(threshold, lowest.most, lowest.matched + held))
    return tuple(reversed(ranges))


def _open(step: Step, released: Mapping[str, bytes]) -> ResultTable:
    owners = [release for role, release in released.items() if role != _AGGREGATOR]
    total = agreed_count(step, owners)
    facts = {"threshold": step.params["threshold"], "owners": len(owners), "matched": total}
    if step.params["result"] == "count":
        agreed_count(step, list(released.values()))
        return ResultTable(("matched",), ((total,),), facts)
    told = ByHolders.decode(released[_AGGREGATOR])
    if told.matched != total or sum(one.matched for one in told.ranges) != total:
        raise JobFailed(f"step {step.id}: the aggregator's ranges do not make up {total}")
    rows = tuple((one.least, one.most, one.matched) for one in told.ranges)
    return ResultTable(("least_owners", "most_owners", "matched"), rows, facts)


def _plan(step: Step) -> Plan:
    """Owners learn which of their rows k have, the aggregator which owners hold one, recipients how many."""
    operators: list[Operator] = []
    relations = []
    owners = [role for role in COMPONENT.ranks(step) if role != _AGGREGATOR]
    for role in owners:
        read = source(step, role)
        operators.append(read)
        relation = read.id
        if "window" in step.params:
            compared, relation = f"{read.id}.compared", f"{read.id}.window"
            operators.append(Compare(compared, read.id, _IN_WINDOW, (read.columns[1],)))
            operators.append(Filter(relation, compared, _IN_WINDOW))
        relations.append((relation, read.columns[0]))
    counted = f"{step.id}.count"
    count = Aggregate(counted, step.id, (), (("count", "count", ()),))
    return (
        *operators,
        *joins(step.id, relations),
        Reveal(step.id, (), tuple(step.parties.values())),
        count,
        Reveal(counted, ("count",), (*step.parties.values(), *step.recipients)),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    terms = Terms(cast(int, step.params["capacity"]), cast(int, step.params["threshold"]))
    roles = COMPONENT.ranks(step)
    parties, cells = len(roles) - 1, tables.cells_of(terms.capacity, terms.threshold)
    sent = [protocol.bytes_sent(rank, parties, terms, 0) for rank in range(parties)]
    answers = protocol.aggregator_bytes_sent([0] * parties, [0] * parties)
    estimates = {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=answers // parties,
            rounds=protocol.rounds(rank, parties),
            work_ns=tables.TABLES * (_ITEM_NS * rows[role] + _CELL_NS * cells),
            memory_bytes=4 * tables.TABLES * cells + 64 * cells,
            assumes="no identifier over the threshold; one adds about a hundred bytes",
        )
        for rank, role in enumerate(roles[:-1])
    }
    estimates[_AGGREGATOR] = Estimate(
        sent_bytes=answers,
        received_bytes=sum(sent),
        rounds=protocol.rounds(parties, parties),
        work_ns=_OPERATION_NS * tables.TABLES * cells * reconstruction.operations(parties, terms.threshold),
        memory_bytes=16 * parties * protocol.CHUNK_CELLS,
        assumes="no identifier over the threshold; one adds about a hundred bytes",
    )
    return estimates


# In a table of events people come several times, so their column is a feature there and no identifier.
_INPUT = RoleInput(1, 2, frozenset({"identifier", "feature", "time"}), Level.AFTER_JOIN)

COMPONENT = Component(
    name="psi/over-threshold",
    version=1,
    summary="Which people k or more of n owners know, within a time window; each owner learns its own.",
    roles={"party": _INPUT, "aggregator": None},
    params={
        "normalise": NORMALISE,
        "threshold": Param("k: the fewest owners that know a person", whole_number(2, protocol.MAX_PARTIES)),
        "capacity": Param(
            "most different identifiers of an owner in the window; hides how many there are",
            whole_number(1, protocol.MAX_CAPACITY),
        ),
        "minimum_matches": Param("fewest people with which the job goes on", whole_number(1, 2**31)),
        "result": Param(
            "what the result tells: count, or by-holders for the number of owners too",
            one_of("count", "by-holders"),
        ),
        "window": Param("from and until (not included), when rows count", _check_window, optional=True),
    },
    output_type="cardinality",
    needs=frozenset(),
    protocol=protocol.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    repeated={"party": (protocol.MIN_PARTIES, protocol.MAX_PARTIES)},
    helpers=frozenset({_AGGREGATOR}),
    open_result=_open,
)
