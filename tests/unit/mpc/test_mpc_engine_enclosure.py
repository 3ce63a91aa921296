"""What a process sees once it is enclosed, and what of an engine's conversation is believed."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.engines import enclosure, flower, process, worker
from mpc.engines.flower import App
from mpc.engines.process import EngineProcess
from mpc.errors import EngineFailed

LOOK = """
import json, os, socket, sys
sys.path.insert(0, {folder!r})
import enclosure, worker
user = (os.getuid(), os.getgid())
worker.confine(2**31, os.getppid())
os.chdir({spool!r})
try:
    enclosure.enclose(__import__("pathlib").Path.cwd(), *user)
except OSError as error:
    print(json.dumps({{"refused": str(error)}}))
    sys.exit()

libc = __import__("ctypes").CDLL(None)

def outcome(act):
    try:
        return str(act())
    except OSError as error:
        return f"{{type(error).__name__}}: {{error.strerror}}"

def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        opened.settimeout(5)
        return opened.connect(address)

def write(path):
    with open(path, "w") as file:
        return file.write("x")

print(json.dumps({{
    "pid": os.getpid(),
    "first": outcome(lambda: os.kill(1, 9)),
    "traced": libc.ptrace(16, 1, 0, 0),
    "secret": outcome(lambda: open({secret!r}).read()),
    "link": outcome(lambda: open("link").read()),
    "door": outcome(lambda: connect(socket.AF_UNIX, {door!r})),
    "loopback": outcome(lambda: connect(socket.AF_INET, ("127.0.0.1", {port}))),
    "outside": outcome(lambda: connect(socket.AF_INET, ("192.0.2.1", 80))),
    "proc": os.path.exists("/proc/self"),
    "parent": outcome(lambda: os.kill({pid}, 0)),
    "root": outcome(lambda: write("/written")),
    "library": outcome(lambda: write(json.__file__)),
    "own": outcome(lambda: write("written")),
    "mount": outcome(lambda: enclosure._mount("tmpfs", "/usr", "tmpfs", 0)),
    "environment": sorted(os.environ),
}}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What a process says of what it can do when it is enclosed."""
    import os
    import socket

    outside, spool = tmp_path_factory.mktemp("outside"), tmp_path_factory.mktemp("spool")
    secret = outside / "keys"
    secret.write_text("a key")
    (spool / "link").symlink_to(secret)
    with socket.socket(socket.AF_UNIX) as door, socket.socket() as port:
        door.bind(str(outside / "door"))
        door.listen()
        port.bind(("127.0.0.1", 0))
        port.listen()
        look = LOOK.format(
            folder=str(Path(enclosure.__file__).parent),
            spool=str(spool),
            secret=str(secret),
            door=str(outside / "door"),
            port=port.getsockname()[1],
            pid=os.getpid(),
        )
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", look], capture_output=True, check=True, env={}, timeout=60
        )
    found: dict[str, Any] = json.loads(done.stdout)
    if "refused" in found:
        pytest.skip(f"this kernel encloses nothing: {found['refused']}")
    return found | {"written": (spool / "written").read_text()}


def test_an_enclosed_process_sees_its_folder_and_no_other_file(seen: Mapping[str, Any]) -> None:
    assert seen["secret"] == seen["link"] == "FileNotFoundError: No such file or directory"
    assert (seen["own"], seen["written"]) == ("1", "x")
    assert seen["root"] == seen["library"] == "OSError: Read-only file system"
    assert not seen["proc"]
    assert set(seen["environment"]) <= {"LC_CTYPE"}


def test_an_enclosed_process_reaches_nobody(seen: Mapping[str, Any]) -> None:
    assert seen["door"] == "FileNotFoundError: No such file or directory"
    assert seen["loopback"] == seen["outside"] == "OSError: Network is unreachable"
    assert seen["pid"] == 2
    # A signal to the first process is thrown away, and it cannot be traced.
    assert (seen["first"], seen["traced"]) == ("None", -1)
    assert seen["parent"] == "ProcessLookupError: No such process"
    assert seen["mount"] == "PermissionError: Operation not permitted"


def test_an_enclosed_process_ends_with_the_one_that_started_it_whatever_it_does(
    seen: Mapping[str, Any], tmp_path: Path
) -> None:
    script = f"""
        import os, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(enclosure.__file__).parent)!r})
        import enclosure, worker
        user = (os.getuid(), os.getgid())
        worker.confine(2**31, os.getppid())
        enclosure.enclose(Path({str(tmp_path)!r}), *user)
        os.setsid()
        enclosure._libc.prctl(1, 0, 0, 0, 0)
        if os.fork():
            os.write(1, b"away")
        time.sleep(3600)
    """
    started = subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert started.stdout is not None
    assert started.stdout.read(4) == b"away"
    started.kill()
    # The pipe ends when nobody is left to write to it.
    assert started.communicate(timeout=60)[0] == b""


# a conversation with a process that is not believed


def talk(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    script: str,
    patience_s: float = 60.0,
    watch: Callable[[], None] = lambda: None,
) -> App:
    """A part of an app whose process is this script, with ``say`` and ``hear``."""
    played = tmp_path / "worker.py"
    head = """
        import json, os, sys
        task = json.loads(sys.stdin.readline())
        say = lambda said: os.write(int(sys.argv[1]), json.dumps(said).encode() + b"\\n")
        hear = lambda: json.loads(sys.stdin.readline())
    """
    played.write_text(textwrap.dedent(head) + textwrap.dedent(script))
    monkeypatch.setattr(process, "_WORKER", played)
    spool = tmp_path / "spool"
    spool.mkdir()
    app = App(spool, 2, patience_s, watch)
    app.start(Path(sys.executable), {"task": "none"})
    return app


def test_an_app_is_heard_answered_and_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = talk(
        monkeypatch,
        tmp_path,
        """
        say({"said": {"kind": "train"}})
        say({"said": {"back": hear()["examples"]}})
        hear()
        say({"done": {}})
        sys.stdin.read()
        """,
    )
    assert app.heard() == {"kind": "train"}
    app.reply({"examples": 3})
    assert app.heard() == {"back": 3}
    app.reply({})
    assert app.heard() is None
    app.end()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("say({'failed': 'ValueError'})", "the app ended: ValueError"),
        ("say({'failed': 'Row110101199003074477'})", "an error of a kind of its own"),
        ("say({'failed': 'open'})", "an error of a kind of its own"),
        ("sys.exit(3)", "its process ended"),
        ("sys.stdin.read()", "expected an answer in 0.5 s, got none"),
        ("say({'said': 7}); sys.stdin.read()", "of the form agreed"),
        ("say('said'); sys.stdin.read()", "of the form agreed"),
        ("os.write(int(sys.argv[1]), b'{' * 70_000); sys.stdin.read()", "of the form agreed"),
        ("os.write(int(sys.argv[1]), b'\\n'); sys.stdin.read()", "of the form agreed"),
    ],
)
def test_what_an_app_says_wrongly_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, words: str
) -> None:
    app = talk(monkeypatch, tmp_path, script, 0.5 if "got none" in words else 60.0)
    with pytest.raises(EngineFailed, match=words) as told:
        app.heard()
    assert "110101199003074477" not in str(told.value)
    app.end()


def test_an_app_that_does_not_wait_for_its_answer_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = talk(monkeypatch, tmp_path, "for _ in range(1000): say({'said': {}})\nsys.stdin.read()")
    assert app.heard() == {}
    with pytest.raises(EngineFailed, match="own"):
        app.heard()
    app.end()
    with pytest.raises(EngineFailed, match="its process ended"):  # the others were thrown away
        app.heard()


def test_whoever_waits_for_an_app_may_end_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stopped(Exception):
        """The agreement has ended."""

    def stop() -> None:
        raise Stopped

    app = talk(monkeypatch, tmp_path, "sys.stdin.read()", watch=stop)
    with pytest.raises(Stopped):
        app.heard()
    app.end()


def test_an_app_that_reads_none_of_its_answers_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = talk(monkeypatch, tmp_path, "while True: say({'said': {}})")
    monkeypatch.setattr(process, "_TAKE_MS", 50)
    assert app.heard() == {}
    with pytest.raises(EngineFailed, match="does not read"):
        app.reply({"metrics": "x" * 2**20})
    app.end()
    app.end()  # harmless when repeated


@pytest.mark.parametrize(
    "make",
    [
        lambda place, secret: None,
        lambda place, secret: place.symlink_to(secret),
        lambda place, secret: place.mkdir(),
        lambda place, secret: __import__("os").mkfifo(place),
        lambda place, secret: place.write_bytes(bytes(15)),
        lambda place, secret: place.write_bytes(bytes(17)),
    ],
)
def test_a_file_that_is_not_the_numbers_agreed_is_refused(tmp_path: Path, make: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))
    app = App(tmp_path, count=2, patience_s=1.0)
    make(tmp_path / "replied.f64", secret)
    with pytest.raises(EngineFailed, match="expected a file of"):
        app.take("replied.f64")


def test_numbers_go_into_a_file_of_this_node_and_nowhere_else(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("as it was")
    app = App(tmp_path, count=2, patience_s=1.0)
    for name in ("asked.f64", "asked.f64.new"):
        (tmp_path / name).symlink_to(target)
    app.put("asked.f64", np.array([1.5, -2.0]))
    assert target.read_text() == "as it was"
    np.testing.assert_array_equal(app.take("asked.f64"), [1.5, -2.0])
    (tmp_path / "replied.f64").mkdir()
    (tmp_path / "replied.f64" / "x").touch()
    with pytest.raises(EngineFailed, match="a folder to write to"):
        app.put("replied.f64", np.zeros(2))


def test_an_interpreter_that_is_none_has_no_version(tmp_path: Path) -> None:
    assert flower.version(tmp_path / "python") is None
    empty = tmp_path / "empty"
    empty.write_text("#!/bin/sh\nexit 1\n")
    empty.chmod(0o700)
    assert flower.version(empty) is None


def test_a_task_that_there_is_not_is_refused(tmp_path: Path) -> None:
    told: queue.Queue[Any] = queue.Queue()
    engine = EngineProcess(tmp_path, {"task": "none"}, 2**31, told.put)
    assert "KeyError" in str(told.get(timeout=30))
    engine.kill()
    assert set(worker.TASKS) >= {"app-version", "client-app", "server-app"}
