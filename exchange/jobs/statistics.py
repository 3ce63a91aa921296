"""Component ``stats/joint``: counts, sums, means, spreads, quantiles and correlations over many owners' rows.

Every owner has a table with the same columns. Each filters and adds up its own rows by cell; together they
find out which cells have enough rows, and release shares of those cells alone. Two owners need a helper: a
member without data, whose node takes part in comparing.

Small cells are judged by the rows of all owners together, before anybody has seen a count. With ``privacy``
each owner adds the whole of the stated noise before that, so that which cells are open says no more than the
noise allows; it is that of an owner's rows, as ``exchange.jobs.privacy`` states, each row once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import cohorts
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, source, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.noise import require_noise
from exchange.jobs.privacy import Privacy, check_privacy
from exchange.jobs.spec import Step
from exchange.jobs.statistics_filters import check_where, columns_of
from exchange.jobs.statistics_question import PICKS, Question, check_keys, check_measures
from exchange.jobs.statistics_result import encode_release, open_result
from exchange.jobs.statistics_rows import CHUNK_ROWS, OwnRows, add_up
from mpc.stats import joint
from policies.column_control import Level
from policies.plans import Aggregate, Compare, Filter, Plan, Reveal, Source, Union

__all__ = ["COMPONENT"]

_ROW_NS: Final = 150
_BASE_NS: Final = 30_000_000
_MAX_SCALE: Final = 2.0**56
"""Noise beyond 64 bits has a chance of e^-128 and less."""

_VALUES: Final = frozenset({"measure", "label", "feature", "group", "time"})


def _owners(step: Step) -> tuple[str, ...]:
    return COMPONENT.ranks(step)[: len(step.inputs)]


def _run(context: StepContext) -> Outcome:
    question = Question.of(context.step)
    query = question.query(len(context.step.inputs), context.step.params_digest().encode())
    if context.role not in context.step.inputs:
        joint.run(context.mesh(), query, None, min_cohort=1, rng=context.rng)
        return Outcome(local=b"")
    if context.rules.round_counts != 1:
        raise JobFailed(
            f"step {context.step.id}: this owner rounds counts, and pooled counts are not rounded"
        )
    if question.privacy is not None:
        require_noise()
    own = add_up(context, question)
    minimum = max(context.minimum_cohort, context.number("min_cohort"))
    shares = joint.run(
        context.mesh(),
        query,
        own.part,
        min_cohort=minimum,
        rng=context.rng,
        complementary=context.rules.complementary,
    )
    if shares is None or not shares.opened.any():
        raise JobFailed(f"step {context.step.id}: every cell is smaller than the minimum cohort {minimum}")
    return Outcome(
        local=b"",
        release=encode_release(shares, _bases(context, question)),
        cohort=minimum,
        figures=1,  # no figure is one row's: each is about `minimum` rows, of which few may be this owner's
        rows=own.rows,
        groups=_open_groups(own, shares.opened.astype(bool)),
        is_exact=question.privacy is None,
    )


def _bases(context: StepContext, question: Question) -> dict[str, str]:
    """The units that this owner rounds values to before they are added up, by column."""
    bases = {}
    for measure in question.measures:
        decimals = question.decimals[measure.column]
        base = context.rules.base_of(measure.column, decimals)
        if base != 1:
            bases[measure.column] = f"{Decimal(base).scaleb(-decimals):f}"
    return bases


def _open_groups(own: OwnRows, opened: NDArray[np.bool_]) -> NDArray[np.int64]:
    groups: NDArray[np.int64] = np.where(opened[own.cells], own.cells, cohorts.LEFT_OUT)
    return groups


def _check(step: Step) -> None:
    at = f"steps.{step.id}"
    helpers = len(step.parties) - len(step.inputs)
    if helpers != (len(step.inputs) == 2):
        raise InvalidRequest(
            f"{at}.parties", "a helper where there are two owners, and none else", str(helpers)
        )
    first, *others = step.inputs.values()
    if any(other.columns != first.columns for other in others):
        raise InvalidRequest(f"{at}.inputs", "the same columns of every owner", "others")
    question = Question.of(step)
    question.check(f"{at}.params")
    for name in columns_of(step.params["where"]) if "where" in step.params else ():
        if name not in question.decimals:
            raise InvalidRequest(
                f"{at}.params.where", f"columns of the inputs: {', '.join(question.decimals)}", name
            )
    if question.privacy is not None and max(question.privacy.scales(question.sensitivities())) > _MAX_SCALE:
        raise InvalidRequest(f"{at}.params.privacy", "noise of a scale below 2^56 units", "a larger one")


def _spends(step: Step) -> tuple[int, ...] | None:
    privacy = Privacy.of(step)
    return None if privacy is None else privacy.loss(1 + len(Question.of(step).measures))


def _plan(step: Step) -> Plan:
    """All owners' rows, filtered, by cell; figures go to the recipients, quantiles to the owners too."""
    question, sources = Question.of(step), [source(step, role) for role in _owners(step)]
    operators: list[Source | Union | Compare | Filter] = [*sources]
    rows = sources[0].id
    for number, other in enumerate(sources[1:], start=2):
        operators.append(Union(f"{step.id}.rows-{number}", rows, other.id))
        rows = f"{step.id}.rows-{number}"
    if "where" in step.params:
        compared = f"{step.id}.compared"
        operators.append(Compare(compared, rows, "where", columns_of(step.params["where"])))
        operators.append(Filter(f"{step.id}.filtered", compared, "where"))
        rows = f"{step.id}.filtered"
    keys = []
    for key in question.keys:
        keys.append(f"bin of {key.column}" if key.edges else key.column)
        if key.edges:
            operators.append(Compare(f"{step.id}.{keys[-1]}", rows, keys[-1], (key.column,)))
            rows = f"{step.id}.{keys[-1]}"
    figures, picked = _plan_figures(question)
    return (
        *operators,
        Aggregate(step.id, rows, tuple(keys), figures),
        Reveal(step.id, tuple(keys), tuple(step.parties.values())),
        Reveal(step.id, picked, tuple(one.owner for one in sources)),
        Reveal(step.id, (*keys, *(name for name, _, _ in figures)), step.recipients),
    )


