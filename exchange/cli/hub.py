"""``parley hub``: set up, run, copy and check the hub. These commands open the hub's own directory only."""

from __future__ import annotations

import json
from pathlib import Path

import click

from exchange.cli.access import kind_option, passphrase, passphrase_option
from exchange.cli.framework import LazyGroup, command, directory, invocation, option
from exchange.cli.output import fields, rows

__all__ = ["backup", "draft_genesis", "fsck", "hub", "init", "install_genesis", "run"]

FILE = click.Path(path_type=Path, dir_okay=False)
READABLE = click.Path(path_type=Path, dir_okay=False, exists=True)

hub = LazyGroup(
    "hub",
    {
        "init": "exchange.cli.hub:init",
        "draft-genesis": "exchange.cli.hub:draft_genesis",
        "install-genesis": "exchange.cli.hub:install_genesis",
        "run": "exchange.cli.hub:run",
        "backup": "exchange.cli.hub:backup",
        "fsck": "exchange.cli.hub:fsck",
    },
    "hub",
)


@command("hub.init")
@directory()
@option("--net", key="net", required=True)
@option("--origin", key="origin", required=True)
@option("--member-bind", key="member_bind", required=True)
@option("--operator-bind", key="operator_bind", required=True)
@option("--host", key="host", default="127.0.0.1", show_default=True)
@option("--out", key="out_record", type=FILE, required=True)
@passphrase_option
@kind_option
@click.pass_context
def init(
    context: click.Context,
    directory: Path,
    net: str,
    origin: str,
    member_bind: str,
    operator_bind: str,
    host: str,
    out: Path,
    passphrase_file: Path | None,
    kind: str,
) -> None:
    """Make the hub's keys and settings."""
    from exchange.hub import setup
    from exchange.identity import INTERACTIVE, MODERATE

    called = invocation(context)
    record = setup.init(
        directory,
        net=net,
        origin=origin,
        member_bind=member_bind,
        operator_bind=operator_bind,
        host=host,
        passphrase=passphrase(called.environment, passphrase_file),
        cost=INTERACTIVE if kind == "random" else MODERATE,
    )
    out.write_text(json.dumps(record), encoding="utf-8")
    called.output.result(record, fields({"did": record["did"], "name": record["name"], "record": out}))


@command("hub.draft-genesis")
@directory()
@option("--enrolment", "enrolments", key="enrolment", type=READABLE, multiple=True, required=True)
@option("--out", key="out_draft", type=FILE, required=True)
@passphrase_option
@click.pass_context
def draft_genesis(
    context: click.Context,
    directory: Path,
    enrolments: tuple[Path, ...],
    out: Path,
    passphrase_file: Path | None,
) -> None:
    """Draft the genesis entry from the founders' enrolments."""
    from exchange.hub import setup

    called = invocation(context)
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in enrolments]
    secret = passphrase(called.environment, passphrase_file)
    out.write_bytes(setup.draft_genesis(directory, documents, secret))
    called.output.result({"draft": str(out), "founders": len(documents)}, str(out))


@command("hub.install-genesis")
@directory()
@option("--signed", key="signed", type=READABLE, multiple=True, required=True)
@option("--out", key="out_genesis", type=FILE, required=True)
@click.pass_context
def install_genesis(context: click.Context, directory: Path, signed: tuple[Path, ...], out: Path) -> None:
    """Install the genesis that every founder has signed."""
    from exchange.cli.genesis import merge
    from exchange.hub import setup
    from ledger.membership import genesis_hash

    called = invocation(context)
    raw = setup.install_genesis(directory, merge([path.read_bytes() for path in signed]))
    out.write_bytes(raw)
    called.output.result({"genesis": genesis_hash(raw), "file": str(out)}, genesis_hash(raw))


@command("hub.run")
@directory()
@passphrase_option
@click.pass_context
def run(context: click.Context, directory: Path, passphrase_file: Path | None) -> None:
    """Run the hub until it is told to end."""
    from exchange.hub import daemon

    daemon.run(directory, passphrase(invocation(context).environment, passphrase_file))


@command("hub.backup")
@directory()
@option("--out", key="out_backup", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.pass_context
def backup(context: click.Context, directory: Path, out: Path) -> None:
    """Copy the hub's directory, also while it runs."""
    from exchange.hub.backup import backup as copy_hub

    copy_hub(directory, out)
    invocation(context).output.result({"backup": str(out)}, str(out))


@command("hub.fsck")
@directory()
@click.pass_context
def fsck(context: click.Context, directory: Path) -> int:
    """Check the hub's database entry by entry against its checkpoints."""
    from exchange.hub.check import fsck as check_hub

    called = invocation(context)
    problems = [
        {"where": found.where, "expected": found.expected, "actual": found.actual}
        for found in check_hub(directory)
    ]
    data = {"problems": problems, "sound": not problems}
    if not problems:
        called.output.result(data, called.text("fsck.sound"))
        return 0
    called.output.result(data, rows(problems, ["where", "expected", "actual"]))
    return 1
