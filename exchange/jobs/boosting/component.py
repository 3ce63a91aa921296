"""Component ``model/boosting``: gradient boosted trees over the aligned columns of several owners.

``owner-1`` holds the label and grows the trees with the columns of all. The structure and the leaves stay at
its node, the thresholds of an owner's splits at that owner's. Recipients learn how many rows and trees there
were, and how the loss fell where that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.boosting.part import Structure, TreesPart, text
from exchange.jobs.boosting.settings import GROWING, settings_of
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
from exchange.jobs.engines import TENSEAL
from exchange.jobs.estimates import Estimate
from exchange.jobs.intersection import rows_of
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from federated import boosting
from federated.boosting import Ensemble, Objective, OwnPart, Sizes, costs
from federated.boosting.settings import MAX_OWNERS
from ledger import canonical
from mpc.errors import InvalidInput
from mpc.he import bfv
from mpc.mesh import mesh_run
from policies.column_control import Level
from policies.plans import Aggregate, Compare, Operator, Plan, Reveal, Select

__all__ = ["COMPONENT"]

_HOLDER: Final = "owner-1"
_BASE_BYTES: Final = 250 * 2**20
_CIPHERTEXT_NS: Final = 3_000_000
_PRODUCT_NS: Final = 6_500_000
_MULTIPLY_NS: Final = 100_000
_Floats = NDArray[np.float64]


def _run(context: StepContext) -> Outcome:
    step, settings = context.step, settings_of(context.step)
    rows = rows_of(context.earlier[step.after[0]])
    least = max(context.minimum_cohort, context.number("min_cohort"))
    with mesh_run(context.mesh(), boosting.SPEC) as peers:
        names, values, label = _own_columns(context, rows)
        binned = boosting.bin_columns(values, names, settings.bins)
        if label is None:
            trained: Ensemble | OwnPart = boosting.feature_owner(
                peers, settings, binned, context.rng, least_rows=least, progress=context.progress
            )
        else:
            boosting.check_label(label, str(step.params["label"]), settings.objective)
            trained = boosting.label_holder(
                peers, settings, binned, label, context.rng, least_rows=least, progress=context.progress
            )
    structure = None
    facts: dict[str, object] = {"rows": len(rows), "trees": settings.trees}
    if isinstance(trained, Ensemble) and label is not None:
        scores = boosting.scores(trained.margins, settings.objective)
        structure = Structure(trained.base, trained.trees, scores, trained.losses)
        if step.params.get("loss") == "recipients":
            facts["losses"] = [text(loss) for loss in trained.losses]
            if settings.objective is Objective.LOGISTIC:
                facts["auc"] = text(boosting.auc(trained.margins, label))
    return Outcome(
        local=TreesPart(binned.names, trained.own, structure).encode(),
        release=canonical.encode(facts),
        cohort=len(rows),
        figures=1,
        rows=rows,
        groups=np.zeros(len(rows), dtype=np.int64),
    )


def _own_columns(
    context: StepContext, rows: NDArray[np.int64]
) -> tuple[list[str], list[_Floats], _Floats | None]:
    """The features of this owner, and the label at its holder, at the aligned rows."""
    names = [column.name for column in context.step.inputs[context.role].columns]
    found = {
        name: connected.measure_array(context.read(name), name)[rows].astype(np.float64) for name in names
    }
    label = found.pop(str(context.step.params["label"])) if context.role == _HOLDER else None
    return list(found), list(found.values()), label


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    if set(releases) != set(step.parties):
        raise JobFailed(f"step {step.id}: expected what {len(step.parties)} owners released")
    told = {role: cast("dict[str, Any]", canonical.decode(one)) for role, one in releases.items()}
    if len({(one["rows"], one["trees"]) for one in told.values()}) != 1:
        raise JobFailed(f"step {step.id}: the owners tell of different runs")
    facts = told[_HOLDER]
    lines = [(number, loss) for number, loss in enumerate(facts.pop("losses", []), start=1)]
    return ResultTable(("trees", "loss"), tuple(lines), facts)


def _check(step: Step) -> None:
    at = f"steps.{step.id}"
    if len(step.after) != 1:
        raise InvalidRequest(f"{at}.after", "one step that aligned the rows", str(len(step.after)))
    own = [column.name for column in step.inputs[_HOLDER].columns]
    if step.params["label"] not in own:
        raise InvalidRequest(f"{at}.params.label", f"one of owner-1's {', '.join(own)}", "another column")
    if len(own) < 2:
        raise InvalidRequest(f"{at}.inputs.{_HOLDER}.columns", "the label and a feature", str(len(own)))
    try:
        settings_of(step)
    except InvalidInput as error:
        raise InvalidRequest(f"{at}.params", "settings within their limits", str(error)) from error


def _owners(step: Step) -> list[str]:
    return [f"owner-{number}" for number in range(1, len(step.inputs) + 1)]


def _features(step: Step, role: str) -> int:
    return len(step.inputs[role].columns) - (role == _HOLDER)


def _plan(step: Step) -> Plan:
    """Columns are compared with thresholds; owner-1 sees the outcomes of others' columns, row by row.

    What recipients see of the fit is a figure over all rows, and so is what an owner sees in its own splits.
    """
    sources = {role: source(step, role) for role in _owners(step)}
    holder = sources[_HOLDER]
    label = f"{holder.id}.{step.params['label']}"
    above = f"{step.id}.together"
    made: list[Operator] = [Select(above, tuple(one.id for one in sources.values()), rows=step.after[0])]
    for role, one in sources.items():
        features = tuple(f"{one.id}.{name}" for name in one.columns)
        compared = f"{one.id}.sides"
        made.append(Compare(compared, above, role, tuple(name for name in features if name != label)))
        above = compared
    sides = tuple(role for role in sources if role != _HOLDER)
    figures = (("trees", "fit", (label, *sources)), ("bins", "sum", sides))
    others = tuple(sources[role].owner for role in sides)
    return (
        *sources.values(),
        *made,
        Aggregate(step.id, above, (), figures),
        Reveal(above, sides, (holder.owner,)),
        Reveal(step.id, ("bins",), (holder.owner,)),
        Reveal(step.id, ("trees",), (*others, *step.recipients)),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    settings, owners = settings_of(step), _owners(step)
    columns = [_features(step, role) for role in owners]
    sizes = Sizes(min(rows.values()), tuple((settings.bins - 1,) * count for count in columns[1:]))
    asked, splits = costs.most(settings)
    sent = costs.sent(sizes, columns[1:], asked, [[one] * len(owners) for one in splits])
    levels = [sizes.blocks(nodes) for nodes in asked]
    found = {}
    for rank, role in enumerate(owners):
        cuts = (settings.bins - 1) * columns[rank] if rank else 0
        work = sum(
            blocks.turns(nodes)
            * (
                blocks.count * (_CIPHERTEXT_NS + blocks.products(cuts) * _MULTIPLY_NS)
                + blocks.products(cuts) * _PRODUCT_NS
            )
            for blocks, nodes in zip(levels, asked, strict=True)
        )
        masks = bfv.MULTIPLIER_BYTES * sum(blocks.count * blocks.products(cuts) for blocks in set(levels))
        found[role] = Estimate(
            sent_bytes=sent[rank],
            received_bytes=sum(sent[1:]) if rank == 0 else sent[0] // (len(owners) - 1),
            rounds=costs.rounds(rank, len(owners), asked),
            work_ns=work,
            memory_bytes=_BASE_BYTES + masks + 9 * sizes.rows * columns[rank],
            assumes="that the intersection is the smallest input, and that all trees grow to their depth",
        )
    return found


COMPONENT = Component(
    name="model/boosting",
    version=1,
    summary="Gradient boosted trees over columns of several owners (SecureBoost); the label stays with one, "
    "thresholds with the owners of their columns.",
    roles={
        "owner": RoleInput(1, 256, frozenset({"feature", "measure", "label", "group"}), Level.AFTER_COMPARE)
    },
    repeated={"owner": (2, MAX_OWNERS)},
    params={
        "label": Param("the column of owner-1 that is explained", text_like(".{1,128}")),
        "min_cohort": Param("fewest aligned rows", whole_number(1, 2**31)),
        **GROWING,
        "loss": Param(
            "who learns the loss after each tree and the area under the curve: hidden, owner-1 alone; "
            "recipients, they too",
            one_of("hidden", "recipients"),
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=frozenset({"psi/ecdh", "psi/many", "psi/rr22"}),
    takes_rows=True,
    protocol=boosting.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    open_result=_open,
    engine=TENSEAL,
)
