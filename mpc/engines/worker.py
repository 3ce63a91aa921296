"""The engine's process: takes one task from its standard input, plays it, answers, and waits to leave.

Run as a script by `mpc.engines.process`, isolated (``python -I``), in its spool folder, with the sockets of
the file system as its only way out. It imports nothing of this package, so that it starts in a fraction of a
second, and in any interpreter. Answers are lines of JSON on the descriptor that the first argument names;
what engines print goes to a log inside the spool and is never shown, because it may name identifiers.

Answers: ``{"said": message}``, to which a line comes back, ``{"progress": percent}``, ``{"done": result}`` or
``{"failed": kind}``. After one of the last two it stays until its standard input ends: the other parties'
engines may still wait for acknowledgements.

Tasks that run an app of a framework see nothing but their spool (``enclosure.py``), or do not begin.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

Answer = Callable[[Mapping[str, object]], None]

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_FOREVER_MS: Final = 7 * 24 * 3600 * 1000
"""The parties' channels have their own limits; an engine waits for them."""


def confine(memory_bytes: int, parent: int) -> bool:
    """Limit this process; True if it has a network of its own with nothing in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent had gone before it could take us with it
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def load_spu(*modules: str) -> list[ModuleType]:
    """Import modules of SPU without its package's own imports, which take a second for jax."""
    found = importlib.util.find_spec("spu")
    if found is None:
        raise ModuleNotFoundError("spu")
    package = ModuleType("spu")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["spu"] = package
    return [importlib.import_module(f"spu.{name}") for name in modules]


def link(libspu: Any, task: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Open SPU's link between the parties over the sockets in this folder."""
    described = libspu.link.Desc()
    described.id = task["session"]
    described.recv_timeout_ms = described.http_timeout_ms = _FOREVER_MS
    for rank in range(task["parties"]):
        described.add_party(
            f"party-{rank}", "unix:" + ("own" if rank == task["rank"] else f"peer-{rank}") + ".sock"
        )
    return libspu.link.create_brpc(described, task["rank"])


def intersect(task: Mapping[str, Any], answer: Answer) -> dict[str, object]:
    """Play ``psi``: RR22 over ``items.csv`` with the column ``id``, into ``matched.csv``."""
    libspu, psi = load_spu("libspu", "libpsi")
    context = link(libspu, task)
    # psi_execute greets once more in the words of the link's first greeting. A greeting that comes before the
    # one before it was taken is dropped, and its receiver waits for ever; so both finish the first one here.
    context.barrier()
    here = Path.cwd()
    hook = psi.ProgressParams(hook=lambda data: answer({"progress": data.percentage}), interval_ms=1000)
    report = psi.psi_execute(
        psi.PsiExecuteConfig(
            protocol_conf=psi.PsiProtocolConfig(
                protocol=psi.PsiProtocol.PROTOCOL_RR22,
                receiver_rank=task["receiver"],
                broadcast_result=task["broadcast"],
            ),
            input_params=psi.InputParams(
                path=str(here / "items.csv"), selected_keys=["id"], keys_unique=True
            ),
            output_params=psi.OutputParams(path=str(here / "matched.csv"), disable_alignment=True),
        ),
        context,
        hook,
    )
    context.stop_link()
    return {"items": report.original_count, "matched": report.intersection_count}


def beside(name: str) -> ModuleType:
    """Load another file of this folder."""
    found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if found is None or found.loader is None:
        raise ModuleNotFoundError(name)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def compute(task: Mapping[str, Any], answer: Answer) -> dict[str, object]:
    """Play ``compute``: a program over secret columns; see ``programs.py`` beside this file."""
    result: dict[str, object] = beside("programs").play(task, lambda libspu: link(libspu, task), answer)
    return result


def app(task: Mapping[str, Any], answer: Answer) -> dict[str, object]:
    """Play a part of a Flower app, enclosed; see ``flower_app.py`` beside this file."""
    flower_app, enclosure = beside("flower_app"), beside("enclosure")
    enclosure.enclose(Path.cwd(), *task["user"])

    def converse(message: Mapping[str, object]) -> Any:  # noqa: ANN401 - a JSON value
        answer({"said": message})
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # nobody waits for more
        return json.loads(line)

    result: dict[str, object] = flower_app.PARTS[task["task"]](task, converse)
    return result


def version(task: Mapping[str, Any], answer: Answer) -> dict[str, object]:
    """Play ``version``: what is installed, after its libraries have been loaded."""
    del task, answer
    load_spu("libspu", "libpsi")
    return {"version": importlib.import_module("spu.version").__version__}


TASKS: Final = {
    "psi": intersect,
    "compute": compute,
    "version": version,
    **dict.fromkeys(("app-version", "client-app", "server-app"), app),
}


def kind_of(error: BaseException) -> str:
    """Name an error without its text, which may name identifiers: its class and the engine's line of code."""
    place = re.search(r"\[([\w./~]+\.(?:cc|h|cpp):\d+)\]", str(error))
    return type(error).__name__ + (f" at {place[1]}" if place else "")


def main(answers: int, parent: int) -> None:
    """Take the task, play it, answer, and wait for the end of the standard input."""
    lock = threading.Lock()

    def answer(said: Mapping[str, object]) -> None:
        with lock:
            os.write(answers, json.dumps(said).encode() + b"\n")

    task = json.loads(sys.stdin.readline()) | {"user": (os.getuid(), os.getgid())}
    isolated = confine(task["memory_bytes"], parent)

    def leave() -> None:
        sys.stdin.read()
        os._exit(0)

    try:
        result = TASKS[task["task"]](task, answer)
    except Exception as error:  # noqa: BLE001  # whatever an engine raises ends the run
        answer({"failed": kind_of(error)})
    else:
        answer({"done": result | {"isolated": isolated}})
    leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
