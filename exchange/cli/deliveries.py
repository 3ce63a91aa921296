"""``parley delivery``: ask for a table or a file, open what was received, tell whose copy was found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.jobs import DEFAULT_TIMEOUT_S, fetch, wait_for
from exchange.cli.output import fields, rows
from exchange.cli.questions import choose_agreement
from exchange.errors import InvalidRequest

__all__ = ["delivery", "list_", "open_", "request", "trace"]

_HERE = "exchange.cli.deliveries"
_EVERY = 20

delivery = LazyGroup(
    "delivery",
    {
        "request": f"{_HERE}:request",
        "list": f"{_HERE}:list_",
        "open": f"{_HERE}:open_",
        "trace": f"{_HERE}:trace",
    },
    "delivery",
)


def _columns(given: tuple[str, ...]) -> dict[str, int]:
    """Read ``NAME`` or ``NAME:DECIMALS``."""
    found: dict[str, int] = {}
    for text in given:
        name, colon, digits = text.rpartition(":")
        if not colon:
            found[text] = 0
        elif digits.isdigit() and name:
            found[name] = int(digits)
        else:
            raise InvalidRequest("--column", "NAME or NAME:DECIMALS", text)
    return found


@command("delivery.request")
@click.argument("asset")
@option("--column", "columns", key="delivery_column", multiple=True)
@option("--content", key="delivery_content")
@option("--as", "kind", key="delivery_as", type=click.Choice(("parquet", "csv")), default="parquet")
@option("--anchor", key="delivery_anchor")
@option("--mark", "marks", key="delivery_mark", multiple=True)
@option("--every", key="delivery_every", type=click.IntRange(2, 1000), default=_EVERY, show_default=True)
@option("--purpose", key="purpose_one", required=True)
@option("--agreement", "named", key="agreement", multiple=True)
@option("--title", key="title", default="delivery")
@option("--timeout", "timeout_s", key="timeout", type=float, default=DEFAULT_TIMEOUT_S, show_default=True)
@person
@click.pass_context
def request(
    context: click.Context,
    asset: str,
    columns: tuple[str, ...],
    content: str | None,
    kind: str,
    anchor: str | None,
    marks: tuple[str, ...],
    every: int,
    purpose: str,
    named: tuple[str, ...],
    title: str,
    timeout_s: float,
    org: str,
    home: Path | None,
) -> None:
    """Ask an owner to deliver columns of a table, or a file, and fetch it."""
    from exchange.sdk import delivery_spec, file_spec, marked
    from ledger.entries import new_id

    if bool(columns) == bool(content):
        raise InvalidRequest("--column", "columns of a table, or --content of a file", "both or none")
    if bool(anchor) != bool(marks):
        raise InvalidRequest("--anchor", "an anchor and at least one --mark, or neither", "one of them")
    called = invocation(context)
    job, name = new_id("job", lambda: datetime.now(UTC)), asset.rpartition("/")[2]
    with client(context, org, home) as node:
        receiver = str(node.node()["did"])
        agreement = choose_agreement(node.agreements(), asset, receiver, named)
        if content:
            spec = file_spec(
                job=job,
                title=title,
                purpose=purpose,
                receiver=receiver,
                agreement=agreement,
                column=content,
                name=name,
            )
        else:
            spec = delivery_spec(
                job=job,
                title=title,
                purpose=purpose,
                receiver=receiver,
                agreement=agreement,
                columns=_columns(columns),
                name=name,
                kind=kind,
                marks=marked(anchor, marks, every) if anchor else None,
            )
        called.output.note("note.submitted", job=node.submit(spec)["job"])
        wait_for(called, node, job, timeout_s)
        found = fetch(node, job, None)
    shown = {"job": job, **found["result"]}
    called.output.result(shown, fields(shown))


@command("delivery.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List deliveries given and received."""
    with client(context, org, home) as node:
        found = node.deliveries()
    shown = ["job", "asset", "component", "sender", "recipient", "state", "is_received"]
    invocation(context).output.result(found, rows(found, shown))


@command("delivery.open")
@click.argument("job_id", metavar="JOB")
@option("--out", key="delivery_out", required=True, type=click.Path(path_type=Path, dir_okay=False))
@person
@click.pass_context
def open_(context: click.Context, job_id: str, out: Path, org: str, home: Path | None) -> None:
    """Write what was received to a file."""
    with client(context, org, home) as node:
        found = node.open_delivery(job_id, out)
    invocation(context).output.result(found, fields(found))


@command("delivery.trace")
@click.argument("asset")
@option("--copy", "location", key="delivery_copy", required=True)
@person
@click.pass_context
def trace(context: click.Context, asset: str, location: str, org: str, home: Path | None) -> None:
    """Tell which delivery a found copy came from."""
    with client(context, org, home) as node:
        found = node.trace_copy(asset, location)
    invocation(context).output.result(found, rows(found, ["job", "recipient", "chance", "is_source"]))
