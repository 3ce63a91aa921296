"""``parley gov``: who may join. Proposals and votes are ledger entries of the own organisation."""

from __future__ import annotations

import json
from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows

__all__ = ["gov", "list_", "propose", "vote"]

gov = LazyGroup(
    "gov",
    {
        "propose": "exchange.cli.governance:propose",
        "vote": "exchange.cli.governance:vote",
        "list": "exchange.cli.governance:list_",
    },
    "gov",
)


@command("gov.propose")
@click.argument("enrolment", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@person
@click.pass_context
def propose(context: click.Context, enrolment: Path, org: str, home: Path | None) -> None:
    """Propose to admit the member that signed an enrolment."""
    with client(context, org, home) as node:
        made = node.propose(json.loads(enrolment.read_text(encoding="utf-8")))
    invocation(context).output.result(made, fields(made))


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


@command("gov.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List proposals and their votes."""
    with client(context, org, home) as node:
        found = node.proposals()
    columns = ["proposal", "status", "proposer", "votes"]
    invocation(context).output.result(found, rows(found, columns))
