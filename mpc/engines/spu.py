"""Whether SPU is installed here and starts: found out by starting it, once for each run of this process."""

from __future__ import annotations

import functools
import queue
import tempfile
from importlib import util
from pathlib import Path
from typing import Final

from mpc.engines.process import Done, EngineProcess
from mpc.errors import EngineAbsent, EngineFailed

__all__ = ["INSTALL", "NAME", "required_version", "version"]

NAME: Final = "spu"
INSTALL: Final = "pip install '.[spu]'"
_PROBE_BYTES: Final = 2 * 1024**3
_PROBE_S: Final = 60.0


@functools.cache
def version() -> str | None:
    """The version of SPU, as its own libraries say when loaded; None where they cannot be."""
    if util.find_spec("spu") is None:
        return None
    told: queue.SimpleQueue[Done | Exception] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="parley-probe-") as folder:
        try:
            engine = EngineProcess(Path(folder), {"task": "version"}, _PROBE_BYTES, told.put)
        except EngineFailed:
            return None
        try:
            answered = told.get(timeout=_PROBE_S)
        except queue.Empty:
            return None
        finally:
            engine.kill()
    return str(answered.result["version"]) if isinstance(answered, Done) else None


def required_version() -> str:
    """The version of SPU.

    Raises:
        EngineAbsent: there is none here.
    """
    found = version()
    if found is None:
        raise EngineAbsent(NAME, INSTALL)
    return found
