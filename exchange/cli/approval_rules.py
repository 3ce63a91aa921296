"""Rules of approval, delegations and standing permissions: the rest of ``parley approval``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from exchange.cli.access import client, person
from exchange.cli.approvals import as_role
from exchange.cli.assets import expiry
from exchange.cli.framework import command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import InvalidRequest
from exchange.sdk.profiles import ROLES

__all__ = [
    "auto_list",
    "auto_propose",
    "auto_revoke",
    "delegate",
    "delegations",
    "rules_list",
    "rules_reset",
    "rules_set",
    "stage_of",
    "undelegate",
]

_STAGE = re.compile(r"([a-z]+)(?:@([a-z0-9-]+))?(?::([0-9]{1,2}))?(?:=([^=]+))?")
_PERMISSION = ["permission", "state", "holds", "bound", "uses", "times", "until", "submitter", "job"]


def stage_of(text: str) -> dict[str, Any]:
    """Read a stage: ``ROLE``, ``ROLE:2``, ``ROLE@department``, ``ROLE:2=ada,bo,li``.

    Raises:
        InvalidRequest: it has another form.
    """
    found = _STAGE.fullmatch(text)
    if found is None:
        raise InvalidRequest("stage", "ROLE[@DEPARTMENT][:NUMBER][=NAME,…]", text)
    role, department, needed, names = found.groups()
    return {
        "role": role,
        "department": department or "",
        "needed": int(needed or 1),
        "approvers": None if names is None else [name.strip() for name in names.split(",")],
    }


@command("approval.rules.list")
@option("--scope", key="scope", default="")
@person
@click.pass_context
def rules_list(context: click.Context, scope: str, org: str, home: Path | None) -> None:
    """Show the rules in all their versions."""
    with client(context, org, home) as node:
        found = node.approval_rules(scope)
    lines = [
        {"scope": f"grade:{grade}", "version": 0, "rule": rule, "author": "", "reason": "", "made": ""}
        for grade, rule in found["built_in"].items()
        if scope in ("", f"grade:{grade}")
    ]
    view = rows([*lines, *found["versions"]], ["scope", "version", "rule", "author", "reason", "made"])
    invocation(context).output.result(found, view)


@command("approval.rules.set")
@click.argument("scope")
@option("--stage", "stages", key="stage", multiple=True, required=True)
@option("--organisation", "organisations", key="rule_organisation", multiple=True)
@option("--reason", key="rule_reason", required=True)
@person
@click.pass_context
def rules_set(
    context: click.Context,
    scope: str,
    stages: tuple[str, ...],
    organisations: tuple[str, ...],
    reason: str,
    org: str,
    home: Path | None,
) -> None:
    """Set the rule of a scope."""
    with client(context, org, home) as node:
        dids = {member["name"]: member["did"] for member in node.members()} if organisations else {}
        rule = {
            "stages": [stage_of(stage) for stage in stages],
            "organisations": [dids.get(name, name) for name in organisations],
        }
        made = node.set_approval_rule(scope, rule, reason)
    invocation(context).output.result(made, fields(made))


@command("approval.rules.reset")
@click.argument("scope")
@option("--reason", key="rule_reason", required=True)
@person
@click.pass_context
def rules_reset(context: click.Context, scope: str, reason: str, org: str, home: Path | None) -> None:
    """Let the built-in rule hold again."""
    with client(context, org, home) as node:
        made = node.set_approval_rule(scope, None, reason)
    invocation(context).output.result(made, fields(made))


@command("approval.delegate")
@click.argument("grantee", metavar="PERSON")
@option("--role", "role", key="delegated_role", type=click.Choice(ROLES), required=True)
@option("--until", "ends", key="approval_until", required=True)
@option("--from", "begins", key="begins")
@person
@click.pass_context
def delegate(
    context: click.Context,
    grantee: str,
    role: str,
    ends: str,
    begins: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Let another person with the same role decide in the own place."""
    now = datetime.now(UTC)
    start = "" if begins is None else expiry(begins, now)
    with client(context, org, home) as node:
        made = node.delegate(grantee, role, expiry(ends, now), begins=start)
    invocation(context).output.result(made, fields(made))


@command("approval.delegations")
@person
@click.pass_context
def delegations(context: click.Context, org: str, home: Path | None) -> None:
    """List who may decide in whose place."""
    with client(context, org, home) as node:
        found = node.delegations()
    columns = ["delegation", "grantor", "grantee", "role", "begins", "ends", "ended", "holds"]
    invocation(context).output.result(found, rows(found, columns))


@command("approval.undelegate")
@click.argument("delegation")
@as_role
@person
@click.pass_context
def undelegate(
    context: click.Context, delegation: str, role: str | None, org: str, home: Path | None
) -> None:
    """Take a delegation back."""
    with client(context, org, home) as node:
        node.end_delegation(delegation, role=role)
    done = {"delegation": delegation, "ended": True}
    invocation(context).output.result(done, fields(done))


@command("approval.auto.list")
@person
@click.pass_context
def auto_list(context: click.Context, org: str, home: Path | None) -> None:
    """List the standing permissions."""
    with client(context, org, home) as node:
        found = node.permissions()
    invocation(context).output.result(found, rows(found, _PERMISSION))


@command("approval.auto.propose")
@click.argument("job")
@option("--bound", key="bound", type=click.Choice(("shape", "spec")), default="shape", show_default=True)
@option("--times", key="times", type=click.IntRange(0, 10_000), default=0)
@option("--until", key="approval_until")
@as_role
@person
@click.pass_context
def auto_propose(
    context: click.Context,
    job: str,
    bound: str,
    times: int,
    until: str | None,
    role: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Propose to approve the repetitions of a job without asking again."""
    ends = None if until is None else expiry(until, datetime.now(UTC))
    with client(context, org, home) as node:
        made = node.propose_permission(job, bound=bound, times=times, until=ends, role=role)
    invocation(context).output.result(made, fields(made))


@command("approval.auto.revoke")
@click.argument("permission")
@option("--reason", key="decision_reason", required=True)
@as_role
@person
@click.pass_context
def auto_revoke(
    context: click.Context, permission: str, reason: str, role: str | None, org: str, home: Path | None
) -> None:
    """End a standing permission."""
    with client(context, org, home) as node:
        made = node.revoke_permission(permission, reason, role=role)
    invocation(context).output.result(made, fields(made))
