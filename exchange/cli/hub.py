"""``parley hub``: set up, run, copy and check the hub. These commands open the hub's own directory only."""

from __future__ import annotations

import json
from pathlib import Path

import click

from exchange.cli.access import kind_option, passphrase, passphrase_option
from exchange.cli.framework import LazyGroup, command, directory, invocation, option
from exchange.cli.output import fields, rows

__all__ = [
    "add_witness",
    "backup",
    "draft_genesis",
    "fsck",
    "hub",
    "init",
    "install_epoch",
    "install_genesis",
    "new_epoch",
    "run",
]

ENGINES = ("sql", "etcd", "nats")
FILE = click.Path(path_type=Path, dir_okay=False)
READABLE = click.Path(path_type=Path, dir_okay=False, exists=True)
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)

hub = LazyGroup(
    "hub",
    {
        "init": "exchange.cli.hub:init",
        "draft-genesis": "exchange.cli.hub:draft_genesis",
        "install-genesis": "exchange.cli.hub:install_genesis",
        "add-witness": "exchange.cli.hub:add_witness",
        "run": "exchange.cli.hub:run",
        "backup": "exchange.cli.hub:backup",
        "fsck": "exchange.cli.hub:fsck",
        "new-epoch": "exchange.cli.hub:new_epoch",
        "install-epoch": "exchange.cli.hub:install_epoch",
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
@option("--engine", key="engine", type=click.Choice(ENGINES), default="sql", show_default=True)
@option("--out", key="out_draft", type=FILE, required=True)
@passphrase_option
@click.pass_context
def draft_genesis(
    context: click.Context,
    directory: Path,
    enrolments: tuple[Path, ...],
    engine: str,
    out: Path,
    passphrase_file: Path | None,
) -> None:
    """Draft the genesis entry from the founders' enrolments."""
    from exchange.hub import setup

    called = invocation(context)
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in enrolments]
    secret = passphrase(called.environment, passphrase_file)
    out.write_bytes(setup.draft_genesis(directory, documents, secret, engine=engine))
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


@command("hub.add-witness")
@directory()
@option("--record", key="witness_record", type=READABLE, required=True)
@option("--url", key="witness_url")
@click.pass_context
def add_witness(context: click.Context, directory: Path, record: Path, url: str | None) -> None:
    """Write an outside witness into the hub's settings."""
    from exchange.hub import setup

    document = json.loads(record.read_text(encoding="utf-8"))
    added = setup.add_witness(directory, document, url)
    called = invocation(context)
    called.output.result({"added": list(added)}, called.text("witness.added", added=", ".join(added)))


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


@command("hub.new-epoch")
@directory()
@option("--out", key="out_draft", type=FILE, required=True)
@option("--copy", key="epoch_copy", type=FOLDER)
@passphrase_option
@click.pass_context
def new_epoch(
    context: click.Context, directory: Path, out: Path, copy: Path | None, passphrase_file: Path | None
) -> None:
    """Draft a new log epoch from the last checkpoint that a quorum cosigned."""
    from exchange.hub import epochs

    called = invocation(context)
    made = epochs.new_epoch(directory, passphrase(called.environment, passphrase_file), copy=copy)
    out.write_bytes(made.draft)
    shown = {"draft": str(out), "size": made.final.size, "state": made.final.state.root().hex()}
    called.output.result(shown, fields(shown))


@command("hub.install-epoch")
@directory()
@option("--signed", key="signed_epoch", type=READABLE, multiple=True, required=True)
@option("--out", key="out_epoch", type=FILE, required=True)
@option("--carried", key="out_carried", type=FILE, required=True)
@option("--copy", key="epoch_copy", type=FOLDER)
@passphrase_option
@click.pass_context
def install_epoch(
    context: click.Context,
    directory: Path,
    signed: tuple[Path, ...],
    out: Path,
    carried: Path,
    copy: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Archive the old log and make the hub ready to begin the new one."""
    from exchange.cli.genesis import merge
    from exchange.hub import epochs
    from ledger.carried import write_carried
    from ledger.membership import genesis_hash

    called = invocation(context)
    secret = passphrase(called.environment, passphrase_file)
    draft = merge([path.read_bytes() for path in signed])
    raw, state = epochs.install_epoch(directory, draft, secret, copy=copy)
    out.write_bytes(raw)
    with carried.open("wb") as file:
        file.writelines(write_carried(state))
    shown = {"genesis": genesis_hash(raw), "epoch": str(out), "carried": str(carried)}
    called.output.result(shown, fields(shown))
