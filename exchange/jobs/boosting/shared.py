"""Component ``model/boosting-shared``: gradient boosted trees over several owners' columns on secret shares.

The columns are those of aligned rows. Three parties compute: the first three owners, or two owners and a
helper that enters nothing. ``owner-1`` holds the label. Splits and leaf weights go to the recipients as
shares that they alone can put together; nobody else learns a split, a sum or a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import aligned_columns
from exchange.jobs.boosting.cuts import OwnCuts
from exchange.jobs.boosting.part import text
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
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.secret_columns.encoding import check_rules
from exchange.jobs.spec import Step
from federated import boosting, shared_boosting
from federated.boosting import Binned, Objective
from federated.shared_boosting import Forest, Settings, costs
from federated.shared_boosting.settings import MAX_BINS, MAX_COLUMNS, MAX_DEPTH, MAX_ROWS, MAX_TREES
from federated.vertical import Layout
from mpc import replicated, wire
from mpc.errors import InvalidInput
from mpc.replicated import costs as runtime_costs
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Select

__all__ = ["COMPONENT", "FORMAT", "settings_of"]

FORMAT: Final = 1
_MILLION: Final = 10**6
_MICRO: Final = ("rate", "l2", "gamma")
"""Settings that a parameter states in millionths."""
_BASE_BYTES: Final = 200 * 2**20
_ROW_NS: Final = 10_000
_CELL_NS: Final = 12
_CUT_NS: Final = 25_000
"""Work of a party on a row of a tree, on a row and cut of a node, and on a cut of a node."""
_Floats = NDArray[np.float64]


def settings_of(step: Step) -> Settings:
    """What the parameters of a step say; what they leave out has its default."""
    given = {name: value for name, value in step.params.items() if isinstance(value, int)}
    chosen: dict[str, Any] = {name: given[name] for name in ("trees", "depth", "bins") if name in given}
    chosen |= {name: given[f"{name}_micro"] / _MILLION for name in _MICRO if f"{name}_micro" in given}
    tells = step.params.get("thresholds", "owners") == "recipients"
    return Settings(**chosen, least_rows=given["min_cohort"], tells_thresholds=tells)


def _run(context: StepContext) -> Outcome:
    step, settings = context.step, settings_of(context.step)
    rows = aligned_columns.aligned_rows(context) if context.role in step.inputs else None
    names = aligned_columns.names_of(context, str(step.params["label"]))
    sizes = aligned_columns.sizes_of(step, names)
    with replicated.run(context.mesh(), shared_boosting.SPEC, context.rng) as rt:
        stated = None if rows is None else (len(rows), settings.least_rows)
        layout = Layout(aligned_columns.agreed_rows(rt, stated, settings.least_rows), sizes)
        shared_boosting.check_sizes(layout, settings)
        binned, label = (None, None) if rows is None else _own(context, settings)
        trees = shared_boosting.train(
            rt, layout, settings, binned, label, context.progress, context.checkpoints
        )
        share = aligned_columns.own_share(rt, trees)
    return Outcome(
        local=b"" if binned is None else OwnCuts.of(binned).encode(),
        release=_released(layout.rows, names, share),
        cohort=layout.rows,
        figures=1,
        rows=rows,
        groups=None if rows is None else np.zeros(len(rows), dtype=np.int64),
    )


def _own(context: StepContext, settings: Settings) -> tuple[Binned | None, _Floats | None]:
    """This owner's features in bins, None where it has none, and the label at its holder.

    Raises:
        JobFailed: an output rule that nobody can check on shares, a minimum of this owner above that of a
            leaf, or values that a recipe refuses.
        ValueOutOfRange: a feature or label that is not what it has to be, counted.
        InvalidInput: a label of one value.
        CohortTooSmall: a label with fewer rows of one value than a leaf may have.
    """
    check_rules(context)
    if context.minimum_cohort > settings.least_rows:
        raise JobFailed(
            f"step {context.step.id}: expected min_cohort of at least this owner's minimum of "
            f"{context.minimum_cohort} rows in every leaf, got {settings.least_rows}"
        )
    name = str(context.step.params["label"]) if context.role == "owner-1" else None
    columns = [column.name for column in context.step.inputs[context.role].columns]
    names, values = aligned_columns.own_columns(context, [one for one in columns if one != name])
    label = None
    if name is not None:
        label = aligned_columns.aligned_column(context, name)
        boosting.check_label(label, name, boosting.Settings(Objective.LOGISTIC))
        # The margin before the first tree tells the recipients how many rows of each class there are.
        aligned_columns.check_classes(label, settings.least_rows)
    return boosting.bin_columns(values, names, settings.bins) if names else None, label


def _released(rows: int, names: Sequence[tuple[str, str]], share: NDArray[np.uint64]) -> bytes:
    """Rows and features, which every party states alike, and its share."""
    return b"".join(
        (
            wire.encode_uint64(FORMAT),
            wire.encode_uint64(rows),
            aligned_columns.encode_names(names),
            wire.encode_array(share),
        )
    )


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    if set(releases) != set(step.parties):
        raise JobFailed(f"step {step.id}: expected the shares of {len(step.parties)} parties")
    settings = settings_of(step)
    stated, total = list[tuple[int, list[tuple[str, str]]]](), np.zeros(settings.told, dtype=np.uint64)
    for role in sorted(releases):
        reader = wire.Reader(f"release of {role}", releases[role])
        if (version := reader.uint64("format")) != FORMAT:
            raise JobFailed(f"release of {role}: expected format {FORMAT}, got {version}")
        stated.append((reader.uint64("rows"), aligned_columns.read_names(reader)))
        total += reader.array("shares", "<u8", (settings.told,))
        reader.finish()
    rows, names = stated[0]
    try:
        # Shares of different runs sum to uniform words, which are no numbers of cuts.
        layout = Layout(rows, aligned_columns.sizes_of(step, names))
        forest = Forest.of(total.view(np.int64), layout, settings)
    except InvalidInput as error:
        raise JobFailed(f"step {step.id}: the shares of the parties are not of one run") from error
    if any(one != stated[0] for one in stated):
        raise JobFailed(f"step {step.id}: the shares of the parties are not of one run")
    header = ("tree", "node", "party", "column", "cut", "threshold", "weight")
    errors = list(map(text, forest.errors.tolist()))
    facts = {"rows": rows, "base": text(forest.base), "errors": errors}
    return ResultTable(header, tuple(_nodes(forest, names, settings)), facts)


def _nodes(
    forest: Forest, names: Sequence[tuple[str, str]], settings: Settings
) -> Iterator[tuple[Cell, ...]]:
    """A line a node, in the order of a tree's levels, without nodes that no row can reach."""
    for tree in range(settings.trees):
        reached = {1}
        for node in range(1, 2 * settings.leaves):
            if node not in reached:
                continue
            if node > settings.inner:
                yield (tree, node, *[None] * 4, text(forest.weights[tree, node - settings.leaves]))
                continue
            at, cut, threshold = (
                one[tree, node - 1].item() for one in (forest.columns, forest.cuts, forest.thresholds)
            )
            reached.add(2 * node)
            if at < 0:
                yield (tree, node, *[None] * 5)
                continue
            reached.add(2 * node + 1)
            yield (
                tree,
                node,
                *names[at],
                cut + 1,
                repr(threshold) if settings.tells_thresholds else None,
                None,
            )


