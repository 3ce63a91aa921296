"""``parley dataspace``: the node's Dataspace Protocol connector, and other members' catalogs."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation
from exchange.cli.output import rows

__all__ = ["catalog", "dataspace", "show"]

_HERE = "exchange.cli.dataspace"

dataspace = LazyGroup("dataspace", {"show": f"{_HERE}:show", "catalog": f"{_HERE}:catalog"}, "dataspace")


@command("dataspace.show")
@person
@click.pass_context
def show(context: click.Context, org: str, home: Path | None) -> None:
    """Show the connector's processes: what was exchanged, and what is waited for."""
    with client(context, org, home) as node:
        found = node.dataspace()
    columns = ("kind", "pid", "peer", "state", "steps", "waiting_for", "tries", "problem", "since")
    invocation(context).output.result(found, rows(found["processes"], columns, title=found["address"]))


@command("dataspace.catalog")
@click.argument("member")
@person
@click.pass_context
def catalog(context: click.Context, member: str, org: str, home: Path | None) -> None:
    """Ask a member's connector for its catalog."""
    with client(context, org, home) as node:
        found = node.member_catalog(member)
    shown = [
        {
            "dataset": one["@id"],
            "title": one.get("dct:title"),
            "version": one.get("dcat:version"),
            "offers": [offer["@id"] for offer in one["hasPolicy"]],
            "formats": [item["format"] for item in one["distribution"]],
        }
        for one in found.get("dataset", ())
    ]
    columns = ("dataset", "title", "version", "offers", "formats")
    invocation(context).output.result(found, rows(shown, columns))
