"""Component ``model/fedavg``: one model over the rows of many owners that have the same columns.

Owners train on their own rows and enter their updates into a secure aggregation with drop-outs, round by
round; owners that fail or vanish are absent, as long as the threshold stays. Aggregator and owners learn the
model; it goes to the recipients too, or they learn only how training went. The aggregator releases it, and
every owner in the last round the digest of what it has itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

import numpy as np

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    one_of,
    text_like,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.fedavg.model import MAX_PARAMETERS, JointModel
from exchange.jobs.fedavg.privacy import RowPrivacy
from exchange.jobs.horizontal import (
    ABSENCES,
    AGGREGATOR,
    MILLION,
    TAKING_PART,
    Held,
    Traffic,
    attendance,
    check_held,
    check_owners,
    estimates_of,
    label_last,
    labelled_ranges,
    minimum_of,
    others_of,
    own_rows,
    owners_of,
    terms_of,
    united,
)
from exchange.jobs.noise import require_noise
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from exchange.web.kinds import Rule, read_as
from federated import horizontal
from federated.horizontal import Columns, Family, Guard, Private, Settings, Table, costs
from federated.horizontal.settings import (
    MAX_BATCH,
    MAX_CLIP,
    MAX_EPOCHS,
    MAX_HIDDEN,
    MAX_OWNERS,
    MAX_ROUNDS,
    MAX_UNITS,
    MIN_OWNERS,
)
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["COMPONENT", "ROWS_PER_PARAMETER", "settings_of"]

ROWS_PER_PARAMETER: Final = 10
"""Fewer rows of all owners together than that, and parameters would tell of single rows."""
_ROW_NS: Final = 2_000
_CELL_NS: Final = 3
_WORD_NS: Final = 4
_OWNER_NS: Final = 400_000
_DRAW_NS: Final = 20
_NOISE_NS: Final = 12_000
"""A row of one pass; a row and parameter of one; a word and owner; agreeing on keys with an owner; drawing a
row for a step; a number of noise."""
_MICRO = ("rate", "mu", "clip")


def settings_of(step: Step) -> Settings:
    """What the parameters of a step say; what they leave out has its default."""
    chosen: dict[str, Any] = {
        name: step.params[name] for name in ("rounds", "epochs", "batch") if name in step.params
    }
    for name in _MICRO:
        if f"{name}_micro" in step.params:
            chosen[name] = cast(int, step.params[f"{name}_micro"]) / MILLION
    hidden = tuple(cast("Sequence[int]", step.params.get("hidden", ())))
    return Settings(
        Family(str(step.params["family"])), hidden, **chosen, private=_private(step), guard=_guard(step)
    )


@dataclass(frozen=True)
class _Guarded:
    """The parameter ``guard``."""

    held_out_percent: Annotated[int, Rule("1 to 50", minimum=1, maximum=50)]
    worse_micro: Annotated[int, Rule("millionths, 1000 to 10,000,000", minimum=1000, maximum=10 * MILLION)]


def _guard(step: Step) -> Guard | None:
    """How owners judge models."""
    value = step.params.get("guard")
    if value is None:
        return None
    stated = read_as(_Guarded, value, f"steps.{step.id}.params.guard")
    return Guard(stated.held_out_percent, stated.worse_micro / MILLION)


def _private(step: Step) -> Private | None:
    """How rows are private; of a logistic label the bounds are 0 and 1."""
    stated = RowPrivacy.of(step)
    if stated is None:
        return None
    lower, upper = labelled_ranges(
        step,
        stated.bounds,
        f"steps.{step.id}.params.privacy.bounds",
        is_class=step.params["family"] == Family.LOGISTIC,
    )
    return Private(
        lower=lower,
        upper=upper,
        clip=stated.clip_micro / MILLION,
        sample=stated.sample_micro,
        steps=stated.steps,
    )


def _run(context: StepContext) -> Outcome:
    step, settings = context.step, settings_of(context.step)
    roles, names, terms = owners_of(step), label_last(step), terms_of(context, horizontal.SPEC)
    needed = max(minimum_of(context), ROWS_PER_PARAMETER * settings.parameters(len(names) - 1))
    shape, others = Columns(names, needed), others_of(context)
    if context.role == AGGREGATOR:
        trained = horizontal.aggregate(others, terms, settings, shape, context.progress)
    else:
        own, privacy = own_rows(context, names), RowPrivacy.of(step)
        if privacy is not None:
            _check_private(step, privacy, len(own))
        table = Table(names[:-1], own[:, :-1], names[-1], own[:, -1])
        number = roles.index(context.role) + 1
        trained = horizontal.train(
            context.channel(AGGREGATOR),
            others,
            terms,
            number,
            settings,
            shape,
            table,
            context.rng,
            context.progress,
            None if privacy is None else privacy.draw,
        )
    model = JointModel.of(settings, trained, names, roles)
    shown = model if _is_shown(step) else model.without_parameters()
    absent = tuple(role for role in roles if role not in model.present)
    if context.role == AGGREGATOR:
        return Outcome(local=b"", release=shown.encode(), cohort=trained.rows, figures=1, absent=absent)
    rows = len(own)
    return Outcome(
        local=model.encode(),
        release=Held.of(shown.encode()).encode(),
        cohort=rows,
        figures=1,
        rows=np.arange(rows, dtype=np.int64),
        groups=np.zeros(rows, dtype=np.int64),
        is_exact=privacy is None,
        absent=absent,
    )


def _check_private(step: Step, privacy: RowPrivacy, rows: int) -> None:
    """Before anything leaves: there is noise, and delta is worth something for so many rows."""
    require_noise()
    if 10**privacy.delta_exponent <= rows:
        raise JobFailed(f"step {step.id}: expected a delta below one in the rows here, got a larger one")


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    """Read the model, of which every owner in the last round and nobody else must have released the digest.

    Raises:
        JobFailed: the releases do not fit each other or the step.
    """
    model = JointModel.decode(releases[AGGREGATOR])
    check_held(step, releases, model.present)
    if model.columns != label_last(step) or bool(model.parameters) != _is_shown(step):
        raise JobFailed(f"step {step.id}: the aggregator's release has other figures than were asked for")
    found, privacy = model.table(), RowPrivacy.of(step)
    spent = {} if privacy is None else {"privacy": privacy.facts(settings_of(step).rounds)}
    facts = {**found.facts, **attendance(step, model.present), **spent}
    return ResultTable(found.columns, found.rows, facts)


def _is_shown(step: Step) -> bool:
    return step.params["model"] == "recipients"


def _check(step: Step) -> None:
    at, names = f"steps.{step.id}", check_owners(step)
    if step.params["label"] not in names:
        raise InvalidRequest(f"{at}.params.label", f"one of {', '.join(names)}", "another column")
    if not step.recipients and _is_shown(step):
        raise InvalidRequest(f"{at}.recipients", "who receives the model", "nobody")
    if "privacy" in step.params and "guard" in step.params:
        raise InvalidRequest(f"{at}.params.guard", "none with privacy: who stays tells of rows", "one")
    settings, privacy = settings_of(step), RowPrivacy.of(step)
    if privacy is not None:
        for name in ("epochs", "batch"):
            if name in step.params:
                raise InvalidRequest(f"{at}.params.{name}", "privacy's steps and sample_micro", name)
        privacy.check(settings.rounds, f"{at}.params.privacy")
    count = settings.parameters(len(names) - 1)
    if count > MAX_PARAMETERS:
        raise InvalidRequest(
            f"{at}.params.hidden", f"a model of at most {MAX_PARAMETERS} numbers", str(count)
        )


def _check_hidden(value: object, at: str) -> None:
    units: tuple[int, ...] = read_as(tuple[int, ...], value, at)
    if not 1 <= len(units) <= MAX_HIDDEN or not all(1 <= one <= MAX_UNITS for one in units):
        raise InvalidRequest(at, f"1 to {MAX_HIDDEN} layers of 1 to {MAX_UNITS} units", str(list(units))[:40])


def _check_privacy(value: object, at: str) -> None:
    read_as(RowPrivacy, value, at)


def _check_guard(value: object, at: str) -> None:
    read_as(_Guarded, value, at)


def _spends(step: Step) -> tuple[int, ...] | None:
    privacy = RowPrivacy.of(step)
    return None if privacy is None else privacy.loss(settings_of(step).rounds)


def _plan(step: Step) -> Plan:
    """A fit over the rows of all owners; who learns the model learns their means and variances.

    Where rows are private there are neither, and no losses.
    """
    operators, rows = united(step)
    every, is_private = label_last(step), "privacy" in step.params
    told: list[tuple[str, str, tuple[str, ...]]] = [("rows", "count", ())]
    fitted: list[tuple[str, str, tuple[str, ...]]] = [("model", "fit", every)]
    if not is_private:
        told.append(("losses", "fit", every))
        fitted += [(f"{figure} {name}", figure, (name,)) for figure in ("mean", "variance") for name in every]
    learners = dict.fromkeys([step.parties[role] for role in (AGGREGATOR, *owners_of(step))])
    if _is_shown(step):
        learners |= dict.fromkeys(step.recipients)
    return (
        *operators,
        Aggregate(step.id, rows, (), (*told, *fitted)),
        Reveal(step.id, tuple(name for name, _, _ in (*told, *fitted)), tuple(learners)),
        Reveal(step.id, tuple(name for name, _, _ in told), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    settings, columns = settings_of(step), len(label_last(step)) - 1
    count, parameters = len(step.inputs), settings.parameters(columns)
    traffic = Traffic(
        sent=costs.sent("owner", count, columns, settings),
        told=costs.sent(AGGREGATOR, count, columns, settings),
        compared=costs.compared(count, settings),
        owner_phases=costs.receiving_phases("owner", count, settings),
        aggregator_phases=costs.receiving_phases(AGGREGATOR, count, settings),
    )
    return estimates_of(
        step,
        traffic,
        work_ns=(_WORD_NS * parameters + _OWNER_NS) * count * (settings.rounds + 3),
        memory_bytes=8 * parameters * (count + 4),
        own={
            role: (
                _work(settings, parameters, rows.get(role, 0)),
                24 * rows.get(role, 0) * (columns + 1) + 64 * parameters,
            )
            for role in step.inputs
        },
        assumes="that no owner is absent",
    )


def _work(settings: Settings, parameters: int, rows: int) -> int:
    """Nanoseconds of an owner's own training."""
    row, private = _ROW_NS + _CELL_NS * parameters, settings.private
    if private is None:
        return row * rows * settings.epochs * settings.rounds
    drawn = rows * private.sample // MILLION
    return (row * drawn + _DRAW_NS * rows + _NOISE_NS * parameters) * private.steps * settings.rounds


