import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exchange.errors import InvalidRequest
from exchange.local import AlreadyUp, ChildFailed, Consortium, NotUp, processes
from exchange.local.processes import (
    Running,
    await_ready,
    call_all,
    child_environment,
    free_ports,
    is_alive,
    launch,
    stop_all,
)

READY = 'print(\'{"ready": true, "api": "here"}\', flush=True); import time; time.sleep(60)'


def python(code: str) -> list[str]:
    return [sys.executable, "-P", "-u", "-c", code]


def started(tmp_path: Path, code: str) -> tuple[Running, subprocess.Popen[bytes]]:
    return launch(python(code), name="lender", logs=tmp_path, passphrase="p")


def test_ports_are_free_and_different() -> None:
    ports = [*free_ports(8), *free_ports(0), *free_ports(1)]
    assert len(set(ports)) == 9
    assert max(ports) < 32_768
    with socket.create_server(("127.0.0.1", ports[0])):
        assert ports[0] not in free_ports(50)


def test_more_ports_than_there_are_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PORTS", range(*sorted(free_ports(1)), 32_768)[:1])
    with pytest.raises(OSError, match="expected 2 free ports"):
        free_ports(2)


def test_a_process_is_awaited_known_and_stopped(tmp_path: Path) -> None:
    running, child = started(tmp_path, READY)
    assert await_ready("lender", running, 10)["api"] == "here"
    assert is_alive(running)
    stop_all([running], 5)
    assert not is_alive(running)
    child.poll()


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    running, child = started(
        tmp_path, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}"
    )
    await_ready("lender", running, 10)
    stop_all([running], 0.3)
    assert not is_alive(running)
    child.poll()


def test_a_number_given_to_another_process_is_not_signalled(tmp_path: Path) -> None:
    running, child = started(tmp_path, READY)
    await_ready("lender", running, 10)
    other = dataclasses.replace(running, started="1")
    assert not is_alive(other)
    stop_all([other], 0.2)
    assert is_alive(running)
    os.kill(running.pid, signal.SIGKILL)
    child.wait()


def test_a_process_that_ends_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    running, child = started(tmp_path, "import sys; sys.exit('no keys here')")
    with pytest.raises(ChildFailed, match="no keys here"):
        await_ready("lender", running, 10)
    child.poll()


def test_a_process_that_is_never_ready_is_named(tmp_path: Path) -> None:
    running, child = started(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(ChildFailed, match="lender was not ready within"):
        await_ready("lender", running, 0.3)
    stop_all([running], 5)
    child.poll()


def test_commands_run_at_the_same_time() -> None:
    before = time.monotonic()
    call_all((python("import time; time.sleep(0.7)"), None) for _ in range(3))
    assert time.monotonic() - before < 2.0


def test_every_command_that_failed_is_named_and_the_others_are_awaited(tmp_path: Path) -> None:
    good = python(f"import time; time.sleep(0.3); open({str(tmp_path / 'done')!r}, 'w')")
    bad = [*python("import sys; sys.exit('wrong passphrase')"), "node", "init"]
    with pytest.raises(ChildFailed, match="wrong passphrase"):
        call_all([(bad, "p"), (good, None)])
    assert (tmp_path / "done").exists()


def test_a_child_inherits_no_proxy_and_no_foreign_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("PARLEY_PASSPHRASE", "mine")
    assert not {"HTTPS_PROXY", "PARLEY_PASSPHRASE"} & set(child_environment())
    assert child_environment("theirs")["PARLEY_PASSPHRASE"] == "theirs"


def test_a_home_without_a_consortium_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(NotUp, match=r"parley up"):
        Consortium.find(tmp_path)


@pytest.mark.parametrize("orgs", [[], ["lender"], ["lender", "lender"], ["lender", "hub"]])
def test_names_that_cannot_be_are_refused_before_anything_is_made(tmp_path: Path, orgs: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="--org"):
        Consortium.up(tmp_path / "home", orgs, data={})
    assert not (tmp_path / "home").exists()


def test_remains_of_something_else_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    with pytest.raises(AlreadyUp, match="nodes"):
        Consortium.up(tmp_path, ["lender", "bureau"], data={})
