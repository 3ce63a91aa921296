"""Component ``he/scoring``: a client's rows are scored by another's model, and neither shows its own.

The model is a table of its owner with a column of feature names and one of weights; the row named
``intercept`` is added to every score. The features are the client's columns, by name. Scores stay at the
client's node and are the result of the job, for which the client has to have asked itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from connectors import columns
from exchange.errors import InvalidRequest, JobFailed
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
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from mpc.he import ckks, scoring
from mpc.he.ckks import Link, Model
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["BOUND", "COMPONENT", "bound_of", "check_recipient", "features_of"]

INTERCEPT: Final = "intercept"
_FEATURE_NS: Final = {Link.LINEAR: 8_000_000, Link.LOGISTIC: 16_000_000}
_WEIGHT_NS: Final = {Link.LINEAR: 2_000_000, Link.LOGISTIC: 7_000_000}
_POLYNOMIAL_NS: Final = {Link.LINEAR: 0, Link.LOGISTIC: 350_000_000}


def _run(context: StepContext) -> Outcome:
    link, bound = _link(context.step), bound_of(context.step)
    if context.role == "model_owner":
        scoring.model_owner(context.channel("client"), _model(context), link=link, bound=bound)
        return Outcome(local=b"")
    decimals, features = context.number("decimals"), features_of(context)
    fewest = context.number("min_cohort")
    if len(features) < fewest:
        raise JobFailed(f"step {context.step.id}: expected at least {fewest} rows to score, found fewer")
    channel = context.channel("model_owner")
    scores = scoring.client(channel, features, link=link, bound=bound, decimals=decimals)
    texts = (f"{Decimal(score).scaleb(-decimals):f}" for score in scores.tolist())
    table = ResultTable(("row", "score"), tuple(enumerate(texts)), {"link": link.value, "rows": len(scores)})
    return Outcome(local=scores.astype("<i8").tobytes(), files=table.files())


def features_of(context: StepContext) -> NDArray[np.float64]:
    """The client's columns in the order of the step: float64[rows, features]."""
    names = [column.name for column in context.step.inputs["client"].columns]
    read = [columns.measure_array(context.read(name), name) for name in names]
    return np.stack([np.asarray(one, dtype=np.float64) for one in read], axis=1)


def _model(context: StepContext) -> Model:
    named, weighted = (column.name for column in context.step.inputs["model_owner"].columns)
    names = columns.column_array(context.read(named), named).cast("string").to_pylist()
    weights = np.asarray(columns.measure_array(context.read(weighted), weighted), dtype=np.float64)
    given = dict(zip(names, weights.tolist(), strict=True))
    wanted = [column.name for column in context.step.inputs["client"].columns]
    if len(given) != len(names) or set(given) != {*wanted, INTERCEPT}:
        raise JobFailed(
            f"step {context.step.id}: expected a model with a weight for each of {len(wanted)} features, by "
            f"name, and one for {INTERCEPT}; it has {len(names)} rows of other names"
        )
    return Model(np.array([given[name] for name in wanted]), given[INTERCEPT])


def _link(step: Step) -> Link:
    return Link(cast(str, step.params["link"]))


def bound_of(step: Step) -> float:
    """The largest magnitude of a feature."""
    return float(cast(str, step.params["bound"]))


def _check(step: Step) -> None:
    if not 0 < bound_of(step) <= ckks.LINEAR_RANGE:
        at = f"steps.{step.id}.params.bound"
        raise InvalidRequest(
            at, f"more than 0 and at most {ckks.LINEAR_RANGE:g}", cast(str, step.params["bound"])
        )
    check_recipient(step)


def check_recipient(step: Step) -> None:
    """Check that scores go to the client and to nobody else.

    Raises:
        InvalidRequest: they go elsewhere.
    """
    if step.recipients != (step.parties["client"],):
        at = f"steps.{step.id}.recipients"
        raise InvalidRequest(at, "the client, who alone gets scores", ", ".join(step.recipients) or "nobody")


def _plan(step: Step) -> Plan:
    """The client sees sums of the weights; nobody sees the client's features."""
    client, model = source(step, "client"), source(step, "model_owner")
    score = Aggregate(step.id, model.id, (), (("score", "sum", model.columns),))
    return (client, model, score, Reveal(step.id, ("score",), step.recipients))


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    link, features = _link(step), len(step.inputs["client"].columns)
    blocks = -(-rows["client"] // ckks.block_rows(link))
    sent = [scoring.largest_sent(rank, rows["client"], features, link) for rank in (0, 1)]
    work = (
        blocks * features * _FEATURE_NS[link],
        blocks * (features * _WEIGHT_NS[link] + _POLYNOMIAL_NS[link]),
    )
    return {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=sent[1 - rank],
            rounds=scoring.rounds(rows["client"], link),
            work_ns=work[rank],
            memory_bytes=8 * rows["client"] * features + 2 * sent[0] // max(blocks, 1),
            assumes="ciphertexts that do not compress",
        )
        for rank, role in enumerate(("client", "model_owner"))
    }


BOUND: Final = Param(
    "the largest magnitude of a feature, a decimal number", text_like(r"[0-9]{1,5}(\.[0-9]{1,6})?")
)
"""The parameter that `bound_of` reads."""

COMPONENT = Component(
    name="he/scoring",
    version=1,
    summary="A client gets scores of its encrypted rows by a model that stays with its owner.",
    roles={
        "client": RoleInput(1, scoring.MAX_FEATURES, frozenset({"feature", "measure"}), Level.ENCRYPTED_ONLY),
        "model_owner": RoleInput(2, 2, frozenset({"text", "measure"}), Level.AFTER_AGGREGATE),
    },
    params={
        "link": Param("linear or logistic", one_of(*Link)),
        "bound": BOUND,
        "decimals": Param("of the scores", whole_number(0, ckks.MAX_DECIMALS)),
        "min_cohort": Param("the fewest rows that are scored", whole_number(1, 2**31)),
    },
    output_type="scores",
    needs=frozenset(),
    protocol=scoring.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    releasing=frozenset(),
    engine=TENSEAL,
)
