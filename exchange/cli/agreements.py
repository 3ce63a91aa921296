"""``parley agreement``: ask for the use of an asset, answer each other, and decide on what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.assets import DEFAULT_OPERATIONS, OUTPUT_TYPES, expiry
from exchange.cli.clauses import clauses as stated_clauses
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "accept",
    "agreement",
    "approve",
    "counter",
    "list_",
    "offer",
    "reject",
    "request",
    "request_view",
    "revoke",
    "show",
]

_HERE = "exchange.cli.agreements"
SHOWN = (
    "negotiation",
    "agreement",
    "state",
    "round",
    "asset",
    "version",
    "provider",
    "consumer",
    "beyond_offer",
)

agreement = LazyGroup(
    "agreement",
    {
        "request": f"{_HERE}:request",
        "offer": f"{_HERE}:offer",
        "counter": f"{_HERE}:counter",
        "accept": f"{_HERE}:accept",
        "approve": f"{_HERE}:approve",
        "reject": f"{_HERE}:reject",
        "list": f"{_HERE}:list_",
        "show": f"{_HERE}:show",
        "revoke": f"{_HERE}:revoke",
    },
    "agreement",
)


def request_view(row: Mapping[str, Any]) -> RenderableType:
    """Lay out a request as its approver reads it: what is asked, what exceeds the offer, what is learnt."""
    reveals = {
        f"{component} shows {role}": facts
        for component, roles in row["reveals"].items()
        for role, facts in roles.items()
    }
    shown = {name: row[name] for name in SHOWN if row.get(name)}
    return fields(shown | dict(row["terms"]) | reveals)


def _history_view(row: Mapping[str, Any]) -> RenderableType:
    """Lay out a negotiation with its rounds: who did what when, and which clauses changed."""
    from rich.console import Group

    from ledger.times import show_time

    told = [
        {
            "time": show_time(one["time"]),
            "by": one["by"],
            "event": one["event"],
            "round": one.get("round"),
            "changes": [
                f"{change['clause']}: {_short(change['before'])} → {_short(change['after'])}"
                for change in one.get("changes", ())
            ]
            or one.get("reason"),
        }
        for one in row["history"]
    ]
    return Group(request_view(row), rows(told, ["time", "by", "event", "round", "changes"]))


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@command("agreement.request")
@click.argument("asset")
@option("--purpose", key="purpose_one", required=True)
@option("--operation", "operations", key="operation", multiple=True, default=DEFAULT_OPERATIONS)
@option("--column", "columns", key="column", multiple=True, required=True)
@option("--uses", key="uses", type=click.IntRange(1), default=3, show_default=True)
@option("--expires", key="expires")
@option("--output-type", "output_types", key="output_type", multiple=True, default=OUTPUT_TYPES)
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=10, show_default=True)
@option("--per-job", "per_job", key="per_job", is_flag=True)
@option("--approved-by", "approved_by", key="approved_by", multiple=True)
@option("--clause", "clauses", key="clause", multiple=True)
@person
@click.pass_context
def request(
    context: click.Context,
    asset: str,
    purpose: str,
    operations: tuple[str, ...],
    columns: tuple[str, ...],
    output_types: tuple[str, ...],
    uses: int,
    expires: str | None,
    min_cohort: int,
    per_job: bool,
    approved_by: tuple[str, ...],
    clauses: tuple[str, ...],
    org: str,
    home: Path | None,
) -> None:
    """Ask an owner for the use of an asset."""
    terms: dict[str, object] = {
        "asset": asset,
        "purpose": purpose,
        "operations": list(operations),
        "columns": list(columns),
        "output_types": list(output_types),
        "uses": uses,
        "expires": expiry(expires or "30d", datetime.now(UTC)),
        "min_cohort": min_cohort,
    }
    further = stated_clauses(clauses) | ({"approval": "per-job"} if per_job else {})
    with client(context, org, home) as node:
        if approved_by:
            dids = {member["name"]: member["did"] for member in node.members()}
            further["organisations"] = [dids.get(name, name) for name in approved_by]
        made = node.request_agreement(terms | ({"clauses": further} if further else {}))
    invocation(context).output.result(made, request_view(made))


@command("agreement.offer")
@click.argument("asset")
@option("--to", "consumer", key="offer_to", required=True)
@option("--purpose", "purposes", key="purpose", multiple=True, required=True)
@option("--operation", "operations", key="operation", multiple=True, default=DEFAULT_OPERATIONS)
@option("--column", "columns", key="column", multiple=True, required=True)
@option("--output-type", "output_types", key="output_type", multiple=True, default=OUTPUT_TYPES)
@option("--uses", key="uses", type=click.IntRange(1), default=3, show_default=True)
@option("--expires", key="expires")
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=10, show_default=True)
@option("--clause", "clauses", key="clause", multiple=True)
@person
@click.pass_context
def offer(
    context: click.Context,
    asset: str,
    consumer: str,
    purposes: tuple[str, ...],
    operations: tuple[str, ...],
    columns: tuple[str, ...],
    output_types: tuple[str, ...],
    uses: int,
    expires: str | None,
    min_cohort: int,
    clauses: tuple[str, ...],
    org: str,
    home: Path | None,
) -> None:
    """Offer an own asset to a member that has not asked."""
    terms = {
        "purposes": list(purposes),
        "operations": list(operations),
        "columns": list(columns),
        "output_types": list(output_types),
        "uses": uses,
        "expires": expiry(expires or "30d", datetime.now(UTC)),
        "min_cohort": min_cohort,
        **stated_clauses(clauses),
    }
    with client(context, org, home) as node:
        made = node.offer(asset, consumer, terms)
    invocation(context).output.result(made, request_view(made))


@command("agreement.counter")
@click.argument("negotiation")
@option("--purpose", "purposes", key="purpose", multiple=True)
@option("--operation", "operations", key="operation", multiple=True)
@option("--column", "columns", key="column", multiple=True)
@option("--output-type", "output_types", key="output_type", multiple=True)
@option("--uses", key="uses", type=click.IntRange(1))
@option("--expires", key="expires")
@option("--min-cohort", key="min_cohort", type=click.IntRange(1))
@option("--clause", "clauses", key="clause", multiple=True)
@person
@click.pass_context
def counter(
    context: click.Context,
    negotiation: str,
    purposes: tuple[str, ...],
    operations: tuple[str, ...],
    columns: tuple[str, ...],
    output_types: tuple[str, ...],
    uses: int | None,
    expires: str | None,
    min_cohort: int | None,
    clauses: tuple[str, ...],
    org: str,
    home: Path | None,
) -> None:
    """Answer the other side's last proposal with other terms."""
    given: dict[str, object] = {
        "purposes": list(purposes),
        "operations": list(operations),
        "columns": list(columns),
        "output_types": list(output_types),
        "uses": uses,
        "expires": expiry(expires, datetime.now(UTC)) if expires else None,
        "min_cohort": min_cohort,
    }
    changes = {name: value for name, value in given.items() if value} | stated_clauses(clauses)
    with client(context, org, home) as node:
        is_owner = node.negotiation(negotiation)["provider"] == node.node()["did"]
        made = node.counter(negotiation, changes, as_owner=is_owner)
    invocation(context).output.result(made, request_view(made))


