"""Budgets: what an agreement or an asset may give away, and spending it.

All of a job's spending happens in one rule, ``job.start``: uses, privacy loss, points and the rate of jobs,
of the agreement and of the asset over all agreements, each checked before anything is written. So no two
jobs spend the same unit. A job that ends before every owner has let it start gives back what it had spent,
because nothing ran; starts count for the rate all the same.

Privacy loss is kept as Renyi differential privacy: one number for each of the fixed ``ORDERS``, in
millionths, rounded up by whoever spends. Under composition the numbers add (Mironov 2017, proposition 1), so
the ledger adds integers. ``epsilon`` converts to (epsilon, delta) with delta = 10**-k by proposition 3,
``epsilon = min over orders a of loss(a) + k ln(10) / (a - 1)``, every division rounded up: never less than
the formula, and at most a few millionths more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from ledger.canonical import MAX_INTEGER
from ledger.errors import Refusal
from ledger.rules import approvals, shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State
from ledger.times import format_time, parse_time

__all__ = [
    "ASSET_LIMITS",
    "LIMITS",
    "ORDERS",
    "SPENDS",
    "amend",
    "epsilon",
    "give_back",
    "is_within",
    "publish",
    "spend",
    "spend_queries",
    "without_job",
]

ORDERS: Final = (
    *(5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 40, 48),
    *(64, 80, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096),
)
"""Orders of the Renyi divergence that losses are kept at, in quarters: 5 is order 1.25, 4096 order 1024."""

_LN10_MICRO: Final = 2_302_586
"""ln(10) = 2.302585092994… in millionths, rounded up."""

_MOST_JOBS: Final = 1024


_RATE = shapes.record({"jobs": shapes.between(1, _MOST_JOBS), "seconds": shapes.between(1, 366 * 86_400)})
_PRIVACY: Mapping[str, shapes.Shape] = {
    "epsilon_micro": shapes.POSITIVE,
    "delta_exponent": shapes.between(1, 30),
}
_AGREEMENT_LIMITS = shapes.record(
    {"uses": shapes.POSITIVE, "expires": shapes.TIME},
    extra={
        **_PRIVACY,
        "points": shapes.POSITIVE,
        "price": shapes.POSITIVE,
        "rate": _RATE,
        "approval": approvals.LIMIT,
    },
)
_ASSET_LIMITS = shapes.record({}, extra={**_PRIVACY, "uses": shapes.POSITIVE, "rate": _RATE})
_NEEDS: Final = (
    ("epsilon_micro", "delta_exponent"),
    ("delta_exponent", "epsilon_micro"),
    ("points", "price"),
)


def LIMITS(value: object, where: str) -> dict[str, Any]:  # noqa: N802 - a shape, named as the others
    """The limits of an agreement; an absent one is not limited."""
    return _paired(_AGREEMENT_LIMITS(value, where), where)


def ASSET_LIMITS(value: object, where: str) -> dict[str, Any]:  # noqa: N802 - a shape, named as the others
    """The limits of an asset over all its agreements; at least one."""
    limits = _paired(_ASSET_LIMITS(value, where), where)
    if not limits:
        raise shapes.malformed(where, "at least one of epsilon_micro, rate, uses")
    return limits


def _paired(limits: dict[str, Any], where: str) -> dict[str, Any]:
    for one, other in _NEEDS:
        if one in limits and other not in limits:
            raise shapes.malformed(where, f"{other} where there is {one}")
    return limits


def _distinct_spends(value: object, where: str) -> list[dict[str, Any]]:
    spends: list[dict[str, Any]] = shapes.list_of(_SPEND, most=64)(value, where)
    if len({one["agreement"] for one in spends}) != len(spends):
        raise shapes.malformed(where, "one spend for an agreement")
    return spends


_SPEND = shapes.record(
    {
        "agreement": shapes.identifier("agreement"),
        "rdp": shapes.list_of(shapes.COUNT, least=len(ORDERS), most=len(ORDERS), distinct=False),
    }
)
SPENDS: Final[shapes.Shape] = _distinct_spends
"""The privacy loss of a job by agreement, as the provider states it when it starts the job."""

_AMEND = shapes.record({"asset": shapes.ASSET_ID, "budget": ASSET_LIMITS, "reason": shapes.REASON})


def epsilon(rdp: Sequence[int], delta_exponent: int) -> int:
    """Convert a loss at ``ORDERS`` into epsilon in millionths, at delta = 10 ** -``delta_exponent``.

    A loss of nothing is epsilon 0.
    """
    if not any(rdp):
        return 0
    slack = delta_exponent * _LN10_MICRO * 4
    return min(loss + -(-slack // (order - 4)) for loss, order in zip(rdp, ORDERS, strict=True))


def is_within(granted: Row, asked: Row) -> bool:
    """Whether the limits of an agreement allow no more than those that were asked for."""
    if granted["uses"] > asked["uses"] or parse_time(granted["expires"]) > parse_time(asked["expires"]):
        return False
    if "points" in asked and granted.get("points", MAX_INTEGER + 1) > asked["points"]:
        return False
    if granted.get("price", 0) < asked.get("price", 0):
        return False
    return approvals.is_within(granted, asked) and _is_narrower(granted, asked)


def _is_narrower(new: Row, old: Row) -> bool:
    """Whether every limit of ``old`` on privacy loss and rate is kept or tightened in ``new``."""
    if "epsilon_micro" in old and not (
        "epsilon_micro" in new
        and new["epsilon_micro"] <= old["epsilon_micro"]
        and new["delta_exponent"] >= old["delta_exponent"]
    ):
        return False
    if "rate" not in old:
        return True
    rate = new.get("rate")
    return (
        rate is not None and rate["jobs"] <= old["rate"]["jobs"] and rate["seconds"] >= old["rate"]["seconds"]
    )


def publish(state: State, act: Act, asset: str, limits: Row) -> State:
    """Set the budget of an asset as it is published; with a later version never a wider one.

    Raises:
        Refusal: it allows more than the budget in force. That takes an ``asset.budget``, with a reason.
    """
    row = _asset_row(state, asset)
    old = row["limits"]
    kept = _is_narrower(limits, old) and ("uses" not in old or limits.get("uses", MAX_INTEGER) <= old["uses"])
    require(kept, "budget.wider", "expected a budget within the one in force; a refill is an asset.budget")
    return act.put(state, "budgets", asset, {**row, "limits": limits})


def amend(state: State, act: Act) -> State:
    """Set or refill the budget of an asset, as its owner, with a reason. What is spent stays spent."""
    body = _AMEND(act.entry.body, "body")
    owner = existing(state, "assets", body["asset"], "asset.unknown")["owner"]
    require(owner == act.actor, "entry.not-permitted", "expected the owner")
    row = _asset_row(state, body["asset"])
    row = {**row, "limits": body["budget"], "changes": row["changes"] + 1, "reason": body["reason"]}
    return act.put(state, "budgets", body["asset"], row)


def spend(state: State, act: Act, job: str, agreement: str, rdp: Sequence[int] | None) -> State:
    """Spend one use, and whatever else a job's start costs, of an agreement and of its asset.

    Args:
        state: before.
        act: the start.
        job: the job that starts.
        agreement: a final one; its terms hold.
        rdp: the privacy loss that the provider states; None: what is released is exact, or nothing is.

    Raises:
        Refusal: a limit would be passed; the code names whose and which.
    """
    row = state.rows("agreements")[agreement]
    asset = _asset_row(state, row["asset"])
    row = _charged(row, row["limits"], "agreement", act, rdp)
    price = row["limits"].get("price", 0)
    if price:
        left = row["limits"].get("points", MAX_INTEGER) - row.get("points", 0)
        require(price <= left, "agreement.points-exhausted", f"a job costs {price} points, {left} are left")
        row = {**row, "points": row.get("points", 0) + price}
    asset = _charged(asset, asset["limits"], "asset", act, rdp)
    state = act.put(state, "agreements", agreement, {**row, "open": [*row.get("open", ()), job]})
    return act.put(state, "budgets", row["asset"], {**asset, "open": _with_once(asset["open"], job)})


def spend_queries(state: State, act: Act, agreement: str, count: int, fee: int) -> State:
    """Spend the uses and points of anonymous queries, of an agreement and of its asset.

    A query is a use; its answer is exact and nobody approves it. How many may be asked in which time is for
    the owner's node to see to, which answers them one by one.

    Raises:
        Refusal: a limit would be passed, or one is set that no query can keep.
    """
    row = state.rows("agreements")[agreement]
    asset = _asset_row(state, row["asset"])
    require("approval" not in row["limits"], "lookup.approval-needed", "expected no approval of single uses")
    points = row.get("points", 0) + fee
    limit = row["limits"].get("points", MAX_INTEGER)
    require(points <= limit, "agreement.points-exhausted", f"{points} of {limit} points would be spent")
    row = _queried({**row, "points": points} if fee else row, "agreement", count)
    state = act.put(state, "agreements", agreement, row)
    return act.put(state, "budgets", row["asset"], _queried(asset, "asset", count))


def _queried(row: Row, whose: str, count: int) -> Row:
    private = "epsilon_micro" in row["limits"]
    require(not private, f"{whose}.epsilon-exhausted", "an answer is exact, and epsilon is limited")
    uses, limit = row["uses"] + count, row["limits"].get("uses", MAX_INTEGER)
    require(uses <= limit, f"{whose}.uses-exhausted", f"{uses} of {limit} uses would be spent")
    return {**row, "uses": uses}


def give_back(state: State, act: Act, agreement: str, rdp: Sequence[int] | None) -> State:
    """Undo the spending of a job of which nothing ran; its start still counts for the rate."""
    row = state.rows("agreements")[agreement]
    asset = _asset_row(state, row["asset"])
    price = row["limits"].get("price", 0)
    if price:
        row = {**row, "points": row["points"] - price}
    state = act.put(state, "agreements", agreement, _returned(row, rdp))
    return act.put(state, "budgets", row["asset"], _returned(asset, rdp))


def without_job(state: State, act: Act, job: str, agreement: str) -> State:
    """Take a job that has ended off the lists of those that are under way."""
    row = state.rows("agreements")[agreement]
    state = act.put(state, "agreements", agreement, _closed(row, job))
    return act.put(state, "budgets", row["asset"], _closed(_asset_row(state, row["asset"]), job))


def _asset_row(state: State, asset: str) -> Row:
    empty = {"asset": asset, "limits": {}, "uses": 0, "open": [], "changes": 0, "reason": ""}
    return state.get("budgets", asset) or empty


def _charged(row: Row, limits: Row, whose: str, act: Act, rdp: Sequence[int] | None) -> Row:
    """Return the row with one more use, the loss and the start, or refuse."""
    limit = limits.get("uses", MAX_INTEGER)
    require(row["uses"] < limit, f"{whose}.uses-exhausted", f"all {limit} uses are spent")
    row = {**row, "uses": row["uses"] + 1}
    if "rate" in limits:
        row = {**row, "times": _timed(row.get("times", ()), limits["rate"], whose, act)}
    if "epsilon_micro" in limits and rdp is None:
        raise Refusal("budget.spend-missing", "expected what the job spends of epsilon")
    if rdp is None or not any(rdp):
        return row
    total = [spent + more for spent, more in zip(row.get("rdp", [0] * len(ORDERS)), rdp, strict=True)]
    require(max(total) <= MAX_INTEGER, "budget.overflow", f"expected losses of at most {MAX_INTEGER}")
    if "epsilon_micro" in limits:
        allowed, would = limits["epsilon_micro"], epsilon(total, limits["delta_exponent"])
        code = f"{whose}.epsilon-exhausted"
        require(would <= allowed, code, f"epsilon would be {would}, {allowed} millionths are allowed")
    return {**row, "rdp": total}


def _timed(times: Sequence[str], rate: Row, whose: str, act: Act) -> list[str]:
    since = format_time(act.time - timedelta(seconds=rate["seconds"]))
    within = [time for time in times if time > since]
    message = f"{rate['jobs']} jobs in {rate['seconds']} s are allowed"
    require(len(within) < rate["jobs"], f"{whose}.rate-exceeded", message)
    return [*within, format_time(act.time)]


def _returned(row: Row, rdp: Sequence[int] | None) -> Row:
    row = {**row, "uses": row["uses"] - 1}
    if rdp is None or not any(rdp):
        return row
    return {**row, "rdp": [spent - less for spent, less in zip(row["rdp"], rdp, strict=True)]}


def _closed(row: Row, job: str) -> Row:
    return {**row, "open": [other for other in row.get("open", ()) if other != job]}


def _with_once(items: Sequence[str], item: str) -> list[str]:
    return [*items] if item in items else [*items, item]
