"""What every test shares: the Hypothesis profile, and how workers share the test files."""

from __future__ import annotations

import faulthandler
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A slow machine is no finding, and a continuous build must fail for its own commit's reasons.
settings.register_profile("parley", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("parley")

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = "processes"


@cache
def starts_processes(path: str) -> bool:
    """Whether a test file starts the exchange's processes (it then carries that marker)."""
    return f"mark.{PROCESSES}" in (ROOT / path).read_text(encoding="utf-8")


def file_of(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Show a crash by the thread that crashed: a consortium has too many threads to read."""
    if faulthandler.is_enabled():
        faulthandler.enable(file=os.dup(sys.__stderr__.fileno()), all_threads=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files with process tests first: they take longest."""
    items.sort(key=lambda item: not starts_processes(file_of(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Give a worker whole files, and one worker all files with process tests.

    Two consortia at once on two cores would only measure each other's waiting times.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ProcessesTogether(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = file_of(nodeid)
            return PROCESSES if starts_processes(path) else path

        def remove_node(self, node: Any) -> str | None:
            """Hand on what a worker left that ended, but for the test in which it crashed.

            Run again, that test would end the next worker too, and then nobody is left to run anything.
            """
            left = self.assigned_work.pop(node)
            waiting = [
                (unit, test) for unit in left.values() for test, is_done in unit.items() if not is_done
            ]
            if not waiting:
                return None
            unit, crashed = waiting[0]
            unit[crashed] = True
            self.workqueue.update({scope: unit for scope, unit in left.items() if not all(unit.values())})
            for other in self.assigned_work:
                self._reschedule(other)
            return crashed

    return ProcessesTogether(config, log)
