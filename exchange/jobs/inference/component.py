"""Components ``model/inference-aby3`` and ``-cheetah``: scores of a client's rows by another's network.

The network is a document of its owner, a ``.safetensors`` file, so agreements, uses and approvals hold for it
as for any asset, and receipts state its fingerprint. The features are the client's columns, in the order of
the step. With a helper by ABY3, between the two alone by CHEETAH. The client, who has to have asked itself,
gets the scores; a logistic function at the end is computed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors.documents import CONTENT
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    Run,
    StepContext,
    source,
    whole_number,
)
from exchange.jobs.encrypted_scoring import BOUND, bound_of, check_recipient, features_of
from exchange.jobs.engines import SPU
from exchange.jobs.estimates import Estimate, Estimator
from exchange.jobs.inference.sequential import Sequential, check_layers
from exchange.jobs.inference.state_dict import MAX_BYTES, network
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from federated.vertical import Family
from mpc.engines import networks
from mpc.engines.networks import FRACTION, Network, Task
from mpc.engines.shares import Sharing
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["ABY3", "CHEETAH"]

_DECIMALS: Final = 6
"""Of scores: as many as 2^-20 has a meaning for."""

_MOST_ROWS: Final = 1_000_000
_START_NS: Final = 3_000_000_000
_MEMORY_BYTES: Final = {Sharing.ABY3: 500 * 2**20, Sharing.CHEETAH: 1200 * 2**20}
_SETUP_BYTES: Final = {Sharing.ABY3: 20_000, Sharing.CHEETAH: 2_000_000}
_PRODUCT_BYTES: Final = {Sharing.ABY3: 0, Sharing.CHEETAH: 113}
_UNIT_BYTES: Final = {Sharing.ABY3: 295, Sharing.CHEETAH: 760}
_PRODUCT_NS: Final = {Sharing.ABY3: 50, Sharing.CHEETAH: 7_000}
_UNIT_NS: Final = {Sharing.ABY3: 4_000, Sharing.CHEETAH: 250_000}
_ROUNDS: Final = {Sharing.ABY3: 100, Sharing.CHEETAH: 3_000}
"""Measured on SPU 0.9.5 for networks of 5 to 98 units; a unit is one output of a layer for one row."""


def _player(kind: Sharing) -> Run:
    def run(context: StepContext) -> Outcome:
        step = context.step
        layers = Sequential.read(step.params["layers"], "layers")
        own: Network | NDArray[np.float64] | None = None
        if context.role == "client":
            own = features_of(context)
        elif context.role == "model_owner":
            own = network(_content(context), layers)
        mesh = context.mesh()
        rows = networks.stated_rows(mesh, kind, len(own) if isinstance(own, np.ndarray) else None)
        _check_rows(context, rows)
        task = Task(kind, layers.layers, rows, bound_of(step))
        scores = networks.score(
            mesh, task, own, context.hand_over.spool, context.rng, progress=context.progress
        )
        return Outcome(local=b"", files={} if scores is None else _files(scores, layers))

    return run


def _content(context: StepContext) -> bytes:
    """The model owner's document."""
    held = bytearray()
    for batch in context.read(CONTENT):
        column = batch.column(0)
        if not pa.types.is_binary(column.type):
            raise InvalidRequest("model", "a document, whose content is bytes", str(column.type))
        for part in column:
            held += part.as_py()
            if len(held) > MAX_BYTES:
                raise InvalidRequest("model", f"at most {MAX_BYTES} bytes", "more")
    return bytes(held)


def _check_rows(context: StepContext, rows: int) -> None:
    """Check the client's number of rows, at every party: many scores tell much of a network."""
    fewest, most = max(context.number("min_cohort"), context.minimum_cohort), context.number("max_rows")
    if not fewest <= rows <= most:
        raise JobFailed(f"step {context.step.id}: expected {fewest} to {most} rows to score, got {rows}")


def _files(scores: NDArray[np.int64], layers: Sequential) -> dict[str, bytes]:
    """Scores by number of the client's rows, from 0: logits, or what the logistic function makes of them."""
    values = scores * 2.0**-FRACTION
    if layers.has_sigmoid:
        values = Family.LOGISTIC.mean_of(values)
    rows, outputs = values.shape
    names = ("score",) if outputs == 1 else tuple(f"score{number}" for number in range(1, outputs + 1))
    lines: list[tuple[Cell, ...]] = [
        (row, *(f"{one:.{_DECIMALS}f}" for one in line)) for row, line in enumerate(values.tolist())
    ]
    facts = {"rows": rows, "link": "logistic" if layers.has_sigmoid else "identity"}
    return ResultTable(("row", *names), tuple(lines), facts).files()


