"""``parley did``: what a DID leads to, and the pseudonymous DIDs of a data subject's wallet."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.access import client, kind_option, passphrase, person
from exchange.cli.framework import LazyGroup, command, invocation
from exchange.cli.output import fields, rows
from exchange.cli.wallets import changed, opened, wallet_options

__all__ = ["did", "list_", "new", "pseudonym", "show"]

_HERE = "exchange.cli.dids"

did = LazyGroup(
    "did",
    {
        "new": f"{_HERE}:new",
        "pseudonym": f"{_HERE}:pseudonym",
        "list": f"{_HERE}:list_",
        "show": f"{_HERE}:show",
    },
    "did",
)


@command("did.new")
@wallet_options
@kind_option
@click.pass_context
def new(context: click.Context, wallet: Path, passphrase_file: Path | None, kind: str) -> None:
    """Make a wallet with a root identity."""
    from exchange.credentials.wallet import Wallet
    from exchange.keyfile import INTERACTIVE, MODERATE

    made = Wallet.new()
    secret = passphrase(invocation(context).environment, passphrase_file)
    made.create(wallet, secret, INTERACTIVE if kind == "random" else MODERATE)
    shown = {"root": made.root, "wallet": str(wallet)}
    invocation(context).output.result(shown, fields(shown))


@command("did.pseudonym")
@click.argument("counterpart", metavar="DID")
@wallet_options
@click.pass_context
def pseudonym(context: click.Context, counterpart: str, wallet: Path, passphrase_file: Path | None) -> None:
    """Give a counterpart a further pseudonym."""
    before, secret = opened(context, wallet, passphrase_file)
    after, name = before.naming(counterpart)
    changed(before, after, wallet, secret)
    shown = {"counterpart": counterpart, "pseudonym": name}
    invocation(context).output.result(shown, fields(shown))


@command("did.list")
@wallet_options
@click.pass_context
def list_(context: click.Context, wallet: Path, passphrase_file: Path | None) -> None:
    """List the pseudonyms of a wallet, and the consents given under them."""
    from ledger.keys import did_key

    held, _ = opened(context, wallet, passphrase_file)
    found = [
        {
            "counterpart": counterpart,
            "number": number,
            "pseudonym": did_key(held.key(counterpart, number).public),
            "consents": sorted(
                consent
                for consent, kept in held.consents.items()
                if (kept["counterpart"], kept["number"]) == (counterpart, number)
            ),
        }
        for counterpart in sorted(held.given)
        for number in range(held.given[counterpart])
    ]
    shown = {"root": held.root, "pseudonyms": found}
    columns = ["counterpart", "number", "pseudonym", "consents"]
    invocation(context).output.result(shown, rows(found, columns))


@command("did.show")
@click.argument("name", metavar="DID")
@person
@click.pass_context
def show(context: click.Context, name: str, org: str, home: Path | None) -> None:
    """Show the document of a DID as one's own node believes it."""
    with client(context, org, home) as node:
        found = node.did_document(name)
    invocation(context).output.result(found, fields(found))
