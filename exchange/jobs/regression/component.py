"""Components ``model/logistic``, ``model/linear`` and ``model/poisson``: regression over several owners.

The columns are those of aligned rows. Three parties compute: the first three owners, or two owners and a
helper that enters nothing. ``owner-1`` holds the label. The coefficients stay split, each owner with those of
its own columns, or go to the recipients as shares that they alone can put together. Of a split model
recipients learn how it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest
from exchange.jobs import aligned_columns
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
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.regression.part import ModelPart, text
from exchange.jobs.regression.release import is_split, opened, released
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from federated import vertical
from federated.vertical import Family, Layout, Settings, Standardised, Trained, costs
from federated.vertical.settings import MAX_BATCH, MAX_EPOCHS, MAX_PATIENCE
from mpc import replicated
from mpc.replicated import Shared
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level
from policies.plans import Aggregate, Operator, Plan, Reveal, Select

__all__ = [
    "LINEAR",
    "LOGISTIC",
    "POISSON",
    "ROWS_PER_COEFFICIENT",
    "check",
    "columns_of",
    "made_label",
    "own_columns",
    "plan_of_fit",
    "settings_of",
]

ROWS_PER_COEFFICIENT = 10
"""Fewer rows than that, and coefficients would tell of single rows."""
_MILLION = 10**6
_ROW_NS = 400
_BASE_BYTES = 200 * 2**20
_BATCH_BYTES = 1024
_Floats = NDArray[np.float64]


def settings_of(step: Step) -> Settings:
    """What the parameters of a step say; what they leave out has its default."""
    given = {name: value for name, value in step.params.items() if isinstance(value, int)}
    chosen: dict[str, Any] = {name: given[name] for name in ("epochs", "batch", "patience") if name in given}
    for name in ("rate", "momentum", "l2", "tolerance"):
        if f"{name}_micro" in given:
            chosen[name] = given[f"{name}_micro"] / _MILLION
    return Settings(
        Family(step.component.removeprefix("model/")),
        tells_loss=step.params.get("loss", "hidden") == "owners",
        standard_errors=step.params.get("standard_errors", "none") == "told",
        **chosen,
    )


def own_columns(context: StepContext, order: NDArray[np.int64]) -> tuple[list[str], list[_Floats], _Floats]:
    """The features of this owner and the label, empty where it has none, in the order of training.

    Raises:
        MissingValues, WrongColumnType: from the source; nothing was sent.
        JobFailed: values that a recipe refuses; nothing was sent.
    """
    label_name = str(context.step.params["label"]) if context.role == "owner-1" else None
    columns = [column.name for column in context.step.inputs[context.role].columns]
    names, values = aligned_columns.own_columns(context, [name for name in columns if name != label_name])
    label = np.zeros(0) if label_name is None else aligned_columns.aligned_column(context, label_name)[order]
    return names, [column[order] for column in values], label


def _run(context: StepContext) -> Outcome:
    step, settings = context.step, settings_of(context.step)
    is_owner = context.role in step.inputs
    rows = aligned_columns.aligned_rows(context) if is_owner else None
    every = aligned_columns.names_of(context, str(step.params["label"]))
    sizes, held_out = aligned_columns.sizes_of(step, every), HeldOut.of(context.seed, step)
    with replicated.run(context.mesh(), vertical.SPEC, context.rng) as rt:
        smallest = max(context.minimum_cohort, context.number("min_cohort"))
        stated = None if rows is None else (len(rows), smallest)
        least = ROWS_PER_COEFFICIENT * (1 + len(every))
        stops = settings.patience > 0
        count, tested = aligned_columns.agreed_split(rt, stated, least, held_out, both=stops)
        layout = Layout(count, sizes, tested if stops else 0)
        own: tuple[list[str], Standardised, _Floats] | None = None
        features = label = center = None
        if rows is not None:
            # Owners align rows in a common order; training takes them in another that hangs on no value.
            order, tests = held_out.train(len(rows)), held_out.test(len(rows))
            rows = rows[order]
            names, columns, values = own_columns(context, order)
            own = (names, vertical.standardise(columns, names), values)
            features = own[1].values
            if context.role == "owner-1":
                label, center = made_label(str(step.params["label"]), values, settings.family)
            if stops:
                _, columns, values = own_columns(context, tests)
                features = np.hstack([features, own[1].of(columns)]) if names else features
                if label is not None and center is not None:
                    label = np.concatenate([label, _held_out_label(step, values, center, settings.family)])
            features = features if names else None
        mean = center[1] if center is not None else 1.0
        trained = vertical.train(
            rt,
            layout,
            settings,
            features,
            label,
            context.progress,
            mean=mean,
            checkpoints=context.checkpoints,
            on_loss=context.on_loss,
        )
        local, shares = b"", np.zeros(0, dtype=np.uint64)
        if is_split(step):
            parts = [vertical.own_coefficients(rt, layout, one) for one in _results(trained)]
            if own is not None:
                local = _part(settings, own, center, parts, layout, trained, held_out).encode()
        else:
            shares = np.concatenate([aligned_columns.own_share(rt, one) for one in _results(trained)])
    return Outcome(
        local=local,
        release=released(trained.epochs, layout.rows, trained.losses, every, shares),
        cohort=layout.rows,
        figures=1,
        rows=rows,
        groups=None if rows is None else np.zeros(len(rows), dtype=np.int64),
    )


def made_label(name: str, values: _Floats, family: Family) -> tuple[_Floats, tuple[float, float]]:
    """The label as it is trained on: less the first of two numbers, over the second.

    Raises:
        ValueOutOfRange, InvalidInput: a label that the family does not explain.
    """
    vertical.check_label(values, name, family)
    if family is Family.LOGISTIC:
        return values, (0.0, 1.0)
    if family is Family.POISSON:
        mean = float(values.mean())
        return values / mean, (0.0, mean)
    made = vertical.standardise([values], [name])
    return made.values[0], (float(made.means[0]), float(made.deviations[0]))


def _held_out_label(step: Step, values: _Floats, center: tuple[float, float], family: Family) -> _Floats:
    """The label of rows held out, in the unit of those trained on."""
    vertical.check_label(values, str(step.params["label"]), family)
    mean, deviation = center
    return (values - mean) / deviation


def _part(
    settings: Settings,
    own: tuple[list[str], Standardised, _Floats],
    center: tuple[float, float] | None,
    parts: Sequence[tuple[float, _Floats] | None],
    layout: Layout,
    trained: Trained,
    held_out: HeldOut,
) -> ModelPart:
    names, standardised, _ = own
    (intercept, coefficients), *variances = ((0.0, np.zeros(0)) if part is None else part for part in parts)
    errors = [_errors(np.array([first, *others]), layout.rows) for first, others in variances]
    mean, deviation = center or (0.0, 1.0)
    return ModelPart(
        family=settings.family.value,
        columns=tuple(names),
        coefficients=tuple(map(text, coefficients.tolist())),
        means=tuple(map(text, standardised.means.tolist())),
        deviations=tuple(map(text, standardised.deviations.tolist())),
        intercept=text(intercept),
        label_mean=text(mean),
        label_deviation=text(deviation),
        epochs=trained.epochs,
        losses=tuple(map(text, trained.losses)),
        held_out=held_out,
        errors=tuple(map(text, errors[0].tolist())) if errors else (),
    )


def _results(trained: Trained) -> list[Shared]:
    """What of a model is told: its coefficients, and their variances where they were asked for."""
    return [trained.weights] if trained.variances is None else [trained.weights, trained.variances]


def _errors(variances: _Floats, rows: int) -> _Floats:
    """Standard errors; a variance that is rounded to less than 0 is 0."""
    errors: _Floats = np.sqrt(np.maximum(variances, 0) / rows)
    return errors


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    results = 1 + settings_of(step).standard_errors
    found = opened(step, releases, lambda features: results * (1 + features), 2**20)
    names = [("owner-1", "(intercept)"), *found.features]
    facts = {"epochs": found.epochs, "losses": list(map(text, found.losses))}
    if is_split(step):
        unknown: list[tuple[Cell, ...]] = [(*name, None) for name in names]
        return ResultTable(("party", "column", "coefficient"), tuple(unknown), facts)
    coefficients, *variances = np.split(found.numbers, results)
    shown = [coefficients, *(_errors(one, found.rows) for one in variances)]
    cells = zip(*([f"{value:.6f}" for value in one.tolist()] for one in shown), strict=True)
    lines: list[tuple[Cell, ...]] = [(*name, *told) for name, told in zip(names, cells, strict=True)]
    header = ("party", "column", "coefficient", "standard error")
    return ResultTable(header[: 2 + results], tuple(lines), facts)


def columns_of(step: Step) -> tuple[int, ...]:
    """How many features each owner names, by rank; preparation may make more of them."""
    counts = [len(step.inputs[role].columns) for role in aligned_columns.owners_of(step)]
    return (counts[0] - 1, *counts[1:])


def check(step: Step) -> None:
    """Check parties, label and recipients of a step that trains.

    Raises:
        InvalidRequest: by field.
    """
    aligned_columns.check_parties(step)
    at = f"steps.{step.id}"
    own = [column.name for column in step.inputs["owner-1"].columns]
    if step.params["label"] not in own:
        raise InvalidRequest(f"{at}.params.label", f"one of owner-1's {', '.join(own)}", "another column")
    if not step.recipients and not is_split(step):
        raise InvalidRequest(f"{at}.recipients", "who receives the coefficients", "nobody")


def _check(step: Step) -> None:
    check(step)
    at = f"steps.{step.id}"
    if step.params.get("patience", 0) and not step.params.get("test_percent", 0):
        raise InvalidRequest(f"{at}.params.patience", "0 where test_percent is 0", "a patience")
    asks_errors = step.params.get("standard_errors", "none") == "told"
    if asks_errors and (step.params.get("l2_micro") or step.params.get("patience")):
        expected = "none with an l2_micro or a patience, under which they mean nothing"
        raise InvalidRequest(f"{at}.params.standard_errors", expected, "told")


def plan_of_fit(step: Step) -> Plan:
    """A fit over all columns: coefficients to the recipients, or to the owners and to them how it went."""
    sources = {role: source(step, role) for role in step.inputs}
    together = f"{step.id}.together"
    every = tuple(f"{one.id}.{name}" for one in sources.values() for name in one.columns)
    owners = tuple(one.owner for one in sources.values())
    fitted: tuple[Operator, ...] = (
        Aggregate(step.id, together, (), (("coefficients", "fit", every), ("epochs", "fit", every))),
        Reveal(step.id, ("coefficients",), owners if is_split(step) else step.recipients),
        Reveal(step.id, ("epochs",), step.recipients),
    )
    selected = Select(together, tuple(one.id for one in sources.values()), rows=step.after[0])
    return (*sources.values(), selected, *fitted)


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    aligned = min(rows.values())
    settings, tested = settings_of(step), HeldOut.of(b"", step).size(aligned)
    layout = Layout(aligned - tested, columns_of(step), tested if settings.patience else 0)
    parties = len(step.parties)
    cost = costs.training(layout, settings, parties) + runtime_costs.stated(parties, 0)
    if is_split(step):
        cost += costs.coefficients(layout) * (1 + settings.standard_errors)
    whole = runtime_costs.run(parties)
    roles = [f"owner-{number}" for number in range(1, len(step.inputs) + 1)]
    roles += [role for role in step.parties if role not in roles]
    told = runtime_costs.stated(parties, aligned_columns.STATED).outside
    sent = {
        role: costs.sent(layout, cost, rank)
        + (whole.sent[0] if rank < len(whole.sent) else whole.outside)
        + (told if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    work = _ROW_NS * layout.shared_rows * layout.coefficients * settings.epochs // 10
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sum(sent.values()) // parties,
            rounds=cost.rounds + whole.rounds,
            work_ns=work,
            memory_bytes=_BASE_BYTES
            + 32 * layout.shared_rows * layout.coefficients
            + _BATCH_BYTES * settings.batch,
            assumes="that the intersection is the smallest input, that one column is made of each, and that "
            "training takes all its epochs",
        )
        for role in roles
    }


def _component(family: Family, summary: str) -> Component:
    return Component(
        name=f"model/{family.value}",
        version=1,
        summary=summary,
        roles={
            "owner": RoleInput(
                1, 256, frozenset({"feature", "measure", "label", "group"}), Level.AFTER_AGGREGATE
            ),
            "helper": None,
        },
        repeated={"owner": (2, 16), "helper": (0, 1)},
        helpers=frozenset({"helper"}),
        params={
            "label": Param("the column of owner-1 that is explained", text_like(".{1,128}")),
            "coefficients": Param(
                "who learns them: split, each owner those of its own columns and owner-1 the intercept, and "
                "the recipients only how training went; recipients, the recipients all of them, no owner any",
                one_of("split", "recipients"),
            ),
            "min_cohort": Param("fewest rows that it is trained on", whole_number(1, 2**31)),
            "test_percent": Param(
                "percent of the aligned rows, drawn at random, that are held out for model/score; 0",
                whole_number(0, 50),
                optional=True,
            ),
            "epochs": Param("most passes over the rows; 30", whole_number(1, MAX_EPOCHS), optional=True),
            "batch": Param("rows of a step; 1024", whole_number(1, MAX_BATCH), optional=True),
            "rate_micro": Param(
                "step size in millionths; 500000", whole_number(10_000, 2 * _MILLION), optional=True
            ),
            "momentum_micro": Param(
                "part of the last step taken again, in millionths; 900000",
                whole_number(0, 950_000),
                optional=True,
            ),
            "l2_micro": Param(
                "penalty of the squared coefficients, in millionths; 0",
                whole_number(0, _MILLION),
                optional=True,
            ),
            "tolerance_micro": Param(
                "training ends after an epoch that moves the coefficients by less, in millionths; 0: never",
                whole_number(0, _MILLION),
                optional=True,
            ),
            "patience": Param(
                "training ends after so many epochs in a row that do not lower the loss on the rows held "
                "out, and the coefficients of the lowest are kept; all parties learn which epochs lowered "
                "it; 0: never",
                whole_number(0, MAX_PATIENCE),
                optional=True,
            ),
            "standard_errors": Param(
                "told: of each coefficient, to who learns it; none",
                one_of("none", "told"),
                optional=True,
            ),
            "loss": Param(
                "who learns the mean squared error of each epoch: hidden, nobody; owners, the owners and "
                "the recipients",
                one_of("hidden", "owners"),
                optional=True,
            ),
        },
        output_type="aggregate",
        needs=aligned_columns.READABLE,
        takes_rows=True,
        resumes=True,
        protocol=vertical.SPEC,
        run=_run,
        plan=plan_of_fit,
        check_step=_check,
        check_follows=aligned_columns.check_follows,
        estimate=_estimate,
        open_result=_open,
    )


LOGISTIC = _component(
    Family.LOGISTIC,
    "Logistic regression over columns of several owners on secret shares; nobody sees a row but its owner.",
)
LINEAR = _component(
    Family.LINEAR,
    "Linear regression over columns of several owners on secret shares; nobody sees a row but its owner.",
)
POISSON = _component(
    Family.POISSON,
    "Poisson regression of counts over columns of several owners on secret shares; nobody sees a row but its "
    "owner.",
)
