"""``parley people token``: bearer tokens for programs."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import command, invocation, option
from exchange.cli.output import fields, rows
from exchange.sdk.profiles import ROLES

__all__ = ["add", "list_", "revoke"]

_COLUMNS = ["id", "title", "roles", "created", "expires", "revoked"]


@command("people.token.add")
@option("--title", key="token_title", required=True)
@option("--role", "wanted", key="token_role", multiple=True, required=True, type=click.Choice(ROLES))
@option("--days", key="token_days", type=click.IntRange(1), default=90, show_default=True)
@person
@click.pass_context
def add(
    context: click.Context, title: str, wanted: tuple[str, ...], days: int, org: str, home: Path | None
) -> None:
    """Make a token of one's own and print it, this once."""
    with client(context, org, home) as node:
        made = node.issue_token(title, wanted, days=days)
    invocation(context).output.result(made, fields(made["token"] | {"secret": made["secret"]}))


@command("people.token.list")
@option("--name", key="token_owner")
@option("--as", "role", key="as_role", type=click.Choice(ROLES))
@person
@click.pass_context
def list_(context: click.Context, name: str | None, role: str | None, org: str, home: Path | None) -> None:
    """List one's own tokens, or those of a person."""
    with client(context, org, home) as node:
        found = node.tokens(name, role=role)
    invocation(context).output.result(found, rows(found, _COLUMNS))


@command("people.token.revoke")
@click.argument("token")
@option("--name", key="token_owner")
@option("--as", "role", key="as_role", type=click.Choice(ROLES))
@person
@click.pass_context
def revoke(
    context: click.Context, token: str, name: str | None, role: str | None, org: str, home: Path | None
) -> None:
    """Take a token back at once."""
    with client(context, org, home) as node:
        node.revoke_token(token, name, role=role)
    invocation(context).output.result({"token": token}, token)
