"""How a client command finds the own node: ``--org`` and ``--home`` name a profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from exchange.cli.framework import invocation, option

if TYPE_CHECKING:
    from exchange.sdk import NodeClient

__all__ = ["client", "home_of", "home_option", "kind_option", "passphrase", "passphrase_option", "person"]

Function = TypeVar("Function", bound=Callable[..., object])
PASSPHRASE = "PARLEY_PASSPHRASE"  # noqa: S105  # the name of the variable, not its value


def home_option(function: Function) -> Function:
    """Add ``--home``."""
    return option("--home", key="home", type=click.Path(path_type=Path, file_okay=False))(function)


def person(function: Function) -> Function:
    """Add ``--org`` and ``--home``: who calls, and where the profiles are."""
    return option("--org", key="org", envvar="PARLEY_ORG", required=True)(home_option(function))


def passphrase_option(function: Function) -> Function:
    """Add ``--passphrase-file``; the environment is the other source, an argument never is."""
    path = click.Path(path_type=Path, exists=True, dir_okay=False)
    return option("--passphrase-file", key="passphrase_file", type=path)(function)


def home_of(context: click.Context, home: Path | None) -> Path:
    """Return the directory of profiles and local consortia."""
    from exchange.sdk.profiles import default_home

    return home if home is not None else default_home(invocation(context).environment)


def client(context: click.Context, org: str, home: Path | None) -> NodeClient:
    """Open a client of the organisation's own node."""
    from exchange.sdk import Profile

    return Profile.load(home_of(context, home), org).client()


def kind_option(function: Function) -> Function:
    """Add ``--passphrase-kind``: a passphrase with 128 random bits needs no slow derivation."""
    kinds = click.Choice(("chosen", "random"))
    return option(
        "--passphrase-kind", "kind", key="passphrase_kind", type=kinds, default="chosen", show_default=True
    )(function)


def passphrase(environment: Mapping[str, str], path: Path | None) -> str:
    """Read the passphrase that opens a process's keys.

    Raises:
        click.UsageError: neither the file nor the environment gives one.
    """
    if path is not None:
        return path.read_text(encoding="utf-8").rstrip("\n")
    found = environment.get(PASSPHRASE)
    if not found:
        raise click.UsageError(f"expected a passphrase in {PASSPHRASE} or --passphrase-file, found neither")
    return found
