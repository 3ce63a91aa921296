"""Component ``bridge/flower``: owners and an aggregator run a Flower app, and nobody sees one owner's answer.

The app's ``ClientApp`` runs at each owner over its rows, its ``ServerApp`` at the aggregator, both as
processes without network and files. The server sees one node, all owners together: what it asks goes to each,
and the weighted mean of their answers comes back by secure aggregation with drop-outs. The aggregator
releases the last arrays, and every owner in the last answer the digest of what it has itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Annotated, Final, cast

import numpy as np
from numpy.typing import NDArray

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
from exchange.jobs.flower.installation import Flower
from exchange.jobs.flower.model import JointArrays
from exchange.jobs.flower.parts import Config, answering, serve
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
    check_shown,
    estimates_of,
    others_of,
    own_rows,
    owners_of,
    terms_of,
    united,
)
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from exchange.web.kinds import Rule, read_as
from federated.horizontal import costs
from federated.horizontal.apps import (
    MAX_MESSAGES,
    MAX_METRICS,
    MAX_NUMBERS,
    SPEC,
    Agreed,
    Kind,
    answer_app,
    serve_app,
)
from federated.horizontal.settings import MAX_CLIP, MAX_OWNERS, MIN_OWNERS
from federated.horizontal.standardise import check_finite
from mpc.engines.flower import MEMORY_BYTES
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["agreed_of", "component_of"]

_NAME: Final = re.compile(r"[!-~]{1,128}")
_CLIP: Final = 4 * MILLION
_ROW_NS: Final = 2_000
_CELL_NS: Final = 3
_WORD_NS: Final = 4
_OWNER_NS: Final = 400_000
_START_NS: Final = 10**9
"""A row of one answer; a row and number of one; a word and owner; agreeing on keys with an owner; the app's
imports."""
_KINDS: Final = {Kind.TRAIN: "train_metrics", Kind.EVALUATE: "evaluate_metrics"}
_Length = Annotated[int, Rule("a length", minimum=1, maximum=MAX_NUMBERS)]
_Names = Annotated[tuple[str, ...], Rule("names of metrics", maximum=MAX_METRICS)]


@dataclass(frozen=True)
class _Array:
    """One of the parameter ``arrays``."""

    name: Annotated[str, Rule("1 to 128 printable characters", pattern=_NAME.pattern)]
    shape: Annotated[tuple[_Length, ...], Rule("lengths of up to 8 dimensions", maximum=8)]


@dataclass
class _Reached:
    """How far a run is, told again and again: a node that is told to stop says so then."""

    progress: Callable[[int, int], None]
    total: int
    done: int = 0

    def tell(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        self.look()

    def look(self) -> None:
        self.progress(self.done, self.total)


def component_of(flower: Flower) -> Component:
    """The component as a node with that installation runs it."""
    return Component(
        name="bridge/flower",
        version=1,
        summary="A Flower app over the rows of many owners; its server sees the mean of all answers alone.",
        roles={
            AGGREGATOR: None,
            "owner": RoleInput(1, 257, frozenset({"feature", "measure", "label"}), Level.AFTER_AGGREGATE),
        },
        params={
            "app": Param(
                "SHA-256 of the app's file in hexadecimal; every party has it",
                text_like("[0-9a-f]{64}"),
            ),
            "arrays": Param(
                f"name and shape of each array, in order; together at most {MAX_NUMBERS} numbers",
                _check_arrays,
            ),
            "model": Param(
                "who learns the arrays besides the aggregator and the owners: owners, nobody, and the "
                "recipients only the metrics; recipients, they do",
                one_of("owners", "recipients"),
            ),
            **TAKING_PART,
            "messages": Param("most messages of the server", whole_number(1, MAX_MESSAGES)),
            "train_metrics": Param(
                "names of the metrics of training that are answered; none", _check_metrics, optional=True
            ),
            "evaluate_metrics": Param(
                "names of the metrics of an evaluation that are answered; none", _check_metrics, optional=True
            ),
            "config": Param(
                "the app's run_config: texts, whole numbers and truth values; none",
                _check_config,
                optional=True,
            ),
            "clip_micro": Param(
                f"largest norm of an owner's update in a message, in millionths; {_CLIP}",
                whole_number(10_000, MAX_CLIP * MILLION),
                optional=True,
            ),
        },
        output_type="aggregate",
        needs=frozenset(),
        protocol=SPEC,
        run=partial(_run, flower),
        plan=_plan,
        check_step=_check,
        lacks=partial(_lacks, flower),
        estimate=_estimate,
        repeated={"owner": (MIN_OWNERS, MAX_OWNERS)},
        helpers=frozenset({AGGREGATOR}),
        engine=flower.engine(),
        tells_parties=True,
        absences=ABSENCES,
        open_result=_open,
    )


def agreed_of(step: Step) -> Agreed:
    """What the parameters of a step say; what they leave out has its default."""
    arrays = _arrays(step.params["arrays"], f"steps.{step.id}.params.arrays")
    return Agreed(
        shapes={one.name: one.shape for one in arrays},
        metrics={kind: tuple(cast("list[str]", step.params.get(name, []))) for kind, name in _KINDS.items()},
        messages=cast(int, step.params["messages"]),
        clip=cast(int, step.params.get("clip_micro", _CLIP)) / MILLION,
        least_rows=cast(int, step.params["min_cohort"]),
    )


def _run(flower: Flower, context: StepContext) -> Outcome:
    step, agreed = context.step, agreed_of(context.step)
    roles, terms, others = owners_of(step), terms_of(context, SPEC), others_of(context)
    python, source = _installed(flower, step)
    base, patience_s = context.hand_over.spool, context.number("patience_s")
    config = cast(Config, step.params.get("config", {}))
    reached = _Reached(context.progress, agreed.messages)
    part = (python, base, source, agreed, config, patience_s, reached.look)
    if context.role == AGGREGATOR:
        served = serve_app(others, terms, agreed, lambda ask: serve(*part, ask), reached.tell)
    else:
        own = _own_rows(context)
        number = roles.index(context.role) + 1
        with answering(*part, own) as answer:
            served = answer_app(
                context.channel(AGGREGATOR),
                others,
                terms,
                number,
                agreed,
                answer,
                len(own),
                context.rng,
                reached.tell,
            )
    joint = JointArrays.of(str(step.params["app"]), agreed, served, roles)
    shown = joint if _is_shown(step) else joint.without_values()
    absent = tuple(role for role in roles if role not in joint.present)
    if context.role == AGGREGATOR:
        fewest = min(one.rows for one in served.told)
        return Outcome(local=b"", release=shown.encode(), cohort=fewest, figures=1, absent=absent)
    return Outcome(
        local=joint.encode(),
        release=Held.of(shown.encode()).encode(),
        cohort=len(own),
        figures=1,
        rows=np.arange(len(own), dtype=np.int64),
        groups=np.zeros(len(own), dtype=np.int64),
        absent=absent,
    )


def _own_rows(context: StepContext) -> NDArray[np.void]:
    """The rows of this owner as an app reads them: a field of float64 for each column.

    Raises:
        JobFailed: too few, or rules of this owner that cannot be kept where an app computes.
        ValueOutOfRange: values that are missing or not finite; counted.
    """
    check_shown(context, context.number("min_cohort"), "an app's answers")
    names = [column.name for column in context.step.inputs["owner-1"].columns]
    values = own_rows(context, names)
    rows = np.zeros(len(values), dtype=[(name, "<f8") for name in names])
    for at, name in enumerate(names):
        check_finite(values[:, at], name)
        rows[name] = values[:, at]
    return rows


def _installed(flower: Flower, step: Step) -> tuple[Path, bytes]:
    """The interpreter and the app's file; raises ``JobFailed`` where this node lacks one."""
    source = flower.source(str(step.params["app"]))
    if flower.python is None or source is None:
        raise JobFailed(f"step {step.id}: {_lacks(flower, step) or 'expected flower_python, got nothing'}")
    return flower.python, source


