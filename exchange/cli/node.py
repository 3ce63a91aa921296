"""``parley node``: set up and run one organisation's node. These commands open that node's directory only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from exchange.cli.access import kind_option, passphrase, passphrase_option
from exchange.cli.framework import LazyGroup, command, directory, invocation, option
from exchange.cli.output import fields

__all__ = [
    "add",
    "init",
    "invite",
    "join",
    "join_epoch",
    "node",
    "rotate_keys",
    "run",
    "sign_epoch",
    "sign_genesis",
    "user",
]

FILE = click.Path(path_type=Path, dir_okay=False)
READABLE = click.Path(path_type=Path, dir_okay=False, exists=True)
USES = ("tx", "cosign", "seal", "tls")
ROLES = ("steward", "approver", "analyst", "auditor", "administrator")

node = LazyGroup(
    "node",
    {
        "init": "exchange.cli.node:init",
        "sign-genesis": "exchange.cli.node:sign_genesis",
        "join": "exchange.cli.node:join",
        "run": "exchange.cli.node:run",
        "rotate-keys": "exchange.cli.node:rotate_keys",
        "sign-epoch": "exchange.cli.node:sign_epoch",
        "join-epoch": "exchange.cli.node:join_epoch",
        "user": "exchange.cli.node:user",
    },
    "node",
)
user = LazyGroup("user", {"add": "exchange.cli.node:add", "invite": "exchange.cli.node:invite"}, "node.user")


@command("node.init")
@directory()
@option("--name", key="name", required=True)
@option("--title", key="title")
@option("--role", key="member_role", type=click.Choice(("participant", "regulator")), default="participant")
@option("--net", key="net", required=True)
@option("--api-bind", key="api_bind", required=True)
@option("--party-bind", key="party_bind", required=True)
@option("--party-endpoint", key="party_endpoint")
@option("--dataspace-bind", key="dataspace_bind")
@option("--dataspace-url", key="dataspace_url")
@option("--source-root", "source_roots", key="source_root", multiple=True, type=click.Path(path_type=Path))
@option("--out", key="out_enrolment", type=FILE, required=True)
@option("--profiles", key="profiles", type=click.Path(path_type=Path, file_okay=False))
@passphrase_option
@kind_option
@click.pass_context
def init(
    context: click.Context,
    directory: Path,
    name: str,
    title: str | None,
    role: Literal["participant", "regulator"],
    net: str,
    api_bind: str,
    party_bind: str,
    party_endpoint: str | None,
    dataspace_bind: str | None,
    dataspace_url: str | None,
    source_roots: tuple[Path, ...],
    out: Path,
    profiles: Path | None,
    passphrase_file: Path | None,
    kind: str,
) -> None:
    """Make a node's keys, settings and signed enrolment."""
    from exchange.identity import INTERACTIVE, MODERATE
    from exchange.node import setup
    from exchange.sdk.profiles import Profile

    called = invocation(context)
    made = setup.init(
        directory,
        name=name,
        title=title or name,
        role=role,
        net=net,
        api_bind=api_bind,
        party_bind=party_bind,
        party_endpoint=party_endpoint or party_bind,
        source_roots=[root.resolve() for root in source_roots],
        dataspace_bind=dataspace_bind,
        dataspace_url=dataspace_url or (f"https://{dataspace_bind}" if dataspace_bind else None),
        passphrase=passphrase(called.environment, passphrase_file),
        cost=INTERACTIVE if kind == "random" else MODERATE,
    )
    out.write_text(json.dumps(made.enrolment), encoding="utf-8")
    shown: dict[str, object] = {"did": made.enrolment["member"]["did"], "enrolment": str(out)}
    if profiles is not None:
        profile = Profile(name, f"https://{api_bind}", made.certificate, made.tokens)
        shown["profile"] = str(profile.save(profiles))
    called.output.result(shown, fields(shown))


@command("node.sign-genesis")
@directory()
@option("--draft", key="draft", type=READABLE, required=True)
@option("--out", key="out_signed", type=FILE, required=True)
@passphrase_option
@click.pass_context
def sign_genesis(
    context: click.Context, directory: Path, draft: Path, out: Path, passphrase_file: Path | None
) -> None:
    """Sign the genesis draft as a founder."""
    from exchange.node import setup

    called = invocation(context)
    secret = passphrase(called.environment, passphrase_file)
    out.write_bytes(setup.sign_genesis(directory, draft.read_bytes(), secret))
    called.output.result({"signed": str(out)}, str(out))


