"""``parley witness``: a witness or mirror of other networks' logs. Each command opens one directory only."""

from __future__ import annotations

import json
from pathlib import Path

import click

from exchange.cli.access import kind_option, passphrase, passphrase_option
from exchange.cli.framework import LazyGroup, command, directory, invocation, option
from exchange.cli.output import fields

__all__ = ["add_log", "init", "run", "witness"]

FILE = click.Path(path_type=Path, dir_okay=False)

witness = LazyGroup(
    "witness",
    {
        "init": "exchange.cli.witness:init",
        "add-log": "exchange.cli.witness:add_log",
        "run": "exchange.cli.witness:run",
    },
    "witness",
)


@command("witness.init")
@directory()
@option("--name", key="witness_name", required=True)
@option("--bind", key="witness_bind", required=True)
@option("--host", key="host", default="127.0.0.1", show_default=True)
@option("--mirror", key="witness_mirror", is_flag=True)
@option("--out", key="out_record", type=FILE, required=True)
@passphrase_option
@kind_option
@click.pass_context
def init(
    context: click.Context,
    directory: Path,
    name: str,
    bind: str,
    host: str,
    mirror: bool,
    out: Path,
    passphrase_file: Path | None,
    kind: str,
) -> None:
    """Make a witness's keys and settings."""
    from exchange.identity import INTERACTIVE, MODERATE
    from exchange.witness import setup

    called = invocation(context)
    record = setup.init(
        directory,
        name=name,
        bind=bind,
        host=host,
        mirror=mirror,
        passphrase=passphrase(called.environment, passphrase_file),
        cost=INTERACTIVE if kind == "random" else MODERATE,
    )
    out.write_text(json.dumps(record), encoding="utf-8")
    called.output.result(record, fields({"name": name, "url": record["url"], "record": out}))


@command("witness.add-log")
@directory()
@option("--log", key="witness_log", required=True)
@option("--url", key="log_url")
@click.pass_context
def add_log(context: click.Context, directory: Path, log: str, url: str | None) -> None:
    """Make a log known to the witness."""
    from exchange.witness import setup
    from exchange.witness.logs import origin_hash

    vkey = setup.add(directory, log, url)
    hashed = origin_hash(vkey.name)
    data = {"origin": vkey.name, "hash": hashed}
    invocation(context).output.result(data, fields(data))


@command("witness.run")
@directory()
@passphrase_option
@click.pass_context
def run(context: click.Context, directory: Path, passphrase_file: Path | None) -> None:
    """Run the witness until it is told to end."""
    from exchange.witness import daemon

    daemon.run(directory, passphrase(invocation(context).environment, passphrase_file))
