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
from exchange.jobs.boosting.fit import figures_of
from exchange.jobs.boosting.part import Structure, TreesPart
from exchange.jobs.boosting.settings import GROWING, MILLION, grown_by
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
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from federated import boosting
from federated.boosting import Ensemble, Objective, Settings, Sizes, costs
from federated.boosting.settings import MAX_CLASSES, MAX_OWNERS, MAX_TREES
from ledger import canonical
from mpc.errors import InvalidInput
from mpc.he import bfv
from mpc.mesh import mesh_run
from policies.column_control import Level
from policies.plans import Aggregate, Compare, Operator, Plan, Reveal, Select

__all__ = ["COMPONENT", "settings_of"]

_HOLDER: Final = "owner-1"
_BASE_BYTES: Final = 250 * 2**20
_CIPHERTEXT_NS: Final = 3_000_000
_PRODUCT_NS: Final = 6_500_000
_MULTIPLY_NS: Final = 100_000
_Floats = NDArray[np.float64]


def settings_of(step: Step) -> Settings:
    """What the parameters of a step say; what they leave out has its default."""
    return grown_by(step, _directions(step) if step.params.get("monotone") else ())


def _directions(step: Step) -> tuple[tuple[int, ...], ...]:
    """The direction of each feature of each owner, 0 where none is asked for."""
    asked = cast("dict[str, dict[str, int]]", step.params["monotone"])
    return tuple(
        tuple(
            asked.get(role, {}).get(column.name, 0)
            for column in step.inputs[role].columns
            if role != _HOLDER or column.name != step.params["label"]
        )
        for role in _owners(step)
    )


def _are_directions(value: object, at: str) -> None:
    """A check for directions of columns by owner."""
    owners = value if isinstance(value, Mapping) else {}
    columns = [one for one in owners.values() if isinstance(one, Mapping) and one]
    if not owners or len(columns) != len(owners):
        raise InvalidRequest(at, "columns by owner", "another value")
    if any(isinstance(one, bool) or one not in (1, -1) for own in columns for one in own.values()):
        raise InvalidRequest(at, "1 or -1 for each column", "another value")


def _run(context: StepContext) -> Outcome:
    step, settings = context.step, settings_of(context.step)
    aligned = rows_of(context.earlier[step.after[0]])
    split = HeldOut.of(context.session, step)
    # Rows held out come last.
    order = np.concatenate([split.train(len(aligned)), split.test(len(aligned))])
    rows, held_out = aligned[order], split.size(len(aligned))
    trained = len(rows) - held_out
    least = max(context.minimum_cohort, context.number("min_cohort"))
    with mesh_run(context.mesh(), boosting.SPEC) as peers:
        names, values, label = _own_columns(context, rows)
        binned = boosting.bin_columns(values, names, settings.bins, held_out=held_out)
        shared: dict[str, Any] = {"held_out": held_out, "least_rows": least, "progress": context.progress}
        structure, told = None, dict[str, object]()
        if label is None:
            other = boosting.feature_owner(peers, settings, binned, context.rng, **shared)
            own, rounds = other.own, other.rounds
        else:
            _check_label(step, label, trained, settings)
            holder = boosting.label_holder(peers, settings, binned, label, context.rng, **shared)
            own, rounds = holder.own, len(holder.trees) // settings.classes
            structure = _structure(holder, order, settings)
            if step.params.get("loss") == "recipients":
                told = figures_of(holder, label, least, settings)
    facts = {"rows": trained, "held_out": held_out, "trees": rounds, **told}
    return Outcome(
        local=TreesPart(binned.names, own, split, settings.objective, structure).encode(),
        release=canonical.encode(facts),
        cohort=min(trained, held_out or trained),
        figures=2 if held_out else 1,
        rows=rows,
        groups=np.repeat(np.arange(2), (trained, held_out)),
    )


def _check_label(step: Step, label: _Floats, trained: int, settings: Settings) -> None:
    """Check all rows, and that those trained on have something to explain."""
    for rows in (label, label[:trained]):
        boosting.check_label(rows, str(step.params["label"]), settings)


def _structure(holder: Ensemble, order: NDArray[np.int64], settings: Settings) -> Structure:
    """What the label holder keeps, with scores in the common order of the aligned rows."""
    scores = np.empty_like(holder.margins)
    scores[:, order] = boosting.scores(holder.margins, settings.objective)
    return Structure(holder.base, holder.trees, scores, holder.losses, holder.held_out_losses)


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
    if len({tuple(one[name] for name in ("rows", "held_out", "trees")) for one in told.values()}) != 1:
        raise JobFailed(f"step {step.id}: the owners tell of different runs")
    facts = told[_HOLDER]
    losses = facts.pop("losses", [])
    held_out = facts.pop("held_out_losses", []) or [None] * len(losses)
    lines = [(number, *both) for number, both in enumerate(zip(losses, held_out, strict=True), start=1)]
    return ResultTable(("trees", "loss", "held_out_loss"), tuple(lines), facts)