@command("node.join")
@directory()
@option("--hub-url", key="hub_url", required=True)
@option("--hub-record", key="hub_record", type=READABLE, required=True)
@option("--genesis", key="genesis_file", type=READABLE, required=True)
@click.pass_context
def join(context: click.Context, directory: Path, hub_url: str, hub_record: Path, genesis: Path) -> None:
    """Tell a node which hub and genesis it belongs to."""
    from exchange.node import setup

    record = json.loads(hub_record.read_text(encoding="utf-8"))
    setup.join(directory, hub_url=hub_url, hub_record=record, genesis=genesis.read_bytes())
    invocation(context).output.result({"hub": hub_url}, hub_url)


@command("node.run")
@directory()
@passphrase_option
@click.pass_context
def run(context: click.Context, directory: Path, passphrase_file: Path | None) -> None:
    """Run a node until it is told to end."""
    from exchange.node import daemon

    daemon.run(directory, passphrase(invocation(context).environment, passphrase_file))


@command("node.rotate-keys")
@directory()
@option("--use", "uses", key="key_use", multiple=True, type=click.Choice(USES), default=USES[:3])
@option("--out", key="out_rotation", type=FILE, required=True)
@option("--profiles", key="profiles", type=click.Path(path_type=Path, file_okay=False))
@option("--discard", key="discard", is_flag=True)
@passphrase_option
@click.pass_context
def rotate_keys(
    context: click.Context,
    directory: Path,
    uses: tuple[Literal["tx", "cosign", "seal", "tls"], ...],
    out: Path,
    profiles: Path | None,
    discard: bool,
    passphrase_file: Path | None,
) -> None:
    """Make new keys, and the signed rotation that a member proposes."""
    from exchange.node import setup
    from exchange.sdk.profiles import Profile

    called = invocation(context)
    secret = passphrase(called.environment, passphrase_file)
    rotation, keys = setup.rotate_keys(directory, uses, secret, discard=discard)
    out.write_text(json.dumps(rotation), encoding="utf-8")
    if profiles is not None:
        Profile.load(profiles, keys.name).trusting(keys.tls_cert).save(profiles)
    shown: dict[str, object] = {"rotation": str(out), "keys": list(uses)}
    called.output.result(shown, fields(shown))


@command("node.sign-epoch")
@directory()
@option("--draft", key="draft_epoch", type=READABLE, required=True)
@option("--out", key="out_signed", type=FILE, required=True)
@passphrase_option
@click.pass_context
def sign_epoch(
    context: click.Context, directory: Path, draft: Path, out: Path, passphrase_file: Path | None
) -> None:
    """Sign a drafted log epoch, if this node's own copy of the log says the same."""
    from exchange.node import epochs

    called = invocation(context)
    secret = passphrase(called.environment, passphrase_file)
    out.write_bytes(epochs.sign_epoch(directory, draft.read_bytes(), secret))
    called.output.result({"signed": str(out)}, str(out))


@command("node.join-epoch")
@directory()
@option("--epoch", key="epoch_file", type=READABLE, required=True)
@option("--carried", key="carried_file", type=READABLE)
@option("--pin", key="epoch_pin")
@option("--hub-url", key="epoch_hub_url")
@passphrase_option
@click.pass_context
def join_epoch(
    context: click.Context,
    directory: Path,
    epoch: Path,
    carried: Path | None,
    pin: str | None,
    hub_url: str | None,
    passphrase_file: Path | None,
) -> None:
    """Archive the old log and follow the new one."""
    from exchange.node import epochs

    called = invocation(context)
    secret = passphrase(called.environment, passphrase_file)
    made = epochs.join_epoch(
        directory, epoch.read_bytes(), secret, carried_file=carried, pinned=pin, hub_url=hub_url
    )
    shown: dict[str, object] = {
        "genesis": made.genesis,
        "archive": None if made.archive is None else str(made.archive),
        "bundle": None if made.bundle is None else str(made.bundle),
    }
    called.output.result(shown, fields(shown))


@command("node.user.add")
@directory()
@option("--name", key="person", required=True)
@option("--role", "roles", key="person_role", multiple=True, required=True, type=click.Choice(ROLES))
@click.pass_context
def add(context: click.Context, directory: Path, name: str, roles: tuple[str, ...]) -> None:
    """Add a person with roles and print the token."""
    from exchange.node import setup

    token = setup.add_person(directory, name, list(roles))
    invocation(context).output.result({"name": name, "roles": list(roles), "token": token}, token)


@command("node.user.invite")
@directory()
@option("--name", key="person", required=True)
@click.pass_context
def invite(context: click.Context, directory: Path, name: str) -> None:
    """Invite a person to choose a new password, and open a locked account."""
    from exchange.node import setup

    invitation = setup.invite_person(directory, name)
    invocation(context).output.result({"name": name, "invitation": invitation}, invitation)
