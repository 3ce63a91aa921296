"""``parley ledger``: how it stands, its entries, proofs and members; checking a copy without a node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from exchange.cli.access import client, person
from exchange.cli.audit import export as audit_export
from exchange.cli.framework import LazyGroup, alias, command, invocation, option
from exchange.cli.output import fields, rows

__all__ = ["export", "ledger", "members", "proposals", "show", "status"]

_HERE = "exchange.cli.ledger"
_OFFLINE = "exchange.cli.ledger_offline"
_EVIDENCE = "exchange.cli.evidence"
_SUBMISSIONS = "exchange.cli.submissions"

ledger = LazyGroup(
    "ledger",
    {
        "status": f"{_HERE}:status",
        "show": f"{_HERE}:show",
        "prove": f"{_OFFLINE}:prove",
        "members": f"{_HERE}:members",
        "proposals": f"{_HERE}:proposals",
        "export": f"{_HERE}:export",
        "fsck": f"{_OFFLINE}:fsck",
        "replay": f"{_OFFLINE}:replay",
        "pending": f"{_SUBMISSIONS}:pending",
        "submit": f"{_SUBMISSIONS}:submit",
        "blame": f"{_SUBMISSIONS}:blame",
        "timestamp": f"{_EVIDENCE}:timestamp",
        "checkpoint": f"{_EVIDENCE}:checkpoint",
        "anchor": f"{_EVIDENCE}:anchor",
        "erase": f"{_EVIDENCE}:erase",
    },
    "ledger",
)

export = alias(audit_export, "ledger.export")


@command("ledger.status")
@person
@click.pass_context
def status(context: click.Context, org: str, home: Path | None) -> int:
    """Show how far the own copy is, and who cosigned; 1 if the hub's log is no longer trusted."""
    called = invocation(context)
    with client(context, org, home) as node:
        found = node.ledger_status()
    called.output.result(found, fields(_flat(found)))
    if called.output.format == "text" and found["cosigners"]:
        columns = ["name", "size", "time", "age_s", "is_on_final"]
        called.output.result(found, rows(found["cosigners"], columns))
    if called.output.format == "text" and found["overdue"]:
        called.output.result(found, rows(found["overdue"], ["txid", "by", "evidence"]))
    return 0 if found["divergence"] is None else 1


@command("ledger.show")
@click.argument("place", metavar="INDEX|TXID")
@person
@click.pass_context
def show(context: click.Context, place: str, org: str, home: Path | None) -> None:
    """Show one entry, what became of it, and its batch."""
    with client(context, org, home) as node:
        found = node.entry(place)
    invocation(context).output.result(found, fields(found))


@command("ledger.members")
@person
@click.pass_context
def members(context: click.Context, org: str, home: Path | None) -> None:
    """List the members with their keys."""
    with client(context, org, home) as node:
        found = node.ledger_members()
    columns = ["name", "role", "status", "since", "kid", "alg", "cosign"]
    invocation(context).output.result(found, rows(found, columns))


@command("ledger.proposals")
@option("--status", "wanted", key="proposal_status")
@person
@click.pass_context
def proposals(context: click.Context, wanted: str | None, org: str, home: Path | None) -> None:
    """List proposals and their votes."""
    with client(context, org, home) as node:
        found = [one for one in node.proposals() if wanted in (None, one["status"])]
    columns = ["proposal", "status", "proposer", "actions", "votes"]
    invocation(context).output.result(found, rows(found, columns))


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in ("cosigners", "overdue")}
