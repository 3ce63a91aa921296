"""Component ``model/woe``: weight of evidence of the aligned columns of several owners.

``owner-1`` holds the label, 0 and 1, and counts the events of its own bins at home. Of every other owner's
bins events are counted on shares, and told to that owner alone, in groups of enough events and enough other
rows. Three parties compute: the first three owners, or two owners and a helper that enters nothing. The bins
stay at their owner's node; recipients learn the information value of each column where the step says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    one_of,
    source,
    text_like,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.intersection import rows_of
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.scorecard.columns import Fine, fine_bins, read_column
from exchange.jobs.scorecard.tables import BinnedColumn, OwnBins, binned
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from federated.binning import groups_of
from federated.merging import summed
from federated.vertical import Family, check_label
from federated.vertical.event_counts import (
    CHUNK_WORDS,
    MAX_BINS,
    SPEC,
    Layout,
    expected,
    group_events,
    own_events,
)
from ledger import canonical
from mpc import replicated
from mpc.errors import CohortTooSmall, InputsDisagree
from mpc.replicated import Runtime
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Select

__all__ = ["COMPONENT", "ROWS_PER_COUNT", "features_by_owner", "features_of"]

ROWS_PER_COUNT: Final = 10
"""Fewer rows than that for each count an owner may learn, and counts together would tell of single rows."""
_MOST: Final = MAX_BINS - 1
"""Bins of a column besides that of missing values."""
_STATED = 2
"""Public numbers of each owner: its rows and its minimum."""
_ROW_NS: Final = 60
_BASE_BYTES: Final = 200 * 2**20
_WORD_BYTES: Final = 56


@dataclass(frozen=True)
class _Values:
    """What an owner releases: its columns, and their information values where the recipients learn them."""

    columns: tuple[str, ...]
    iv: tuple[str, ...]


def features_by_owner(step: Step) -> dict[str, list[str]]:
    """The columns of each owner that are no label, owners by rank."""
    owners = sorted(step.inputs, key=lambda role: int(role.rpartition("-")[2]))
    return {role: features_of(step, role) for role in owners}


def features_of(step: Step, role: str) -> list[str]:
    """The columns of one owner that are no label."""
    names = [column.name for column in step.inputs[role].columns]
    return [name for name in names if (role, name) != ("owner-1", step.params["label"])]


def _run(context: StepContext) -> Outcome:
    step = context.step
    is_owner = context.role in step.inputs
    rows = rows_of(context.earlier[step.after[0]]) if is_owner else None
    with replicated.run(context.mesh(), SPEC, context.rng) as rt:
        smallest = max(context.minimum_cohort, context.number("min_cohort"))
        layout, least_rows = _agreed(rt, None if rows is None else (len(rows), smallest), step)
        fine = [] if rows is None else _fine(context, rows, least_rows)
        label = _label(context, rows) if rows is not None and context.role == "owner-1" else None
        codes = np.stack([one.codes for one in fine]) if is_owner and label is None else None
        groups = group_events(rt, layout, label, codes, context.progress)
        opened = own_events(rt, layout, groups)
    own = OwnBins(tuple(_finished(step, fine, label, opened))) if is_owner else None
    return Outcome(
        local=b"" if own is None else own.encode(),
        release=None if own is None else _released(step, own),
        cohort=layout.rows,
        figures=1,
        rows=rows,
        groups=None if rows is None else np.zeros(len(rows), dtype=np.int64),
    )


def _agreed(rt: Runtime, said: tuple[int, int] | None, step: Step) -> tuple[Layout, int]:
    """The sizes of the run, equal at all owners, and the fewest rows of a bin, enough for each.

    Raises:
        InputsDisagree: owners with different numbers of aligned rows.
        CohortTooSmall: fewer rows than an owner's minimum, or than so many counts need.
    """
    stated = list(rt.state(said, _STATED).values())
    for other in stated:
        if other[0] != stated[0][0]:
            raise InputsDisagree("aligned rows", stated[0][0], other[0])
    rows, least = stated[0][0], max(one[1] for one in stated)
    most = max(len(names) for role, names in features_by_owner(step).items() if role != "owner-1")
    told = most * max(1, min(_number(step, "bins") + 1, rows // least))
    minimum = max(least, 2 * _number(step, "min_events"), ROWS_PER_COUNT * told)
    if rows < minimum:
        raise CohortTooSmall(minimum, 1)
    return _layout(step, rows), least


def _layout(step: Step, rows: int) -> Layout:
    counts = [len(names) for names in features_by_owner(step).values()]
    return Layout(rows, (0, *counts[1:]), _number(step, "bins") + 1, _number(step, "min_events"))


def _fine(context: StepContext, rows: NDArray[np.int64], least: int) -> list[Fine]:
    step, role = context.step, context.role
    edges = _edges(step)
    return [
        fine_bins(
            read_column(context.read, name, rows), _number(step, "bins"), edges.get((role, name)), least
        )
        for name in features_of(step, role)
    ]


def _label(context: StepContext, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    name = str(context.step.params["label"])
    values = connected.measure_array(context.read(name), name)[rows].astype(np.float64)
    check_label(values, name, Family.LOGISTIC)
    events: NDArray[np.bool_] = values == 1
    return events


def _finished(
    step: Step, fine: Sequence[Fine], label: NDArray[np.bool_] | None, opened: NDArray[np.int64] | None
) -> list[BinnedColumn]:
    """The bins of this owner's columns, from counts at home or from those that were told."""
    merge, most = str(step.params.get("merge", "monotone")), _number(step, "final_bins")
    finished = []
    for number, one in enumerate(fine):
        if label is not None:
            counted = np.bincount(one.codes[label], minlength=one.bins.count)
            starts = groups_of(np.stack([counted, one.rows - counted]), _number(step, "min_events"))
            events = summed(counted, starts)
        else:
            assert opened is not None  # noqa: S101 - an owner with columns and no label was told its counts
            # A group has events; it ends with its last bin, and the last group with the last place of all.
            ends = opened[: one.bins.count - 1, number] > 0
            starts = np.concatenate([[True], ends])
            events = np.append(opened[: len(ends), number][ends], opened[-1, number])
        finished.append(binned(one, starts, events, merge, most))
    return finished


