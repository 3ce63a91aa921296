"""Components ``he/sums`` and ``he/open``: totals and averages over many owners' tables, under encryption.

Each owner encrypts the sums of its own columns and its number of rows under the reader's key; the first owner
adds the ciphertexts and releases what came of it, and the reader opens the totals. An owner with fewer rows
than the minimum takes no part, so no total is about fewer people than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors import columns
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import disclosure
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    source,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from ledger import canonical
from mpc import fixed_point
from mpc.he import paillier, sums
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal, Union

__all__ = ["OPEN", "SUMS"]

_FIRST: Final = "owner-1"
_MEAN_DIGITS: Final = 6
_ENCRYPT_NS: Final = 7_500_000
_DECRYPT_NS: Final = 11_000_000
_KEY_NS: Final = 1_000_000_000
_ROW_NS: Final = 30
_TAKING_PART: Final = canonical.encode({"taking_part": True})


def _run(context: StepContext) -> Outcome:
    if context.role == "reader":
        key = sums.reader(context.mesh(), context.rng)
        return Outcome(local=key.encode())
    encoded = [_column(context, one.name, one.decimals) for one in context.step.inputs[context.role].columns]
    rows = len(encoded[0])
    minimum = max(context.minimum_cohort, context.number("min_cohort"))
    if rows < minimum:
        raise JobFailed(
            f"step {context.step.id}: expected at least {minimum} rows at each owner, found fewer"
        )
    given = context.step.inputs[context.role].columns
    for column, values in zip(given, encoded, strict=True):
        disclosure.check_dominance(context.rules, values, rows, column.name)
    totals = np.array([rows, *(fixed_point.total(values) for values in encoded)], dtype=np.int64)
    combined = sums.owner(context.mesh(), totals, context.rng)
    return Outcome(
        local=b"",
        release=combined or _TAKING_PART,
        cohort=minimum,
        figures=1,
        rows=np.arange(rows, dtype=np.int64),
        groups=np.zeros(rows, dtype=np.int64),
    )


def _column(context: StepContext, name: str, decimals: int) -> NDArray[np.int64]:
    values = columns.measure_array(context.read(name), name)
    encoded = fixed_point.encode(list(values) if values.dtype == object else values, decimals)
    return disclosure.rounded(encoded, context.rules.base_of(name, decimals))


def _open(context: StepContext) -> Outcome:
    (name,) = context.step.after
    step, key = context.before[name], paillier.SecretKey.decode(context.earlier[name])
    owners = sum(role != "reader" for role in step.parties)
    rows, *totals = sums.decrypt(key, context.released[name][_FIRST], owners)
    table = []
    for column, total in zip(step.inputs[_FIRST].columns, totals, strict=True):
        exact = Decimal(total).scaleb(-column.decimals)
        table.append((column.name, f"{exact:f}", f"{round(exact / rows, _MEAN_DIGITS):f}"))
    facts = {"rows": rows, "owners": owners}
    return Outcome(local=b"", files=ResultTable(("column", "sum", "mean"), tuple(table), facts).files())


def _check(step: Step) -> None:
    shapes = {tuple(column.decimals for column in given.columns) for given in step.inputs.values()}
    if len(shapes) != 1:
        raise InvalidRequest(
            f"steps.{step.id}.inputs",
            "as many columns at each owner, with the same decimals in the same order",
            f"{len(shapes)} different shapes",
        )
    if step.recipients != (step.parties["reader"],):
        raise InvalidRequest(
            f"steps.{step.id}.recipients", "the reader", ", ".join(step.recipients) or "nobody"
        )


def _check_open(step: Step) -> None:
    if len(step.after) != 1:
        raise InvalidRequest(f"steps.{step.id}.after", "one step", str(len(step.after)))


def _owners(step: Step) -> list[str]:
    return sorted((role for role in step.parties if role != "reader"), key=lambda role: int(role[6:]))


def _plan(step: Step) -> Plan:
    """Every owner's rows are one table, of which the reader sees the totals; nobody sees anything else."""
    sources = [source(step, role) for role in _owners(step)]
    figures = [
        Aggregate(f"{one.id}.sums", one.id, (), (("rows", "count", ()), *_sums_of(one.columns)))
        for one in sources
    ]
    unions, above = [], figures[0].id
    for number, figure in enumerate(figures[1:], start=2):
        name = step.id if number == len(figures) else f"{step.id}.of-{number}"
        unions.append(Union(name, above, figure.id))
        above = name
    shown = tuple(name for name, _, _ in figures[0].figures)
    return (*sources, *figures, *unions, Reveal(step.id, shown, step.recipients))


def _sums_of(names: Sequence[str]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    return tuple((f"sum-{number}", "sum", (name,)) for number, name in enumerate(names, start=1))


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    owners = _owners(step)
    values = 1 + len(step.inputs[_FIRST].columns)
    ciphertexts = paillier.ciphertexts_for(values)
    from_reader = sums.bytes_sent(len(owners), len(owners), values) // len(owners)
    confirmed = sums.bytes_sent(0, len(owners), values)
    received = {
        _FIRST: from_reader + (len(owners) - 1) * (sums.bytes_sent(1, len(owners), values) - confirmed),
        "reader": confirmed,
    }
    return {
        role: Estimate(
            sent_bytes=sums.bytes_sent(rank, len(owners), values),
            received_bytes=received.get(role, from_reader),
            rounds=sums.rounds(rank, len(owners)),
            work_ns=_KEY_NS if role == "reader" else _ENCRYPT_NS * ciphertexts + _ROW_NS * rows[role],
            memory_bytes=8 * rows.get(role, 0) * values,
        )
        for rank, role in enumerate((*owners, "reader"))
    }


SUMS = Component(
    name="he/sums",
    version=1,
    summary="Sums over the tables of many owners, added under the reader's encryption key.",
    roles={
        "owner": RoleInput(1, 64, frozenset({"measure", "label", "feature"}), Level.AFTER_AGGREGATE),
        "reader": None,
    },
    params={"min_cohort": Param("the fewest rows an owner takes part with", whole_number(1, 2**31))},
    output_type="aggregate",
    needs=frozenset(),
    protocol=sums.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    repeated={"owner": (2, sums.MAX_OWNERS)},
    releasing=frozenset({"owner"}),
)

OPEN = Component(
    name="he/open",
    version=1,
    summary="The reader opens the totals that the owners added under its key.",
    roles={"reader": None},
    params={},
    output_type="report",
    needs=frozenset({"he/sums"}),
    protocol=None,
    run=_open,
    plan=lambda step: (),
    check_step=_check_open,
)
