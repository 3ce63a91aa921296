"""Component ``model/evaluate``: how good a split model is on rows that nobody sees scored.

Follows ``model/score``. ``owner-1`` holds the label; three parties compute, the first three owners, or two
owners and a helper that enters nothing. Recipients alone put together what comes out: bins of rows by score
with the sum of labels and of scores in each, and measures of all rows. With ``by`` they also put together
figures of groups of rows, by a column of one owner.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from connectors import columns
from exchange.errors import InvalidRequest
from exchange.jobs import aligned_columns
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    source,
    text_like,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.evaluation.grouping import By, check_by
from exchange.jobs.evaluation.release import EvaluationRelease, Head
from exchange.jobs.evaluation.tables import open_result
from exchange.jobs.scoring.part import ScorePart
from exchange.jobs.secret_columns.encoding import check_rules
from exchange.jobs.spec import Step
from federated import vertical
from federated.vertical import Family, evaluation
from federated.vertical.by_group import kept_groups
from federated.vertical.evaluation import Sizes
from mpc import replicated
from mpc.errors import CohortTooSmall, InputsDisagree
from mpc.replicated import Runtime
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Select

__all__ = ["COMPONENT"]

_BINS = 10
_STATED = 3
"""Public numbers of each owner: its rows, its minimum and the family of the model."""
_FAMILIES = tuple(Family)
_ROW_NS = 60_000
_BASE_BYTES = 200 * 2**20
_ROW_BYTES = 2_000
_MEMBER_NS, _MEMBER_BYTES = 1_000, 256
"""Of a row and group."""


def _run(context: StepContext) -> Outcome:
    step = context.step
    part = ScorePart.decode(context.earlier[step.after[0]]) if context.role in step.inputs else None
    label = _label(context, part) if part is not None and context.role == "owner-1" else None
    by = By.of(step)
    if by is not None:
        check_rules(context)
    codes = by.codes(context, part.rows) if by and part and context.role == by.owner else None
    with replicated.run(context.mesh(), evaluation.EVALUATION, context.rng) as rt:
        smallest = max(context.minimum_cohort, context.number("min_cohort"))
        said = None if part is None else (len(part.rows), smallest, _FAMILIES.index(part.family))
        sizes, minimum = _agreed(rt, said, context)
        if label is not None and sizes.family is Family.LOGISTIC:
            aligned_columns.check_classes(label, minimum)
        if by is not None and codes is not None:
            codes = kept_groups(codes, len(by.labels), minimum)
        parts = None if part is None else part.parts
        results = evaluation.evaluate(rt, sizes, parts, label, codes=codes, least=minimum)
        shares = aligned_columns.own_share(rt, results)
    unit = {}
    if label is not None and part is not None and sizes.family is not Family.LOGISTIC:
        unit = {"label_mean": part.unit.label_mean, "label_deviation": part.unit.label_deviation}
    head = Head(sizes.family.value, sizes.rows, sizes.owners, sizes.bins, **unit)
    return Outcome(
        local=b"",
        release=EvaluationRelease(head, shares).encode(),
        cohort=sizes.rows // sizes.bins if by is None else minimum,
        figures=sizes.bins + (0 if by is None else len(by.labels)),
        rows=None if part is None else part.rows,
        groups=None if part is None else _told(part, by, codes),
    )


def _told(part: ScorePart, by: By | None, codes: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The group of each row as this owner knows it; those that are not told are the rest of all together."""
    if by is None or codes is None:
        return np.zeros(len(part.rows), dtype=np.int64)
    return np.where(codes < 0, len(by.labels), codes)


def _label(context: StepContext, part: ScorePart) -> NDArray[np.float64]:
    """The label of the scored rows, in the unit that the model was trained in.

    Raises:
        MissingValues, WrongColumnType: from the source; nothing was sent.
        ValueOutOfRange, InvalidInput: values that are no label of the model's family.
    """
    name = str(context.step.params["label"])
    values = columns.measure_array(context.read(name), name)[part.rows].astype(np.float64)
    vertical.check_label(values, name, part.family)
    if part.family is Family.LOGISTIC:
        return values
    return (values - float(part.unit.label_mean)) / float(part.unit.label_deviation)


