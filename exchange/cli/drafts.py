"""``parley asset draft`` and ``confirm``: publishing in two acts, with what the node found in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.assets import DEFAULT_OPERATIONS, OUTPUT_TYPES, expiry
from exchange.cli.framework import Invocation, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.cli.sources import source_of, source_options
from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["choice", "confirm", "draft", "quality_view", "review", "twin"]

_CHOICES = ("role", "sensitivity", "control")


@command("asset.draft")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@source_options
@option("--name", key="asset_name", required=True)
@person
@click.pass_context
def draft(
    context: click.Context,
    file: Path | None,
    source: str | None,
    table: str | None,
    described: Path | None,
    name: str,
    org: str,
    home: Path | None,
) -> None:
    """Examine a table: quality, and what is suggested for each column. Nothing is published."""
    called = invocation(context)
    with called.output.progress("progress.publish"), client(context, org, home) as node:
        made = node.draft(name, source_of(file, source, table, described, called.environment))
    called.output.result(made, _draft_view(called, made))


@command("asset.confirm")
@click.argument("asset_id", metavar="ASSET")
@option("--title", key="title")
@option("--description", key="description", default="")
@option("--keyword", "keywords", key="keyword", multiple=True)
@option("--column", "columns", key="confirm_column", multiple=True)
@option("--purpose", "purposes", key="purpose", multiple=True, required=True)
@option("--operation", "operations", key="operation", multiple=True, default=DEFAULT_OPERATIONS)
@option("--output-type", "output_types", key="output_type", multiple=True, default=OUTPUT_TYPES)
@option("--uses", key="uses", type=click.IntRange(1), default=10, show_default=True)
@option("--expires", key="expires")
@option("--min-cohort", key="min_cohort", type=click.IntRange(1), default=10, show_default=True)
@person
@click.pass_context
def confirm(
    context: click.Context,
    asset_id: str,
    title: str | None,
    description: str,
    keywords: tuple[str, ...],
    columns: tuple[str, ...],
    purposes: tuple[str, ...],
    operations: tuple[str, ...],
    output_types: tuple[str, ...],
    uses: int,
    expires: str | None,
    min_cohort: int,
    org: str,
    home: Path | None,
) -> None:
    """Publish a draft as suggested, or with other roles, grades and levels."""
    called = invocation(context)
    choices = [choice(text) for text in columns]
    with called.output.progress("progress.publish"), client(context, org, home) as node:
        drafted = next((one for one in node.drafts() if one["asset"] == asset_id), None)
        suggested = [] if drafted is None else [one["name"] for one in drafted["suggestions"]]
        body = {
            "title": title or asset_id.partition("/")[2] or asset_id,
            "description": description,
            "keywords": list(keywords),
            "columns": choices,
            "terms": {
                "purposes": list(purposes),
                "operations": list(operations),
                "columns": [one["name"] for one in choices] or suggested or ["-"],
                "uses": uses,
                "expires": expiry(expires, datetime.now(UTC)),
                "min_cohort": min_cohort,
                "output_types": list(output_types),
            },
        }
        made = node.confirm(asset_id, body)
    shown = {key: made[key] for key in ("asset", "version", "rows", "root", "txid")}
    called.output.result(made, fields(shown | {"value": made["quality"]["value"]}))


@command("asset.review")
@click.argument("asset_id", metavar="ASSET")
@person
@click.pass_context
def review(context: click.Context, asset_id: str, org: str, home: Path | None) -> None:
    """Show what was suggested, chosen and overridden, and by whom."""
    with client(context, org, home) as node:
        found = node.review(asset_id)
    shown = [
        {"column": one["name"], **one["chosen"], "overridden": one["overridden"]} for one in found["columns"]
    ]
    heading = f"{found['asset']} {found['version']}: {found['confirmed_by']}, {found['confirmed']}"
    view = rows(shown, ["column", *_CHOICES, "overridden"], title=heading)
    invocation(context).output.result(found, view)


@command("asset.twin")
@click.argument("asset_id", metavar="ASSET")
@option("--rows", "count", key="twin_rows", type=click.IntRange(1, 100_000), default=1000, show_default=True)
@option("--epsilon-micro", key="twin_epsilon", type=click.IntRange(1), default=5_000_000, show_default=True)
@person
@click.pass_context
def twin(
    context: click.Context, asset_id: str, count: int, epsilon_micro: int, org: str, home: Path | None
) -> None:
    """Draw a synthetic twin of an own asset and publish its digest."""
    called = invocation(context)
    with called.output.progress("progress.publish"), client(context, org, home) as node:
        made = node.make_twin(asset_id, rows=count, epsilon_micro=epsilon_micro)
    called.output.result(made, fields(made))


def choice(text: str) -> dict[str, str]:
    """Read ``COLUMN`` or ``COLUMN:role=measure,sensitivity=secret,control=ENCRYPTED_ONLY``.

    Raises:
        InvalidRequest: it has another form.
    """
    name, _, settings = text.partition(":")
    chosen = {"name": name}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if key not in _CHOICES or not equals or not value:
            raise InvalidRequest("--column", "COLUMN or COLUMN:role=…,sensitivity=…,control=…", text)
        chosen[key] = value
    return chosen


def quality_view(called: Invocation, report: Mapping[str, Any]) -> RenderableType:
    """Lay out a quality report in the caller's language."""
    measures: dict[str, object] = {called.text("quality.rows"): report["rows"]}
    for name in ("completeness", "validity", "uniqueness", "value"):
        measures[called.text(f"quality.{name}")] = _percent(report[name])
    measures[called.text("quality.duplicate_rows")] = report["duplicate_rows"]
    if report["freshness_days"] is not None:
        measures[called.text("quality.freshness_days")] = report["freshness_days"]
    return fields(measures)


def _draft_view(called: Invocation, made: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group

    filled = {one["name"]: one["completeness"] for one in made["quality"]["columns"]}
    shown = [
        {
            "column": one["name"],
            "type": one["type"],
            "filled": _percent(filled[one["name"]]),
            **{name: one[name] for name in _CHOICES},
            "reasons": "; ".join(_reasons(called, one["reasons"])),
        }
        for one in made["suggestions"]
    ]
    columns = ["column", "type", "filled", *_CHOICES, "reasons"]
    heading = called.text("asset.drafted", asset=made["asset"], version=made["version"])
    return Group(quality_view(called, made["quality"]), rows(shown, columns, title=heading))


def _reasons(called: Invocation, reasons: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        called.text(
            f"suggestion.{one['code']}",
            kind=called.text(f"content.{one['content']}") if "content" in one else "",
            share=_percent(one.get("share", 0)),
            count=one.get("count", ""),
        )
        for one in reasons
    ]


def _percent(millionths: int) -> str:
    return f"{millionths // 1000 / 10:.1f} %"
