"""``parley gov``: who is in and by which rules. Proposals and votes are entries of the own organisation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import Command, LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    from exchange.sdk import NodeClient

__all__ = [
    "add",
    "allow",
    "engine",
    "forbid",
    "gov",
    "list_",
    "propose",
    "quorum",
    "remove",
    "resume",
    "rotate",
    "skew",
    "suspend",
    "veto",
    "vote",
    "withdraw",
]

Json = dict[str, object]

_HERE = "exchange.cli.governance"
_PAPER = click.Path(path_type=Path, dir_okay=False, exists=True)
_DELAY = click.IntRange(0, 100_000)
_VETOES = ("none", "any-regulator", "all-regulators")
_ALGORITHMS = ("EdDSA", "SM2-SM3")
_ENGINES = ("sql", "etcd", "nats")

gov = LazyGroup(
    "gov",
    {
        "propose": f"{_HERE}:propose",
        "vote": f"{_HERE}:vote",
        "withdraw": f"{_HERE}:withdraw",
        "list": f"{_HERE}:list_",
    },
    "gov",
)
propose = LazyGroup(
    "propose",
    {
        name: f"{_HERE}:{name}"
        for name in (
            "add",
            "suspend",
            "resume",
            "remove",
            "rotate",
            "quorum",
            "veto",
            "skew",
            "allow",
            "forbid",
            "engine",
        )
    },
    "gov.propose",
)


def _proposal(
    name: str, argument: str, kind: click.ParamType[Any] | type, action: Callable[[NodeClient, Any], Json]
) -> Command:
    """Declare ``parley gov propose NAME ARGUMENT``: a proposal with one action, made from the argument."""

    @command(f"gov.propose.{name}")
    @click.argument("value", metavar=argument, type=kind)
    @option("--effective-after", key="effective_after", type=_DELAY, default=0, show_default=True)
    @option("--reason", key="reason", default="")
    @person
    @click.pass_context
    def run(
        context: click.Context, value: object, effective_after: int, reason: str, org: str, home: Path | None
    ) -> None:
        with client(context, org, home) as node:
            made = node.propose([action(node, value)], effective_after=effective_after, reason=reason)
        invocation(context).output.result(made, fields(made))

    return run


def _document(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidRequest(path.name, "a JSON object", "something else")
    return document


def _did(node: NodeClient, member: str) -> str:
    """Return the DID of a member given by DID or by name."""
    if member.startswith("did:"):
        return member
    dids = [str(row["did"]) for row in node.members() if row["name"] == member]
    if not dids:
        raise InvalidRequest("MEMBER", "the DID or the name of a member", member)
    return dids[0]


def _on_member(name: str) -> Command:
    kind = f"member.{name}"
    return _proposal(name, "MEMBER", str, lambda node, member: {"action": kind, "member": _did(node, member)})


def _parameter(name: str, argument: str, kind: click.ParamType[Any], parameter: str) -> Command:
    return _proposal(name, argument, kind, lambda _, value: {"action": "params.set", parameter: value})


def _algorithm(name: str) -> Command:
    kind = f"algorithm.{name}"
    return _proposal(
        name, "ALGORITHM", click.Choice(_ALGORITHMS), lambda _, value: {"action": kind, "algorithm": value}
    )


add = _proposal(
    "add", "ENROLMENT", _PAPER, lambda _, path: {"action": "member.add", "enrolment": _document(path)}
)
suspend, resume, remove = _on_member("suspend"), _on_member("resume"), _on_member("remove")
rotate = _proposal(
    "rotate", "ROTATION", _PAPER, lambda _, path: {"action": "key.rotate", "rotation": _document(path)}
)
quorum = _parameter("quorum", "MEMBERS", click.IntRange(1), "quorum")
veto = _parameter("veto", "MODE", click.Choice(_VETOES), "regulator_veto")
skew = _parameter("skew", "SECONDS", click.IntRange(1), "max_clock_skew_s")
allow, forbid = _algorithm("allow"), _algorithm("forbid")
engine = _proposal(
    "engine", "KIND", click.Choice(_ENGINES), lambda _, kind: {"action": "engine.switch", "engine": kind}
)


@command("gov.vote")
@click.argument("proposal")
@option("--approve/--reject", key="vote", required=True)
@person
@click.pass_context
def vote(context: click.Context, proposal: str, approve: bool, org: str, home: Path | None) -> None:
    """Vote on a proposal."""
    with client(context, org, home) as node:
        made = node.vote(proposal, approve=approve)
    invocation(context).output.result(made, fields(made))


@command("gov.withdraw")
@click.argument("proposal")
@person
@click.pass_context
def withdraw(context: click.Context, proposal: str, org: str, home: Path | None) -> None:
    """Take back an open proposal of one's own."""
    with client(context, org, home) as node:
        made = node.withdraw_proposal(proposal)
    invocation(context).output.result(made, fields(made))


@command("gov.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List proposals and their votes."""
    with client(context, org, home) as node:
        found = node.proposals()
    shown = [
        {
            **row,
            "actions": ", ".join(one["action"] for one in row["actions"]),
            "reviews": [one["outcome"] for some in row["reviews"].values() for one in some],
        }
        for row in found
    ]
    columns = ["proposal", "status", "actions", "effective", "proposer", "votes", "reviews"]
    invocation(context).output.result(found, rows(shown, columns))