def _plan_figures(
    question: Question,
) -> tuple[tuple[tuple[str, str, tuple[str, ...]], ...], tuple[str, ...]]:
    """The figures of a cell as a plan names them, and those that the owners see as well."""
    figures: list[tuple[str, str, tuple[str, ...]]] = [("count", "count", ())]
    picked = []
    for measure in question.measures:
        for name, _ in measure.picks():
            figure = name if name in PICKS else "quantile"
            figures.append((f"{name} {measure.column}", figure, (measure.column,)))
            picked.append(figures[-1][0])
        sums = [name for name in measure.statistics if name not in PICKS]
        for name in sums:
            figure = "variance" if name == "deviation" else name
            figures.append((f"{name} {measure.column}", figure, (measure.column,)))
    if question.together:
        both = tuple(measure.column for measure in question.measures)
        figures.append(("covariance", "variance", both))
    return tuple(figures), tuple(picked)


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    roles, question = COMPONENT.ranks(step), Question.of(step)
    query = question.query(len(step.inputs))
    sent = [joint.bytes_sent(rank, query, query.cells) for rank in range(len(roles))]
    return {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=(sum(sent) - sent[rank]) // (len(roles) - 1),
            rounds=joint.rounds(query, query.cells),
            work_ns=_BASE_NS + _ROW_NS * rows.get(role, 0) * (1 + len(question.measures)),
            memory_bytes=16 * rows.get(role, 0) + 8 * CHUNK_ROWS * (1 + len(question.measures)),
            assumes="that every cell is open",
        )
        for rank, role in enumerate(roles)
    }


def _check_together(value: object, at: str) -> None:
    if not isinstance(value, bool):
        raise InvalidRequest(at, "true or false", repr(value)[:40])


COMPONENT = Component(
    name="stats/joint",
    version=1,
    summary="Counts, sums, means, spreads, quantiles, correlations by group over the tables of many owners.",
    roles={"owner": RoleInput(1, 64, _VALUES, Level.AFTER_AGGREGATE), "helper": None},
    repeated={"owner": (2, joint.MAX_OWNERS), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    releasing=frozenset({"owner"}),
    params={
        "min_cohort": Param("fewest rows of a cell that is released, of all owners", whole_number(2, 2**31)),
        "keys": Param(
            "columns to group by, each with labels (a dictionary) or edges (of bins)",
            check_keys,
            optional=True,
        ),
        "measures": Param(
            "columns with statistics (sum, mean, variance, deviation, minimum, median, maximum), quantiles, "
            "and bounds where a value is picked",
            check_measures,
            optional=True,
        ),
        "together": Param(
            "true: covariance and correlation of every two measures", _check_together, optional=True
        ),
        "where": Param(
            "a filter of rows: column, is, value; in; missing; not, and, or", check_where, optional=True
        ),
        "privacy": Param(
            "noise for differential privacy of rows: mechanism laplace or gaussian, epsilon_micro, "
            "delta_exponent, and bounds (lower, upper) by measure",
            check_privacy,
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=frozenset(),
    protocol=joint.SPEC,
    run=_run,
    plan=_plan,
    spends=_spends,
    check_step=_check,
    estimate=_estimate,
    open_result=open_result,
)
