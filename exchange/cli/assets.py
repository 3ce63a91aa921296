"""``parley asset``: offer one's own tables, and take them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from exchange.cli.access import client, person
from exchange.cli.clauses import clauses, controlled
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.cli.sources import source_of, source_options
from exchange.errors import InvalidRequest

__all__ = ["asset", "describe", "expiry", "list_", "publish", "versions", "withdraw"]

# What a job may reveal of a column, by its role; stricter than this nothing of a kind can be computed.
CONTROLS = {"identifier": "AFTER_JOIN", "measure": "AFTER_AGGREGATE", "group": "AFTER_GROUP_BY"}
SENSITIVITIES = {"identifier": "confidential", "measure": "internal", "group": "internal"}
DEFAULT_OPERATIONS = ("psi/ecdh", "stats/group-sums")
OUTPUT_TYPES = ("aggregate", "cardinality")
DEFAULT_EXPIRY_DAYS = 90

asset = LazyGroup(
    "asset",
    {
        "draft": "exchange.cli.drafts:draft",
        "confirm": "exchange.cli.drafts:confirm",
        "review": "exchange.cli.drafts:review",
        "publish": "exchange.cli.assets:publish",
        "list": "exchange.cli.assets:list_",
        "twin": "exchange.cli.drafts:twin",
        "versions": "exchange.cli.assets:versions",
        "withdraw": "exchange.cli.assets:withdraw",
    },
    "asset",
)


def expiry(text: str | None, now: datetime) -> str:
    """Read an expiry: a number of days like ``30d``, a date, or an RFC 3339 time in UTC.

    Raises:
        InvalidRequest: it has another form.
    """
    if text is None:
        text = f"{DEFAULT_EXPIRY_DAYS}d"
    try:
        if text.endswith("d") and text[:-1].isdigit():
            moment = now + timedelta(days=int(text[:-1]))
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        raise InvalidRequest("expires", "30d, 2030-12-31 or 2030-12-31T00:00:00Z", text) from None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def column(role: str, text: str) -> dict[str, str]:
    """Describe one column by its role; ``COLUMN:DECIMALS`` is accepted for a measure."""
    name = text
    if role == "measure" and ":" in text:
        name, _, decimals = text.rpartition(":")
        if not decimals.isdigit():
            raise InvalidRequest("--measure", "COLUMN or COLUMN:DECIMALS", text)
    return {"name": name, "role": role, "sensitivity": SENSITIVITIES[role], "control": CONTROLS[role]}


def describe(
    *,
    name: str,
    title: str | None,
    description: str,
    keywords: Sequence[str],
    source: dict[str, Any],
    columns: Sequence[Mapping[str, object]],
    terms: dict[str, Any],
) -> dict[str, Any]:
    """Build the body of ``POST /v1/assets``."""
    return {
        "name": name,
        "title": title or name,
        "description": description,
        "keywords": list(keywords),
        "source": source,
        "columns": list(columns),
        "terms": terms,
    }


@command("asset.publish")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@source_options
@option("--name", key="asset_name", required=True)
@option("--title", key="title")
@option("--description", key="description", default="")
@option("--keyword", "keywords", key="keyword", multiple=True)
@option("--id", "identifier", key="id", required=True)
@option("--measure", "measures", key="measure", multiple=True)
@option("--group", "groups", key="group", multiple=True)
@option("--purpose", "purposes", key="purpose", multiple=True, required=True)
@option("--operation", "operations", key="operation", multiple=True, default=DEFAULT_OPERATIONS)
@option("--output-type", "output_types", key="output_type", multiple=True, default=OUTPUT_TYPES)
@option("--uses", key="uses", type=click.IntRange(1), default=10, show_default=True)
@option("--expires", key="expires")
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=10, show_default=True)
@option("--clause", "further", key="clause", multiple=True)
@option("--control", "controls", key="control", multiple=True, metavar="COLUMN:LEVEL[@DID]")
@person
@click.pass_context
def publish(
    context: click.Context,
    file: Path | None,
    source: str | None,
    table: str | None,
    described: Path | None,
    name: str,
    title: str | None,
    description: str,
    keywords: tuple[str, ...],
    identifier: str,
    measures: tuple[str, ...],
    groups: tuple[str, ...],
    purposes: tuple[str, ...],
    operations: tuple[str, ...],
    output_types: tuple[str, ...],
    uses: int,
    expires: str | None,
    min_cohort: int,
    further: tuple[str, ...],
    controls: tuple[str, ...],
    org: str,
    home: Path | None,
) -> None:
    """Profile a table at the own node and publish it; the rows stay there."""
    called = invocation(context)
    columns = [column("identifier", identifier)]
    columns += [column("measure", measure) for measure in measures]
    columns += [column("group", group) for group in groups]
    body = describe(
        name=name,
        title=title,
        description=description,
        keywords=keywords,
        source=source_of(file, source, table, described, called.environment),
        columns=controlled(columns, controls),
        terms={
            "purposes": list(purposes),
            "operations": list(operations),
            "columns": [chosen["name"] for chosen in columns],
            "uses": uses,
            "expires": expiry(expires, datetime.now(UTC)),
            "min_cohort": min_cohort,
            "output_types": list(output_types),
            **clauses(further),
        },
    )
    with called.output.progress("progress.publish"), client(context, org, home) as node:
        made = node.publish(body)
    called.output.result(
        made, fields({key: made[key] for key in ("asset", "version", "rows", "root", "txid")})
    )


@command("asset.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List the own assets, drafts too."""
    with client(context, org, home) as node:
        found = node.assets()
        found += [
            {"asset": one["asset"], "version": one["version"], "state": "draft", **_of_draft(one)}
            for one in node.drafts()
        ]
    invocation(context).output.result(found, rows(found, ["asset", "version", "title", "rows", "state"]))


def _of_draft(draft: Mapping[str, Any]) -> dict[str, object]:
    return {"title": "", "rows": draft["profile"]["rows"]}


@command("asset.versions")
@click.argument("asset_id", metavar="ASSET")
@person
@click.pass_context
def versions(context: click.Context, asset_id: str, org: str, home: Path | None) -> None:
    """List every version of an asset."""
    with client(context, org, home) as node:
        found = node.versions(asset_id)
    view = rows(found, ["version", "state", "published", "rows", "columns", "value", "root"])
    invocation(context).output.result(found, view)


@command("asset.withdraw")
@click.argument("asset_id", metavar="ASSET")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def withdraw(context: click.Context, asset_id: str, reason: str, org: str, home: Path | None) -> None:
    """Withdraw an asset; history stays."""
    with client(context, org, home) as node:
        made = node.withdraw(asset_id, reason)
    invocation(context).output.result(made, fields(made))
