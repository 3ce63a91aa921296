"""Component ``psi/sum``: count, sums, means and variances over an intersection that neither owner learns.

A member without data, the helper, matches shuffled tags; it learns how many people match. Each owner's sums
are shared between it and the helper and meet at the recipient alone. An owner knows no count, so what it
states as the cohort of its release is the minimum below which the helper stops; and as the people it is
about, all of its own: it can compare releases no closer than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors import columns, identifiers
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import disclosure
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    one_of,
    source,
    whole_number,
)
from exchange.jobs.estimates import Estimate
from exchange.jobs.many_parties import NORMALISE, check_roles, joins, minimum_of, read_identifiers
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from ledger import canonical
from mpc import fixed_point
from mpc.circuit_psi import protocol
from mpc.circuit_psi.protocol import Size
from mpc.errors import ValueOutOfRange
from policies.column_control import Level
from policies.plans import Aggregate, Plan, Reveal

__all__ = ["COMPONENT", "SumShares"]

_SIDES: Final = ("left", "right")
_HELPER: Final = "helper"
_DIGITS: Final = 6
_ROW_NS: Final = 2_000
_CELL_NS: Final = 100


@dataclass(frozen=True)
class SumShares:
    """Shares of sums, modulo 2^64 as decimal texts; and the count, where the role knows it."""

    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    matched: int = -1

    def encode(self) -> bytes:
        """Encode, for sealing."""
        return canonical.encode(asdict(self))

    @classmethod
    def decode(cls, release: bytes) -> SumShares:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(release), "release")

    @classmethod
    def of(cls, rows: protocol.SharedRows) -> SumShares:
        """Add up the rows of one party."""
        left, right = (_sums(shares) for shares in (rows.left, rows.right))
        matched = -1 if rows.is_member is None else int(np.count_nonzero(rows.is_member))
        return cls(left, right, matched)


def _sums(shares: NDArray[np.uint64] | None) -> tuple[str, ...]:
    return (
        () if shares is None else tuple(str(total) for total in shares.sum(axis=0, dtype=np.uint64).tolist())
    )


def _squares(step: Step) -> bool:
    return step.params["figures"] == "variance"


def _run(context: StepContext) -> Outcome:
    minimum = minimum_of(context, "min_cohort")
    if context.role == _HELPER:
        shares = SumShares.of(protocol.helper(context.mesh(), minimum=minimum))
        return Outcome(local=b"", release=shares.encode(), cohort=shares.matched, figures=1)
    column = context.step.inputs[context.role].columns[0].name
    items = identifiers.to_bytes(identifiers.check(read_identifiers(context), column))
    measures = list(_measures(context, minimum))
    table = np.stack(measures, axis=1) if measures else np.zeros((len(items), 0), np.int64)
    rows = protocol.owner(context.mesh(), items, table, context.rng, minimum=minimum)
    about = np.arange(len(items), dtype=np.int64)
    return Outcome(
        local=b"",
        release=SumShares.of(rows).encode(),
        cohort=minimum,
        figures=1,
        rows=about,
        groups=np.zeros_like(about),
    )


def _measures(context: StepContext, minimum: int) -> Iterator[NDArray[np.int64]]:
    """The owner's measures, each followed by its squares where variances are asked for."""
    for column in context.step.inputs[context.role].columns[1:]:
        values = columns.measure_array(context.read(column.name), column.name)
        encoded = fixed_point.encode(list(values) if values.dtype == object else values, column.decimals)
        encoded = disclosure.rounded(encoded, context.rules.base_of(column.name, column.decimals))
        disclosure.check_dominance(context.rules, encoded, minimum, column.name)
        largest = int(np.abs(encoded).max(initial=0))
        power = 2 if _squares(context.step) else 1
        if len(encoded) * largest**power >= 2**63:
            raise ValueOutOfRange(f"column {column.name}: the sum of powers {power} may not fit 63 bits")
        yield encoded
        if power == 2:
            yield encoded * encoded


