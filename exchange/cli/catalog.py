"""``parley catalog``: find what members offer, and read one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.drafts import quality_view
from exchange.cli.framework import Invocation, LazyGroup, command, invocation, option
from exchange.cli.output import fields, plain, rows

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["catalog", "quality", "search", "show", "twin"]

KINDS = ("table", "file", "document", "api", "list", "stream")
GRADES = ("public", "internal", "confidential", "secret")
SORTS = ("relevance", "newest", "asset", "price", "rows")

catalog = LazyGroup(
    "catalog",
    {
        "search": "exchange.cli.catalog:search",
        "show": "exchange.cli.catalog:show",
        "quality": "exchange.cli.catalog:quality",
        "twin": "exchange.cli.catalog:twin",
    },
    "catalog",
)


@command("catalog.search")
@click.argument("words", nargs=-1)
@option("--tag", "tags", key="with_tag", multiple=True)
@option("--column", "columns", key="with_column", multiple=True)
@option("--owner", "owners", key="owned_by", multiple=True)
@option("--purpose", key="for_purpose")
@option("--kind", key="of_kind", type=click.Choice(KINDS))
@option("--grade", key="of_grade", type=click.Choice(GRADES))
@option("--max-price", key="max_price", type=click.IntRange(0))
@option("--min-rows", key="min_rows", type=click.IntRange(0))
@option("--sort", key="sort", type=click.Choice(SORTS), default="relevance", show_default=True)
@option("--limit", key="page_limit", type=click.IntRange(1, 100), default=20, show_default=True)
@option("--offset", key="page_offset", type=click.IntRange(0), default=0)
@option("--facets", key="facets", is_flag=True)
@option("--federated", key="federated", is_flag=True)
@person
@click.pass_context
def search(
    context: click.Context,
    /,
    words: tuple[str, ...],
    tags: tuple[str, ...],
    columns: tuple[str, ...],
    owners: tuple[str, ...],
    org: str,
    home: Path | None,
    **filters: str | int | None,
) -> None:
    """Search titles, descriptions, keywords and columns."""
    with client(context, org, home) as node:
        found = node.catalog(
            " ".join(words), tag=list(tags), column=list(columns), owner=list(owners), **filters
        )
    called = invocation(context)
    called.output.result(found, _found(called, found))


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
    if value := _value(found):
        heading += f"; {invocation(context).text('quality.value')} {value}"
    view = rows(columns, ["name", "datatype", "role", "sensitivity", "control"], title=heading)
    invocation(context).output.result(found, view)


@command("catalog.quality")
@click.argument("asset_id", metavar="ASSET")
@person
@click.pass_context
def quality(context: click.Context, asset_id: str, org: str, home: Path | None) -> None:
    """Show an asset's quality report, fetched from its owner's node."""
    with client(context, org, home) as node:
        found = node.quality(asset_id)
    called = invocation(context)
    called.output.result(found, quality_view(called, found))


@command("catalog.twin")
@click.argument("asset_id", metavar="ASSET")
@option("--out", key="twin_out", required=True, type=click.Path(path_type=Path, dir_okay=False))
@person
@click.pass_context
def twin(context: click.Context, asset_id: str, out: Path, org: str, home: Path | None) -> None:
    """Fetch an asset's synthetic twin from its owner's node."""
    with client(context, org, home) as node:
        content = node.twin(asset_id)
    out.write_bytes(content)
    found = {"asset": asset_id, "file": str(out), "bytes": len(content)}
    invocation(context).output.result(found, fields(found))


def _found(called: Invocation, found: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group

    shown = [
        {
            "asset": dataset["@id"],
            "title": dataset["dct:title"],
            "publisher": dataset["dct:publisher"].get("foaf:nick", ""),
            "rows": dataset["parley:rows"],
            "value": _value(dataset),
            "columns": [column["csvw:name"] for column in dataset["csvw:tableSchema"]["csvw:column"]],
        }
        for dataset in found["dcat:dataset"]
    ]
    heading = called.text("catalog.found", shown=len(shown), total=found["parley:total"])
    view = rows(shown, ["asset", "title", "publisher", "rows", "value", "columns"], title=heading)
    below = [_facet(name, counts) for name, counts in found.get("parley:facets", {}).items()]
    if "parley:members" in found:
        below += _members(called, found["parley:members"])
    return Group(view, *below)


def _value(dataset: Mapping[str, Any]) -> str:
    """The value coefficient, as the record has it."""
    measured = dataset.get("dqv:hasQualityMeasurement", [])
    return next(
        (
            str(one["dqv:value"]["@value"])
            for one in measured
            if one["dqv:isMeasurementOf"]["@id"] == "parley:value"
        ),
        "",
    )


def _members(called: Invocation, members: Mapping[str, Any]) -> list[str]:
    answered = called.text("catalog.answered", answered=members["answered"], asked=members["asked"])
    return [answered, *(plain(f"{one['member']}: {one['reason']}") for one in members["silent"])]


def _facet(name: str, counts: Sequence[Mapping[str, object]]) -> str:
    return plain(f"{name}: " + ", ".join(f"{one['value']} {one['count']}" for one in counts))
