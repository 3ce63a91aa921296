"""``parley demo``: the whole exchange in one command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exchange.cli.framework import Invocation, command, invocation, option

if TYPE_CHECKING:
    from exchange.cli.output import Bar

__all__ = ["demo"]

ROWS = 30_000
MIN_ROWS = 1_000
DEFAULT_HOME = Path("build")


class Shown:
    """Shows steps as lines on standard error and their parts as a bar."""

    def __init__(self, called: Invocation, bar: Bar) -> None:
        self._called, self._bar, self._step = called, bar, 0

    def step(self, number: int) -> None:
        """A step begins."""
        self._step = number
        self._called.output.note("demo.begin", number=number, step=self._called.text(f"demo.step.{number}"))

    def part(self, done: int, total: int, text: str) -> None:
        """A part of the step is done."""
        shown = self._called.text(text) if text.startswith("up.") else text
        self._bar.at(done, total, shown)


@contextmanager
def _shown(called: Invocation) -> Iterator[Shown]:
    with called.output.progress("progress.demo") as bar:
        yield Shown(called, bar)


@command("demo")
@option("--out", key="out_demo", type=click.Path(path_type=Path, file_okay=False))
@option("--home", key="home_demo", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_HOME)
@option("--rows", key="rows", type=click.IntRange(MIN_ROWS, ROWS), default=ROWS, show_default=True)
@option("--serve", key="serve", is_flag=True)
@option("--keep", key="keep", is_flag=True)
@option("--database", key="demo_database")
@click.pass_context
def demo(
    context: click.Context,
    out: Path | None,
    home: Path,
    rows: int,
    serve: bool,
    keep: bool,
    database: str | None,
) -> int:
    """Run a whole consortium on this machine, answer a real joint question, verify the record."""
    from exchange.demo import Demo
    from exchange.demo.report import view
    from exchange.signals import interrupting

    called = invocation(context)
    with interrupting():
        with _shown(called) as watch:
            made = Demo(out, home, rows=rows, serve=serve, keep=keep, watch=watch, database_url=database)
            report = made.run()
        try:
            called.output.document(report.as_json(), view(report, called.text), is_sound=report.is_sound)
            if serve:
                called.output.note("demo.serving")
                threading.Event().wait()
        except KeyboardInterrupt:
            called.output.note("progress.down")
        finally:
            made.close()
    return 0 if report.is_sound else 1
