"""Start, await and stop the processes of a local consortium.

A process that outlives the supervisor is known by its number and its start time, so that a number which
the system gave to another program since is never signalled.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exchange.local.errors import ChildFailed

__all__ = [
    "Running",
    "await_ready",
    "call",
    "call_all",
    "free_ports",
    "is_alive",
    "launch",
    "parley",
    "stop_all",
]

STOP_S = 10.0
READY_S = 60.0
CALL_S = 120.0
_POLL_S = 0.03
_LOG_TAIL = 2000  # characters of a failed child's log that are shown
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


def parley(*arguments: str | Path) -> list[str]:
    """Return the command line that runs ``parley`` in a child process."""
    return [sys.executable, "-P", "-m", "exchange.cli", *map(str, arguments)]


def child_environment(passphrase: str | None = None) -> dict[str, str]:
    """Return what a child inherits: no proxy settings, no one else's passphrase."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    if passphrase is not None:
        environment["PARLEY_PASSPHRASE"] = passphrase
    environment["PARLEY_VERIFY_PROCESSES"] = "0"  # the members are this machine's processes already
    return environment


_PORTS: Final = range(20_000, 32_768)
"""Below those that Linux gives to connections, so that none is taken between the search and the listener."""
_turns = itertools.count(secrets.randbelow(len(_PORTS)))


def free_ports(count: int) -> list[int]:
    """Find ports of the loopback interface that nobody listens on now; each call finds others.

    Raises:
        OSError: there are not so many.
    """
    held: list[socket.socket] = []
    try:
        left = len(_PORTS)
        while len(held) < count:
            if not left:
                raise OSError(f"expected {count} free ports from {_PORTS[0]} to {_PORTS[-1]}, found fewer")
            left -= 1
            held.append(socket.socket())
            try:
                held[-1].bind(("127.0.0.1", _PORTS[next(_turns) % len(_PORTS)]))
            except OSError:
                held.pop().close()
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def call(command: Sequence[str], *, passphrase: str | None = None) -> None:
    """Run one command to its end; see ``call_all``."""
    call_all([(command, passphrase)])


def call_all(commands: Iterable[tuple[Sequence[str], str | None]]) -> None:
    """Run commands at the same time, each with its passphrase, and wait for all.

    Raises:
        ChildFailed: one did not exit with 0; names the command and what it wrote.
    """
    children = [
        (
            command,
            subprocess.Popen(  # noqa: S603  # our own command line, no shell
                command,
                env=child_environment(passphrase),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ),
        )
        for command, passphrase in commands
    ]
    failures = []
    try:
        for command, child in children:
            written = _await(child)
            if child.returncode != 0:
                act, end = " ".join(command[4:6]), written[-_LOG_TAIL:].strip()
                failures.append(f"`parley {act}` ended with {child.returncode}: {end}")
    finally:
        for _, child in children:  # none runs on where waiting was interrupted
            if child.returncode is None:
                child.kill()
                child.communicate()
    if failures:
        raise ChildFailed("\n".join(failures))


def _await(child: subprocess.Popen[str]) -> str:
    try:
        return child.communicate(timeout=CALL_S)[0]
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()[0]


@dataclass(frozen=True)
class Running:
    """A detached process: its number, when the system started it, and where it writes."""

    pid: int
    started: str
    log: str
    out: str


def launch(
    command: Sequence[str], *, name: str, logs: Path, passphrase: str
) -> tuple[Running, subprocess.Popen[bytes]]:
    """Start a process that goes on when the supervisor ends."""
    log, out = logs / f"{name}.log", logs / f"{name}.out"
    with log.open("ab") as errors, out.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603  # our own command line, no shell
            command,
            env=child_environment(passphrase),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    return Running(child.pid, _start_time(child.pid), str(log), str(out)), child


def await_ready(name: str, running: Running, timeout_s: float = READY_S) -> Mapping[str, str]:
    """Wait for the line that says where a process listens.

    Raises:
        ChildFailed: it ended first, or the time is over; shows the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        for line in Path(running.out).read_text(encoding="utf-8").splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                ready: dict[str, str] = json.loads(line)
                return ready
        if not is_alive(running):
            raise ChildFailed(f"{name} ended before it was ready: {_tail(running)}")
        if time.monotonic() > deadline:
            raise ChildFailed(f"{name} was not ready within {timeout_s:g} s: {_tail(running)}")
        time.sleep(_POLL_S)


def _tail(running: Running) -> str:
    return Path(running.log).read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:].strip()


def _start_time(pid: int) -> str:
    """Return the system's start time of a process; empty where the system does not tell, or it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    after_name = stat.rpartition(")")[2].split()
    return "" if after_name[0] in "ZX" else after_name[19]  # field 22 of proc(5), starttime


def is_alive(running: Running) -> bool:
    """Whether this very process still runs."""
    seen = _start_time(running.pid)
    if seen and seen != running.started:
        return False
    try:
        return os.waitpid(running.pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        pass  # started by an earlier supervisor, or seen to end before
    try:
        os.kill(running.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return seen == running.started


def stop_all(processes: Sequence[Running], timeout_s: float = STOP_S) -> None:
    """Ask all to end, wait, and kill those that did not."""
    left = _signal(processes, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = [one for one in left if is_alive(one)]
    killed = _signal(left, signal.SIGKILL)
    while any(is_alive(one) for one in killed):
        time.sleep(_POLL_S)


def _signal(processes: Sequence[Running], number: signal.Signals) -> list[Running]:
    found = [one for one in processes if is_alive(one)]
    for one in found:
        try:
            os.kill(one.pid, number)
        except ProcessLookupError:
            continue  # ended between the look and the signal
    return found
