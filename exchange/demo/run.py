"""Run the demonstration from an empty directory to its report."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from exchange.demo import steps
from exchange.demo.audit import audit
from exchange.demo.dataset import PEOPLE, check_database, locate
from exchange.demo.errors import CheckFailed
from exchange.demo.report import Report
from exchange.demo.rights import exercise
from exchange.demo.stage import Stage, Watch
from exchange.signals import interrupting

if TYPE_CHECKING:
    from exchange.local import Consortium

__all__ = ["STEPS", "Demo", "Unwatched"]

STEPS: tuple[Callable[[Stage], None], ...] = (
    steps.form,
    steps.deal,
    steps.publish,
    steps.agree,
    steps.answer,
    steps.read_record,
    steps.refuse,
    exercise,
    audit,
)


class Unwatched:
    """Watch that shows nothing."""

    def step(self, number: int) -> None:
        """Show nothing."""

    def part(self, done: int, total: int, text: str) -> None:
        """Show nothing."""


class Demo:
    """The demonstration.

    Args:
        out: directory for report, evidence, table and plot; None leaves nothing behind.
        home: directory in which the working directory is made.
        before_audit: called with the running consortium before the audit, its last step.
        rows: how many people of the data set take part.
        keep: leave the working directory.
        serve: leave the consortium running; the caller stops it with ``close``.
        watch: told how far it is.
        database_url: of a MariaDB, MySQL or PostgreSQL database that holds the lender's table meanwhile, in
            place of a SQLite file.
    """

    def __init__(
        self,
        out: Path | None,
        home: Path,
        before_audit: Callable[[Consortium], None] | None = None,
        *,
        rows: int = PEOPLE,
        keep: bool = False,
        serve: bool = False,
        watch: Watch | None = None,
        database_url: str | None = None,
    ) -> None:
        self._out, self._home, self._before_audit = out, home.resolve(), before_audit
        self._rows, self._keep, self._serve = rows, keep, serve
        self._watch = watch or Unwatched()
        self._database_url = database_url
        self._stage: Stage | None = None

    def run(self) -> Report:
        """Run all steps. A check that fails is in the report; with ``serve`` the processes go on.

        Raises:
            DatasetMissing, DatabaseUnusable: before anything is started.
            ExchangeError: a step could not be done at all; everything is stopped and removed.
        """
        locate()
        if self._database_url is not None:
            check_database(self._database_url)
        started = time.monotonic()
        self._home.mkdir(parents=True, exist_ok=True)
        if self._out is not None:
            self._out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="parley-demo-", dir=self._home))
        report = Report()
        stage = Stage(
            work,
            self._out,
            self._rows,
            self._watch,
            report,
            self._before_audit,
            self._serve,
            self._database_url,
        )
        self._stage = stage
        with interrupting():
            try:
                with suppress(CheckFailed):
                    self._steps(stage)
            except BaseException:
                self.close()
                raise
        report.seconds = time.monotonic() - started
        if self._serve and stage.consortium is not None:
            report.places = _places(stage.consortium)
        else:
            self.close()
        if self._out is not None:
            report.files["report.json"] = str(self._out / "report.json")
            (self._out / "report.json").write_bytes(report.encode())
        return report

    def _steps(self, stage: Stage) -> None:
        for number, step in enumerate(STEPS, start=1):
            self._watch.step(number)
            started = time.monotonic()
            step(stage)
            stage.report.timings[f"step_{number}"] = round(time.monotonic() - started, 2)

    def close(self) -> None:
        """Stop what runs and remove the working directory unless it is kept."""
        stage = self._stage
        if stage is None:
            return
        if stage.consortium is not None:
            stage.consortium.stop()
        stage.open.close()
        if not self._keep:
            shutil.rmtree(stage.work, ignore_errors=True)
        self._stage = None


def _places(consortium: Consortium) -> dict[str, object]:
    """Say where to look while everything runs."""
    found: dict[str, object] = {"hub": consortium.hub_operator, "hub API": f"{consortium.hub_operator}/docs"}
    for name, member in consortium.members.items():
        found[name] = member.api
        found[f"{name} API"] = f"{member.api}/docs"
    found["profiles"] = str(consortium.home / "profiles")
    return found
