"""``parley budget``, ``parley release`` and ``parley lineage``: what may be given away, and what was."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import InvalidRequest

__all__ = ["budget", "lineage", "list_", "millionths", "release", "rules", "set_", "show"]

_HERE = "exchange.cli.budgets"
_MILLION = 10**6

budget = LazyGroup("budget", {"show": f"{_HERE}:show", "set": f"{_HERE}:set_"}, "budget")
release = LazyGroup("release", {"list": f"{_HERE}:list_", "rules": f"{_HERE}:rules"}, "release")


@command("budget.show")
@click.argument("subject", metavar="[ASSET|AGREEMENT]", required=False)
@person
@click.pass_context
def show(context: click.Context, subject: str | None, org: str, home: Path | None) -> None:
    """Show how much of each budget is spent."""
    with client(context, org, home) as node:
        found = node.budgets()
    if subject is not None:
        found = [line for line in found if subject in (line["id"], line["asset"])]
    columns = ["kind", "id", "uses", "uses_limit", "epsilon_micro", "epsilon_limit_micro", "points", "rate"]
    invocation(context).output.result(found, rows(found, columns))


@command("budget.set")
@click.argument("asset")
@option("--uses", key="budget_uses", type=click.IntRange(min=1))
@option("--epsilon", key="budget_epsilon")
@option("--delta-exponent", key="delta_exponent", type=click.IntRange(1, 30), default=6, show_default=True)
@option("--rate", key="budget_rate", metavar="JOBS/SECONDS")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def set_(
    context: click.Context,
    asset: str,
    uses: int | None,
    epsilon: str | None,
    delta_exponent: int,
    rate: str | None,
    reason: str,
    org: str,
    home: Path | None,
) -> None:
    """Set or refill the budget of an asset."""
    limits: dict[str, Any] = {} if uses is None else {"uses": uses}
    if epsilon is not None:
        limits |= {"epsilon_micro": millionths("--epsilon", epsilon), "delta_exponent": delta_exponent}
    if rate is not None:
        limits["rate"] = _rate(rate)
    with client(context, org, home) as node:
        made = node.set_budget(asset, reason, **limits)
    invocation(context).output.result(made, fields(made))


@command("release.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List the outputs of the node's own steps."""
    with client(context, org, home) as node:
        found = node.releases()
    invocation(context).output.result(found, rows(found, ["job", "step", "asset", "state", "is_exact"]))


@command("release.rules")
@click.argument("asset")
@option("--dominance", key="dominance", metavar="N:PERCENT")
@option("--p-percent", key="p_percent", type=click.IntRange(0, 99))
@option("--round", "bases", key="round_to", metavar="COLUMN:BASE", multiple=True)
@option("--round-counts", key="round_counts", type=click.IntRange(1, 1000))
@option("--complementary/--no-complementary", "complementary", key="complementary", default=None)
@option("--review/--no-review", "review", key="review", default=None)
@person
@click.pass_context
def rules(
    context: click.Context,
    asset: str,
    dominance: str | None,
    p_percent: int | None,
    bases: tuple[str, ...],
    round_counts: int | None,
    complementary: bool | None,
    review: bool | None,
    org: str,
    home: Path | None,
) -> None:
    """Show the output checks of an asset, or change those that are given."""
    given: dict[str, Any] = {
        "p_percent": p_percent,
        "round_counts": round_counts,
        "complementary": complementary,
        "review": review,
        "round_to": [_base(text) for text in bases] or None,
        **({} if dominance is None else _dominance(dominance)),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    with client(context, org, home) as node:
        found = node.output_rules(asset)
        if changes:
            found = node.set_output_rules(asset, {**found, **changes})["rules"]
    invocation(context).output.result(found, fields(found))


@command("lineage")
@click.argument("subject", metavar="ASSET|AGREEMENT|JOB|MEMBER")
@person
@click.pass_context
def lineage(context: click.Context, subject: str, org: str, home: Path | None) -> None:
    """Show what a subject went into, and what went into it."""
    with client(context, org, home) as node:
        found = node.lineage(subject)
    lines = [
        {"direction": direction, "kind": vertex["kind"], "id": vertex["id"], "state": _state(vertex)}
        for direction in ("backwards", "forwards")
        for vertex in found[direction]
    ]
    view = rows(lines, ["direction", "kind", "id", "state"], title=subject)
    invocation(context).output.result(found, view)


def _state(vertex: dict[str, Any]) -> str:
    return str(vertex.get("state") or vertex.get("status") or vertex.get("name") or "")


def millionths(where: str, text: str) -> int:
    """Read a positive decimal number as millionths.

    Raises:
        InvalidRequest: it is none, or finer.
    """
    try:
        micro = Decimal(text) * _MILLION
    except InvalidOperation:
        micro = Decimal(0)
    if not micro.is_finite() or micro < 1 or micro != micro.to_integral_value():
        raise InvalidRequest(where, "a positive number with at most 6 decimals", repr(text)[:40])
    return int(micro)


def _rate(text: str) -> dict[str, int]:
    jobs, _, seconds = text.partition("/")
    if not (jobs.isdecimal() and seconds.isdecimal()):
        raise InvalidRequest("--rate", "JOBS/SECONDS, such as 10/3600", repr(text)[:40])
    return {"jobs": int(jobs), "seconds": int(seconds)}


def _dominance(text: str) -> dict[str, int]:
    n, _, percent = text.partition(":")
    if not (n.isdecimal() and percent.isdecimal()):
        raise InvalidRequest("--dominance", "N:PERCENT, such as 2:80", repr(text)[:40])
    return {"dominance_n": int(n), "dominance_percent": int(percent)}


def _base(text: str) -> dict[str, str]:
    column, _, base = text.rpartition(":")
    if not column:
        raise InvalidRequest("--round", "COLUMN:BASE, such as balance:1000", repr(text)[:40])
    return {"column": column, "base": base}
