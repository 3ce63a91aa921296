"""One owner's part of a split model, and component ``model/part`` by which it reads it at its own node."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from exchange.errors import InvalidRequest
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.network.part import NetworkPart
from exchange.jobs.own_clusters import OwnClusters
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from federated.vertical import Family
from ledger import canonical
from policies.plans import Plan

__all__ = ["COMPONENT", "ModelPart", "text"]

_CLUSTERS, _NETWORK = "model/kmeans-columns", "model/network"
_SPLITS = {_CLUSTERS: "centres", _NETWORK: "coefficients"}
"""By which parameter a step says that each owner keeps its own part."""
_DIGITS = 12


def text(number: float) -> str:
    """A number as canonical JSON carries it, to twelve digits."""
    return f"{number:.{_DIGITS}g}"


@dataclass(frozen=True)
class ModelPart:
    """One owner's part of a model: of its own columns, in their own order.

    Attributes:
        family: logistic, linear or poisson.
        columns: names.
        coefficients: per standard deviation of the column.
        means, deviations: of the aligned rows trained on.
        intercept: at the label holder; elsewhere 0.
        label_mean, label_deviation: at the holder of a label of a linear regression its own, of a Poisson
            regression 0 and the mean; elsewhere 0 and 1.
        epochs: passes over the rows.
        losses: mean squared error of each epoch, where it was asked for.
        held_out: the aligned rows that it was not trained on.
        errors: standard errors of the intercept, 0 but at the label holder, and of the coefficients; empty
            where they were not asked for.
    """

    family: str
    columns: tuple[str, ...]
    coefficients: tuple[str, ...]
    means: tuple[str, ...]
    deviations: tuple[str, ...]
    intercept: str
    label_mean: str
    label_deviation: str
    epochs: int
    losses: tuple[str, ...]
    held_out: HeldOut
    errors: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> ModelPart:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(raw), "model part")


def _run(context: StepContext) -> Outcome:
    (name,) = context.step.after
    table = _table(context.before[name].component, context.earlier[name])
    return Outcome(local=b"", files=table.files())


def _table(component: str, raw: bytes) -> ResultTable:
    if component == _CLUSTERS:
        return OwnClusters.decode(raw).table()
    return NetworkPart.decode(raw).table() if component == _NETWORK else _of_model(raw)


def _of_model(raw: bytes) -> ResultTable:
    part = ModelPart.decode(raw)
    lines = list[tuple[Cell, ...]](
        zip(part.columns, part.coefficients, part.means, part.deviations, strict=True)
    )
    facts: dict[str, object] = {
        "family": part.family,
        "epochs": part.epochs,
        "losses": list(part.losses),
        "intercept": part.intercept,
    }
    if part.family != "logistic":
        facts |= {"label_mean": part.label_mean, "label_deviation": part.label_deviation}
    header: tuple[str, ...] = ("column", "coefficient", "mean", "deviation")
    if part.errors:
        facts["intercept_error"], header = part.errors[0], (*header, "standard error")
        lines = [(*line, error) for line, error in zip(lines, part.errors[1:], strict=True)]
    return ResultTable(header, tuple(lines), facts)


def _check(step: Step) -> None:
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step that trained", str(len(step.after)))


def _check_follows(step: Step, before: Step) -> None:
    if before.component not in _SPLITS:
        return
    reader = step.parties["reader"]
    if before.role_of(reader) not in before.inputs:
        raise InvalidRequest(f"steps.{step.id}.parties.reader", f"an owner in step {before.id}", reader)
    name = _SPLITS[before.component]
    if before.params.get(name) != "split":
        at = f"steps.{before.id}.params.{name}"
        raise InvalidRequest(at, f"split, as step {step.id} reads an owner's own {name}", "recipients")


def _plan(step: Step) -> Plan:
    """Nothing is shown that the reader did not get when the model was trained."""
    return ()


COMPONENT = Component(
    name="model/part",
    version=1,
    summary="The owner who asked reads coefficients, weights of a network or centres of clusters, "
    "in its own columns.",
    roles={"reader": None},
    params={},
    output_type="report",
    needs=frozenset({*_SPLITS, *(f"model/{family}" for family in Family)}),
    protocol=None,
    run=_run,
    plan=_plan,
    check_step=_check,
    check_follows=_check_follows,
)