def _open(step: Step, released: Mapping[str, bytes]) -> ResultTable:
    parts = {role: SumShares.decode(release) for role, release in released.items()}
    count = parts[_HELPER].matched
    if count < 1:
        raise JobFailed(f"step {step.id}: the helper states {count} matches")
    rows: list[tuple[Cell, ...]] = []
    for side in _SIDES:
        given, every = step.inputs[side].columns[1:], 2 if _squares(step) else 1
        own, other = getattr(parts[side], side), getattr(parts[_HELPER], side)
        if not len(own) == len(other) == every * len(given):
            raise JobFailed(f"step {step.id}: the shares of {side} are not of {len(given)} columns")
        totals = [(int(one) + int(two) + 2**63) % 2**64 - 2**63 for one, two in zip(own, other, strict=True)]
        for at, column in enumerate(given):
            total = Fraction(totals[every * at], 10**column.decimals)
            row: list[Cell] = [side, column.name, _text(total, column.decimals), _text(total / count)]
            if every == 2:
                squares = Fraction(totals[2 * at + 1], 10 ** (2 * column.decimals))
                row.append(None if count < 2 else _text((squares - total * total / count) / (count - 1)))
            rows.append(tuple(row))
    names = ("side", "column", "sum", "mean", "variance")[: 5 if _squares(step) else 4]
    return ResultTable(names, tuple(rows), {"matched": count})


def _text(value: Fraction, digits: int = _DIGITS) -> str:
    return f"{Decimal(round(value * 10**digits)).scaleb(-digits):f}"


def _check(step: Step) -> None:
    check_roles(step)
    if sum(len(given.columns) - 1 for given in step.inputs.values()) == 0:
        raise InvalidRequest(
            f"steps.{step.id}.inputs", "a measure at one owner at least", "identifiers alone"
        )


def _plan(step: Step) -> Plan:
    """The recipients see figures over the rows that match, and nobody which rows these are."""
    left, right = (source(step, side) for side in _SIDES)
    joined = f"{step.id}.joined"
    told = ("sum", "variance") if _squares(step) else ("sum",)
    figures: list[tuple[str, str, tuple[str, ...]]] = [("count", "count", ())]
    for side in (left, right):
        measures = [f"{side.id}.{name}" for name in side.columns[1:]]
        figures += [(f"{figure} {name}", figure, (name,)) for name in measures for figure in told]
    return (
        left,
        right,
        *joins(joined, [(one.id, one.columns[0]) for one in (left, right)]),
        Aggregate(step.id, joined, (), tuple(figures)),
        Reveal(step.id, ("count",), (step.parties[_HELPER],)),
        Reveal(step.id, tuple(name for name, _, _ in figures), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    every = 2 if _squares(step) else 1
    left, right = (Size(rows[side], every * (len(step.inputs[side].columns) - 1), 0) for side in _SIDES)
    sent = [protocol.bytes_sent(rank, left, right) for rank in range(3)]
    cells = sum((left.rows + side.rows) * side.columns for side in (left, right))
    return {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=(sent[0] + sent[1]) if role == _HELPER else sent[2],
            rounds=protocol.rounds(rank, left, right),
            work_ns=_ROW_NS * (left.rows + right.rows) + _CELL_NS * cells,
            memory_bytes=200 * (left.rows + right.rows) + 32 * cells,
            assumes="what left and right send each other as nothing",
        )
        for rank, role in enumerate((*_SIDES, _HELPER))
    }


_INPUT = RoleInput(1, 17, frozenset({"identifier", "measure", "label", "feature"}), Level.AFTER_AGGREGATE)

COMPONENT = Component(
    name="psi/sum",
    version=1,
    summary="Count, sums, means, variances over people whom two owners know; neither learns who they are.",
    roles={"left": _INPUT, "right": _INPUT, "helper": None},
    params={
        "normalise": NORMALISE,
        "min_cohort": Param("fewest matches with which anything is released", whole_number(1, 2**31)),
        "figures": Param("mean, or variance for variances too", one_of("mean", "variance")),
    },
    output_type="aggregate",
    needs=frozenset(),
    protocol=protocol.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
    helpers=frozenset({_HELPER}),
    open_result=_open,
)