def _agreed(rt: Runtime, said: tuple[int, ...] | None, context: StepContext) -> tuple[Sizes, int]:
    """The sizes of the run, equal at all owners, and the largest minimum; as many bins as that allows.

    Raises:
        InputsDisagree: owners with different numbers of rows, or models.
        CohortTooSmall: fewer rows than an owner's minimum.
        InvalidInput: cutoffs, of a model that tells no probabilities.
    """
    stated = list(rt.state(said, _STATED).values())
    for other in stated:
        for field, place in (("scored rows", 0), ("family of the model", 2)):
            if other[place] != stated[0][place]:
                raise InputsDisagree(field, stated[0][place], other[place])
    rows, family = stated[0][0], _FAMILIES[stated[0][2]]
    minimum = max(one[1] for one in stated)
    if rows < minimum:
        raise CohortTooSmall(minimum, 1)
    by = By.of(context.step)
    bins = min(_bins(context.step), rows // minimum)
    return Sizes(family, rows, len(context.step.inputs), bins, None if by is None else by.grouping), minimum


def _bins(step: Step) -> int:
    bins = step.params.get("bins", _BINS)
    assert isinstance(bins, int)  # noqa: S101 - the declaration has checked it
    return bins


def _check(step: Step) -> None:
    at, owners = f"steps.{step.id}", len(step.inputs)
    if (owners == 2) != ("helper-1" in step.parties):
        raise InvalidRequest(f"{at}.parties", "a helper with two owners, none with more", f"{owners} owners")
    if len(step.after) != 1:
        raise InvalidRequest(f"{at}.after", "one step of model/score", str(len(step.after)))
    own = [column.name for column in step.inputs["owner-1"].columns]
    if step.params["label"] not in own:
        raise InvalidRequest(f"{at}.params.label", f"one of owner-1's {', '.join(own)}", "another column")
    if not step.recipients:
        raise InvalidRequest(f"{at}.recipients", "who receives the evaluation", "nobody")
    if (by := By.of(step)) is not None:
        by.check(step)


def _check_follows(step: Step, before: Step) -> None:
    """Check that the scores are of the same rows and columns: the plan is made from those named here.

    The column of the groups stands beside the scored ones: what is told of all rows is not made from it.
    """
    at, by = f"steps.{step.id}", By.of(step)
    if set(step.inputs) != set(before.inputs):
        raise InvalidRequest(f"{at}.parties", f"the {len(before.inputs)} owners of {before.id}", "others")
    for role, scored in before.inputs.items():
        given = step.inputs[role]
        beside = {step.params["label"]} if role == "owner-1" else set()
        if step.parties[role] != before.parties[role]:
            expected = f"{before.parties[role]}, as in {before.id}"
            raise InvalidRequest(f"{at}.parties.{role}", expected, step.parties[role])
        if given.asset != scored.asset:
            raise InvalidRequest(
                f"{at}.inputs.{role}.asset", f"{scored.asset}, as in {before.id}", given.asset
            )
        wanted, named = ({column.name for column in one.columns} for one in (scored, given))
        if by is not None and role == by.owner:
            if by.column in wanted:
                raise InvalidRequest(f"{at}.params.by.column", "one that no score is made from", by.column)
            beside.add(by.column)
        if named - beside != wanted - beside:
            expected = f"the columns of step {before.id}: {', '.join(sorted(wanted))}"
            raise InvalidRequest(f"{at}.inputs.{role}.columns", expected, ", ".join(sorted(named)))


def _plan(step: Step) -> Plan:
    """Bins and measures over all columns, to the recipients; measures by the groups of one."""
    by, roles = By.of(step), [f"owner-{number}" for number in range(1, len(step.inputs) + 1)]
    sources = [source(step, role) for role in roles]
    together = f"{step.id}.together"
    group = None if by is None else f"{step.id}.{by.owner}.{by.column}"
    named = (f"{one.id}.{name}" for one in sources for name in one.columns)
    every = tuple(name for name in named if name != group)
    figures = (("rows", "count", ()), ("bins", "histogram", every), ("measures", "mean", every))
    plan: Plan = (
        *sources,
        Select(together, tuple(one.id for one in sources), rows=step.after[0]),
        Aggregate(step.id, together, (), figures),
        Reveal(step.id, tuple(name for name, _, _ in figures), step.recipients),
    )
    if group is None:
        return plan
    grouped, told = f"{step.id}.by-group", (("rows", "count", ()), ("measures", "mean", every))
    return (
        *plan,
        Aggregate(grouped, together, (group,), told),
        Reveal(grouped, (group, "rows", "measures"), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    parties, owners, scored = len(step.parties), len(step.inputs), max(min(rows.values()), 1)
    minimum = step.params["min_cohort"]
    assert isinstance(minimum, int)  # noqa: S101 - the declaration has checked it
    by, bins = By.of(step), min(_bins(step), max(scored // minimum, 1))
    sizes = Sizes(Family.LOGISTIC, scored, owners, bins, None if by is None else by.grouping)
    groups = 0 if by is None else len(by.labels)
    spent, whole = evaluation.cost(sizes, parties), runtime_costs.run(parties)
    told = runtime_costs.stated(parties, _STATED)
    roles = [f"owner-{number}" for number in range(1, owners + 1)]
    roles += [role for role in step.parties if role not in roles]
    sent = {
        role: evaluation.sent(sizes, spent, rank)
        + (whole.sent[0] if rank < len(whole.sent) else whole.outside)
        + (told.outside if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sum(sent.values()) // parties,
            rounds=spent.rounds + whole.rounds + told.rounds,
            work_ns=(_ROW_NS + _MEMBER_NS * groups) * scored,
            memory_bytes=_BASE_BYTES + (_ROW_BYTES + _MEMBER_BYTES * groups) * scored,
            assumes="that the intersection is the smallest input, that all its rows were scored, and a "
            "logistic model; a linear one takes less",
        )
        for role in roles
    }


COMPONENT = Component(
    name="model/evaluate",
    version=1,
    summary="How good a split model is: bins of rows by score, AUC, KS, lift, gain, calibration or errors, "
    "of all rows and by group.",
    roles={
        "owner": RoleInput(
            1, 256, frozenset({"feature", "measure", "label", "group", "time"}), Level.AFTER_AGGREGATE
        ),
        "helper": None,
    },
    repeated={"owner": (2, 16), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    params={
        "label": Param("the column of owner-1 that was to be explained", text_like(".{1,128}")),
        "min_cohort": Param("fewest rows of a bin, of a group, and of either label", whole_number(1, 2**31)),
        "bins": Param(
            "how many bins of equal numbers of rows; fewer where min_cohort asks for it; 10",
            whole_number(1, 100),
            optional=True,
        ),
        "by": Param(
            "figures by group of rows too: owner, a role, its column and labels, two and more; cutoffs, "
            "decimals between 0 and 1, of a logistic model; order time, where labels are periods",
            check_by,
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=frozenset({"model/score"}),
    protocol=evaluation.EVALUATION,
    run=_run,
    plan=_plan,
    check_step=_check,
    check_follows=_check_follows,
    estimate=_estimate,
    open_result=open_result,
)
