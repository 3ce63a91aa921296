"""``parley audit``: search, export and compare the record."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import rows

__all__ = ["audit", "compare", "export", "search"]

_HERE = "exchange.cli.audit"

audit = LazyGroup(
    "audit",
    {"search": f"{_HERE}:search", "export": f"{_HERE}:export", "compare": f"{_HERE}:compare"},
    "audit",
)


@command("audit.search")
@option("--asset", key="about_asset")
@option("--participant", key="about_participant")
@option("--agreement", key="about_agreement")
@option("--job", key="about_job")
@option("--negotiation", key="about_negotiation")
@option("--proposal", key="about_proposal")
@option("--subject", "subjects", key="about_subject", multiple=True)
@option("--type", "types", key="entry_type", multiple=True)
@option("--actor", key="entry_actor")
@option("--refused", key="entry_refused", is_flag=True)
@option("--code", key="entry_code")
@option("--since", key="since")
@option("--until", key="until")
@option("--newest", key="entry_newest", is_flag=True)
@option("--limit", key="entry_limit", type=click.IntRange(min=1))
@person
@click.pass_context
def search(
    context: click.Context,
    asset: str | None,
    participant: str | None,
    agreement: str | None,
    job: str | None,
    negotiation: str | None,
    proposal: str | None,
    subjects: tuple[str, ...],
    types: tuple[str, ...],
    actor: str | None,
    refused: bool,
    code: str | None,
    since: str | None,
    until: str | None,
    newest: bool,
    limit: int | None,
    org: str,
    home: Path | None,
) -> None:
    """Search the own node's copy of the ledger."""
    with client(context, org, home) as node:
        entries = node.entries(
            asset=asset,
            participant=participant,
            agreement=agreement,
            job=job,
            negotiation=negotiation,
            proposal=proposal,
            subjects=subjects,
            type_=types,
            actor=actor,
            refused=refused,
            code=code,
            since=since,
            until=until,
            order="newest" if newest else "oldest",
        )
        found = list(islice(entries, limit))
    columns = ["index", "time", "type", "name", "code", "txid"]
    invocation(context).output.result(found, rows(found, columns))


@command("audit.export")
@option("--asset", "assets", key="about_asset", multiple=True)
@option("--participant", "participants", key="about_participant", multiple=True)
@option("--job", "jobs", key="about_job", multiple=True)
@option("--agreement", "agreements", key="about_agreement", multiple=True)
@option("--negotiation", "negotiations", key="about_negotiation", multiple=True)
@option("--proposal", "proposals", key="about_proposal", multiple=True)
@option("--since", key="since")
@option("--until", key="until")
@option("--entry", "entries", key="export_entry", multiple=True)
@option("--disclose", key="export_disclose", multiple=True)
@option("--earlier", key="export_earlier", type=click.IntRange(min=1), multiple=True)
@option("--everything", key="everything", is_flag=True)
@option("--out", key="out_bundle", type=click.Path(path_type=Path, dir_okay=False), required=True)
@person
@click.pass_context
def export(
    context: click.Context,
    assets: tuple[str, ...],
    participants: tuple[str, ...],
    jobs: tuple[str, ...],
    agreements: tuple[str, ...],
    negotiations: tuple[str, ...],
    proposals: tuple[str, ...],
    since: str | None,
    until: str | None,
    entries: tuple[str, ...],
    disclose: tuple[str, ...],
    earlier: tuple[int, ...],
    everything: bool,
    out: Path,
    org: str,
    home: Path | None,
) -> None:
    """Export an evidence bundle that verifies offline."""
    with client(context, org, home) as node:
        bundle = node.export_bundle(
            assets=assets,
            participants=participants,
            jobs=jobs,
            agreements=agreements,
            negotiations=negotiations,
            proposals=proposals,
            since=since,
            until=until,
            entries=entries,
            disclose=disclose,
            earlier=earlier,
            everything=everything,
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
