"""``parley ledger timestamp``, ``checkpoint`` and ``anchor``: evidence that others give and keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import command, invocation, option
from exchange.cli.output import fields

if TYPE_CHECKING:
    from exchange.sdk import NodeClient

__all__ = ["anchor", "checkpoint", "erase", "timestamp"]

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@command("ledger.timestamp")
@option("--tsa", key="tsa", required=True)
@option("--certificates", key="tsa_certificates", type=_FILE, required=True)
@person
@click.pass_context
def timestamp(context: click.Context, tsa: str, certificates: Path, org: str, home: Path | None) -> None:
    """Have the own copy's final checkpoint stamped by an outside authority."""
    with client(context, org, home) as node:
        made = node.timestamp(tsa, certificates.read_text(encoding="utf-8"))
    invocation(context).output.result(made, fields(made))


@command("ledger.checkpoint")
@option("--after", key="anchor_after", type=click.IntRange(min=0), default=0, show_default=True)
@option("--out", key="anchor_out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@person
@click.pass_context
def checkpoint(context: click.Context, after: int, out: Path, org: str, home: Path | None) -> None:
    """Write the own ledger's final checkpoint to a file, as another ledger anchors it."""
    with client(context, org, home) as node:
        offered = node.offer_anchor(after)
    out.write_text(json.dumps(offered, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    shown = {name: offered[name] for name in ("origin", "genesis", "size", "root")}
    invocation(context).output.result({"file": str(out), **shown}, fields(shown))


@command("ledger.anchor")
@click.argument("file", type=_FILE, required=False)
@option("--from", "from_", key="anchor_from")
@option("--from-home", key="anchor_from_home", type=_FOLDER)
@person
@click.pass_context
def anchor(
    context: click.Context,
    file: Path | None,
    from_: str | None,
    from_home: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Put the final checkpoint of another ledger on record in the own one."""
    if (file is None) == (from_ is None):
        raise click.UsageError("expected a file or --from, and not both")
    with client(context, org, home) as node:
        if file is not None:
            offered = json.loads(file.read_text(encoding="utf-8"))
        else:
            with client(context, str(from_), from_home if from_home is not None else home) as other:
                offered = _next(node, other)
        made = node.anchor(offered)
    invocation(context).output.result(made, fields(made))


@command("ledger.erase")
@click.argument("txid")
@person
@click.pass_context
def erase(context: click.Context, txid: str, org: str, home: Path | None) -> None:
    """Drop the private content behind an entry's commitment; the ledger stays whole."""
    called = invocation(context)
    with client(context, org, home) as node:
        node.erase_private(txid)
    called.output.result({"erased": txid}, called.text("ledger.erased", txid=txid))


def _next(node: NodeClient, other: NodeClient) -> dict[str, Any]:
    """What the other ledger's node offers after the checkpoint on record here."""
    offered = other.offer_anchor()
    ledger = (offered["genesis"], offered["log"])
    known = [row["size"] for row in node.anchors() if (row["genesis"], row["log"]) == ledger]
    return other.offer_anchor(known[0]) if known else offered
