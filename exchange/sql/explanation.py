"""``EXPLAIN``: each operator of a query, where it runs, what it costs, and who learns what by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from exchange.sql.costs import Sizes, assumed, secret_costs
from exchange.sql.expressions import Expression, aggregates_in
from exchange.sql.figures import recipient_roots, recipient_totals, uses
from exchange.sql.matching import ECDH, Matching
from exchange.sql.program import Program
from exchange.sql.pushdown import as_filter
from exchange.sql.query import Join, write
from mpc.replicated.costs import Cost

__all__ = ["BYTE_NS", "JoinCost", "Learnt", "Operator", "explain", "join_costs", "rows_bound"]

BYTE_NS: Final = 12
"""Local work for a byte that a computing party sends."""
_ROUND_NS: Final = 300_000
"""What a round takes on one machine; over a network its latency comes on top."""


@dataclass(frozen=True)
class Learnt:
    """What a party comes to know by an operator."""

    who: str
    what: str


@dataclass(frozen=True)
class Operator:
    """One line of the plan.

    Attributes:
        id: of this operator; ``inputs`` are those that it takes from.
        kind: scan, filter, calculate, join, select, group, cohorts, having, limit, answer or open.
        where: who runs it, by name; several for an operator on shares.
        detail: the expressions, as SQL.
        rows: how many rows or groups at most.
        sent_bytes: of all parties together. rounds: receiving phases. milliseconds: on the reference machine.
        learns: what somebody learns by it.
    """

    id: str
    kind: str
    where: tuple[str, ...]
    inputs: tuple[str, ...]
    detail: str
    rows: int
    sent_bytes: int = 0
    rounds: int = 0
    milliseconds: int = 0
    learns: tuple[Learnt, ...] = ()

    def as_json(self) -> dict[str, object]:
        """As the API has it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "where": list(self.where),
            "inputs": list(self.inputs),
            "detail": self.detail,
            "rows": self.rows,
            "sent_bytes": self.sent_bytes,
            "rounds": self.rounds,
            "milliseconds": self.milliseconds,
            "learns": [{"who": one.who, "what": one.what} for one in self.learns],
        }


@dataclass(frozen=True)
class JoinCost:
    """What one owner's side of an intersection costs."""

    keys: int
    sent: int
    received: int
    rounds: int
    work_ns: int


def rows_bound(program: Program, counts: Sequence[int]) -> int:
    """How many rows there are at most: of a union all, of joins no more than the least that must match."""
    if program.is_union:
        return max(sum(counts), 1)
    bound = counts[0]
    for count, join in zip(counts[1:], program.query.joins, strict=True):
        bound = bound if join.is_left else min(bound, count)
    return max(bound, 1)


def join_costs(program: Program, counts: Sequence[int], matching: Matching) -> list[dict[int, JoinCost]]:
    """For each join, the cost of either side by rank, where all rows have keys."""
    names = [table.name for table in program.tables]
    found = []
    rows = counts[0]
    for child, join in enumerate(program.query.joins, start=1):
        parent, own, other = names.index(join.with_), rows, counts[child]
        sent, received = matching.sends(own, other, True), matching.sends(other, own, False)
        work_ns = matching.start_ns + matching.key_ns * (own + other) // 2
        sides = {
            parent: JoinCost(own, sent, received, matching.rounds(own, other), work_ns),
            child: JoinCost(other, received, sent, matching.rounds(other, own), work_ns),
        }
        found.append(sides)
        rows = rows if join.is_left else min(rows, other)
    return found


@dataclass
class _Lines:
    """The operators so far."""

    made: list[Operator] = field(default_factory=list)

    def add(self, **values: object) -> str:
        name = str(len(self.made) + 1)
        self.made.append(Operator(id=name, **values))  # type: ignore[arg-type]  # by keyword, as declared
        return name


def explain(
    program: Program,
    owners: Sequence[str],
    counts: Sequence[int],
    helper: str | None,
    recipient: str,
    matching: Matching = ECDH,
) -> tuple[Operator, ...]:
    """List the operators of a query.

    Args:
        program: the query.
        owners: their names, in the order of its assets.
        counts: rows of each asset.
        helper: the name of the third computing party; None where three owners are.
        recipient: the name of who opens the answer.
        matching: how keys are matched.
    """
    lines = _Lines()
    parties = [*owners, *([] if helper is None else [helper])]
    tops = [_local(lines, program, at, owners, counts) for at in range(len(owners))]
    computing = tuple(parties[:3])
    bound = rows_bound(program, counts)
    if program.is_union:
        inputs = tuple(tops)
    else:
        inputs = (_joins(lines, program, owners, counts, tops, parties, matching),)
    sizes = assumed(program, bound)
    costs = secret_costs(program, sizes, len(parties))
    groups = _groups(program, sizes)
    for stage, cost in costs.items():
        if stage == "run":
            continue
        top = lines.add(
            kind=stage,
            where=computing,
            inputs=inputs,
            detail=_detail(program, stage),
            rows=bound if stage == "filter" else groups,
            **_costs(cost, len(parties)),
            learns=_stage_learns(program, stage, owners, parties),
        )
        inputs = (top,)
    lines.add(
        kind="open",
        where=(recipient,),
        inputs=inputs,
        detail=", ".join(f"{write(item.value)} AS {item.name}" for item in program.query.items),
        rows=min(groups, program.query.limit or groups),
        learns=tuple(Learnt(recipient, what) for what in _opened(program)),
    )
    return tuple(lines.made)


