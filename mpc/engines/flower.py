"""Flower apps in processes of their own: whether they can run here, and a conversation with one of them.

The app is code that others have written and gets an owner's rows. `mpc.engines.enclosure` says what it can
reach, `mpc.engines.flower_app` how it is called. What it says is believed no more than what a peer sends:
numbers of the count that was agreed, finite, and nothing else; of an error no more than the name of one of
Python's own kinds.
"""

from __future__ import annotations

import builtins
import functools
import os
import queue
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc.engines.flower_app import ASKED, REPLIED, ROWS
from mpc.engines.process import Done, EngineProcess
from mpc.engines.spool import spool
from mpc.errors import EngineFailed

__all__ = ["ASKED", "INSTALL", "MEMORY_BYTES", "NAME", "REPLIED", "App", "running", "version"]

Floats = NDArray[np.float64]

NAME: Final = "flower"
INSTALL: Final = (
    "python3.11 -m venv DIR && DIR/bin/pip install flwr==1.41.0; PARLEY_FLOWER_PYTHON=DIR/bin/python; "
    "a kernel that lends namespaces"
)
MEMORY_BYTES: Final = 8 * 1024**3
"""Most memory of a part of an app."""
_PROBE_S: Final = 60.0
_LOOK_S: Final = 1.0


@functools.cache
def version(interpreter: Path) -> str | None:
    """The version of flwr there, as an enclosed process says it; None where one cannot be had."""
    told: queue.SimpleQueue[Done | Exception] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="parley-probe-") as folder:
        try:
            engine = EngineProcess(
                Path(folder).resolve(),
                {"task": "app-version"},
                MEMORY_BYTES,
                told.put,
                interpreter=str(interpreter),
            )
        except EngineFailed:
            return None
        try:
            answered = told.get(timeout=_PROBE_S)
        except queue.Empty:
            return None
        finally:
            engine.kill()
    return str(answered.result["version"]) if isinstance(answered, Done) else None


class App:
    """A running part of an app; made by `running`."""

    def __init__(
        self, folder: Path, count: int, patience_s: float, watch: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._count, self._patience_s, self._watch = folder, count, patience_s, watch
        self._told: queue.SimpleQueue[Done | Exception | Mapping[str, Any]] = queue.SimpleQueue()
        self._process: EngineProcess | None = None

    def start(self, interpreter: Path, task: Mapping[str, object]) -> None:
        """Start it; raises `EngineFailed`."""
        self._process = EngineProcess(
            self._folder,
            task,
            MEMORY_BYTES,
            self._told.put,
            hear=self._told.put,
            interpreter=str(interpreter),
        )

    def heard(self) -> Mapping[str, Any] | None:
        """What it says next; None: it is done.

        Raises:
            EngineFailed: it ended otherwise, said what is no message, or nothing in time.
        """
        told = self._next()
        if isinstance(told, Done):
            return None
        if isinstance(told, EngineFailed):
            raise EngineFailed(f"the app ended: {_reason(str(told))}") from None
        if not isinstance(told, dict):
            raise EngineFailed("the app: expected an answer of the form agreed, got another") from None
        return told

    def _next(self) -> Done | Exception | Mapping[str, Any]:
        until = time.monotonic() + self._patience_s
        while (left_s := until - time.monotonic()) > 0:
            with suppress(queue.Empty):
                return self._told.get(timeout=min(left_s, _LOOK_S))
            self._watch()
        raise EngineFailed(f"the app: expected an answer in {self._patience_s:g} s, got none")

    def reply(self, message: Mapping[str, object]) -> None:
        """Answer it."""
        if self._process is not None:
            self._process.reply(message)

    def put(self, name: str, numbers: Floats) -> None:
        """Hand numbers over in a file, in place of what has its name. Raises `EngineFailed`."""
        staged = self._folder / f"{name}.new"
        try:
            staged.unlink(missing_ok=True)
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(numbers.astype("<f8").tobytes())
            staged.replace(self._folder / name)
        except OSError:
            raise EngineFailed("the app: expected a folder to write to, got none") from None

    def take(self, name: str) -> Floats:
        """Read as many numbers as agreed from a file that the app has written.

        Raises:
            EngineFailed: there is no such file, or one of another length.
        """
        size = 8 * self._count
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            raise EngineFailed("the app: expected a file of numbers, got none") from None
        try:
            found = os.fstat(descriptor)
            is_file = stat.S_ISREG(found.st_mode) and found.st_size == size
            raw = os.pread(descriptor, size, 0) if is_file else b""
        finally:
            os.close(descriptor)
        if len(raw) != size:
            raise EngineFailed(f"the app: expected a file of {self._count} numbers, got another")
        return np.frombuffer(raw, dtype="<f8").astype(np.float64)

    def end(self) -> None:
        """End it, whatever it does."""
        if self._process is not None:
            self._process.kill()


@contextmanager
def running(
    interpreter: Path,
    base: Path,
    task: Mapping[str, object],
    source: bytes,
    count: int,
    patience_s: float,
    rows: NDArray[np.void] | None = None,
    watch: Callable[[], None] = lambda: None,
) -> Iterator[App]:
    """Start a part of an app in a spool of its own, and end it in the end.

    Args:
        interpreter: a Python that has flwr.
        base: folder in which the spool is made.
        task: of `mpc.engines.flower_app`.
        source: of the app.
        count: numbers of its arrays.
        patience_s: how long it may take for each answer.
        rows: for it to read, a field for each column.
        watch: called every second while it is waited for; what it raises ends the app.

    Raises:
        EngineFailed: it cannot be started.
    """
    with spool(base) as folder:
        (folder / "app.py").write_bytes(source)
        if rows is not None:
            np.save(folder / ROWS, rows)
        app = App(folder, count, patience_s, watch)
        app.start(interpreter, task)
        try:
            yield app
        finally:
            app.end()


def _reason(text: str) -> str:
    """Why it ended, in words that are not the app's: it chooses the names of its own errors."""
    word = text.rpartition(": ")[2]
    kind = getattr(builtins, word, None)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return word
    return "its process ended" if "process ended" in text else "an error of a kind of its own"