def _released(step: Step, own: OwnBins) -> bytes:
    values = () if _is_split(step) else tuple(one.iv for one in own.columns)
    return canonical.encode(asdict(_Values(tuple(one.name for one in own.columns), values)))


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    if set(releases) != set(step.inputs):
        raise JobFailed(f"step {step.id}: expected the releases of {len(step.inputs)} owners")
    lines: list[tuple[Cell, ...]] = []
    for role, names in features_by_owner(step).items():
        told = read_as(_Values, canonical.decode(releases[role]), f"release of {role}")
        if list(told.columns) != names or len(told.iv) != (0 if _is_split(step) else len(names)):
            raise JobFailed(f"step {step.id}: the release of {role} is of other columns")
        values: list[str | None] = [*told.iv] or [None] * len(names)
        lines += [(role, name, value) for name, value in zip(names, values, strict=True)]
    return ResultTable(("party", "column", "iv"), tuple(lines))


def _is_split(step: Step) -> bool:
    return step.params["iv"] == "split"


def _number(step: Step, name: str) -> int:
    return cast(int, step.params.get(name, _DEFAULTS.get(name)))


def _edges(step: Step) -> dict[tuple[str, str], list[float]]:
    """Given edges, by owner and column."""
    given = step.params.get("edges", {})
    found = {}
    for key, texts in given.items() if isinstance(given, dict) else ():
        role, _, name = key.partition(".")
        found[role, name] = [float(text) for text in texts]
    return found


def _check_edges(value: object, at: str) -> None:
    if not isinstance(value, dict):
        raise InvalidRequest(at, "an object of edges by owner and column", type(value).__name__)
    for key, texts in value.items():
        if not isinstance(texts, list) or not 1 <= len(texts) < _MOST:
            raise InvalidRequest(f"{at}.{key}", f"a list of 1 to {_MOST - 1} decimal texts", "another value")
        try:
            edges = [float(Decimal(text)) for text in texts]
        except (InvalidOperation, TypeError, ValueError):
            raise InvalidRequest(f"{at}.{key}", "decimal texts", "another value") from None
        if not np.all(np.isfinite(edges)) or not np.all(np.diff(edges) > 0):
            raise InvalidRequest(f"{at}.{key}", "finite numbers in ascending order", "another order")


def _check(step: Step) -> None:
    at, owners = f"steps.{step.id}", len(step.inputs)
    if (owners == 2) != ("helper-1" in step.parties):
        raise InvalidRequest(f"{at}.parties", "a helper with two owners, none with more", f"{owners} owners")
    if len(step.after) != 1:
        raise InvalidRequest(f"{at}.after", "one step that aligned the rows", str(len(step.after)))
    own = [column.name for column in step.inputs["owner-1"].columns]
    if step.params["label"] not in own:
        raise InvalidRequest(f"{at}.params.label", f"one of owner-1's {', '.join(own)}", "another column")
    if not _is_split(step) and not step.recipients:
        raise InvalidRequest(f"{at}.recipients", "who receives the information values", "nobody")
    features = {(role, name) for role, names in features_by_owner(step).items() for name in names}
    for (role, name), edges in _edges(step).items():
        if (role, name) not in features:
            raise InvalidRequest(f"{at}.params.edges", "owners and columns of the step", f"{role}.{name}")
        if len(edges) >= _number(step, "bins"):
            expected_edges = f"fewer edges than the {_number(step, 'bins')} bins"
            raise InvalidRequest(f"{at}.params.edges.{role}.{name}", expected_edges, str(len(edges)))


