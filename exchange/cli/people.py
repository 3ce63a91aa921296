"""``parley people``: accounts, roles and departments at the own node, and the record of their changes."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.sdk.profiles import ROLES

__all__ = [
    "add",
    "change",
    "departments",
    "disable",
    "enable",
    "list_",
    "people",
    "record",
    "roles",
    "sessions",
    "show",
    "token",
    "totp",
]


_HERE = "exchange.cli.people"
_TREE = "exchange.cli.departments"
_TOKENS = "exchange.cli.tokens"
_SIGN_IN = "exchange.cli.sign_in"
_COLUMNS = ["name", "display_name", "department", "roles", "state"]

people = LazyGroup(
    "people",
    {
        "list": f"{_HERE}:list_",
        "show": f"{_HERE}:show",
        "add": f"{_HERE}:add",
        "change": f"{_HERE}:change",
        "roles": f"{_HERE}:roles",
        "disable": f"{_HERE}:disable",
        "enable": f"{_HERE}:enable",
        "invite": f"{_SIGN_IN}:invite",
        "accept": f"{_SIGN_IN}:accept",
        "link": f"{_SIGN_IN}:link",
        "password": f"{_SIGN_IN}:password",
        "totp": f"{_HERE}:totp",
        "sessions": f"{_HERE}:sessions",
        "token": f"{_HERE}:token",
        "departments": f"{_HERE}:departments",
        "organisation": f"{_TREE}:organisation",
        "record": f"{_HERE}:record",
    },
    "people",
)
departments = LazyGroup(
    "departments",
    {name: f"{_TREE}:{name}" for name in ("add", "change", "remove")} | {"list": f"{_TREE}:list_"},
    "people.departments",
)
token = LazyGroup(
    "token",
    {"add": f"{_TOKENS}:add", "list": f"{_TOKENS}:list_", "revoke": f"{_TOKENS}:revoke"},
    "people.token",
)
totp = LazyGroup("totp", {"enrol": f"{_SIGN_IN}:enrol", "reset": f"{_SIGN_IN}:reset"}, "people.totp")
sessions = LazyGroup("sessions", {"list": f"{_SIGN_IN}:list_", "end": f"{_SIGN_IN}:end"}, "people.sessions")


@command("people.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List the accounts."""
    with client(context, org, home) as node:
        found = node.people()
    invocation(context).output.result(found, rows(found, _COLUMNS))


@command("people.show")
@click.argument("name")
@person
@click.pass_context
def show(context: click.Context, name: str, org: str, home: Path | None) -> None:
    """Show one account."""
    with client(context, org, home) as node:
        found = node.person(name)
    invocation(context).output.result(found, fields(found))


@command("people.add")
@click.argument("name")
@option("--role", "wanted", key="person_role", multiple=True, required=True, type=click.Choice(ROLES))
@option("--display-name", key="display_name", default="")
@option("--department", key="department", default="")
@option("--token-days", "days", key="program_days", type=click.IntRange(1))
@person
@click.pass_context
def add(
    context: click.Context,
    name: str,
    wanted: tuple[str, ...],
    display_name: str,
    department: str,
    days: int | None,
    org: str,
    home: Path | None,
) -> None:
    """Make an account and print its invitation, or a program's token."""
    with client(context, org, home) as node:
        made = node.add_person(
            name, wanted, display_name=display_name, department=department, token_days=days
        )
    once = {name: made[name] for name in ("invitation", "token") if made[name] is not None}
    invocation(context).output.result(made, fields(made["person"] | once))


@command("people.change")
@click.argument("name")
@option("--display-name", key="display_name")
@option("--department", key="department")
@person
@click.pass_context
def change(
    context: click.Context,
    name: str,
    display_name: str | None,
    department: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Change how a person is called and where the person works."""
    given = {"display_name": display_name, "department": department}
    with client(context, org, home) as node:
        made = node.describe_person(name, **{key: text for key, text in given.items() if text is not None})
    invocation(context).output.result(made, fields(made))


@command("people.roles")
@click.argument("name")
@option("--role", "wanted", key="person_role", multiple=True, required=True, type=click.Choice(ROLES))
@person
@click.pass_context
def roles(context: click.Context, name: str, wanted: tuple[str, ...], org: str, home: Path | None) -> None:
    """Give a person these roles and no others."""
    with client(context, org, home) as node:
        made = node.set_roles(name, wanted)
    invocation(context).output.result(made, fields(made))


@command("people.disable")
@click.argument("name")
@person
@click.pass_context
def disable(context: click.Context, name: str, org: str, home: Path | None) -> None:
    """Disable an account."""
    _state(context, name, "disabled", org, home)


@command("people.enable")
@click.argument("name")
@person
@click.pass_context
def enable(context: click.Context, name: str, org: str, home: Path | None) -> None:
    """Make an account active again."""
    _state(context, name, "active", org, home)


@command("people.record")
@option("--verify", key="record_verify", is_flag=True)
@person
@click.pass_context
def record(context: click.Context, verify: bool, org: str, home: Path | None) -> int:
    """Show the record of acts about people, or check it; 1 if something was altered or taken away."""
    with client(context, org, home) as node:
        if verify:
            verdict = node.verify_people_record()
            invocation(context).output.result(verdict, fields(verdict))
            return 0 if verdict["sound"] else 1
        found = list(node.people_record())
    invocation(context).output.result(
        found, rows(found, ["position", "time", "actor", "act", "subject", "facts"])
    )
    return 0


def _state(context: click.Context, name: str, state: str, org: str, home: Path | None) -> None:
    with client(context, org, home) as node:
        made = node.set_account_state(name, state)
    invocation(context).output.result(made, fields(made))
