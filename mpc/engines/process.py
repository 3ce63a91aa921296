"""Starts an engine's process beside this one, and ends it.

The process runs `mpc.engines.worker` with a clean environment in its spool folder: no core dumps, a limit of
memory, the user's own rights and no more, and where the kernel allows it a network with nothing in it. It
dies with this process, whatever ends this one. What it says is bounded, and read as said by a stranger.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc.errors import EngineFailed

__all__ = ["Done", "EngineProcess"]

_WORKER: Final = Path(__file__).with_name("worker.py")
_LOG: Final = "engine.log"
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
# SPU writes its trace there, whatever TMPDIR says.
_TRACE: Final = re.compile(rb"(/tmp/psi_[A-Za-z0-9_-]+\.trace)\.?\s")
_LOG_BYTES: Final = 2**24
_LEAVE_S: Final = 10.0
_TAKE_MS: Final = 60_000
_LINE_BYTES: Final = 65_536
"""Of one answer of a process."""


@dataclass(frozen=True)
class Done:
    """The engine has its result and waits to leave."""

    result: Mapping[str, Any] = field(default_factory=dict)


class EngineProcess:
    """One process for one task.

    Args:
        folder: its spool; it becomes its working directory.
        task: what `mpc.engines.worker` plays.
        memory_bytes: most memory it may have.
        tell: called from a thread with `Done` or with why it failed, once.
        progress: called from that thread with per cents.
        hear: called from that thread with what the engine says before, and waits for a `reply` to.
        interpreter: the Python that runs it.
    """

    def __init__(
        self,
        folder: Path,
        task: Mapping[str, object],
        memory_bytes: int,
        tell: Callable[[Done | Exception], None],
        progress: Callable[[int], None] = lambda percent: None,
        hear: Callable[[Mapping[str, Any]], None] = lambda said: None,
        interpreter: str = sys.executable,
    ) -> None:
        self._folder, self._tell, self._progress, self._hear = folder, tell, progress, hear
        self._spent_s = 0.0
        self._is_waiting = False
        temporary = folder / "tmp"
        temporary.mkdir(mode=0o700)
        # Read in the end as it was opened here: the name in the folder may be another file's by then.
        self._log = (folder / _LOG).open("w+b")
        answers, said = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own script, with the operator's interpreter
                [interpreter, "-I", "-B", str(_WORKER), str(said), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                cwd=folder,
                env={"PATH": _PATH, "LC_ALL": "C", "HOME": str(folder), "TMPDIR": str(temporary)},
                pass_fds=(said,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(answers)
            self._log.close()
            raise EngineFailed("the engine's process cannot be started") from error
        finally:
            os.close(said)
        self._watcher = threading.Thread(target=self._watch, args=(answers,), name="engine", daemon=True)
        self._watcher.start()
        os.set_blocking(self._stdin.fileno(), False)
        try:
            self._write({**task, "memory_bytes": memory_bytes})
        except EngineFailed:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def spent_s(self) -> float:
        """Return how much processor time it has used, in seconds; after its end, as known last."""
        with suppress(OSError):
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            self._spent_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return self._spent_s

    @property
    def _stdin(self) -> Any:  # noqa: ANN401 - a buffered writer; Popen's type says it may be None
        return self._process.stdin

    def reply(self, message: Mapping[str, object]) -> None:
        """Answer what the engine has said; raises `EngineFailed` where it does not read."""
        self._is_waiting = False
        self._write(message)

    def _write(self, message: Mapping[str, object]) -> None:
        rest = memoryview(json.dumps(message).encode() + b"\n")
        waiting = select.poll()
        waiting.register(self._stdin.fileno(), select.POLLOUT)
        with suppress(BrokenPipeError):
            while rest:
                if not waiting.poll(_TAKE_MS):
                    raise EngineFailed("the engine's process does not read what it was sent")
                rest = rest[os.write(self._stdin.fileno(), rest) :]

    def leave(self) -> None:
        """Let it end after its result; kill it if it does not."""
        with suppress(BrokenPipeError):
            self._stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVE_S)
        self.kill()

    def kill(self) -> None:
        """End it and what it has started; remove what it left outside its spool. Harmless when repeated."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._watcher.join()
        if not self._log.closed:
            with suppress(OSError), self._log:
                for name in _TRACE.findall(os.pread(self._log.fileno(), _LOG_BYTES, 0)):
                    Path(os.fsdecode(name)).unlink(missing_ok=True)

    def _watch(self, answers: int) -> None:
        failed = False
        with os.fdopen(answers, "rb") as lines:
            while line := lines.readline(_LINE_BYTES):
                try:
                    self._take(json.loads(line))
                except Exception as error:  # noqa: BLE001  # who watches the progress may end the run
                    if not failed:
                        self._tell(error)
                    failed = True
        self._tell(EngineFailed(f"the engine's process ended, status {self._process.wait()}"))

    def _take(self, said: Mapping[str, Any]) -> None:
        if "progress" in said:
            self._progress(int(said["progress"]))
            return
        if self._is_waiting:
            raise EngineFailed("the engine speaks before it was answered")
        if "said" in said:
            self._is_waiting = True
            self._hear(said["said"])
        elif "done" in said:
            self._is_waiting = True
            self._tell(Done(said["done"]))
        else:
            raise EngineFailed(f"the engine failed: {said['failed']}")
