"""Component ``model/scorecard``: points for the bins of the columns of several owners.

The columns are those that a step ``model/woe`` has put into bins. Each owner replaces its values by the
weights of evidence of their bins, at its own node; what follows is the training of ``model/logistic``. Points
stay split, each owner with those of its own bins, or go to the recipients by the number of the bin: which
values a bin holds stays with its owner in either case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, Outcome, Param, StepContext, one_of, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.intersection import rows_of
from exchange.jobs.regression.component import LOGISTIC
from exchange.jobs.regression.part import ModelPart, text
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.scorecard.columns import read_column
from exchange.jobs.scorecard.tables import BinnedColumn, OwnBins, OwnCard, ScoredColumn, StatedScale
from exchange.jobs.scorecard.woe import features_by_owner, features_of
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from federated.scorecard import Scale
from ledger import canonical
from mpc import wire
from policies.plans import Plan

__all__ = ["COMPONENT", "scale_of"]

_ALIGNED, _BINS = 0, 1
"""Places in ``after``: the step that aligned the rows, and the one that made the bins."""
_SCALE: Final = {"pdo": 20, "base_score": 600, "base_odds": 50, "lowest": 300, "highest": 850}
_HEADER = ("party", "column", "bin", "woe", "points")


@dataclass(frozen=True)
class _Weights:
    """What an owner releases of a column besides its share: the weights of its bins, mean and deviation."""

    name: str
    woe: tuple[str, ...]
    mean: str
    deviation: str


@dataclass(frozen=True)
class _Released:
    columns: tuple[_Weights, ...]


def scale_of(step: Step) -> Scale:
    """What the parameters of a step say of the scale; what they leave out has its default."""
    chosen = {name: float(cast(int, step.params.get(name, default))) for name, default in _SCALE.items()}
    return Scale(**chosen, is_whole=step.params.get("points", "whole") == "whole")


def _training(step: Step) -> Step:
    """The step as that of ``model/logistic`` which it contains."""
    return replace(step, component=LOGISTIC.name, after=step.after[: _ALIGNED + 1])


def _run(context: StepContext) -> Outcome:
    step, weights = context.step, dict[str, NDArray[np.float64]]()
    own: tuple[BinnedColumn, ...] = ()
    if context.role in step.inputs:
        own = _chosen(context)
        weights = {column.name: _weights(context, column) for column in own}

    def read(name: str) -> Iterator[pa.RecordBatch]:
        if name not in weights:
            return context.read(name)
        return iter([pa.record_batch([pa.array(weights[name])], names=[name])])

    trained = LOGISTIC.run(replace(context, step=_training(step), read=read))
    assert trained.release is not None  # noqa: S101 - narrows for the type checker
    released, local = _Released(()), b""
    if _is_split(step) and trained.local:
        part = ModelPart.decode(trained.local)
        scale = scale_of(step)
        base = scale.base(float(part.intercept)) if context.role == "owner-1" else 0.0
        local = OwnCard(_scored(scale, own, part), text(base), part.epochs, StatedScale.of(scale)).encode()
    elif own:
        rows = rows_of(context.earlier[step.after[_ALIGNED]])
        released = _Released(tuple(_stated(column, weights[column.name][rows]) for column in own))
    parts = (trained.release, b"" if _is_split(step) else canonical.encode(asdict(released)))
    return replace(
        trained,
        local=local,
        release=b"".join(wire.encode_array(np.frombuffer(part, dtype=np.uint8)) for part in parts),
    )


def _chosen(context: StepContext) -> tuple[BinnedColumn, ...]:
    """The bins of this owner's columns of this step, in its order."""
    made = OwnBins.decode(context.earlier[context.step.after[_BINS]])
    by_name = {column.name: column for column in made.columns}
    return tuple(by_name[name] for name in features_of(context.step, context.role))


def _weights(context: StepContext, column: BinnedColumn) -> NDArray[np.float64]:
    """The weight of evidence of aligned rows, in source order; 0 for others, which nobody reads.

    Raises:
        InvalidInput: rows that have no bin, counted.
    """
    rows = rows_of(context.earlier[context.step.after[_ALIGNED]])
    values = np.zeros(rows.max() + 1)
    weights = np.array([float(one) for one in column.woe])
    values[rows] = weights[read_column(context.read, column.name, rows).codes(column.bins)]
    return values


def _stated(column: BinnedColumn, values: NDArray[np.float64]) -> _Weights:
    return _Weights(column.name, column.woe, text(float(values.mean())), text(float(values.std())))


def _scored(scale: Scale, own: tuple[BinnedColumn, ...], part: ModelPart) -> tuple[ScoredColumn, ...]:
    lines = zip(own, part.coefficients, part.means, part.deviations, strict=True)
    return tuple(
        ScoredColumn(column, _points(scale, column.woe, float(coefficient), mean, deviation))
        for column, coefficient, mean, deviation in lines
    )


