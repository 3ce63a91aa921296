"""``parley ledger pending``, ``submit``, ``blame``: when the hub leaves entries out, or members collude."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exchange.cli.access import client, person
from exchange.cli.framework import command, invocation, option
from exchange.cli.output import fields, rows

if TYPE_CHECKING:
    from ledger.equivocation import Keys

__all__ = ["blame", "pending", "submit"]

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@command("ledger.pending")
@option("--out", key="pending_out", type=click.Path(path_type=Path, file_okay=False))
@person
@click.pass_context
def pending(context: click.Context, out: Path | None, org: str, home: Path | None) -> None:
    """List the own entries that are not final yet, or write each to a file."""
    from ledger import base64url

    with client(context, org, home) as node:
        found = node.pending_entries()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for one in found:
            (out / f"{one['txid']}.entry").write_bytes(base64url.decode(one["entry"]))
    invocation(context).output.result(found, rows(found, ["txid", "type"]))


@command("ledger.submit")
@click.argument("file", type=_FILE)
@person
@click.pass_context
def submit(context: click.Context, file: Path, org: str, home: Path | None) -> int:
    """Hand in a signed entry, of whichever member; 1 if the ledger refuses it."""
    with client(context, org, home) as node:
        placed = node.submit_entry(file.read_bytes())
    invocation(context).output.result(placed, fields(placed))
    return 0 if placed["code"] is None else 1


@command("ledger.blame")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@option("--genesis-file", key="blame_genesis", type=_FILE)
@option("--bundle", key="blame_bundle", type=_FILE)
@option("--genesis", key="genesis_hash")
@click.pass_context
def blame(
    context: click.Context,
    files: tuple[Path, ...],
    genesis_file: Path | None,
    bundle: Path | None,
    genesis: str | None,
) -> int:
    """Name who vouched for two histories, from checkpoints, evidence files and bundles; 1 if anybody did."""
    from ledger.equivocation import contradictions, read_statements
    from ledger.errors import LedgerError

    called = invocation(context)
    if (genesis_file is None) == (bundle is None):
        raise click.UsageError("expected --genesis-file or --bundle, and not both")
    try:
        keys = _keys(genesis_file, bundle, genesis)
        statements = [one for file in files for one in read_statements(file.read_bytes(), keys)]
    except LedgerError as error:
        from exchange.errors import PublicFace

        called.output.problem(PublicFace(409, "Refused", error.code, str(error), False, 1))
        return 1
    found = [
        dataclasses.asdict(one) | {"final": list(one.finals)} for one in contradictions(statements, keys)
    ]
    if genesis is None:
        called.output.note("verify.unpinned")
    data = {"statements": len(statements), "contradictions": found}
    if not found:
        called.output.result(data, called.text("blame.none", statements=len(statements)))
        return 0
    called.output.result(data, rows(found, ["size", "roots", "final", "both", "only", "members"]))
    return 1


def _keys(genesis_file: Path | None, bundle: Path | None, genesis: str | None) -> Keys:
    """The keys that count, from the genesis or from a bundle that verifies."""
    from ledger.equivocation import Keys
    from ledger.errors import InvalidBundle
    from ledger.membership import genesis_hash
    from ledger.offline import Shown

    if bundle is not None:
        return Keys.of(Shown.open(bundle.read_bytes(), genesis).state)
    raw = Path(str(genesis_file)).read_bytes()
    if genesis is not None and genesis_hash(raw) != genesis:
        raise InvalidBundle("genesis", f"expected the hash {genesis}, got {genesis_hash(raw)}")
    return Keys.founded(raw)