def _check(step: Step) -> None:
    aligned_columns.check_parties(step)
    at = f"steps.{step.id}"
    own = [column.name for column in step.inputs["owner-1"].columns]
    if step.params["label"] not in own:
        raise InvalidRequest(f"{at}.params.label", f"one of owner-1's {', '.join(own)}", "another column")
    if not step.recipients:
        raise InvalidRequest(f"{at}.recipients", "who receives the trees", "nobody")
    columns = sum(_columns(step))
    if columns > MAX_COLUMNS:
        raise InvalidRequest(f"{at}.inputs", f"at most {MAX_COLUMNS} features of all owners", str(columns))


def _columns(step: Step) -> tuple[int, ...]:
    """How many features each owner names, by rank; preparation may make more of them."""
    counts = [len(step.inputs[role].columns) for role in aligned_columns.owners_of(step)]
    return (counts[0] - 1, *counts[1:])


def _plan(step: Step) -> Plan:
    """Splits and leaves are figures over many rows; a threshold is one row's value."""
    sources = {role: source(step, role) for role in aligned_columns.owners_of(step)}
    together, label = f"{step.id}.together", f"{sources['owner-1'].id}.{step.params['label']}"
    every = tuple(f"{one.id}.{name}" for one in sources.values() for name in one.columns)
    figures: list[tuple[str, str, tuple[str, ...]]] = [
        ("rows", "count", ()),
        ("trees", "fit", every),
        ("errors", "mean", every),
    ]
    if settings_of(step).tells_thresholds:
        figures.append(("thresholds", "quantile", tuple(name for name in every if name != label)))
    return (
        *sources.values(),
        Select(together, tuple(one.id for one in sources.values()), rows=step.after[0]),
        Aggregate(step.id, together, (), tuple(figures)),
        Reveal(step.id, tuple(name for name, _, _ in figures), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    settings, roles = settings_of(step), COMPONENT.ranks(step)
    layout, parties = Layout(min(rows.values()), _columns(step)), len(roles)
    cost = costs.training(layout, settings) + runtime_costs.stated(parties, 0)
    whole, told = runtime_costs.run(parties), runtime_costs.stated(parties, aligned_columns.STATED).outside
    sent = {
        role: costs.sent(layout, settings, cost, rank)
        + (whole.sent[rank] if rank < len(whole.sent) else whole.outside)
        + (told if role in step.inputs else 0)
        for rank, role in enumerate(roles)
    }
    cuts = settings.cuts * sum(layout.columns)
    work = settings.trees * (
        _ROW_NS * layout.rows + settings.inner * cuts * (_CELL_NS * layout.rows + _CUT_NS)
    )
    return {
        role: Estimate(
            sent_bytes=sent[role],
            received_bytes=sum(sent.values()) // parties,
            rounds=cost.rounds + whole.rounds,
            work_ns=work,
            memory_bytes=_BASE_BYTES + 48 * layout.rows * cuts + 200 * layout.rows * settings.leaves,
            assumes="that the intersection is the smallest input, and one column for each that is named",
        )
        for role in roles
    }


COMPONENT = Component(
    name="model/boosting-shared",
    version=1,
    summary="Gradient boosted trees over columns of several owners on secret shares; nobody sees a gradient "
    "or a sum, and only the recipients see splits and leaves.",
    roles={
        "owner": RoleInput(
            1, 256, frozenset({"feature", "measure", "label", "group"}), Level.AFTER_AGGREGATE
        ),
        "helper": None,
    },
    repeated={"owner": (2, 16), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    params={
        "label": Param("the column of owner-1 that is explained, of 0 and 1", text_like(".{1,128}")),
        "min_cohort": Param(
            "fewest aligned rows, and fewest of a leaf: each side of a split has hessians of at least a "
            "quarter of it, and a row at most a quarter",
            whole_number(1, MAX_ROWS),
        ),
        "trees": Param("how many; 20", whole_number(1, MAX_TREES), optional=True),
        "depth": Param("splits between a root and a leaf; 3", whole_number(1, MAX_DEPTH), optional=True),
        "bins": Param("most bins of a column; 16", whole_number(2, MAX_BINS), optional=True),
        "rate_micro": Param(
            "by which leaf weights are shrunk, in millionths; 300000",
            whole_number(1000, _MILLION),
            optional=True,
        ),
        "l2_micro": Param(
            "penalty of squared leaf weights (lambda), in millionths; 1000000",
            whole_number(_MILLION // 10, 100 * _MILLION),
            optional=True,
        ),
        "gamma_micro": Param(
            "least gain of a split, in millionths; 0", whole_number(0, 1000 * _MILLION), optional=True
        ),
        "thresholds": Param(
            "who knows the values that columns are cut at: owners, each those of its own columns alone; "
            "recipients, they too, of the cuts that trees split at; owners",
            one_of("owners", "recipients"),
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=aligned_columns.READABLE,
    takes_rows=True,
    resumes=True,
    protocol=shared_boosting.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    check_follows=aligned_columns.check_follows,
    estimate=_estimate,
    open_result=_open,
)