def _points(
    scale: Scale, woe: tuple[str, ...], coefficient: float, mean: str, deviation: str
) -> tuple[str, ...]:
    weights = np.array([float(one) for one in woe])
    points = scale.points(weights, coefficient, float(mean), float(deviation))
    return tuple(map(text, points.tolist()))


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    shares, stated = {}, {}
    for role, raw in releases.items():
        reader = wire.Reader(f"release of {role}", raw)
        shares[role] = reader.array("shares", "u1", (None,)).tobytes()
        stated[role] = reader.array("weights", "u1", (None,)).tobytes()
        reader.finish()
    assert LOGISTIC.open_result is not None  # noqa: S101 - narrows for the type checker
    fitted = LOGISTIC.open_result(_training(step), shares)
    scale = scale_of(step)
    facts = {**fitted.facts, "scale": asdict(StatedScale.of(scale))}
    if _is_split(step):
        rows = [(role, name, None, None, None) for role, name, _ in fitted.rows]
        return ResultTable(_HEADER, tuple(rows), facts)
    (_, _, intercept), *coefficients = fitted.rows
    told = (float(str(coefficient)) for _, _, coefficient in coefficients)
    base = text(scale.base(float(str(intercept))))
    lines: list[tuple[Cell, ...]] = [("owner-1", "(base)", None, None, base)]
    for role, names in features_by_owner(step).items():
        own = read_as(_Released, canonical.decode(stated[role]), f"release of {role}")
        if [column.name for column in own.columns] != names:
            raise JobFailed(f"step {step.id}: the release of {role} is of other columns")
        for column in own.columns:
            points = _points(scale, column.woe, next(told), column.mean, column.deviation)
            shown = enumerate(zip(column.woe, points, strict=True), start=1)
            lines += [(role, column.name, number, *line) for number, line in shown]
    return ResultTable(_HEADER, tuple(lines), facts)


def _is_split(step: Step) -> bool:
    return step.params["coefficients"] == "split"


def _check(step: Step) -> None:
    if len(step.after) != 2:
        raise InvalidRequest(
            f"steps.{step.id}.after", "the step that aligned the rows, then model/woe", str(len(step.after))
        )
    LOGISTIC.check_step(_training(step))
    lowest, highest = (cast(int, step.params.get(name, _SCALE[name])) for name in ("lowest", "highest"))
    if lowest >= highest:
        raise InvalidRequest(f"steps.{step.id}.params.highest", f"more than {lowest}", str(highest))


def _check_follows(step: Step, before: Step) -> None:
    at = f"steps.{step.id}"
    if (step.after.index(before.id) == _BINS) != (before.component == "model/woe"):
        raise InvalidRequest(f"{at}.after", "the step that aligned the rows, then model/woe", "another order")
    if before.component != "model/woe":
        return
    for role, given in step.inputs.items():
        if before.parties.get(role) != step.parties[role]:
            raise InvalidRequest(f"{at}.parties.{role}", f"as in step {before.id}", step.parties[role])
        made = before.inputs[role]
        unknown = {one.name for one in given.columns} - {one.name for one in made.columns}
        if given.asset != made.asset or unknown:
            raise InvalidRequest(f"{at}.inputs.{role}", f"columns of step {before.id}", "others")
    if step.params["label"] != before.params["label"]:
        raise InvalidRequest(f"{at}.params.label", f"that of step {before.id}", "another column")


def _plan(step: Step) -> Plan:
    assert LOGISTIC.plan is not None  # noqa: S101 - narrows for the type checker
    return LOGISTIC.plan(_training(step))


def _estimate(step: Step, rows: Mapping[str, int]) -> Mapping[str, Estimate]:
    assert LOGISTIC.estimate is not None  # noqa: S101 - narrows for the type checker
    return LOGISTIC.estimate(_training(step), rows)


COMPONENT: Final = Component(
    name="model/scorecard",
    version=1,
    summary="A scorecard over the weights of evidence of columns of several owners: logistic regression on "
    "secret shares, then points for every bin.",
    roles=LOGISTIC.roles,
    repeated=LOGISTIC.repeated,
    helpers=LOGISTIC.helpers,
    params={
        **{name: param for name, param in LOGISTIC.params.items() if name != "standard_errors"},
        "coefficients": Param(
            "who learns the points: split, each owner those of the bins of its own columns and owner-1 the "
            "base points, and the recipients only how training went; recipients, the recipients all of "
            "them by the number of the bin, with its weight of evidence, no owner any",
            one_of("split", "recipients"),
        ),
        "pdo": Param("points that double the odds against an event; 20", whole_number(1, 1000), True),
        "base_score": Param("the score at the base odds; 600", whole_number(-(10**6), 10**6), optional=True),
        "base_odds": Param("other rows to one event at the base score; 50", whole_number(1, 10**6), True),
        "lowest": Param("lower limit of a score; 300", whole_number(-(10**6), 10**6), optional=True),
        "highest": Param("upper limit of a score; 850", whole_number(-(10**6), 10**6), optional=True),
        "points": Param(
            "whole, rounded to whole numbers in each bin, or exact; whole",
            one_of("whole", "exact"),
            optional=True,
        ),
    },
    output_type="aggregate",
    needs=LOGISTIC.needs | {"model/woe"},
    takes_rows=True,
    protocol=LOGISTIC.protocol,
    run=_run,
    plan=_plan,
    check_step=_check,
    check_follows=_check_follows,
    estimate=_estimate,
    open_result=_open,
)