@command("agreement.accept")
@click.argument("negotiation")
@option("--round", "number", key="round", type=click.IntRange(1), required=True)
@person
@click.pass_context
def accept(context: click.Context, negotiation: str, number: int, org: str, home: Path | None) -> None:
    """Take the owner's offer of a round as it is."""
    with client(context, org, home) as node:
        made = node.accept(negotiation, number)
    invocation(context).output.result(made, request_view(made))


@command("agreement.approve")
@click.argument("negotiation")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def approve(context: click.Context, negotiation: str, reason: str, org: str, home: Path | None) -> None:
    """Approve a request at the owner's node."""
    with client(context, org, home) as node:
        made = node.approve(negotiation, reason)
    invocation(context).output.result(made, request_view(made))


@command("agreement.reject")
@click.argument("negotiation")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def reject(context: click.Context, negotiation: str, reason: str, org: str, home: Path | None) -> None:
    """Reject a request at the owner's node."""
    with client(context, org, home) as node:
        made = node.reject(negotiation, reason)
    invocation(context).output.result(made, request_view(made))


@command("agreement.list")
@option("--requests", key="requests", is_flag=True)
@person
@click.pass_context
def list_(context: click.Context, requests: bool, org: str, home: Path | None) -> None:
    """List agreements, or requests."""
    with client(context, org, home) as node:
        found = node.negotiations() if requests else node.agreements()
    columns = (
        ["negotiation", "asset", "state", "consumer", "limits"]
        if requests
        else ["agreement", "asset", "status", "uses", "limits", "consumer"]
    )
    invocation(context).output.result(found, rows(found, columns))


@command("agreement.show")
@click.argument("identifier", metavar="NEGOTIATION|AGREEMENT")
@person
@click.pass_context
def show(context: click.Context, identifier: str, org: str, home: Path | None) -> None:
    """Show a request or an agreement."""
    with client(context, org, home) as node:
        held = {str(row.get("agreement")): row for row in node.agreements()}
        agreed = held.get(identifier)
        found = node.negotiation(identifier) if agreed is None else agreed
    view = fields(found) if agreed is not None else _history_view(found)
    invocation(context).output.result(found, view)


@command("agreement.revoke")
@click.argument("agreement_id", metavar="AGREEMENT")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def revoke(context: click.Context, agreement_id: str, reason: str, org: str, home: Path | None) -> None:
    """Take an agreement back; no new job starts under it."""
    with client(context, org, home) as node:
        made = node.revoke(agreement_id, reason)
    invocation(context).output.result(made, fields(made))
