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
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=False)
@option("--genesis", key="genesis_hash")
@option("--tsa-root", key="tsa_root", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@option("--anchored-in", key="anchored_in", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@option("--anchor-genesis", key="anchor_genesis")
@option(
    "--previous",
    key="previous_bundle",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
)
@option("--replay", key="replay", is_flag=True)
@option("--page", key="verify_page", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def verify(
    context: click.Context,
    bundle: Path | None,
    genesis: str | None,
    tsa_root: Path | None,
    anchored_in: Path | None,
    anchor_genesis: str | None,
    previous: tuple[Path, ...],
    replay: bool,
    page: Path | None,
) -> int:
    """Check an evidence bundle with no server, network or database."""
    if (bundle is None) == (page is None):
        raise click.UsageError("expected a bundle, or --page alone")
    if page is not None:
        return _write_page(context, page)
    return _verify(
        context, Path(str(bundle)), genesis, tsa_root, anchored_in, anchor_genesis, previous, replay=replay
    )


def _write_page(context: click.Context, path: Path) -> int:
    from ledger.browser import page

    path.write_bytes(page())
    invocation(context).output.result({"page": str(path)}, str(path))
    return 0


def _verify(
    context: click.Context,
    bundle: Path,
    genesis: str | None,
    tsa_root: Path | None,
    anchored_in: Path | None,
    anchor_genesis: str | None,
    previous: tuple[Path, ...],
    *,
    replay: bool,
) -> int:
    import ledger.bundle as bundles
    from ledger.errors import LedgerError
    from ledger.timestamps import load_certificates

    called = invocation(context)
    try:
        roots = [] if tsa_root is None else load_certificates(tsa_root.read_bytes())
        report = bundles.verify(
            bundle.read_bytes(),
            genesis,
            tsa_roots=roots,
            anchored_in=None if anchored_in is None else anchored_in.read_bytes(),
            anchor_genesis=anchor_genesis,
            previous=[path.read_bytes() for path in previous],
            replayed=replay,
        )
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
