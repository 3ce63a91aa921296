"""``parley verify``: check an evidence bundle offline.

Needs no server, no network, no database and no profile: only the bundle, the ledger's rules and, to know
whose exchange it is, the genesis hash that the reader got by another way.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from exchange.cli.framework import command, invocation, option
from exchange.cli.output import fields

__all__ = ["verify"]


@command("verify")
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@option("--genesis", key="genesis_hash")
@click.pass_context
def verify(context: click.Context, bundle: Path, genesis: str | None) -> int:
    """Check an evidence bundle with no server, network or database."""
    import ledger.bundle as bundles
    from ledger.errors import LedgerError

    called = invocation(context)
    try:
        report = bundles.verify(bundle.read_bytes(), genesis)
    except LedgerError as error:
        from exchange.errors import PublicFace

        called.output.problem(PublicFace(409, "Refused", error.code, str(error), False, 1))
        return 1
    shown = dataclasses.asdict(report)
    if genesis is None:
        called.output.note("verify.unpinned")
    called.output.note("verify.sound", bundle=bundle.name)
    called.output.result(shown, fields(shown))
    return 0
