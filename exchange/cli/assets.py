"""``parley asset`` and ``parley catalog``: offer one's own tables, and find those of others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import InvalidRequest

__all__ = ["asset", "catalog", "describe", "expiry", "list_", "publish", "search", "show", "withdraw"]

FILE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".arrow", ".feather"})
# What a job may reveal of a column, by its role; stricter than this nothing of a kind can be computed.
CONTROLS = {"identifier": "AFTER_JOIN", "measure": "AFTER_AGGREGATE", "group": "AFTER_GROUP_BY"}
SENSITIVITIES = {"identifier": "confidential", "measure": "internal", "group": "internal"}
DEFAULT_OPERATIONS = ("psi/ecdh", "stats/group-sums")
OUTPUT_TYPES = ("aggregate", "cardinality")
DEFAULT_EXPIRY_DAYS = 90

asset = LazyGroup(
    "asset",
    {
        "publish": "exchange.cli.assets:publish",
        "list": "exchange.cli.assets:list_",
        "withdraw": "exchange.cli.assets:withdraw",
    },
    "asset",
)
catalog = LazyGroup(
    "catalog",
    {"search": "exchange.cli.assets:search", "show": "exchange.cli.assets:show"},
    "catalog",
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


def source_of(file: Path | None, source: str | None, table: str | None) -> dict[str, str | None]:
    """Describe where the rows are: a file by its suffix, or a database URL with a table."""
    if (file is None) == (source is None):
        raise click.UsageError("expected either FILE or --source URL, not both")
    if source is not None:
        if table is None:
            raise click.UsageError("expected --table with --source")
        return {"kind": "sql", "location": source, "table": table}
    path = Path(str(file))
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise InvalidRequest("FILE", f"a name that ends in {', '.join(sorted(FILE_SUFFIXES))}", path.name)
    return {"kind": "file", "location": str(path.resolve()), "table": table}


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
    source: dict[str, str | None],
    columns: Sequence[dict[str, str]],
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
@option("--source", key="source")
@option("--table", key="table")
@option("--name", key="asset_name", required=True)
@option("--title", key="title")
@option("--description", key="description", default="")
@option("--keyword", "keywords", key="keyword", multiple=True)
@option("--id", "identifier", key="id", required=True)
@option("--measure", "measures", key="measure", multiple=True)
@option("--group", "groups", key="group", multiple=True)
@option("--purpose", "purposes", key="purpose", multiple=True, required=True)
@option("--operation", "operations", key="operation", multiple=True, default=DEFAULT_OPERATIONS)
@option("--uses", key="uses", type=click.IntRange(1), default=10, show_default=True)
@option("--expires", key="expires")
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=10, show_default=True)
@person
@click.pass_context
def publish(
    context: click.Context,
    file: Path | None,
    source: str | None,
    table: str | None,
    name: str,
    title: str | None,
    description: str,
    keywords: tuple[str, ...],
    identifier: str,
    measures: tuple[str, ...],
    groups: tuple[str, ...],
    purposes: tuple[str, ...],
    operations: tuple[str, ...],
    uses: int,
    expires: str | None,
    min_cohort: int,
    org: str,
    home: Path | None,
) -> None:
    """Profile a table at the own node and publish it; the rows stay there."""
    columns = [column("identifier", identifier)]
    columns += [column("measure", measure) for measure in measures]
    columns += [column("group", group) for group in groups]
    body = describe(
        name=name,
        title=title,
        description=description,
        keywords=keywords,
        source=source_of(file, source, table),
        columns=columns,
        terms={
            "purposes": list(purposes),
            "operations": list(operations),
            "columns": [chosen["name"] for chosen in columns],
            "uses": uses,
            "expires": expiry(expires, datetime.now(UTC)),
            "min_cohort": min_cohort,
            "output_types": list(OUTPUT_TYPES),
        },
    )
    called = invocation(context)
    with called.output.progress("progress.publish"), client(context, org, home) as node:
        made = node.publish(body)
    called.output.result(
        made, fields({key: made[key] for key in ("asset", "version", "rows", "root", "txid")})
    )


@command("asset.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List the own assets."""
    with client(context, org, home) as node:
        found = node.assets()
    invocation(context).output.result(found, rows(found, ["asset", "version", "title", "rows", "status"]))


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


@command("catalog.search")
@click.argument("words", nargs=-1)
@person
@click.pass_context
def search(context: click.Context, words: tuple[str, ...], org: str, home: Path | None) -> None:
    """Search titles, descriptions, keywords and columns."""
    with client(context, org, home) as node:
        found = node.catalog(" ".join(words))
    shown = [
        {
            "asset": dataset["@id"],
            "title": dataset["dct:title"],
            "publisher": dataset["dct:publisher"].get("foaf:nick", ""),
            "rows": dataset["parley:rows"],
            "columns": [column["csvw:name"] for column in dataset["csvw:tableSchema"]["csvw:column"]],
        }
        for dataset in found["dcat:dataset"]
    ]
    view = rows(shown, ["asset", "title", "publisher", "rows", "columns"])
    invocation(context).output.result(found, view)


@command("catalog.show")
@click.argument("asset_id", metavar="ASSET")
@person
@click.pass_context
def show(context: click.Context, asset_id: str, org: str, home: Path | None) -> None:
    """Show an asset's catalog record."""
    with client(context, org, home) as node:
        found = node.dataset(asset_id)
    schema = found["csvw:tableSchema"]["csvw:column"]
    columns = [{name.partition(":")[2]: value for name, value in column.items()} for column in schema]
    name, version, count = found["@id"], found["dcat:version"], found["parley:rows"]
    heading = f"{found['dct:title']} ({name}, version {version}, {count} rows)"
    view = rows(columns, ["name", "datatype", "role", "sensitivity", "control"], title=heading)
    invocation(context).output.result(found, view)
