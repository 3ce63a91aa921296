"""``parley audit`` and ``parley ledger``: search, export and compare the record."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows

__all__ = ["audit", "compare", "export", "ledger", "search", "status"]

_HERE = "exchange.cli.audit"

audit = LazyGroup(
    "audit",
    {"search": f"{_HERE}:search", "export": f"{_HERE}:export", "compare": f"{_HERE}:compare"},
    "audit",
)
ledger = LazyGroup("ledger", {"status": f"{_HERE}:status"}, "ledger")


@command("audit.search")
@option("--asset", key="about_asset")
@option("--participant", key="about_participant")
@option("--agreement", key="about_agreement")
@option("--job", key="about_job")
@option("--type", "type_", key="entry_type")
@person
@click.pass_context
def search(
    context: click.Context,
    asset: str | None,
    participant: str | None,
    agreement: str | None,
    job: str | None,
    type_: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Search the own node's copy of the ledger."""
    with client(context, org, home) as node:
        found = list(
            node.entries(asset=asset, participant=participant, agreement=agreement, job=job, type_=type_)
        )
    invocation(context).output.result(found, rows(found, ["index", "type", "name", "code", "txid"]))


@command("audit.export")
@option("--asset", "assets", key="about_asset", multiple=True)
@option("--participant", "participants", key="about_participant", multiple=True)
@option("--job", "jobs", key="about_job", multiple=True)
@option("--agreement", "agreements", key="about_agreement", multiple=True)
@option("--out", key="out_bundle", type=click.Path(path_type=Path, dir_okay=False), required=True)
@person
@click.pass_context
def export(
    context: click.Context,
    assets: tuple[str, ...],
    participants: tuple[str, ...],
    jobs: tuple[str, ...],
    agreements: tuple[str, ...],
    out: Path,
    org: str,
    home: Path | None,
) -> None:
    """Export an evidence bundle that verifies offline."""
    with client(context, org, home) as node:
        bundle = node.export_bundle(
            assets=assets, participants=participants, jobs=jobs, agreements=agreements
        )
    out.write_bytes(bundle)
    invocation(context).output.result({"bundle": str(out), "bytes": len(bundle)}, str(out))


@command("audit.compare")
@person
@click.pass_context
def compare(context: click.Context, org: str, home: Path | None) -> int:
    """Fetch the hub's whole log again and compare it with the own copy."""
    called = invocation(context)
    with called.output.progress("progress.compare"), client(context, org, home) as node:
        found = node.compare()
    if not found["differences"]:
        called.output.result(found, called.text("compare.same", checked=found["checked"]))
        return 0
    differences = [one if isinstance(one, dict) else {"what": one} for one in found["differences"]]
    columns = list(dict.fromkeys(name for one in differences for name in one))
    called.output.result(found, rows(differences, columns))
    return 1


@command("ledger.status")
@person
@click.pass_context
def status(context: click.Context, org: str, home: Path | None) -> None:
    """Show how far the own copy is, and who cosigned."""
    with client(context, org, home) as node:
        found = node.ledger_status()
    invocation(context).output.result(found, fields(found))