COMPONENT = Component(
    name="model/fedavg",
    version=1,
    summary="A regression or small network over the rows of many owners; some may vanish.",
    roles={
        AGGREGATOR: None,
        "owner": RoleInput(2, 257, frozenset({"feature", "measure", "label"}), Level.AFTER_AGGREGATE),
    },
    params={
        "label": Param("the column that is explained, at every owner", text_like(".{1,128}")),
        "family": Param(
            "logistic, for a label of 0 and 1; linear, for a number", one_of("logistic", "linear")
        ),
        "model": Param(
            "who learns it besides the aggregator and the owners: owners, nobody, and the recipients only "
            "how training went; recipients, they do",
            one_of("owners", "recipients"),
        ),
        **TAKING_PART,
        "hidden": Param("units of each hidden layer; none: a regression", _check_hidden, optional=True),
        "rounds": Param("rounds of training; 20", whole_number(1, MAX_ROUNDS), optional=True),
        "epochs": Param(
            "passes over an owner's rows in a round; 1", whole_number(1, MAX_EPOCHS), optional=True
        ),
        "batch": Param("rows of a step; 64", whole_number(1, MAX_BATCH), optional=True),
        "rate_micro": Param("step size in millionths; 100000", whole_number(100, 2 * MILLION), optional=True),
        "mu_micro": Param(
            "pull towards the model of the round (FedProx), in millionths; 0: FedAvg",
            whole_number(0, 10 * MILLION),
            optional=True,
        ),
        "clip_micro": Param(
            "largest norm of an owner's update in a round, in millionths; 4000000",
            whole_number(10_000, MAX_CLIP * MILLION),
            optional=True,
        ),
        "guard": Param(
            "held_out_percent, worse_micro: an owner leaves when a model's loss over rows that it held out "
            "is above the least so far by more than worse_micro millionths of the first's; none: all stay",
            _check_guard,
            optional=True,
        ),
        "privacy": Param(
            "epsilon_micro, delta_exponent, noise_micro, sample_micro, steps, clip_micro, bounds: each owner "
            "adds noise to gradient steps over rows drawn at random, so that rows are private; none: exact",
            _check_privacy,
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=frozenset(),
    protocol=horizontal.SPEC,
    run=_run,
    plan=_plan,
    spends=_spends,
    check_step=_check,
    estimate=_estimate,
    repeated={"owner": (MIN_OWNERS, MAX_OWNERS)},
    helpers=frozenset({AGGREGATOR}),
    tells_parties=True,
    absences=ABSENCES,
    open_result=_open,
)
