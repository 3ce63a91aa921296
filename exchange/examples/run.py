"""Run examples in a local consortium of processes, from an empty directory, and compare."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from exchange.errors import ExchangeError, InvalidRequest
from exchange.examples.catalogue import EXAMPLES, Example
from exchange.examples.stage import ANALYST, OWNERS, REGULATOR, Stage
from exchange.local import Consortium
from exchange.signals import interrupting

__all__ = ["Examples", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What came of one example.

    Attributes:
        name: the example's.
        answer: of the joint computation, in short; where there is none the reason, of an error that is not
            Parley's the type alone.
        is_equal: it is the answer from plaintext, within the example's tolerance.
        seconds: from publishing to the answer.
        components: what its jobs were made of.
    """

    name: str
    answer: str
    is_equal: bool
    seconds: float
    components: tuple[str, ...]


class Examples:
    """Examples run one after the other in one consortium.

    Args:
        home: directory in which the working directory is made, and removed again.
        steps: told how far the consortium is.
        environment: may name an interpreter that has flwr, for the example that needs one.
    """

    def __init__(
        self,
        home: Path,
        steps: Callable[[str, int, int], None],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._home, self._steps, self._environment = home.resolve(), steps, environment

    def run(self, names: Iterable[str]) -> Iterator[Outcome]:
        """Run examples by name and yield what came of each.

        Raises:
            InvalidRequest: there is no example of that name; nothing is started.
        """
        chosen = [_example(name) for name in names]
        self._home.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="parley-examples-", dir=self._home))
        with interrupting():
            try:
                yield from self._in(work, chosen)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def _in(self, work: Path, chosen: list[Example]) -> Iterator[Outcome]:
        data = {org: [work / "data" / org] for org in (*OWNERS, ANALYST)}
        for (folder,) in data.values():
            folder.mkdir(mode=0o700, parents=True)
        orgs = (*OWNERS, ANALYST, REGULATOR)
        apps = work / "apps"
        apps.mkdir(mode=0o700)
        python = self._environment.get("PARLEY_FLOWER_PYTHON")
        settings = {"flower_apps": str(apps), **({} if python is None else {"flower_python": python})}
        consortium = Consortium.up(
            work / "consortium",
            orgs,
            data=data,
            settings=dict.fromkeys((*OWNERS, ANALYST), settings),
            steps=self._steps,
        )
        stage = Stage(consortium, work / "data", apps)
        try:
            for example in chosen:
                yield _played(example, stage)
        finally:
            stage.open.close()
            consortium.stop()


def _example(name: str) -> Example:
    if name not in EXAMPLES:
        raise InvalidRequest("example", f"one of {', '.join(EXAMPLES)}", name)
    return EXAMPLES[name]


def _played(example: Example, stage: Stage) -> Outcome:
    started = time.monotonic()
    stage.components.clear()
    try:
        answer, expected = example.ask(stage)
        text, equal = _short(answer), _alike(answer, expected, example.tolerance)
    except ExchangeError as exc:
        text, equal = str(exc), False
    except Exception as exc:  # noqa: BLE001 - one example that fails is told as such, and the next is run
        # Its text may quote what was asked or answered; that of a Parley error never does.
        text, equal = type(exc).__name__, False
    return Outcome(example.name, text, equal, time.monotonic() - started, tuple(sorted(stage.components)))


def _alike(answer: object, expected: object, tolerance: float) -> bool:
    if isinstance(answer, list | tuple) and isinstance(expected, list | tuple):
        pairs = zip(answer, expected, strict=False)
        return len(answer) == len(expected) and all(_alike(a, b, tolerance) for a, b in pairs)
    if isinstance(answer, int | float) and isinstance(expected, int | float):
        return math.isclose(answer, expected, rel_tol=0.0, abs_tol=tolerance)
    return answer == expected


def _short(answer: object) -> str:
    text = str(answer)
    return text if len(text) <= 60 else f"{text[:57]}..."