def _check(step: Step) -> None:
    at = f"steps.{step.id}"
    check_recipient(step)
    layers = Sequential.read(step.params["layers"], f"{at}.params.layers")
    if bound_of(step) <= 0:
        raise InvalidRequest(f"{at}.params.bound", "more than 0", cast(str, step.params["bound"]))
    wanted, given = layers.layers[0].inputs, len(step.inputs["client"].columns)
    if wanted != given:
        expected = f"{wanted} columns, the inputs of the first layer"
        raise InvalidRequest(f"{at}.inputs.client.columns", expected, str(given))
    (column,) = step.inputs["model_owner"].columns
    if column.name != CONTENT:
        raise InvalidRequest(f"{at}.inputs.model_owner.columns", f"{CONTENT}, of a document", column.name)
    fewest, most = (cast(int, step.params[name]) for name in ("min_cohort", "max_rows"))
    if fewest > most:
        raise InvalidRequest(f"{at}.params.max_rows", f"at least min_cohort, {fewest}", str(most))


def _plan(step: Step) -> Plan:
    """The client sees what its rows and all weights make together; nobody sees the client's columns."""
    client, model = source(step, "client"), source(step, "model_owner")
    score = Aggregate(step.id, model.id, (), (("score", "sum", model.columns),))
    return (client, model, score, Reveal(step.id, ("score",), step.recipients))


def _estimator(kind: Sharing) -> Estimator:
    def estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
        layers = Sequential.read(step.params["layers"], "layers").layers
        scored = max(min(rows["client"], cast(int, step.params["max_rows"])), 1)
        batches = len(Task(kind, layers, scored, bound_of(step)).batches())
        products = scored * sum(layer.inputs * layer.outputs for layer in layers)
        units = scored * sum(layer.outputs for layer in layers)
        sent = batches * _SETUP_BYTES[kind] + products * _PRODUCT_BYTES[kind] + units * _UNIT_BYTES[kind]
        entered = 8 * scored * layers[0].inputs * (kind.computing - 1)
        roles = ("client", "model_owner", "helper")[: kind.computing]
        return {
            role: Estimate(
                sent_bytes=sent + (entered if role == "client" else 0),
                received_bytes=sent + (0 if role == "client" else entered // (kind.computing - 1)),
                rounds=batches * _ROUNDS[kind],
                work_ns=batches * _START_NS + products * _PRODUCT_NS[kind] + units * _UNIT_NS[kind],
                memory_bytes=_MEMORY_BYTES[kind],
                assumes="what SPU 0.9.5 sent and took for other networks",
            )
            for role in roles
        }

    return estimate


_CLIENT: Final = RoleInput(1, 64, frozenset({"feature", "measure"}), Level.ENCRYPTED_ONLY)
_MODEL: Final = RoleInput(1, 1, frozenset({"text"}), Level.AFTER_AGGREGATE)
_PARAMS: Final = {
    "layers": Param(
        "of the network, in the order of torch.nn.Sequential: a list of linear INPUTS OUTPUTS, relu, and at "
        "the end perhaps sigmoid",
        check_layers,
    ),
    "bound": BOUND,
    "min_cohort": Param("the fewest rows that are scored", whole_number(1, _MOST_ROWS)),
    "max_rows": Param(
        "the most rows that are scored: with the agreement's uses, what bounds how much of the network the "
        "scores tell",
        whole_number(1, _MOST_ROWS),
    ),
}

ABY3: Final = Component(
    name="model/inference-aby3",
    version=1,
    summary="A client gets scores of its rows by another's neural network; SPU computes among three parties.",
    roles={"client": _CLIENT, "model_owner": _MODEL, "helper": None},
    helpers=frozenset({"helper"}),
    params=_PARAMS,
    output_type="scores",
    needs=frozenset(),
    protocol=networks.ABY3,
    run=_player(Sharing.ABY3),
    plan=_plan,
    check_step=_check,
    estimate=_estimator(Sharing.ABY3),
    releasing=frozenset(),
    engine=SPU,
)

CHEETAH: Final = Component(
    name="model/inference-cheetah",
    version=1,
    summary="A client gets scores of its rows by another's neural network; SPU computes between the two.",
    roles={"client": _CLIENT, "model_owner": _MODEL},
    params=_PARAMS,
    output_type="scores",
    needs=frozenset(),
    protocol=networks.CHEETAH,
    run=_player(Sharing.CHEETAH),
    plan=_plan,
    check_step=_check,
    estimate=_estimator(Sharing.CHEETAH),
    releasing=frozenset(),
    engine=SPU,
)
