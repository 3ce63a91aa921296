"""``parley people departments`` and ``organisation``: the tree of departments, the organisation's data."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import command, invocation, option
from exchange.cli.output import fields, rows

__all__ = ["add", "change", "list_", "organisation", "remove"]


@command("people.departments.add")
@click.argument("department")
@option("--title", key="department_title", required=True)
@option("--parent", key="department_parent", default="")
@person
@click.pass_context
def add(
    context: click.Context, department: str, title: str, parent: str, org: str, home: Path | None
) -> None:
    """Make a department."""
    with client(context, org, home) as node:
        made = node.add_department(department, title, parent)
    invocation(context).output.result(made, fields(made))


@command("people.departments.change")
@click.argument("department")
@option("--title", key="department_title", required=True)
@option("--parent", key="department_parent", default="")
@person
@click.pass_context
def change(
    context: click.Context, department: str, title: str, parent: str, org: str, home: Path | None
) -> None:
    """Give a department another title or another place."""
    with client(context, org, home) as node:
        made = node.change_department(department, title, parent)
    invocation(context).output.result(made, fields(made))


@command("people.departments.remove")
@click.argument("department")
@person
@click.pass_context
def remove(context: click.Context, department: str, org: str, home: Path | None) -> None:
    """Delete an empty department."""
    with client(context, org, home) as node:
        node.remove_department(department)
    invocation(context).output.result({"department": department}, department)


@command("people.departments.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List the departments."""
    with client(context, org, home) as node:
        found = node.departments()
    invocation(context).output.result(found, rows(found, ["department", "title", "parent"]))


@command("people.organisation")
@option("--legal-name", key="legal_name")
@option("--registration", key="registration")
@option("--address", key="organisation_address")
@option("--contact", key="organisation_contact")
@option("--email", key="organisation_email")
@option("--phone", key="organisation_phone")
@person
@click.pass_context
def organisation(context: click.Context, /, org: str, home: Path | None, **given: str | None) -> None:
    """Show the organisation's own data, or change what is given."""
    changes = {name: value for name, value in given.items() if value is not None}
    with client(context, org, home) as node:
        found = node.organisation()
        if changes:
            found = node.set_organisation(found | changes)
    invocation(context).output.result(found, fields(found))
