"""``parley approval``: what waits for people at the own node, on which card, and deciding it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import NotFound
from exchange.sdk.profiles import ROLES

if TYPE_CHECKING:
    from rich.console import RenderableType

    from exchange.sdk import NodeClient

__all__ = ["approval", "approve", "as_role", "auto", "list_", "notices", "reject", "rules", "show"]

Function = TypeVar("Function", bound=Callable[..., object])

_HERE = "exchange.cli.approvals"
_RULES = "exchange.cli.approval_rules"
_COLUMNS = ["request", "kind", "subject", "state", "waits_for", "opened", "expires"]

approval = LazyGroup(
    "approval",
    {
        "list": f"{_HERE}:list_",
        "show": f"{_HERE}:show",
        "approve": f"{_HERE}:approve",
        "reject": f"{_HERE}:reject",
        "delegate": f"{_RULES}:delegate",
        "delegations": f"{_RULES}:delegations",
        "undelegate": f"{_RULES}:undelegate",
        "rules": f"{_HERE}:rules",
        "auto": f"{_HERE}:auto",
        "notices": f"{_HERE}:notices",
    },
    "approval",
)
rules = LazyGroup(
    "rules", {name: f"{_RULES}:rules_{name}" for name in ("list", "set", "reset")}, "approval.rules"
)
auto = LazyGroup(
    "auto", {name: f"{_RULES}:auto_{name}" for name in ("list", "propose", "revoke")}, "approval.auto"
)


def as_role(function: Function) -> Function:
    """Add ``--role``: with which of the profile's tokens to call."""
    return option("--role", "role", key="as_role", type=click.Choice(ROLES))(function)


def _decision(function: Function) -> Function:
    for one in (
        option("--reason", key="decision_reason", required=True),
        option("--binding", key="binding"),
        option("--behalf", key="behalf", default=""),
        as_role,
    ):
        function = one(function)
    return function


@command("approval.list")
@option("--all", "everything", key="approval_all", is_flag=True)
@option("--kind", key="approval_kind", default="")
@as_role
@person
@click.pass_context
def list_(
    context: click.Context, everything: bool, kind: str, role: str | None, org: str, home: Path | None
) -> None:
    """List the requests that wait for people, or the latest of all."""
    with client(context, org, home) as node:
        found = node.approvals(pending=not everything, kind=kind, role=role)
    lines = [one | {"waits_for": _waits(one)} for one in found]
    invocation(context).output.result(found, rows(lines, _COLUMNS))


@command("approval.show")
@click.argument("request", metavar="REQUEST|SUBJECT")
@as_role
@person
@click.pass_context
def show(context: click.Context, request: str, role: str | None, org: str, home: Path | None) -> None:
    """Show a request with its card."""
    with client(context, org, home) as node:
        found = _found(node, request, role)
    invocation(context).output.result(found, _view(found))


@command("approval.approve")
@click.argument("request", metavar="REQUEST|SUBJECT")
@_decision
@person
@click.pass_context
def approve(
    context: click.Context,
    request: str,
    reason: str,
    binding: str | None,
    behalf: str,
    role: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Approve a request, as it is shown."""
    with client(context, org, home) as node:
        seen = _found(node, request, role)
        done = node.approve_request(
            seen["request"], reason, binding=binding or seen["binding"], behalf=behalf, role=role
        )
    invocation(context).output.result(done, _view(done))


@command("approval.reject")
@click.argument("request", metavar="REQUEST|SUBJECT")
@_decision
@person
@click.pass_context
def reject(
    context: click.Context,
    request: str,
    reason: str,
    binding: str | None,
    behalf: str,
    role: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Reject a request."""
    with client(context, org, home) as node:
        seen = _found(node, request, role)
        done = node.reject_request(
            seen["request"], reason, binding=binding or seen["binding"], behalf=behalf, role=role
        )
    invocation(context).output.result(done, _view(done))


@command("approval.notices")
@option("--unread", key="unread", is_flag=True)
@option("--wait", "wait_s", key="notice_wait", type=click.IntRange(0, 25), default=0, show_default=True)
@option("--read", "reads", key="notice_read", is_flag=True)
@as_role
@person
@click.pass_context
def notices(
    context: click.Context,
    unread: bool,
    wait_s: int,
    reads: bool,
    role: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Show notices to the caller."""
    with client(context, org, home) as node:
        found = node.notices(unread=unread, role=role)
        if wait_s and not found:
            found = node.notices(unread=unread, wait_s=wait_s, role=role)
        if reads and found:
            node.mark_read([one["notice"] for one in found], role=role)
    invocation(context).output.result(
        found, rows(found, ["made", "kind", "subject", "to", "facts", "is_read"])
    )


def _found(node: NodeClient, name: str, role: str | None) -> Mapping[str, Any]:
    """The request of that id, or the pending one about that subject."""
    if name.startswith("approval-"):
        return node.approval(name, role=role)
    for one in node.approvals(role=role):
        if one["subject"] == name:
            return one
    raise NotFound(f"nothing about {name} waits for people at this node")


def _waits(one: Mapping[str, Any]) -> str:
    return ", ".join(f"{missing['approvals']} {missing['stage']}" for missing in one["missing"])


def _view(one: Mapping[str, Any]) -> RenderableType:
    """Lay a request out as its approver reads it: where it stands, then the card."""
    card = dict(one["card"]) if isinstance(one["card"], dict) else {}
    decisions = [
        f"{said['approver']} ({said['role']}): {said['decision']}, {said['reason']}"
        for said in one["decisions"]
    ]
    shown: dict[str, object] = {
        name: one[name] for name in ("request", "kind", "subject", "state", "reason", "requester", "expires")
    }
    shown |= {"waits for": _waits(one), "decisions": decisions, "binding": one["binding"]}
    for asset in card.pop("assets", ()):
        uses = asset["budget"]
        shown[asset["asset"]] = [
            f"{column['name']} ({column['role']}, {column['sensitivity']}, {column['control']})"
            for column in asset["columns"]
        ]
        shown[f"{asset['asset']} budget"] = {"uses after": uses["uses_after"], "limits": uses["limits"]}
    for step in card.pop("steps", ()):
        security = step["security"] or {}
        shown[f"step {step['id']}"] = (
            f"{step['component']} v{step['version']}: {step['summary']} "
            f"{security.get('adversary', '')} {security.get('cost', '')} {security.get('source', '')}".strip()
        )
    for name, facts in dict(card.pop("learns", {})).items():
        shown[f"{name} learns"] = facts
    return fields({name: value for name, value in (shown | card).items() if value not in (None, "", [], {})})