def _local(lines: _Lines, program: Program, at: int, owners: Sequence[str], counts: Sequence[int]) -> str:
    """Reading and filtering at one owner."""
    table = program.tables[0 if program.is_union else at]
    part = table.parts[at if program.is_union else 0]
    own = dict(part.columns)
    columns = ", ".join(own[column.name] for column in program.reads(table.name))
    place = {"where": (owners[at],), "rows": counts[at]}
    top = lines.add(kind="scan", inputs=(), detail=f"{part.asset.replace('/', '.')}: {columns}", **place)
    kept = program.filters.get(table.name)
    if kept is not None:
        pushed = "typed filter" if as_filter(kept) is not None else "calculated"
        top = lines.add(kind="filter", inputs=(top,), detail=f"{write(kept)} ({pushed})", **place)
    return top


def _joins(
    lines: _Lines,
    program: Program,
    owners: Sequence[str],
    counts: Sequence[int],
    tops: Sequence[str],
    parties: Sequence[str],
    matching: Matching,
) -> str:
    names = [table.name for table in program.tables]
    top, joined = tops[0], [owners[0]]
    for child, (join, sides) in enumerate(
        zip(program.query.joins, join_costs(program, counts, matching), strict=True), 1
    ):
        parent = names.index(join.with_)
        learns = [
            Learnt(owners[parent], f"which of its rows {owners[child]} has, and how many keys that has"),
            Learnt(owners[child], f"which of its rows {owners[parent]} has, and how many keys that has"),
        ]
        if not join.is_left:
            learns += [
                Learnt(one, f"which of the rows joined before {owners[child]} has")
                for one in joined
                if one != owners[parent]
            ]
        top = lines.add(
            kind="join",
            where=(owners[parent], owners[child]),
            inputs=(top, tops[child]),
            detail=f"{_join_text(join)}, by {matching.name}",
            rows=min(side.keys for side in sides.values()),
            sent_bytes=sum(side.sent for side in sides.values()),
            rounds=max(side.rounds for side in sides.values()),
            milliseconds=max(side.work_ns for side in sides.values()) // 1_000_000,
            learns=tuple(learns),
        )
        joined.append(owners[child])
    rest = tuple(Learnt(one, "how many rows are joined") for one in parties)
    return lines.add(
        kind="align",
        where=tuple(owners),
        inputs=(top,),
        detail="",
        rows=rows_bound(program, counts),
        learns=rest,
    )


def _join_text(join: Join) -> str:
    keys = " AND ".join(f"{write(one)} = {write(other)}" for one, other in join.keys)
    return f"{'LEFT' if join.is_left else 'INNER'} ON {keys}"


def _costs(cost: Cost, parties: int) -> dict[str, int]:
    sent = sum(cost.sent) + cost.outside * max(parties - 3, 0)
    return {
        "sent_bytes": sent,
        "rounds": cost.rounds,
        "milliseconds": (BYTE_NS * sent + _ROUND_NS * cost.rounds) // 1_000_000,
    }


def _groups(program: Program, sizes: Sizes) -> int:
    if not program.query.is_grouped:
        return sizes.rows
    if program.is_union:
        return sum(sizes.groups)
    count = 1
    for one in (*sizes.groups, *(len(key.outcomes) for key in program.secret_keys)):
        count *= one
    return count


def _detail(program: Program, stage: str) -> str:
    query = program.query
    match stage:
        case "filter":
            parts = [*program.filters.values(), *([] if program.condition is None else [program.condition])]
            return " AND ".join(write(part) for part in parts) or "every row"
        case "group":
            figures = (*program.totals, *program.picks)
            by = ", ".join(write(key) for key in query.keys) or "all rows together"
            return f"by {by}: COUNT(*)" + "".join(f", {_figure(one)}" for one in figures)
        case "cohorts":
            return f"figures of at least {program.minimum} rows"
        case "having":
            return "" if query.having is None else write(query.having)
        case "limit":
            order = ", ".join(write(one.value) for one in query.order)
            return f"{query.limit} by {order}" if order else f"{query.limit}"
    return "shares of what is shown, under fresh masks"


def _figure(node: Expression) -> str:
    text = write(node)
    return text if aggregates_in(node) else f"SUM over {text}"


def _stage_learns(
    program: Program, stage: str, owners: Sequence[str], parties: Sequence[str]
) -> tuple[Learnt, ...]:
    """Sizes that are public among the parties; nothing else is learnt on shares."""
    if stage != "group":
        return ()
    found = [Learnt(one, "which columns of the others lack some value") for one in parties]
    names = [table.name for table in program.tables]
    holders = owners if program.is_union and program.local_keys else []
    if not program.is_union:
        found += [
            Learnt(one, f"how many values the grouping expressions of {owners[names.index(key.table)]} have")
            for key in program.local_keys
            for one in parties
            if one != owners[names.index(key.table)]
        ]
        return tuple(found)
    found = [Learnt(one, "how many rows each owner has") for one in parties]
    found += [
        Learnt(one, f"how many groups {holder} has") for holder in holders for one in parties if one != holder
    ]
    return tuple(found)


def _opened(program: Program) -> list[str]:
    """What the recipient learns: the figures that the answer is calculated from."""
    roots = recipient_roots(program)
    if not program.query.is_grouped:
        return [*(write(root) for root in roots), "how many rows are joined"]
    found = [write(key) for key in program.query.keys if any(uses(root, key) for root in roots)]
    for aggregate in aggregates_in(*roots):
        figures = [_figure(total) for total in recipient_totals(aggregate)]
        text = write(aggregate)
        found.append(f"{text}, from {', '.join(figures)}" if len(figures) > 1 else text)
    return [*found, "how many groups there may be, and how many are not shown"]