def _lacks(flower: Flower, step: Step) -> str | None:
    digest = str(step.params["app"])
    if flower.source(digest) is not None:
        return None
    return f"expected the app {digest[:16]}… in flower_apps, as {digest}.py with that SHA-256, got none"


def _open(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    """Read the arrays, of which every owner in the last answer and nobody else must have released the digest.

    Raises:
        JobFailed: the releases do not fit each other or the step.
    """
    joint, agreed = JointArrays.decode(releases[AGGREGATOR]), agreed_of(step)
    check_held(step, releases, joint.present)
    told = (joint.app, joint.names, joint.shapes, bool(joint.values))
    arrays = (tuple(agreed.shapes), tuple(agreed.shapes.values()))
    if told != (step.params["app"], *arrays, _is_shown(step)):
        raise JobFailed(f"step {step.id}: the aggregator's release has other figures than were asked for")
    found = joint.table()
    return ResultTable(found.columns, found.rows, {**found.facts, **attendance(step, joint.present)})


def _is_shown(step: Step) -> bool:
    return step.params["model"] == "recipients"


def _check(step: Step) -> None:
    check_owners(step)
    if not step.recipients and _is_shown(step):
        raise InvalidRequest(f"steps.{step.id}.recipients", "who receives the arrays", "nobody")


def _arrays(value: object, at: str) -> tuple[_Array, ...]:
    found: tuple[_Array, ...] = read_as(tuple[_Array, ...], value, at)
    return found


def _check_arrays(value: object, at: str) -> None:
    arrays = _arrays(value, at)
    if len({one.name for one in arrays}) != len(arrays):
        raise InvalidRequest(at, "each array once", "one twice")
    count = sum(prod(one.shape) for one in arrays)
    if not 1 <= count <= MAX_NUMBERS:
        raise InvalidRequest(at, f"1 to {MAX_NUMBERS} numbers", str(count))


def _check_metrics(value: object, at: str) -> None:
    names = read_as(_Names, value, at)
    if len(set(names)) != len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise InvalidRequest(at, "different names of 1 to 128 printable characters", repr(names)[:60])
    if "num-examples" in names:
        raise InvalidRequest(at, "other metrics than num-examples, which is always told", "num-examples")


def _check_config(value: object, at: str) -> None:
    if not isinstance(value, dict) or len(value) > 64:
        raise InvalidRequest(at, "at most 64 values by name", repr(value)[:40])
    for name, one in value.items():
        if not isinstance(one, str | int) or len(f"{name}{one}") > 1_000:
            expected = "a text, a whole number or a truth value, at most 1000 characters with its name"
            raise InvalidRequest(f"{at}.{name}"[:200], expected, repr(one)[:40])


def _plan(step: Step) -> Plan:
    """What an app makes of the rows of all owners; who learns it learns its arrays and its metrics."""
    operators, rows = united(step)
    every = tuple(column.name for column in step.inputs["owner-1"].columns)
    told: tuple[tuple[str, str, tuple[str, ...]], ...] = (("rows", "count", ()), ("metrics", "fit", every))
    fitted = (*told, ("arrays", "fit", every))
    learners = dict.fromkeys([step.parties[role] for role in (AGGREGATOR, *owners_of(step))])
    if _is_shown(step):
        learners |= dict.fromkeys(step.recipients)
    return (
        *operators,
        Aggregate(step.id, rows, (), fitted),
        Reveal(step.id, tuple(name for name, _, _ in fitted), tuple(learners)),
        Reveal(step.id, tuple(name for name, _, _ in told), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    agreed, owners = agreed_of(step), len(step.inputs)
    kinds = [Kind.TRAIN] * agreed.messages
    phases: Callable[[str], int] = partial(
        costs.app_receiving_phases, owners=owners, messages=agreed.messages
    )
    traffic = Traffic(
        sent=costs.app_sent("owner", owners, agreed, kinds),
        told=costs.app_sent(AGGREGATOR, owners, agreed, kinds),
        compared=costs.app_compared(owners, agreed.messages),
        owner_phases=phases("owner"),
        aggregator_phases=phases(AGGREGATOR),
    )
    return estimates_of(
        step,
        traffic,
        work_ns=_START_NS + (_WORD_NS * agreed.count + _OWNER_NS) * owners * agreed.messages,
        memory_bytes=MEMORY_BYTES + 8 * agreed.count * (owners + 4),
        own={
            role: (
                (_ROW_NS + _CELL_NS * agreed.count) * rows.get(role, 0) * agreed.messages,
                MEMORY_BYTES + 24 * rows.get(role, 0) * len(step.inputs[role].columns) + 64 * agreed.count,
            )
            for role in step.inputs
        },
        assumes="that the server sends all its messages, each of training, that the app passes its rows once "
        "for each, and that no owner is absent",
    )
