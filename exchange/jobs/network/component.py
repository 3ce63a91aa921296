"""Component ``model/network``: a neural network with one hidden layer over columns of several owners.

The columns are those of aligned rows. Three parties compute: the first three owners, or two owners and a
helper that enters nothing. ``owner-1`` holds the label. The weights stay split, each owner with those of its
own columns and ``owner-1`` with the output's too, or go to the recipients as shares that they alone can put
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

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
    text_like,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.network.part import INTERCEPT, OUTPUT, NetworkPart
from exchange.jobs.regression.component import (
    ROWS_PER_COEFFICIENT,
    check,
    columns_of,
    made_label,
    own_columns,
    plan_of_fit,
)
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.regression.part import text
from exchange.jobs.regression.release import is_split, opened, released
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from federated import network, vertical
from federated.network import OwnWeights, Settings, costs
from federated.network.settings import FAMILIES, MAX_COLUMNS, MAX_UNITS, WEIGHT_LIMIT
from federated.vertical import Family, Layout, Standardised
from federated.vertical.settings import MAX_BATCH, MAX_EPOCHS
from mpc import replicated
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level

__all__ = ["COMPONENT", "settings_of"]

_MILLION: Final = 10**6
_BASE_BYTES: Final = 200 * 2**20
_CELL_BYTES: Final = 400
"""Memory of a party for a row and unit of a batch."""
_CELL_NS: Final = 700
_STEP_NS: Final = 3_000_000
"""Work of a party on a row and unit, and on a batch whatever its size."""
_Floats = NDArray[np.float64]


def settings_of(step: Step) -> Settings:
    """What the parameters of a step say; what they leave out has its default."""
    given = {name: value for name, value in step.params.items() if isinstance(value, int)}
    chosen: dict[str, Any] = {name: given[name] for name in ("units", "epochs", "batch") if name in given}
    chosen |= {name: given[f"{name}_micro"] / _MILLION for name in ("rate", "l2") if f"{name}_micro" in given}
    tells = step.params.get("loss", "hidden") == "owners"
    return Settings(Family(str(step.params["family"])), tells_loss=tells, **chosen)


@dataclass(frozen=True)
class _Own:
    """What an owner enters: its columns, and at the label holder the label as it is trained on."""

    names: list[str]
    columns: Standardised
    label: _Floats | None = None
    center: tuple[float, float] = (0.0, 1.0)


def _run(context: StepContext) -> Outcome:
    step, settings = context.step, settings_of(context.step)
    rows = aligned_columns.aligned_rows(context) if context.role in step.inputs else None
    every = aligned_columns.names_of(context, str(step.params["label"]))
    sizes, held_out = aligned_columns.sizes_of(step, every), HeldOut.of(context.seed, step)
    with replicated.run(context.mesh(), network.SPEC, context.rng) as rt:
        smallest = max(context.minimum_cohort, context.number("min_cohort"))
        stated = None if rows is None else (len(rows), smallest)
        least = ROWS_PER_COEFFICIENT * settings.weights(Layout(1, sizes))
        count, _ = aligned_columns.agreed_split(rt, stated, least, held_out)
        layout = Layout(count, sizes)
        network.check_sizes(layout)
        own = None
        if rows is not None:
            order = held_out.train(len(rows))
            rows, own = rows[order], _own(context, order, settings.family)
        trained = network.train(
            rt,
            layout,
            settings,
            own.columns.values if own is not None and own.names else None,
            None if own is None else own.label,
            context.seed,
            context.progress,
            checkpoints=context.checkpoints,
            on_loss=context.on_loss,
        )
        local, shares = b"", np.zeros(0, dtype=np.uint64)
        if is_split(step):
            weights = network.own_weights(rt, layout, settings, trained.weights)
            if own is not None and weights is not None:
                local = _part(settings, own, weights, trained.losses, held_out).encode()
        else:
            shares = aligned_columns.own_share(rt, trained.weights)
    return Outcome(
        local=local,
        release=released(settings.epochs, layout.rows, trained.losses, every, shares),
        cohort=layout.rows,
        figures=1,
        rows=rows,
        groups=None if rows is None else np.zeros(len(rows), dtype=np.int64),
    )


def _own(context: StepContext, order: NDArray[np.int64], family: Family) -> _Own:
    """Prepare this owner's columns and label, in the order of training.

    Raises:
        MissingValues, WrongColumnType: from the source; nothing was sent.
        ValueOutOfRange, InvalidInput: a column or label that is not what it has to be; nothing was sent.
    """
    names, columns, values = own_columns(context, order)
    standardised = vertical.standardise(columns, names)
    if context.role != "owner-1":
        return _Own(names, standardised)
    return _Own(names, standardised, *made_label(str(context.step.params["label"]), values, family))


def _part(
    settings: Settings, own: _Own, weights: OwnWeights, losses: Sequence[float], held_out: HeldOut
) -> NetworkPart:
    mean, deviation = own.center
    return NetworkPart(
        family=settings.family.value,
        columns=tuple(own.names),
        weights=tuple(tuple(map(text, line)) for line in weights.columns.tolist()),
        intercepts=tuple(map(text, weights.intercepts.tolist())),
        output=tuple(map(text, weights.output.tolist())),
        means=tuple(map(text, own.columns.means.tolist())),
        deviations=tuple(map(text, own.columns.deviations.tolist())),
        label_mean=text(mean),
        label_deviation=text(deviation),
        epochs=settings.epochs,
        losses=tuple(map(text, losses)),
        held_out=held_out,
    )


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    settings = settings_of(step)
    found = opened(
        step, releases, lambda features: settings.weights(Layout(1, (features,))), 2 * WEIGHT_LIMIT
    )
    facts = {
        "family": settings.family.value,
        "units": settings.units,
        "epochs": found.epochs,
        "losses": list(map(text, found.losses)),
    }
    numbers = [None] * settings.weights(Layout(1, (len(found.features),)))
    told = numbers if is_split(step) else [f"{one:.6f}" for one in found.numbers.tolist()]
    lines = [(*name, weight) for name, weight in zip(_names(settings, found.features), told, strict=True)]
    return ResultTable(("party", "column", "unit", "weight"), tuple(lines), facts)


def _names(settings: Settings, features: Sequence[tuple[str, str]]) -> Iterator[tuple[Cell, ...]]:
    """Whose, of which column and unit each weight is, in the order of `federated.network.weights.initial`."""
    for unit in range(1, settings.units + 1):
        for name in [("owner-1", INTERCEPT), *features]:
            yield *name, unit
    for number in range(settings.units + 1):
        yield "owner-1", OUTPUT, number or None


def _check(step: Step) -> None:
    check(step)
    columns = sum(columns_of(step))
    if columns > MAX_COLUMNS:
        raise InvalidRequest(
            f"steps.{step.id}.inputs", f"at most {MAX_COLUMNS} features of all owners", str(columns)
        )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    settings, roles, aligned = settings_of(step), COMPONENT.ranks(step), min(rows.values())
    layout, parties = Layout(aligned - HeldOut.of(b"", step).size(aligned), columns_of(step)), len(roles)
    cost = costs.training(layout, settings) + runtime_costs.stated(parties, 0)
    if is_split(step):
        cost += costs.weights(layout, settings)
    whole, told = runtime_costs.run(parties), runtime_costs.stated(parties, aligned_columns.STATED).outside
    sent = {
        role: costs.sent(layout, cost, rank)
        + (whole.sent[rank] if rank < len(whole.sent) else whole.outside)
        + (told if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    work = _CELL_NS * layout.rows * settings.units + _STEP_NS * len(layout.batches(settings.batch))
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sum(sent.values()) // parties,
            rounds=cost.rounds + whole.rounds,
            work_ns=work * settings.epochs,
            memory_bytes=_BASE_BYTES
            + 32 * layout.rows * layout.coefficients
            + _CELL_BYTES * settings.units * min(settings.batch, layout.rows),
            assumes="that the intersection is the smallest input, and one column for each that is named",
        )
        for role in roles
    }


COMPONENT = Component(
    name="model/network",
    version=1,
    summary="A neural network with one hidden layer over columns of several owners on secret shares; no "
    "activation and no gradient exists at a party.",
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
        "family": Param(
            "what it is: logistic, 0 and 1, of which the network tells the probability; linear, a number",
            one_of(*FAMILIES),
        ),
        "coefficients": Param(
            "who learns the weights: split, each owner those of its own columns and owner-1 the intercepts "
            "and the output's too, and the recipients only how training went; recipients, the recipients "
            "all of them, no owner any",
            one_of("split", "recipients"),
        ),
        "min_cohort": Param("fewest rows that it is trained on", whole_number(1, 2**31)),
        "test_percent": Param(
            "percent of the aligned rows, drawn at random, that are held out for model/score-network; 0",
            whole_number(0, 50),
            optional=True,
        ),
        "units": Param("of the hidden layer; 8", whole_number(1, MAX_UNITS), optional=True),
        "epochs": Param("passes over the rows; 30", whole_number(1, MAX_EPOCHS), optional=True),
        "batch": Param("rows of a step; 256", whole_number(1, MAX_BATCH), optional=True),
        "rate_micro": Param(
            "step size in millionths; 500000", whole_number(10_000, 2 * _MILLION), optional=True
        ),
        "l2_micro": Param(
            "penalty of the squared weights, in millionths; 0", whole_number(0, _MILLION), optional=True
        ),
        "loss": Param(
            "who learns the mean squared error of each epoch: hidden, nobody; owners, the owners and the "
            "recipients",
            one_of("hidden", "owners"),
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=aligned_columns.READABLE,
    takes_rows=True,
    resumes=True,
    protocol=network.SPEC,
    run=_run,
    plan=plan_of_fit,
    check_step=_check,
    check_follows=aligned_columns.check_follows,
    estimate=_estimate,
    open_result=_open,
)