def _plan(step: Step) -> Plan:
    """Events by each column's bins go to its owner; information values to the recipients."""
    sources = {role: source(step, role) for role in step.inputs}
    together = f"{step.id}.together"
    label = f"{sources['owner-1'].id}.{step.params['label']}"
    features = [
        (role, f"{sources[role].id}.{name}")
        for role, names in features_by_owner(step).items()
        for name in names
    ]
    counted = tuple(
        operator
        for role, name in features
        for operator in (
            Aggregate(f"{step.id}.of.{name}", together, (name,), (("events", "sum", (label,)),)),
            Reveal(f"{step.id}.of.{name}", ("events",), (step.parties[role],)),
        )
    )
    values = tuple((f"iv.{name}", "fit", (name, label)) for _, name in features)
    return (
        *sources.values(),
        Select(together, tuple(one.id for one in sources.values()), rows=step.after[0]),
        *counted,
        Aggregate(step.id, together, (), values),
        Reveal(step.id, tuple(name for name, _, _ in values), () if _is_split(step) else step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    aligned, parties = min(rows.values()), len(step.parties)
    if aligned < 2 * _number(step, "min_events"):  # the step will say so
        return {}
    layout = _layout(step, aligned)
    sent, rounds = expected(layout, parties)
    told = runtime_costs.stated(parties, _STATED).outside
    roles = COMPONENT.ranks(step)
    whole = [own + (told if role in step.inputs else 0) for role, own in zip(roles, sent, strict=True)]
    words = layout.words * sum(layout.columns)
    return {
        role: Estimate(
            sent_bytes=whole[rank],
            received_bytes=sum(whole) // parties,
            rounds=rounds + 1,
            work_ns=_ROW_NS * aligned * words,
            memory_bytes=_BASE_BYTES + _WORD_BYTES * min(CHUNK_WORDS, aligned * words) + 100 * aligned,
            assumes="that the intersection is the smallest input",
        )
        for rank, role in enumerate(roles)
    }


_DEFAULTS: Final = {"bins": 20, "final_bins": 10, "min_events": 5}

COMPONENT: Final = Component(
    name="model/woe",
    version=1,
    summary="Weight of evidence: bins of the columns of several owners, and the events in each, where one "
    "owner holds the label and every owner learns those of its own columns.",
    roles={
        "owner": RoleInput(1, 64, frozenset({"feature", "measure", "label", "group"}), Level.AFTER_AGGREGATE),
        "helper": None,
    },
    repeated={"owner": (2, 16), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    releasing=frozenset({"owner"}),
    params={
        "label": Param("the column of owner-1 that says 1 for an event, else 0", text_like(".{1,128}")),
        "iv": Param(
            "who learns the information value of each column: split, its owner alone, and the recipients "
            "only that events were counted; recipients, the recipients too",
            one_of("split", "recipients"),
        ),
        "min_cohort": Param(
            "fewest rows of a bin: one with fewer is joined with its neighbour", whole_number(1, 2**31)
        ),
        "min_events": Param(
            "fewest events, and fewest other rows, of a bin whose events are told; 5",
            whole_number(1, 2**31),
            optional=True,
        ),
        "bins": Param(
            "most fine bins of a column, of about equally many rows, besides that of missing values; 20",
            whole_number(2, _MOST),
            optional=True,
        ),
        "edges": Param(
            "given edges, as owner-n.column to a list of decimal texts in ascending order", _check_edges, True
        ),
        "merge": Param(
            "how bins are joined once events are known: monotone, until the weight of evidence rises or "
            "falls all along; optimal, so that it does with the most information; chi-square, as long as "
            "neighbours do not differ at 95%; none; monotone",
            one_of("monotone", "optimal", "chi-square", "none"),
            optional=True,
        ),
        "final_bins": Param(
            "most bins of a column after they are joined, besides that of missing values; 10",
            whole_number(2, _MOST),
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=frozenset({"psi/ecdh", "psi/many", "psi/rr22"}),
    takes_rows=True,
    protocol=SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    open_result=_open,
)
