"""``parley agreement``: ask for the use of an asset, and decide on requests for one's own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.assets import DEFAULT_OPERATIONS, expiry
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["agreement", "approve", "list_", "reject", "request", "request_view", "revoke", "show"]

_HERE = "exchange.cli.agreements"
SHOWN = ("negotiation", "agreement", "state", "asset", "version", "provider", "consumer", "beyond_offer")

agreement = LazyGroup(
    "agreement",
    {
        "request": f"{_HERE}:request",
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


@command("agreement.request")
@click.argument("asset")
@option("--purpose", key="purpose_one", required=True)
@option("--operation", "operations", key="operation", multiple=True, default=DEFAULT_OPERATIONS)
@option("--column", "columns", key="column", multiple=True, required=True)
@option("--uses", key="uses", type=click.IntRange(1), default=3, show_default=True)
@option("--expires", key="expires")
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=10, show_default=True)
@person
@click.pass_context
def request(
    context: click.Context,
    asset: str,
    purpose: str,
    operations: tuple[str, ...],
    columns: tuple[str, ...],
    uses: int,
    expires: str | None,
    min_cohort: int,
    org: str,
    home: Path | None,
) -> None:
    """Ask an owner for the use of an asset."""
    terms = {
        "asset": asset,
        "purpose": purpose,
        "operations": list(operations),
        "columns": list(columns),
        "uses": uses,
        "expires": expiry(expires or "30d", datetime.now(UTC)),
        "min_cohort": min_cohort,
    }
    with client(context, org, home) as node:
        made = node.request_agreement(terms)
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
    view = request_view(found) if agreed is None else fields(found)
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
