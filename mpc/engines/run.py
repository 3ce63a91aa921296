"""One run of an engine: its spool, its process, and a tunnel to each other party's engine.

The order at the end is what makes it clean. Each engine says that it has its result and stays; when all have
said so, the tunnels close, the engines leave, and only then are the transcripts compared. Whatever goes wrong
kills the process and removes the spool before the error leaves this module.
"""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mpc.engines.process import Done, EngineProcess
from mpc.engines.tunnel import Event, Kind, Tunnel
from mpc.errors import EngineFailed
from mpc.spec import ProtocolSpec
from mpc.transcript import ConfirmedChannel

__all__ = ["played"]

_OWN: Final = "own.sock"
_STALLED_S: Final = 90.0
_LOOK_S: Final = 5.0
_Told = tuple[int | None, Event | Done]


@contextmanager
def played(
    folder: Path,
    task: Mapping[str, object],
    peers: Mapping[int, ConfirmedChannel],
    spec: ProtocolSpec,
    *,
    memory_bytes: int,
    progress: Callable[[int], None] = lambda percent: None,
) -> Iterator[Mapping[str, Any]]:
    """Play a task with the other parties' engines and give the engine's answer.

    What it wrote is in ``folder``. The caller compares transcripts before it lets anything out.

    Args:
        folder: a spool; `mpc.engines.spool`.
        task: for `mpc.engines.worker`, but for ``parties``, ``session`` and ``memory_bytes``.
        peers: channels to the other parties, by rank; used by the tunnels alone meanwhile.
        spec: of the protocol played.
        memory_bytes: most memory the engine may have.
        progress: called with per cents, from another thread.

    Raises:
        EngineFailed: the engine ended without a result, or all engines have waited for each other too long.
        ProtocolAbort: another party aborted, or what came from it is not what it sent.
    """
    told: queue.SimpleQueue[_Told] = queue.SimpleQueue()
    complete = {"parties": len(peers) + 1, "session": spec.name, **task}
    with ExitStack() as stack:
        at = os.open(folder, os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, at)
        engine: EngineProcess
        tunnels = {
            rank: Tunnel(
                channel,
                spec,
                _door(at, rank),
                _address(at, _OWN),
                _teller(told, rank),
                lambda: engine.spent_s(),
            )
            for rank, channel in peers.items()
        }
        for tunnel in tunnels.values():
            stack.callback(tunnel.close)
        engine = EngineProcess(folder, complete, memory_bytes, _teller(told, None), progress)
        stack.callback(engine.kill)
        for tunnel in tunnels.values():
            tunnel.start()
        result = _until_all_are_done(told, tunnels)
        for tunnel in tunnels.values():
            tunnel.say(Kind.END)
        for tunnel in tunnels.values():
            tunnel.join()
        engine.leave()
        _raise_any(told)
        yield result


def _until_all_are_done(told: queue.SimpleQueue[_Told], tunnels: Mapping[int, Tunnel]) -> Mapping[str, Any]:
    result: Mapping[str, Any] | None = None
    waiting = set(tunnels)
    while result is None or waiting:
        try:
            who, event = told.get(timeout=_LOOK_S)
        except queue.Empty:
            if min(tunnel.still_s for tunnel in tunnels.values()) > _STALLED_S:
                raise EngineFailed("the engines wait for each other") from None
            continue
        if isinstance(event, Exception):
            raise event
        if isinstance(event, Done):
            result = event.result
            for tunnel in tunnels.values():
                tunnel.say(Kind.DONE)
        elif who is not None:
            waiting.discard(who)
    return result


def _raise_any(told: queue.SimpleQueue[_Told]) -> None:
    """Raise what went wrong after all were done; that the engine then ended is what it was told."""
    while not told.empty():
        who, event = told.get()
        if isinstance(event, Exception) and who is not None:
            raise event


def _teller(told: queue.SimpleQueue[_Told], who: int | None) -> Callable[[Event | Done], None]:
    return lambda event: told.put((who, event))


def _address(folder: int, name: str) -> str:
    """A path short enough for a socket's address, however deep the folder lies."""
    return f"/proc/self/fd/{folder}/{name}"


def _door(folder: int, rank: int) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    try:
        door.bind(_address(folder, f"peer-{rank}.sock"))
    except OSError as error:
        door.close()
        raise EngineFailed("a socket in the spool folder cannot be made") from error
    door.listen()
    return door