def _check(step: Step) -> None:
    at = f"steps.{step.id}"
    if len(step.after) != 1:
        raise InvalidRequest(f"{at}.after", "one step that aligned the rows", str(len(step.after)))
    own = [column.name for column in step.inputs[_HOLDER].columns]
    if step.params["label"] not in own:
        raise InvalidRequest(f"{at}.params.label", f"one of owner-1's {', '.join(own)}", "another column")
    if len(own) < 2:
        raise InvalidRequest(f"{at}.inputs.{_HOLDER}.columns", "the label and a feature", str(len(own)))
    if step.params.get("patience", 0) and not step.params.get("test_percent", 0):
        raise InvalidRequest(f"{at}.params.patience", "0 where test_percent is 0", "a patience")
    asked = cast("dict[str, dict[str, int]]", step.params.get("monotone", {}))
    for role, columns in asked.items():
        given = {column.name for column in step.inputs[role].columns} if role in step.inputs else set()
        if not set(columns) <= given - {step.params["label"] if role == _HOLDER else None}:
            raise InvalidRequest(f"{at}.params.monotone", "features of the owners", "another column")
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
    aligned, held_out = min(rows.values()), HeldOut.of(b"", step).size(min(rows.values()))
    cuts = tuple((settings.bins - 1,) * count for count in columns[1:])
    sizes, told = Sizes(aligned - held_out, cuts, held_out), settings.trees if settings.patience else 0
    asked, splits = costs.most(settings)
    sent = costs.sent(sizes, columns[1:], asked, [[one] * len(owners) for one in splits], told)
    levels = [sizes.blocks(nodes) for nodes in asked]
    found = {}
    for rank, role in enumerate(owners):
        own = sum(cuts[rank - 1]) if rank else 0
        work = sum(
            blocks.turns(nodes)
            * (
                blocks.count * (_CIPHERTEXT_NS + blocks.products(own) * _MULTIPLY_NS)
                + blocks.products(own) * _PRODUCT_NS
            )
            for blocks, nodes in zip(levels, asked, strict=True)
        )
        masks = bfv.MULTIPLIER_BYTES * sum(blocks.count * blocks.products(own) for blocks in set(levels))
        found[role] = Estimate(
            sent_bytes=sent[rank],
            received_bytes=sum(sent[1:]) if rank == 0 else sent[0] // (len(owners) - 1),
            rounds=costs.rounds(rank, len(owners), asked, told),
            work_ns=work,
            memory_bytes=_BASE_BYTES + masks + 9 * aligned * columns[rank],
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
        "min_cohort": Param("fewest rows trained on, and held out where any is", whole_number(1, 2**31)),
        "test_percent": Param(
            "percent of the aligned rows, drawn at random, that trees are not grown on but scored; 0",
            whole_number(0, 50),
            optional=True,
        ),
        "patience": Param(
            "growth ends after so many trees, or rounds, in a row that do not lower the loss on the rows "
            "held out, and those up to the lowest are kept; all owners and recipients learn how many; 0: "
            "never",
            whole_number(0, MAX_TREES),
            optional=True,
        ),
        "objective": Param(
            "logistic, the label is 0 or 1; squared, it is a number; softmax, a class from 0 on; logistic",
            one_of(*Objective),
            optional=True,
        ),
        "classes": Param(
            "how many classes a label of classes has; for softmax alone",
            whole_number(2, MAX_CLASSES),
            optional=True,
        ),
        "trees": Param(
            "how many, or rounds of one tree for each class; 20", whole_number(1, MAX_TREES), optional=True
        ),
        "top_rate_micro": Param(
            "part of the rows, those of the largest gradients, that every tree is grown on, in millionths; "
            "1000000: all, none is drawn",
            whole_number(10_000, MILLION),
            optional=True,
        ),
        "other_rate_micro": Param(
            "part of the rows, drawn from the others for each tree, that count for all the others, in "
            "millionths; 0 where top_rate_micro is 1000000",
            whole_number(0, MILLION),
            optional=True,
        ),
        **GROWING,
        "monotone": Param(
            "by owner and column, 1 where scores may not fall with it, -1 where they may not rise; not for "
            "softmax; none",
            _are_directions,
            optional=True,
        ),
        "loss": Param(
            "who learns the loss after each tree, and the area under the curve or the accuracy and the "
            "confusion of classes: hidden, owner-1 alone; recipients, they too",
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
