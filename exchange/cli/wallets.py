"""The wallet of a data subject on the command line: where its file is, and what opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from exchange.cli.access import passphrase, passphrase_option
from exchange.cli.framework import invocation, option

if TYPE_CHECKING:
    from exchange.credentials.wallet import Wallet

__all__ = ["changed", "opened", "wallet_options"]

Function = TypeVar("Function", bound=Callable[..., object])


def wallet_options(function: Function) -> Function:
    """Add ``--wallet`` and ``--passphrase-file``."""
    path = click.Path(path_type=Path, dir_okay=False)
    added = option("--wallet", key="wallet", envvar="PARLEY_WALLET", required=True, type=path)
    return added(passphrase_option(function))


def opened(context: click.Context, wallet: Path, passphrase_file: Path | None) -> tuple[Wallet, str]:
    """Open a wallet; also returns its passphrase."""
    from exchange.credentials.wallet import Wallet

    secret = passphrase(invocation(context).environment, passphrase_file)
    return Wallet.load(wallet, secret), secret


def changed(before: Wallet, after: Wallet, wallet: Path, secret: str) -> None:
    """Save a wallet where something changed."""
    if after != before:
        after.save(wallet, secret)
