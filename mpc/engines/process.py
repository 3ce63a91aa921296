"""Starts an engine's process beside this one, and ends it.

The process runs `mpc.engines.worker` with a clean environment in its spool folder: no core dumps, a limit of
memory, the user's own rights and no more, and where the kernel allows it a network with nothing in it. It
dies with this process, whatever ends this one.
"""

from __future__ import annotations

import json
import os
import re
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
_LEAVE_S: Final = 10.0


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
    """

    def __init__(
        self,
        folder: Path,
        task: Mapping[str, object],
        memory_bytes: int,
        tell: Callable[[Done | Exception], None],
        progress: Callable[[int], None] = lambda percent: None,
    ) -> None:
        self._folder, self._tell, self._progress = folder, tell, progress
        self._spent_s = 0.0
        temporary = folder / "tmp"
        temporary.mkdir(mode=0o700)
        answers, said = os.pipe()
        try:
            with (folder / _LOG).open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own script, with our own interpreter
                    [sys.executable, "-I", "-B", str(_WORKER), str(said), str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env={"PATH": _PATH, "LC_ALL": "C", "HOME": str(folder), "TMPDIR": str(temporary)},
                    pass_fds=(said,),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(answers)
            raise EngineFailed("the engine's process cannot be started") from error
        finally:
            os.close(said)
        self._watcher = threading.Thread(target=self._watch, args=(answers,), name="engine", daemon=True)
        self._watcher.start()
        with suppress(BrokenPipeError):
            self._stdin.write(json.dumps({**task, "memory_bytes": memory_bytes}).encode() + b"\n")
            self._stdin.flush()

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
        with suppress(OSError):
            for name in _TRACE.findall((self._folder / _LOG).read_bytes()):
                Path(os.fsdecode(name)).unlink(missing_ok=True)

    def _watch(self, answers: int) -> None:
        with os.fdopen(answers, "rb") as lines:
            for line in lines:
                try:
                    self._take(json.loads(line))
                except Exception as error:  # noqa: BLE001  # who watches the progress may end the run
                    self._tell(error)
        self._tell(EngineFailed(f"the engine's process ended, status {self._process.wait()}"))

    def _take(self, said: Mapping[str, Any]) -> None:
        if "progress" in said:
            self._progress(int(said["progress"]))
        elif "done" in said:
            self._tell(Done(said["done"]))
        else:
            self._tell(EngineFailed(f"the engine failed: {said['failed']}"))
