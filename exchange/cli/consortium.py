"""``parley up``, ``status`` and ``down``: a whole consortium on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from exchange.cli.access import home_of, home_option
from exchange.cli.framework import command, invocation, option
from exchange.cli.output import rows

__all__ = ["data_directories", "down", "status", "up"]

DEFAULT_ORGS = ("lender", "bureau", "analyst", "regulator")
COLUMNS = ["name", "role", "url", "pid", "running"]


def data_directories(orgs: Iterable[str], given: Sequence[str]) -> dict[str, list[Path]]:
    """Read ``--data``: ``DIR`` for every organisation, ``ORG=DIR`` for one; without any, this directory."""
    found: dict[str, list[Path]] = {org: [] for org in orgs}
    for text in given or (".",):
        name, equals, directory = text.partition("=")
        if equals and name not in found:
            raise click.UsageError(f"--data: expected one of {', '.join(found)} before '=', got {name}")
        path = Path(directory if equals else text)
        if not path.is_dir():
            raise click.UsageError(f"--data: expected a directory, got {path}")
        for org in [name] if equals else found:
            found[org].append(path)
    return found


@command("up")
@option("--org", "orgs", key="orgs", multiple=True)
@option("--join", "joining", key="join", multiple=True)
@option("--data", key="data", multiple=True)
@home_option
@click.pass_context
def up(
    context: click.Context,
    orgs: tuple[str, ...],
    joining: tuple[str, ...],
    data: tuple[str, ...],
    home: Path | None,
) -> None:
    """Form and start a local consortium, one process per organisation."""
    from exchange.local import Consortium

    called = invocation(context)
    place = home_of(context, home)
    if (place / "consortium.json").exists():
        if data:
            raise click.UsageError("--data: expected none, because the consortium here has its directories")
    elif not orgs:
        orgs = DEFAULT_ORGS
    with called.output.progress("progress.up") as bar:
        made = Consortium.up(
            place,
            orgs,
            join=joining,
            data=data_directories((*orgs, *joining), data),
            steps=lambda key, done, total: bar.at(done, total, called.text(key)),
        )
    called.output.note("up.done", home=place, genesis=made.genesis)
    called.output.result(made.status(), rows(made.status(), COLUMNS))


@command("status")
@home_option
@click.pass_context
def status(context: click.Context, home: Path | None) -> int:
    """Show the processes of the local consortium."""
    from exchange.local import Consortium

    found = Consortium.find(home_of(context, home)).status()
    invocation(context).output.result(found, rows(found, COLUMNS))
    return 0 if all(row["running"] for row in found) else 1


@command("down")
@option("--remove", key="remove", is_flag=True)
@home_option
@click.pass_context
def down(context: click.Context, remove: bool, home: Path | None) -> None:
    """Stop the local consortium."""
    from exchange.local import Consortium

    called = invocation(context)
    found = Consortium.find(home_of(context, home))
    with called.output.progress("progress.down"):
        found.stop()
    if remove:
        found.remove()
    called.output.result({"stopped": sorted(found.processes)}, called.text("down.done"))
