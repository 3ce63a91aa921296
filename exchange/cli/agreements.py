"""``parley agreement``: ask for the use of an asset, and decide on requests for one's own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.assets import DEFAULT_OPERATIONS, expiry
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows

__all__ = ["agreement", "approve", "list_", "reject", "request", "revoke", "show"]

_HERE = "exchange.cli.agreements"

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
    invocation(context).output.result(made, fields(made))


@command("agreement.approve")
@click.argument("negotiation")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def approve(context: click.Context, negotiation: str, reason: str, org: str, home: Path | None) -> None:
    """Approve a request at the owner's node."""
    with client(context, org, home) as node:
        made = node.approve(negotiation, reason)
    invocation(context).output.result(made, fields(made))


@command("agreement.reject")
@click.argument("negotiation")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def reject(context: click.Context, negotiation: str, reason: str, org: str, home: Path | None) -> None:
    """Reject a request at the owner's node."""
    with client(context, org, home) as node:
        made = node.reject(negotiation, reason)
    invocation(context).output.result(made, fields(made))


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
        found = held.get(identifier) or node.negotiation(identifier)
    invocation(context).output.result(found, fields(found))


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
