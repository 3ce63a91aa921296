"""``parley truth-check``: a job on synthetic twins by simulated parties, each result beside plaintext."""

from __future__ import annotations

import math
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exchange.cli.access import client, person
from exchange.cli.framework import Invocation, command, invocation, option
from exchange.cli.jobs import read_spec
from exchange.cli.output import rows
from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import RenderableType

    from exchange.simulated.truth import StepCheck, TruthCheck

__all__ = ["truth_check"]

_SHARE = click.FloatRange(0, 1, min_open=True)
_COLUMNS = ["step", "component", "outcome", "figures", "absolute", "relative", "tolerance"]


@command("truth-check")
@click.argument("draft", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@option(
    "--share", key="twin_share", type=click.FloatRange(0, 1, min_open=True), default=0.75, show_default=True
)
@option("--sample", "samples", key="truth_sample", multiple=True)
@person
@click.pass_context
def truth_check(
    context: click.Context, draft: Path, share: float, samples: tuple[str, ...], org: str, home: Path | None
) -> int:
    """Play a job on the twins of its assets and compare each result with plaintext."""
    from exchange.sdk import truth_check as check

    called = invocation(context)
    spec, given = read_spec(draft, datetime.now(UTC)), dict(map(_sample, samples))
    with called.output.progress("progress.truth") as bar, client(context, org, home) as node:
        found = check(
            node,
            spec,
            share=share,
            samples=given,
            progress=lambda step, done, total: bar.at(done, total, step),
        )
    called.output.result(found.as_json(), _view(called, found))
    return 0 if found.is_within else 1


def _sample(text: str) -> tuple[str, pa.Table]:
    """Read ``ASSET=FILE``, a CSV, Parquet or Arrow file.

    Raises:
        InvalidRequest: it has another form. InvalidSource, SourceUnreachable: the file is no such table.
    """
    import pyarrow as pa

    from connectors.files import FileConnector

    asset, sign, file = text.partition("=")
    if not (asset and sign and file):
        raise InvalidRequest("--sample", "ASSET=FILE", text[:80])
    with closing(FileConnector(Path(file))) as connector:
        schema = connector.schema()
        return asset, pa.Table.from_batches(connector.batches(schema.names), schema)


def _view(called: Invocation, found: TruthCheck) -> RenderableType:
    tables = ", ".join(f"{asset}: {count}" for asset, count in found.rows.items())
    title = called.text("truth.simulated", tables=tables)
    return rows([_line(called, one) for one in found.steps], _COLUMNS, title=title)


def _line(called: Invocation, one: StepCheck) -> dict[str, object]:
    line: dict[str, object] = {"step": one.step, "component": one.component}
    if one.state == "failed":
        return line | {"outcome": called.text("truth.failed", detail=one.detail)}
    if one.state != "compared":
        return line | {"outcome": called.text(f"truth.reason.{one.reason}")}
    return line | {
        "outcome": called.text("truth.within" if one.is_within else "truth.beyond"),
        "figures": len(one.figures),
        "absolute": _short(one.absolute),
        "relative": _short(one.relative),
        "tolerance": f"{one.tolerance.absolute:g} / {one.tolerance.relative:g}",
    }


def _short(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "∞"
