"""Component ``model/score-trees``: scores of aligned rows by boosted trees, for the label's owner.

Follows the step that aligned the rows and the one that grew the trees. Every other owner tells on which side
the rows are at each of its splits; ``owner-1``, which has to have asked itself, follows them down the trees.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from connectors import columns as connected
from exchange.errors import JobFailed
from exchange.jobs.boosting.part import Structure, TreesPart, score_table
from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, source, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.scoring.rows import ALIGNING, PART, check_before, check_told, scored_rows
from exchange.jobs.spec import Step
from federated import boosting
from federated.boosting import Settings, scoring
from mpc.mesh import mesh_run
from policies.column_control import Level
from policies.plans import Compare, Operator, Plan, Reveal, Select

__all__ = ["COMPONENT"]

_HOLDER = "owner-1"
_TRAINING = frozenset({"model/boosting"})
_SIDE_NS = 4
_BASE_BYTES = 100 * 2**20
_Floats = NDArray[np.float64]


def _run(context: StepContext) -> Outcome:
    part = TreesPart.decode(context.earlier[context.step.after[1]])
    if (part.structure is None) == (context.role == _HOLDER):
        raise JobFailed(f"step {context.step.id}: expected the structure of the trees at {_HOLDER} alone")
    rows = scored_rows(context, part.held_out)
    columns = [
        connected.measure_array(context.read(name), name)[rows].astype(np.float64) for name in part.columns
    ]
    with mesh_run(context.mesh(), boosting.SCORING) as peers:
        if part.structure is None:
            boosting.tell_sides(peers, columns, part.own, progress=context.progress)
            return Outcome(local=b"")
        known = part.structure
        margins = boosting.margins_of(
            peers, known.base, known.trees, columns, part.own, progress=context.progress
        )
    return Outcome(local=b"", files=_files(part, known, rows, margins))


def _files(part: TreesPart, known: Structure, rows: NDArray[np.int64], margins: _Floats) -> dict[str, bytes]:
    """Scores by number of the label holder's rows, in a table as `model/score` has it."""
    order = np.argsort(rows)
    scores = boosting.scores(margins, part.objective)[:, order]
    facts = {
        "objective": part.objective.value,
        "trees": len(known.trees) // len(known.base),
        "rows": len(rows),
    }
    files = score_table(rows[order], scores, facts).files()
    return {"result.json": files["result.json"], "scores.csv": files["table.csv"]}


def _check_follows(step: Step, before: Step) -> None:
    check_before(step, before, _TRAINING)


def _plan(step: Step) -> Plan:
    """Columns are compared with thresholds; owner-1 sees the outcomes of others' columns, row by row."""
    sources = {role: source(step, role) for role in _owners(step)}
    above = f"{step.id}.together"
    made: list[Operator] = [Select(above, tuple(one.id for one in sources.values()), rows=step.after[0])]
    sides = tuple(role for role in sources if role != _HOLDER)
    for role in sides:
        one = sources[role]
        compared = step.id if role == sides[-1] else f"{one.id}.sides"
        made.append(Compare(compared, above, role, tuple(f"{one.id}.{name}" for name in one.columns)))
        above = compared
    return (*sources.values(), *made, Reveal(above, sides, step.recipients))


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    owners, scored = _owners(step), min(rows.values())
    default = Settings()
    splits = default.trees * (2**default.depth - 1)
    sent = [scoring.bytes_sent(rank, scored, [splits] * len(owners)) for rank in range(len(owners))]
    return {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=sum(sent[1:]) if rank == 0 else sent[0] // (len(owners) - 1),
            rounds=scoring.rounds(len(owners), rank),
            work_ns=_SIDE_NS * scored * splits * (len(owners) if rank == 0 else 1),
            memory_bytes=_BASE_BYTES
            + 8 * scored * len(step.inputs[role].columns)
            + 2 * splits * scoring.PIECE_ROWS,
            assumes="that the intersection is the smallest input, that all its rows are scored, and "
            f"{splits} splits of each owner",
        )
        for rank, role in enumerate(owners)
    }


def _owners(step: Step) -> list[str]:
    return [f"owner-{number}" for number in range(1, len(step.inputs) + 1)]


COMPONENT = Component(
    name="model/score-trees",
    version=1,
    summary="Scores of aligned rows by boosted trees, told to the label's owner; others tell sides at their "
    "splits.",
    roles={
        "owner": RoleInput(1, 256, frozenset({"feature", "measure", "label", "group"}), Level.AFTER_COMPARE)
    },
    repeated={"owner": (2, 16)},
    params={
        "part": PART,
        "min_cohort": Param("fewest rows that are scored", whole_number(1, 2**31)),
    },
    output_type="scores",
    needs=ALIGNING | _TRAINING,
    takes_rows=True,
    releasing=frozenset(),
    protocol=boosting.SCORING,
    run=_run,
    plan=_plan,
    check_step=check_told,
    check_follows=_check_follows,
    estimate=_estimate,
)
